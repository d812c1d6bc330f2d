"""`hf:NAME` from the cache, and what is said without a network."""

import importlib

import pytest

from tfllm.checks import InputError
from tfllm.models.pretrained import fetch, load_checkpoint


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of huggingface_hub, and no network."""
    pytest.importorskip("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_repository_in_the_cache_is_read_through_its_links(cache, make_theirs, tmp_path):
    repository = cache / "models--someone--bert"
    make_theirs("bert", "Model").save_pretrained(repository / "blobs")
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(repository / "blobs" / name)
    assert load_checkpoint(fetch("someone/bert")).class_name == "BertModel"


def test_a_repository_that_is_not_there_is_an_error_that_says_what_to_do(cache):
    with pytest.raises(InputError, match=r"hf:someone/nothing could not be fetched.*copy the repository's files into"):
        fetch("someone/nothing")


@pytest.mark.parametrize("name", ["", "../etc", "a/b/c", "a b", "http://somewhere"])
def test_what_is_no_name_is_refused(cache, name):
    with pytest.raises(InputError, match="After hf: stands the name of a repository"):
        fetch(name)
