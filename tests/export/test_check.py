"""`check_savedmodel` passes what was exported and notices what was changed."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.export import check_savedmodel
from tfllm.export.check import CONTENT_CHECKS, FACTS_FILE, PROOFS_FILE
from tfllm.export.replay import _compare, replay
from tfllm.export.requests import WARM_UP_FILE, make_request, read_warm_up, write_warm_up

OWN_PROCESSES = True
PROOFS = ["files", "signatures", "ops", "weights", "warm-up", "loaded", "session", "c api"]


def test_an_export_passes_every_check(exported):
    findings = check_savedmodel(exported)
    assert [finding.check for finding in findings] == PROOFS
    assert all(finding.passed for finding in findings), findings


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001", WARM_UP_FILE])
def test_a_flipped_byte_is_noticed_and_nothing_is_run(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    (finding,) = check_savedmodel(copy)
    assert (finding.check, finding.passed) == ("files", False)
    assert name in finding.detail


@pytest.mark.parametrize(("check", "fact", "value"), [("weights", "parameters", 1), ("signatures", "signatures", {})])
def test_facts_that_do_not_hold_are_noticed(copy, check, fact, value):
    facts = json.loads((copy / FACTS_FILE).read_text("utf-8"))
    manifest.write_json(copy / FACTS_FILE, {**facts, fact: value})
    with pytest.raises(InputError):
        CONTENT_CHECKS[check](copy)


def test_other_answers_are_noticed(copy):
    (first, *_) = read_warm_up(copy)
    other = first._replace(outputs={**first.outputs, "score": tf.io.serialize_tensor([0.123]).numpy()})
    with pytest.raises(InputError, match=r"serving_default \(loaded\): score is"):
        replay(copy, [other])


def test_a_signature_without_warm_up_is_noticed(copy):
    write_warm_up(copy, "reviews", read_warm_up(copy)[:1])
    _accept_changes(copy)
    (finding,) = (finding for finding in check_savedmodel(copy) if not finding.passed)
    assert finding.check == "warm-up"
    assert "does not ask classify, embed, tokenize, tokens" in finding.detail


def test_a_savedmodel_that_does_not_run_is_said(copy):
    with pytest.raises(InputError, match="does not run in a clean process"):
        replay(copy, [make_request("no_such_signature", {}, {})])


def test_a_directory_without_savedmodel_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no SavedModel"):
        check_savedmodel(tmp_path)


def test_an_export_carries_its_proofs(exported):
    """Of the export: more requests than the warm-up file has."""
    proofs = json.loads((exported / "1" / PROOFS_FILE).read_text("utf-8"))["proofs"]
    assert [proof["check"] for proof in proofs] == [name for name in PROOFS if name not in ("files", "warm-up")]
    assert all(proof["passed"] for proof in proofs)
    assert "2.18, 2.19, 2.20 and later" in proofs[1]["detail"]
    assert "C API" in proofs[-1]["detail"]


def test_strings_that_would_break_json_are_noticed():
    broken = tf.io.serialize_tensor([b"\xff"]).numpy()
    with pytest.raises(InputError, match="label is not UTF-8"):
        _compare("serving_default", {"label": broken}, {"label": np.array([b"\xff"], object)}, 1e-5)


def test_the_facts_tell_what_the_model_is(exported, labels, sequence_length, classifier):
    facts = json.loads((exported / "1" / FACTS_FILE).read_text("utf-8"))
    assert (facts["task"], facts["labels"]) == ("classification", labels)
    assert facts["servers"] == ["2.18", "2.19", "2.20"]
    assert (facts["sequence_length"], facts["parameters"]) == (sequence_length, classifier.count_params())
    assert facts["signatures"]["serving_default"] == {
        "inputs": {"text": {"dtype": "string", "shape": [-1]}},
        "outputs": {
            "label": {"dtype": "string", "shape": [-1]},
            "labels": {"dtype": "string", "shape": [-1, 3]},
            "score": {"dtype": "float32", "shape": [-1]},
            "scores": {"dtype": "float32", "shape": [-1, 3]},
        },
    }


def _accept_changes(savedmodel):
    """Record the files as they are now."""
    written = manifest.read_manifest(savedmodel, "savedmodel")
    written["files"] = {name: manifest.hash_file(savedmodel / name) for name in written["files"]}
    manifest.write_manifest(savedmodel, written)
