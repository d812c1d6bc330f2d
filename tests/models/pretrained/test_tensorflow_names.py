"""What `TFBertForMaskedLM` and its kin saved: their own files, and the logits they gave."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.models.pretrained import load_checkpoint, open_folder
from tfllm.models.pretrained.tensorflow_names import rename

FILES = Path(__file__).with_name("tensorflow")


@pytest.mark.parametrize("name", ["bert_masked_lm", "distilbert_classifier"])
def test_logits_are_those_the_tensorflow_class_gave(name):
    checkpoint = load_checkpoint(open_folder(FILES / name), trust=True)
    expected = json.loads((FILES / name / "expected.json").read_text("utf-8"))
    ids = np.array(expected["token_ids"], "int32")
    batch = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype("int32")}
    if "mask_positions" in checkpoint.model.input:
        batch["mask_positions"] = np.tile(np.arange(5, dtype="int32"), (2, 1))
    real = batch["padding_mask"] == 1 if name == "bert_masked_lm" else ...
    found = checkpoint.model.predict(batch, verbose=0)
    np.testing.assert_allclose(found[real], np.array(expected["logits"])[real], atol=1e-4)


def test_names_become_the_usual_ones():
    assert rename("bert/encoder/layer_._0/output/dense/kernel:0") == "bert.encoder.layer.0.output.dense.weight"
    assert rename("mlm___cls/predictions/transform/LayerNorm/beta:0") == "cls.predictions.transform.LayerNorm.bias"
    assert rename("bert/embeddings/position_embeddings/embeddings:0") == "bert.embeddings.position_embeddings.weight"


def test_without_trust_it_is_refused():
    with pytest.raises(InputError, match=r"tf_model\.h5 is read by a library that was not made for hostile files"):
        load_checkpoint(open_folder(FILES / "bert_masked_lm"))


NAME = "bert/tf_bert_for_masked_lm/bert/embeddings/LayerNorm/beta:0"


def _replace(**arguments):
    def spoil(stream):
        del stream[NAME]
        stream.create_dataset(NAME, **arguments)

    return spoil


def _link(stream):
    del stream[NAME]
    stream[NAME] = h5py.ExternalLink("/etc/passwd", "/")


SPOILED = {
    "link": (_link, "is a link; only what stands in the file is read"),
    "compressed": (_replace(data=np.zeros(8, "float32"), compression="gzip"), "does not stand in the file as plain"),
    "elsewhere": (
        _replace(shape=(8,), dtype="float32", external=[("outside", 0, 32)]),
        "does not stand in the file as plain",
    ),
    "of integers": (_replace(data=np.zeros(8, "int32")), "weights must be float32 or float16"),
    "not a number": (_replace(data=np.full(8, np.nan, "float32")), "infinite or none at all"),
    "differing twice": (
        lambda stream: stream[f"mlm___cls/{NAME[5:]}"].write_direct(np.ones(8, "float32")),
        "holds .* twice",
    ),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_file_that_is_not_plain_is_refused(tmp_path, kind):
    shutil.copytree(FILES / "bert_masked_lm", tmp_path / "in")
    spoil, message = SPOILED[kind]
    with h5py.File(tmp_path / "in" / "tf_model.h5", "r+") as stream:
        spoil(stream)
    with pytest.raises(InputError, match=message):
        load_checkpoint(open_folder(tmp_path / "in"), trust=True)


def test_a_file_that_is_cut_is_refused(tmp_path):
    shutil.copytree(FILES / "bert_masked_lm", tmp_path / "in")
    content = (tmp_path / "in" / "tf_model.h5").read_bytes()
    for length in (0, 100, 20_000):
        (tmp_path / "in" / "tf_model.h5").write_bytes(content[:length])
        with pytest.raises(InputError, match="is not a whole HDF5 file"):
            load_checkpoint(open_folder(tmp_path / "in"), trust=True)
