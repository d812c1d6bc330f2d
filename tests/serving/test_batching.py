"""Requests that wait together are computed together, and nobody gets another's answer or error."""

import contextlib
import gc
import re
import time
import weakref

import numpy as np
import pytest

from tfllm.serving import Batching, ServingError, calls
from tfllm.serving.batching import Batcher
from tfllm.serving.loaded import LoadedModel
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Version

NEVER = float("inf")


@pytest.fixture(scope="module")
def versions(saved_models):
    """numbers/1 and numbers/2, loaded."""
    found = []
    for number in (1, 2):
        version = Version("numbers", number, saved_models / "numbers" / str(number))
        version.model = LoadedModel(version.directory)
        found.append(version)
    yield found
    for version in found:
        version.wait_until_free()
        version.model.close()


@pytest.fixture
def make_batcher():
    """`make_batcher(queue, **batching)`: a batcher with one thread, and its counts."""
    made = []

    def make(queue=0, **batching):
        metrics = Metrics()
        made.append(Batcher(Batching(num_threads=1, **batching), queue, metrics))
        return made[-1], metrics

    yield make
    for batcher in made:
        batcher.close()


def call(version, signature, *values, dtype=np.int32):
    definition = version.model.signatures[signature]
    name = next(iter(definition.inputs))
    return calls.predict_call(definition, {name: np.array(values, dtype)}, ())


def output(version, signature, name, found):
    return found[version.model.signatures[signature].outputs[name].name].tolist()


def busy(batcher, version):
    """Keep the thread busy, so that what comes now has to wait."""
    future = batcher.submit(version, call(version, "slow", 300), NEVER)
    while not future.running():
        time.sleep(0.001)
    return future


def runs(metrics) -> tuple[int, int]:
    """How many runs there were, and of how many rows."""
    page = metrics.page().decode()
    name = r':tensorflow:serving:batching_session:processed_batch_size_%s\{model_name="numbers"\} (\S+)'
    return tuple(int(float(re.search(name % kind, page)[1])) for kind in ("count", "sum"))


def test_what_waits_goes_together_and_comes_back_apart(versions, make_batcher):
    batcher, metrics = make_batcher(max_batch_size=8)
    version = versions[0]
    first = busy(batcher, version)
    rows = [[1], [2, 3], [4], [], [5, 6, 7, 8]]
    waiting = [batcher.submit(version, call(version, "tell", *values), NEVER) for values in rows]
    assert [output(version, "tell", "n", future.result(30)) for future in waiting] == rows
    first.result(30)
    assert runs(metrics) == (3, 1 + 8 + 1)  # the first; eight rows; and the request without a row, which counts as one


def test_versions_signatures_and_shapes_are_not_mixed(versions, make_batcher):
    batcher, metrics = make_batcher(max_batch_size=32)
    one, two = versions
    first = busy(batcher, one)
    asked = [(one, "tell"), (two, "tell"), (one, "slow"), (two, "tell"), (one, "tell")]
    waiting = [batcher.submit(version, call(version, signature, 3), NEVER) for version, signature in asked]
    answers = [output(*place, "version", future.result(30)) for place, future in zip(asked, waiting, strict=True)]
    assert answers == [[1], [2], [1], [2], [1]]
    first.result(30)
    assert runs(metrics)[0] == 1 + 3


def test_outputs_as_wide_as_their_batch_are_computed_alone(versions, make_batcher):
    batcher, _ = make_batcher(max_batch_size=32)
    version = versions[0]
    busy(batcher, version)
    waiting = [batcher.submit(version, call(version, "wide", width), NEVER) for width in (2, 5)]
    assert [len(output(version, "wide", "ones", future.result(30))[0]) for future in waiting] == [2, 5]


def test_a_bad_row_is_the_error_of_its_own_request_only(versions, make_batcher):
    batcher, _ = make_batcher(max_batch_size=32)
    version = versions[0]
    busy(batcher, version)
    rows = (4.0, -1.0, 9.0)
    waiting = [batcher.submit(version, call(version, "checked", row, dtype=np.float32), NEVER) for row in rows]
    assert output(version, "checked", "root", waiting[0].result(30)) == [2.0]
    assert output(version, "checked", "root", waiting[2].result(30)) == [3.0]
    with pytest.raises(ServingError, match="x must not be negative") as error:
        waiting[1].result(30)
    assert error.value.code == "INVALID_ARGUMENT"


def test_an_error_keeps_no_model(saved_models, make_batcher):
    batcher, _ = make_batcher()
    version = Version("numbers", 1, saved_models / "numbers" / "1")
    version.model = LoadedModel(version.directory)
    future = batcher.submit(version, call(version, "checked", -1.0, dtype=np.float32), NEVER)
    with contextlib.suppress(ServingError):
        future.result(30)
    version.wait_until_free()
    model = weakref.ref(version.model)
    version.model.close()
    gc.disable()
    try:
        del version, future
        end = time.monotonic() + 10
        while model() is not None:  # the thread may not have come to its next wait
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        gc.enable()


def test_a_full_queue_refuses(versions, make_batcher):
    batcher, _ = make_batcher(queue=2, max_batch_size=1)
    version = versions[0]
    busy(batcher, version)
    waiting = [batcher.submit(version, call(version, "tell", 1), NEVER) for _ in range(2)]
    with pytest.raises(ServingError, match="queue to which this task was submitted is full") as error:
        batcher.submit(version, call(version, "tell", 1), NEVER)
    assert (error.value.code, error.value.http_status) == ("RESOURCE_EXHAUSTED", 429)
    assert waiting[0].cancel()  # who leaves makes room
    waiting[0] = batcher.submit(version, call(version, "tell", 1), NEVER)
    assert all(future.result(30) for future in waiting)


def test_who_waited_too_long_or_left_is_not_computed(versions, make_batcher):
    batcher, metrics = make_batcher(max_batch_size=1)
    version = versions[0]
    first = busy(batcher, version)
    late = batcher.submit(version, call(version, "tell", 1), time.monotonic())
    gone = batcher.submit(version, call(version, "tell", 1), NEVER)
    assert gone.cancel()
    with pytest.raises(ServingError) as error:
        late.result(30)
    assert (error.value.code, error.value.http_status) == ("DEADLINE_EXCEEDED", 504)
    first.result(30)
    assert runs(metrics)[0] == 1


def test_a_run_ends_at_its_deadline(versions, make_batcher):
    batcher, _ = make_batcher()
    version = versions[0]
    future = batcher.submit(version, call(version, "slow", 10**6), time.monotonic() + 0.3)
    with pytest.raises(ServingError) as error:
        future.result(30)
    assert error.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("seconds", [0.0002, 0.0, -1.0])
def test_a_run_whose_time_is_nearly_up_ends_too(versions, seconds):
    asked = call(versions[0], "slow", 10**6)
    with pytest.raises(ServingError) as error:
        versions[0].model.run(asked.feeds, asked.fetches, seconds)
    assert error.value.code == "DEADLINE_EXCEEDED"


def test_a_batch_waits_for_more_as_long_as_it_is_told(versions, make_batcher):
    batcher, metrics = make_batcher(max_batch_size=2, timeout_seconds=60.0)
    version = versions[0]
    waiting = [batcher.submit(version, call(version, "tell", number), NEVER) for number in (1, 2)]
    assert [output(version, "tell", "n", future.result(30)) for future in waiting] == [[1], [2]]
    assert runs(metrics) == (1, 2)
    last = batcher.submit(version, call(version, "tell", 3), NEVER)
    batcher.close()  # what waits is computed first
    assert output(version, "tell", "n", last.result(0)) == [3]
    with pytest.raises(ServingError, match="stopping"):
        batcher.submit(version, call(version, "tell", 1), NEVER)
