"""Sample data that ships with the package: labelled reviews and running text, English and Chinese."""

from pathlib import Path

from tfllm import checks


def sample_path(name: str) -> Path:
    """Where a sample file is. Names: `reviews_en_train.csv`, `reviews_en_test.csv`, `text_en.txt`, the same with `zh`.

    Raises:
        InputError: for an unknown name.
    """
    directory = Path(__file__).parent
    names = [file.name for file in directory.iterdir() if file.suffix in (".csv", ".txt")]
    checks.check_one_of("name", name, sorted(names))
    return directory / name
