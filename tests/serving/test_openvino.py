"""`--engine openvino`: OpenVINO and TensorFlow give the same answers, whatever is asked and however many at once."""

import gc
import importlib.util
import json
import re
import shutil
import sys
from collections import Counter

import httpx
import numpy as np
import pytest
import tensorflow as tf

from tfllm import manifest, models
from tfllm.checks import InputError
from tfllm.cli.serve import serve
from tfllm.data.samples import sample_path
from tfllm.export import savedmodel
from tfllm.export.check import FACTS_FILE
from tfllm.serving import ServingError
from tfllm.serving.loaded import LoadedModel
from tfllm.serving.server import load
from tfllm.tokenizers import train_wordpiece

LABELS, LENGTH = ["negativ", "positiv", "中性"], 20
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 32}
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")


@pytest.fixture(scope="module")
def texts():
    """English and Chinese lines, the empty text, one that is cut, and bytes that are no text."""
    lines = [line for name in ("en", "zh") for line in sample_path(f"text_{name}.txt").read_bytes().splitlines()[:15]]
    return [b"", *lines, b"good " * 100, b"\xff\x00 bad"]


@pytest.fixture(scope="module")
def make_version(tmp_path_factory):
    """`make_version(add_head, *arguments, ...)`: a model as an export saves it, without the export's proofs."""
    lines = [line for name in ("en", "zh") for line in sample_path(f"text_{name}.txt").read_text("utf-8").split("\n")]
    tokenizer = train_wordpiece(lines, vocabulary_size=600)

    def make(add_head, *arguments, weights="float32", **form):
        encoder = models.build_encoder(**{"vocabulary_size": tokenizer.vocabulary_size, **SIZE, **form})
        model = add_head(encoder, *arguments)
        random = np.random.default_rng(0)
        for weight in model.weights:  # vectors, too: OpenVINO leaves a bias of zeros out
            weight.assign(weight + random.normal(0, 0.25, weight.shape))
        version = tmp_path_factory.mktemp("savedmodels") / "reviews" / "1"
        served = savedmodel._prepare(model, tokenizer, LENGTH, weights)
        savedmodel._save(served.variables, tokenizer, served.signatures, version)
        (version / "assets.extra").mkdir()
        manifest.write_json(version / FACTS_FILE, savedmodel._facts(served, LENGTH, weights, version))
        return version

    return make


@pytest.fixture(scope="module")
def version(make_version):
    return make_version(models.add_classifier_head, LABELS)


@pytest.fixture(scope="module")
def ours(version):
    return load(version, engine="openvino")


@pytest.fixture(scope="module")
def theirs(version):
    return load(version)


def ask(model, name, values):
    """All outputs of a signature with one input."""
    signature = model.signatures[name]
    (fed,) = signature.inputs.values()
    found = model.run({fed.name: np.array(values, object)}, [one.name for one in signature.outputs.values()])
    return {output: found[tensor.name] for output, tensor in signature.outputs.items()}


def as_example(text, name="text"):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature={name: feature})).SerializeToString()


def check_same(found, expected, tolerance=1e-4):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        if array.dtype == object:
            assert found[name].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(found[name], array, atol=tolerance, rtol=tolerance)


def computed(model):
    return sorted(entry.name for entry in model._entries.values())


@needs_openvino
def test_a_classifier_answers_as_with_tensorflow(ours, theirs, texts):
    assert computed(ours) == ["classify", "serving_default"]
    for count in (0, 2, 33):
        check_same(ask(ours, "serving_default", texts[:count]), ask(theirs, "serving_default", texts[:count]))
    for text in texts:
        check_same(ask(ours, "serving_default", [text]), ask(theirs, "serving_default", [text]))
    for rows in (texts[3:4], texts):
        examples = [as_example(text) for text in rows]
        check_same(ask(ours, "classify", examples), ask(theirs, "classify", examples))
    scores = ask(ours, "serving_default", texts)["scores"]
    assert len({tuple(row) for row in scores.round(3)}) > 20  # the texts are not all alike


@needs_openvino
def test_nothing_is_gathered_in_openvino(version):
    from tfllm.serving.openvino_graph import read_graph

    kinds = Counter(node.get_type_name() for node in read_graph(version, "scores")[0].get_ops())
    assert (kinds["ScaledDotProductAttention"], kinds["MVN"], kinds["NonZero"]) == (2, 5, 0)
    assert kinds["Gather"] == 3  # the tables of tokens, positions and segments
    assert (kinds["CumSum"], kinds["Select"]) == (1, 0)  # the positions


@needs_openvino
@pytest.mark.parametrize("strict", [False, True])
def test_positions_are_counted_whether_from_0_or_from_1(strict):
    """As an exported encoder counts them, and as one of Keras does: without the token itself."""
    import openvino as ov
    from openvino import opset13 as ops

    from tfllm.serving.openvino_graph import _count_positions

    mask = ops.parameter([2, 4], np.int32)
    same_text = ops.convert(ops.equal(ops.unsqueeze(mask, 2), ops.unsqueeze(mask, 1)), np.int32)
    total = ops.reduce_sum(ops.select(np.tri(4, k=-strict, dtype=bool), same_text, np.int32(0)), -1)
    place = total if strict else ops.subtract(total, np.int32(1))
    model = ov.Model([ops.gather(np.arange(10, dtype=np.float32), place, np.int32(0))], [mask], "positions")
    _count_positions(total, mask)
    model.validate_nodes_and_infer_types()
    assert Counter(node.get_type_name() for node in model.get_ops())["CumSum"] == (not strict)
    found = ov.compile_model(model, "CPU")([np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32)])[0]
    assert found[0].tolist() == [0, 1, 2, 3] and found[1, :3].tolist() == [0, 1, 2]


@needs_openvino
def test_bigrams_of_a_large_vocabulary(make_version, texts):
    from tfllm.serving.openvino_graph import CompiledGraph

    version = make_version(models.add_classifier_head, LABELS, vocabulary_size=250_000, bigram_buckets=50_000)
    ours, theirs = load(version, engine="openvino"), LoadedModel(version)
    assert "serving_default" in computed(ours)
    for text in texts:
        check_same(ask(ours, "serving_default", [text]), ask(theirs, "serving_default", [text]))
    graph, signature = CompiledGraph(version, "scores", rounds=False, longest=16), theirs.signatures["tokens"]
    scores, random = signature.outputs["scores"].name, np.random.default_rng(0)
    for tokens in (1, 7, 12, 20):  # with a graph of their own, and without
        ids = random.integers(0, 250_000, (1, tokens), np.int32)
        inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
        expected = theirs.run({signature.inputs[name].name: value for name, value in inputs.items()}, [scores])[scores]
        np.testing.assert_allclose(graph.run(ids), expected, atol=1e-4)


@needs_openvino
def test_a_score_in_bfloat16(make_version, texts, monkeypatch):
    version = make_version(models.add_regression_head, weights="bfloat16", normalize_first=True)
    ours, theirs = load(version, engine="openvino"), LoadedModel(version)
    assert computed(ours) == ["regress", "serving_default"]
    check_same(ask(ours, "serving_default", texts), ask(theirs, "serving_default", texts), 0.02)
    examples = [as_example(text) for text in texts]
    check_same(ask(ours, "regress", examples), ask(theirs, "regress", examples), 0.02)

    from tfllm.serving import openvino_graph, openvino_model

    def exact(directory, output, rounds, longest):
        return openvino_graph.CompiledGraph(directory, output, rounds=False, longest=longest)

    monkeypatch.setattr(openvino_model, "CompiledGraph", exact)  # as on a processor that does not multiply bfloat16
    gc.collect()
    assert computed(load(version, engine="openvino")) == ["regress", "serving_default"]
    left = gc.collect()
    assert left < 3000, "the graph that was read is still in memory"


@needs_openvino
def test_what_openvino_does_not_take_is_tensorflows(ours, theirs, texts, saved_models, caplog):
    check_same(ask(ours, "embed", texts), ask(theirs, "embed", texts), 0)
    for wrong in (b"no example", as_example(b"good", "other")):
        with pytest.raises(ServingError) as told:
            ask(ours, "classify", [wrong])
        with pytest.raises(ServingError) as expected:
            ask(theirs, "classify", [wrong])
        assert (told.value.code, told.value.message) == (expected.value.code, expected.value.message)

    foreign = load(saved_models / "reviews" / "1", engine="openvino")
    assert computed(foreign) == [] and "TensorFlow computes all" in caplog.text
    assert ask(foreign, "serving_default", [b"good"])["label"].tolist() == [b"good"]


@needs_openvino
def test_what_openvino_cannot_compute_is_served_all_the_same(version, theirs, tmp_path, texts, caplog):
    damaged = shutil.copytree(version, tmp_path / "1")
    facts = json.loads((damaged / FACTS_FILE).read_text("utf-8"))
    manifest.write_json(damaged / FACTS_FILE, {**facts, "parameters": None})
    model = load(damaged, engine="openvino")
    assert computed(model) == [] and "OpenVINO does not take it" in caplog.text
    check_same(ask(model, "serving_default", texts), ask(theirs, "serving_default", texts), 0)


@needs_openvino
def test_a_run_ends_at_its_deadline(ours):
    signature = ours.signatures["serving_default"]
    fed, fetched = signature.inputs["text"].name, signature.outputs["scores"].name
    with pytest.raises(ServingError) as error:
        ours.run({fed: np.array([b"good " * 18] * 4000, object)}, [fetched], 0.06, rows=4000)
    assert error.value.code == "DEADLINE_EXCEEDED"


@needs_openvino
def test_another_answer_than_tensorflows_is_not_served(version, theirs, texts, monkeypatch, caplog):
    from tfllm.serving import openvino_graph

    def put_all_first(total, mask):
        if openvino_graph._kind(openvino_graph._source(total, 0)) == "Select":
            openvino_graph._replace(total, mask.output(0))

    monkeypatch.setattr(openvino_graph, "_count_positions", put_all_first)
    model = load(version, engine="openvino")
    assert computed(model) == [] and re.search("OpenVINO's scores? is not TensorFlow's", caplog.text)
    check_same(ask(model, "serving_default", texts), ask(theirs, "serving_default", texts), 0)


@needs_openvino
def test_what_it_computes_is_compared_when_it_is_loaded(ours, monkeypatch, caplog):
    from tfllm.serving.openvino_graph import CompiledGraph

    run = CompiledGraph.run

    def turned(self, token_ids):
        return run(self, token_ids)[:, ::-1]

    monkeypatch.setattr(ours, "_entries", ours._entries)  # back again at the end
    ours._compare()
    assert computed(ours) == ["classify", "serving_default"] and not caplog.text
    monkeypatch.setattr(CompiledGraph, "run", turned)
    ours._compare()
    assert computed(ours) == [] and "is not TensorFlow's" in caplog.text


@needs_openvino
def test_where_a_model_is_sure_a_wrong_logit_is_seen():
    from tfllm.serving.openvino_model import is_same

    sure = np.array([[1 - 2**-16, 2**-16]], np.float32)
    less = np.array([[1 - 2**-15, 2**-15]], np.float32)
    assert np.abs(sure - less).max() < 1e-4
    assert is_same("scores", sure, sure * (1 + 1e-6), 1e-4) and not is_same("scores", sure, less, 1e-4)
    assert is_same("scores", np.float32([[1, 0]]), np.float32([[1, 1e-38]]), 1e-4)
    assert is_same("score", np.float32([300.0]), np.float32([300.02]), 1e-4)
    assert not is_same("score", np.float32([0.5]), np.float32([0.5002]), 1e-4)
    assert not is_same("score", np.float32([np.nan]), np.float32([np.nan]), 1e-4)
    assert not is_same("labels", np.array([b"a", b"b"], object), np.array([b"b", b"a"], object), 1e-4)


@needs_openvino
def test_a_server_answers_and_swaps_versions(version, texts, start_server, logged, tmp_path):
    shutil.copytree(version, tmp_path / "reviews" / "1")
    server = start_server(tmp_path, "--trust", "--engine", "openvino", "--poll", "0.1")
    logged(server, "OpenVINO computes classify, serving_default in f32", "reviews version 1 is served")
    rows = [text.decode() for text in texts[:-1]]
    expected = ask(LoadedModel(version), "serving_default", texts[:-1])
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def check():
            answers = client.post("/v1/models/reviews:predict", json={"instances": rows})
            assert answers.status_code == 200, answers.text
            answers = answers.json()["predictions"]
            assert [one["label"].encode() for one in answers] == expected["label"].tolist()
            np.testing.assert_allclose([one["scores"] for one in answers], expected["scores"], atol=1e-4)
            for row, scores in zip(rows[:5], expected["scores"], strict=False):
                (alone,) = client.post("/v1/models/reviews:predict", json={"instances": [row]}).json()["predictions"]
                np.testing.assert_allclose(alone["scores"], scores, atol=1e-4)

        check()
        body = {"signature_name": "classify", "examples": [{"text": rows[1]}]}
        (answer,) = client.post("/v1/models/reviews:classify", json=body).json()["results"]
        np.testing.assert_allclose([score for _, score in answer], expected["scores"][1], atol=1e-4)
        shutil.copytree(version, tmp_path / "reviews" / ".2")
        (tmp_path / "reviews" / ".2").rename(tmp_path / "reviews" / "2")
        logged(server, "reviews version 2 is served", "reviews version 1 is unloaded")
        check()
    assert server.stop() == 0


def test_options_are_checked(version, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="`engine` must be one of tensorflow, openvino"):
        serve(version.parent, engine="openvin")
    with pytest.raises(InputError, match="Leave --engine out"):
        serve(version.parent, engine="openvino", emit_docker=tmp_path / "production")
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    with pytest.raises(InputError, match=r"--engine openvino needs OpenVINO: pip install 'tfllm\[openvino\]'"):
        serve(version.parent, engine="openvino")
