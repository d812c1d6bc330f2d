"""Version directories as TF Serving polls them: `NAME/1`, `NAME/2`, ...; the highest number is served."""

from pathlib import Path

from tfllm import manifest
from tfllm.checks import InputError, check_exists

GRAPH_FILE = "saved_model.pb"


def find_version(directory: str | Path) -> Path:
    """The SavedModel at `directory`: itself, or its version with the highest number.

    Raises:
        InputError: when there is none.
    """
    directory = Path(directory)
    check_exists(directory)
    if (directory / GRAPH_FILE).is_file():
        return directory
    versions = [number for number in numbers(directory) if (directory / str(number) / GRAPH_FILE).is_file()]
    if not versions:
        if (directory / manifest.FILE_NAME).is_file():
            manifest.read_manifest(directory, "savedmodel")  # raises, and says what else it is
        if several := models_in(directory):
            names = ", ".join(several[:5])
            raise InputError(f"{directory} holds SavedModels ({names}). Give one of them: {directory / several[0]}.")
        raise InputError(f"{directory} holds no SavedModel: neither {GRAPH_FILE} nor a version such as 1/{GRAPH_FILE}.")
    return directory / str(max(versions))


def next_version(directory: str | Path) -> Path:
    """Where the next version under `directory` belongs."""
    directory = Path(directory)
    if directory.name.isdigit() or (directory / GRAPH_FILE).exists():
        raise InputError(f"{directory} is a version; give the directory above it, the next number is added to it.")
    if (directory / manifest.FILE_NAME).exists():
        raise InputError(f"{directory} holds a model already; give another directory, savedmodels/NAME.")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give a directory, savedmodels/NAME.")
    if not numbers(directory) and (others := models_in(directory)):
        raise InputError(f"{directory} holds SavedModels ({', '.join(others[:5])}); give {directory / 'NAME'}.")
    return directory / str(max(numbers(directory), default=0) + 1)


def models_in(directory: Path) -> list[str]:
    """The names of the models in a directory: of what holds versions and may be read."""
    if not directory.is_dir():
        return []
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith(".") and _is_model(entry))


def _is_model(directory: Path) -> bool:
    try:
        return any((directory / str(number) / GRAPH_FILE).is_file() for number in numbers(directory))
    except OSError:
        return False


def numbers(directory: Path) -> list[int]:
    """The versions in a directory, whole or not."""
    if not directory.is_dir():
        return []
    return [int(entry.name) for entry in directory.iterdir() if entry.name.isascii() and entry.name.isdigit()]
