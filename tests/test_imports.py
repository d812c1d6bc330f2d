"""The house keeps its order: who may import whom, how long a file may be, what `import tfllm` loads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm

PACKAGE = Path(tfllm.__file__).parent
EVERYONE = {"checks", "manifest", "version", "islands", "tags", "writing", "messages", "noise"}
MAY_IMPORT = {  # besides itself and EVERYONE
    "version": set(),
    "checks": set(),
    "islands": set(),
    "tags": set(),
    "writing": set(),
    "messages": set(),
    "noise": set(),
    "manifest": set(),
    "tokenizers": set(),
    "models": set(),
    "losses": set(),
    "metrics": set(),
    "data": {"tokenizers"},
    "training": {"losses", "metrics"},
    "generation": {"tokenizers", "models"},
    "inference": {"tokenizers", "models", "generation"},
    "evaluation": {"tokenizers", "models", "data", "metrics", "generation", "inference"},
    "export": {"tokenizers", "models", "generation", "inference"},
    "serving": set(),
    "__main__": {"cli"},
    "__init__": set(),
}
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(file: Path) -> set[str]:
    """Full names of all modules that any import statement of the file names, at the top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: relative import"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def imported_rooms(file: Path) -> set[str]:
    return {module.split(".")[1] for module in imported_modules(file) if module.startswith("tfllm.")}


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_file_imports_only_what_its_room_may(file):
    room = room_of(file)
    if room == "cli":
        return
    assert room in MAY_IMPORT, f"{room} has no rule"
    assert imported_rooms(file) - {room} <= MAY_IMPORT[room] | EVERYONE


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_file_has_at_most_400_lines(file):
    assert len(file.read_text("utf-8").splitlines()) <= 400


def test_the_server_never_imports_keras():
    roots = {module.split(".")[0] for file in PACKAGE.glob("serving/**/*.py") for module in imported_modules(file)}
    assert not roots & {"keras", "keras_hub"}


def test_importing_the_package_or_its_command_line_loads_neither_tensorflow_nor_keras():
    program = (
        "import sys, tfllm, tfllm.cli; print(sorted({'tensorflow', 'keras', 'keras_hub', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_keras_knows_no_two_classes_by_one_name():
    text = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    names = re.findall(r"^@keras\.saving\.register_keras_serializable.*\nclass (\w+)", text, re.MULTILINE)
    assert len(names) > 10
    assert sorted(names) == sorted(set(names))
