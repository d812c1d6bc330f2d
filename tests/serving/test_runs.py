"""Small models are computed in the thread that asks, many rows in parts: the answers are those of one run."""

import contextlib
import gc
import json
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tfllm.serving import ServingError, runs
from tfllm.serving.loaded import LoadedModel

SMALL = {
    "parameters": 30_000_000,
    "sequence_length": 128,
    "ops": ["StringToNumber"],
    "signatures": {"serving_default": {"outputs": {"twice": {"shape": [-1]}, "text": {"shape": [-1]}}}},
}
WIDE = {"serving_default": {"outputs": {"tags": {"shape": [-1, -1]}}}}


class Doubling(tf.Module):
    """Twice the number that a text is; fails for a text that is none."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def double(self, text):
        doubled = 2 * tf.strings.to_number(text)
        return {"twice": doubled, "text": tf.strings.as_string(doubled, precision=0), "sum": tf.reduce_sum(doubled)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return _saved(tmp_path_factory.mktemp("doubling"), SMALL)


def _saved(directory, facts):
    module = Doubling()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.double})
    (directory / "assets.extra").mkdir()
    (directory / "assets.extra" / "tfllm.json").write_text(json.dumps(facts), "utf-8")
    return LoadedModel(directory)


def ask(model, texts, outputs=("twice", "text"), timeout_seconds=None, rows=None):
    signature = model.signatures["serving_default"]
    feeds = {signature.inputs["text"].name: np.array(texts, object)}
    names = [signature.outputs[name].name for name in outputs]
    found = model.run(feeds, names, timeout_seconds, rows)
    return [found[name] for name in names]


@pytest.mark.parametrize("rows", [1, 3, 7, 8, 9, 63, 64, 65, 1000])
def test_parts_are_put_together_in_order(model, rows, monkeypatch):
    monkeypatch.setattr(runs, "_processors", lambda: 3)
    texts = [str(number).encode() for number in range(rows)]
    twice, as_text = ask(model, texts, rows=rows)
    assert twice.dtype == np.float32 and twice.tolist() == [2 * number for number in range(rows)]
    assert as_text.dtype == object and as_text.tolist() == [str(2 * number).encode() for number in range(rows)]


def test_parts_have_as_many_rows_as_one_thread_takes(monkeypatch):
    monkeypatch.setattr(runs, "_processors", lambda: 4)
    assert [runs._parts(rows) for rows in (None, 0, 1, 7)] == [[]] * 4
    for rows, count in ((8, 2), (15, 3), (16, 4), (128, 4), (129, 5), (10_000, 313)):
        parts = runs._parts(rows)
        assert len(parts) == count and all(4 <= part.stop - part.start <= 32 for part in parts)
        assert [row for part in parts for row in range(rows)[part]] == list(range(rows))


def test_without_leave_a_run_is_not_divided(model):
    total, as_text = ask(model, [b"1"] * 100, ("sum", "text"))
    assert total == 200 and len(as_text) == 100


def test_one_wrong_row_is_an_error(model):
    with pytest.raises(ServingError, match="StringToNumberOp could not correctly convert string: x") as error:
        ask(model, [b"1"] * 99 + [b"x"], rows=100)
    assert error.value.code == "INVALID_ARGUMENT"
    assert ask(model, [b"1"] * 99, rows=99)[0].tolist() == [2.0] * 99


@pytest.mark.parametrize("rows", [1, 100])
def test_whose_time_is_up_gets_no_answer(model, rows):
    with pytest.raises(ServingError) as error:
        ask(model, [b"1"] * rows, timeout_seconds=0.0, rows=rows)
    assert error.value.code == "DEADLINE_EXCEEDED"


def _watched(model, monkeypatch, seconds=0.0):
    """A list that gets the number of rows of each part, which takes so long more."""
    make, computed = model._runs._callable, []

    def watched(feeds, fetches):
        compute = make(feeds, fetches)

        def run(*arrays):
            computed.append(len(arrays[0]))
            time.sleep(seconds)
            return compute(*arrays)

        return run

    monkeypatch.setattr(model._runs, "_callable", watched)
    return computed


def test_parts_that_have_not_begun_at_the_deadline_do_not_begin(model, monkeypatch):
    computed = _watched(model, monkeypatch, seconds=0.1)
    with pytest.raises(ServingError) as error:
        ask(model, [b"1"] * 3200, timeout_seconds=0.05, rows=3200)
    assert error.value.code == "DEADLINE_EXCEEDED"
    assert 0 < sum(computed) < 3200 / 4


def test_after_an_error_no_further_part_begins(model, monkeypatch):
    computed = _watched(model, monkeypatch, seconds=0.01)
    with pytest.raises(ServingError, match="string: x"):
        ask(model, [b"x"] + [b"1"] * 3199, rows=3200)
    assert sum(computed) < 3200 / 4


def test_the_parts_of_two_runs_take_turns(model, monkeypatch):
    computed = _watched(model, monkeypatch, seconds=0.02)
    with ThreadPoolExecutor(1) as other:
        long = other.submit(ask, model, [b"1"] * 3200, rows=3200)
        while not computed:
            time.sleep(0.001)
        ask(model, [b"2"] * 8, rows=8)
        assert not long.done() and sum(computed) < 3200 / 4
        assert long.result()[0].tolist() == [2.0] * 3200


def test_one_callable_serves_every_order_of_names(model):
    ask(model, [b"1"], ("twice", "sum"))
    made = model._runs._callable.cache_info().currsize
    assert [array.tolist() for array in ask(model, [b"3"], ("sum", "twice"))] == [6.0, [6.0]]
    assert model._runs._callable.cache_info().currsize == made


def test_many_rows_that_must_not_be_divided_are_left_to_tensorflows_threads(model):
    made = model._runs._callable.cache_info().currsize
    assert ask(model, [b"1"] * 33, ("text", "sum", "text"), timeout_seconds=30.0)[1] == 66
    assert model._runs._callable.cache_info().currsize == made


@pytest.mark.parametrize("text", [b"1", b"no number"])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("facts", [SMALL, {}], ids=["small", "foreign"])
def test_a_closed_model_leaves_no_memory_to_the_collector(tmp_path, facts, rows, text):
    gc.disable()
    try:
        model = _saved(tmp_path, facts)
        with contextlib.suppress(ServingError):
            ask(model, [text] * rows, rows=rows)
        session = weakref.ref(model._runs._session)
        model.close()
        del model
        assert session() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("facts", "small"),
    [
        (SMALL, True),
        ({**SMALL, "parameters": 32_000_000}, False),
        ({**SMALL, "sequence_length": 256}, False),
        ({**SMALL, "ops": ["StringToNumber", "While"]}, False),  # a text may be written until its time is up
        ({**SMALL, "signatures": WIDE}, False),
        ({**SMALL, "parameters": "10"}, False),
        ({**SMALL, "sequence_length": None}, False),
        ({**SMALL, "ops": None}, False),
        ({**SMALL, "signatures": {}}, False),
        ({}, False),
    ],
)
def test_who_computes_follows_from_the_model(facts, small, tmp_path):
    assert runs.kind_of(facts) is (runs.AskingThread if small else runs.TensorFlowsThreads)
    assert ask(_saved(tmp_path, facts), [b"1", b"4"], rows=2)[0].tolist() == [2, 8]
