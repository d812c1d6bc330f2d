"""A tiny classifier with large random weights, so that different texts get clearly different scores; exported once."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from tfllm.data.samples import sample_path
from tfllm.export import export_savedmodel
from tfllm.models import add_classifier_head


@pytest.fixture(scope="session")
def labels():
    return ["negativ", "positiv", "中性"]


@pytest.fixture(scope="session")
def sequence_length():
    return 16


@pytest.fixture(scope="session")
def classifier(make_encoder, labels, randomize):
    return randomize(add_classifier_head(make_encoder(), labels))


@pytest.fixture(scope="session")
def exported(classifier, tokenizer, sequence_length, tmp_path_factory):
    """`savedmodels/NAME` with version 1. Tests read it; those that change it take a copy."""
    directory = tmp_path_factory.mktemp("savedmodels") / "reviews"
    assert export_savedmodel(classifier, tokenizer, directory, sequence_length=sequence_length) == directory / "1"
    return directory


@pytest.fixture
def run_without_keras(clean_forks, tmp_path):
    """`run_without_keras(program)`: what Python prints where Keras cannot be imported, nor KerasHub, and tfllm can."""

    root = Path(__file__).resolve().parents[2]

    def run(program):
        file = tmp_path / "program.py"
        begin = f"import sys; sys.path.insert(0, {str(root)!r}); sys.modules['keras'] = sys.modules['keras_hub'] = None"
        file.write_text(f"{begin}\n{program}", "utf-8")
        done = clean_forks["clean_process"].run(str(file), [])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def copy(exported, tmp_path):
    """Version 1 in a place of its own, to be changed."""
    return Path(shutil.copytree(exported / "1", tmp_path / "reviews" / "1"))


_GERMAN = (
    "Im Frühjahr räumt mein Großvater den Schuppen auf. Er trägt Töpfe, Schläuche und Kästen in den Hof, fegt den Flur "
    "und ölt die Türangeln. Was noch taugt, kommt zurück ins Regal; der Rest fährt am Samstag zum Wertstoffhof. Dann "
    "wäscht er sich die Hände, kocht Kaffee und zählt auf, was ihm nächstes Jahr alles nicht mehr im Weg stehen soll. "
    "„Früher“, sagt er, „hätte ich das an einem Vormittag geschafft.“ Aber früher stand auch weniger herum."
)


@pytest.fixture(scope="session")
def check_greedy_texts(prompts_in_three_languages):
    """`check_greedy_texts(python, saved)`: both write the same after 200 prompts, and not the same to all."""

    def check(python, saved):
        one, other = (generator.generate(prompts_in_three_languages) for generator in (python, saved))
        assert len({row["text"] for row in one}) > 150
        assert [row["text"] for row in other] == [row["text"] for row in one]

    return check


@pytest.fixture(scope="session")
def prompts_in_three_languages():
    """200 beginnings of English, Chinese and German texts, of 1 to 33 characters."""
    texts = *(sample_path(f"text_{language}.txt").read_text("utf-8") for language in ("en", "zh")), _GERMAN
    return [texts[place % 3][place * 2 : place * 2 + 1 + place * 7 % 33].replace("\n", " ") for place in range(200)]


@pytest.fixture(scope="session")
def ask_in_cpp(request, tmp_path_factory):
    """`ask_in_cpp(version, text=["..."], ...)`: what a C++ program without XLA gets from `serving_default`.

    Name of the output -> (type, rows, its first values as text). The program is built against the headers of the
    installed TensorFlow and kept in pytest's cache; the test is skipped where that does not work.
    """
    cache = getattr(request.config, "cache", None)
    program = _built(Path(cache.mkdir("cpp_loader")) if cache else tmp_path_factory.mktemp("cpp_loader"))
    text_ops = Path(importlib.util.find_spec("tensorflow_text").submodule_search_locations[0], "python", "ops")

    def ask(version, **inputs):
        lines = "\n".join("\t".join([name, *texts]) for name, texts in inputs.items())
        command = [program, version, *sorted(text_ops.glob("_*.so"))]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        rows = (line.split("\t") for line in done.stdout.splitlines())
        return {name: (kind, int(count), values) for name, kind, count, values in rows}

    return ask


def _built(folder: Path) -> Path:
    source = Path(__file__).with_name("loader.cc")
    program = folder / hashlib.sha256(source.read_bytes() + tf.__version__.encode()).hexdigest()[:16]
    if program.exists():
        return program
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to build a loader in C++")
    libraries = [f"{tf.sysconfig.get_lib()}/libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    beside = folder / f"{os.getpid()}.unfinished"
    flags = [*tf.sysconfig.get_compile_flags(), "-w", "-O0", f"-Wl,-rpath,{tf.sysconfig.get_lib()}"]
    done = subprocess.run(["g++", source, *flags, *libraries, "-o", beside], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"TensorFlow's headers do not build here: {done.stderr[-500:]}")
    os.replace(beside, program)
    return program
