"""Versions come, fail, swap and go while requests go on."""

import contextlib
import json
import os
import resource
import shutil
import threading
import time
from functools import partial

import httpx
import pytest

from tests.serving.waiting import states, until
from tfllm.checks import InputError
from tfllm.cli.serve import _check_ours
from tfllm.serving import Client, ModelConfig, ServingError, find_models, read_config
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Models
from tfllm.serving.server import load
from tfllm.serving.spec import ModelSpec
from tfllm.serving.status import status_json


def put(source, target):
    """Write a version as an export does: elsewhere, renamed last."""
    beside = target.with_name(f".{target.name}.unfinished")
    shutil.copytree(source, beside)
    beside.rename(target)


def test_versions_come_fail_swap_and_go(base_path, saved_models, start_server, logged):
    server = start_server(base_path, "--trust", "--poll", "0.1")
    logged(server, "numbers version 1 is served")
    second = saved_models / "numbers" / "2"
    with httpx.Client(base_url=server.url, timeout=60) as client:
        ask = lambda: client.post("/v1/models/numbers:predict", json={"instances": [1.0]})  # noqa: E731
        assert ask().json() == {"predictions": [2.5]}

        broken = base_path / "numbers" / "2"  # fails to load: the old one goes on
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"not a graph")
        until(lambda: states(client).get(2) == "END")
        status = client.get("/v1/models/numbers/versions/2").json()["model_version_status"][0]["status"]
        assert status["error_code"] == "UNKNOWN" and "cannot be loaded" in status["error_message"]
        assert states(client)[1] == "AVAILABLE" and ask().json() == {"predictions": [2.5]}
        assert client.post("/v1/models/numbers/versions/2:predict", json={"instances": [1.0]}).status_code == 404

        shutil.rmtree(broken)  # written anew, it is loaded, and the old one leaves
        put(second, base_path / "numbers" / "2")
        until(lambda: states(client) == {1: "END", 2: "AVAILABLE"})
        assert ask().json() == {"predictions": [3.5]}
        assert client.post("/v1/models/numbers/versions/1:predict", json={"instances": [1.0]}).status_code == 404

        (base_path / "more").mkdir()
        put(saved_models / "words" / "3", base_path / "more" / "3")
        until(lambda: states(client, "more") == {3: "AVAILABLE"})
        with Client(server.url) as known:  # a later version may have more outputs
            assert known.predict("more", ["a good one"]) == {"text": ["a good one"]}
            put(saved_models / "reviews" / "1", base_path / "more" / "4")
            until(lambda: states(client, "more") == {3: "END", 4: "AVAILABLE"})
            assert known.predict("more", ["a good one"])["label"] == ["good"]
        shutil.rmtree(base_path / "numbers")  # taken away, it goes
        until(lambda: states(client) == {1: "END", 2: "END"})
        assert ask().status_code == 404
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["more"]
    assert server.stop() == 0


def test_a_foreign_savedmodel_needs_trust(base_path):
    models = Models(partial(find_models, base_path), partial(load, check=_check_ours), Metrics(), 0)
    models.look()
    (version,) = models.status(ModelSpec("numbers"))
    assert version.state == "END" and "--trust runs it all the same" in version.error
    with pytest.raises(ServingError, match="not found for request"), models.acquire(ModelSpec("numbers")):
        pass


def test_a_version_that_came_in_pieces_is_loaded_when_it_is_whole(base_path):
    whole, arriving = base_path / "numbers" / "1", base_path / "pieces" / "1"
    arriving.mkdir(parents=True)
    shutil.copy(whole / "saved_model.pb", arriving)
    models = Models(partial(find_models, base_path / "pieces"), load, Metrics(), 0)
    models.look()
    models.look()
    assert [one.state for one in models.status(ModelSpec("pieces"))] == ["END"]
    shutil.copytree(whole / "variables", arriving / "variables")
    models.look()
    assert [one.state for one in models.status(ModelSpec("pieces"))] == ["AVAILABLE"]
    models.stop()


def test_versions_may_have_leading_zeros(base_path):
    """As those of TF Serving's own examples: half_plus_two/00000123."""
    (base_path / "numbers" / "1").rename(base_path / "numbers" / "00000123")
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    models.look()
    with models.acquire(ModelSpec("numbers", 123)) as version:
        assert version.directory == base_path / "numbers" / "00000123"
    models.stop()


def test_a_disk_that_does_not_answer_unloads_nothing(base_path, caplog):
    models = Models(lambda: [ModelConfig("numbers", base_path / "numbers")], load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    with no_more_files():
        until(lambda: "what is served stays as it is" in caplog.text)
    assert [one.state for one in models.status(ModelSpec("numbers"))] == ["AVAILABLE"]
    models.stop()


@pytest.mark.parametrize("form", ["config", "base path"])
def test_a_base_path_that_vanishes_unloads_nothing_until_it_is_back(base_path, caplog, form):
    """As in TF Serving, whose poll of the file system fails as a whole; an empty one unloads."""
    numbers = base_path / "numbers"
    by_config = form == "config"
    find = (lambda: [ModelConfig("numbers", numbers)]) if by_config else partial(find_models, numbers)
    models = Models(find, load, Metrics(), 0.05)
    state = lambda: models.status(ModelSpec("numbers"))[0].state  # noqa: E731
    models.start()
    assert models.first_look.wait(30)
    numbers.rename(base_path / "elsewhere")
    until(lambda: f"{numbers}" in caplog.text)
    time.sleep(0.3)
    assert caplog.text.count("is not there") == 1, "told once, not at every look"
    assert "what is served stays as it is" in caplog.text
    assert state() == "AVAILABLE"
    with models.acquire(ModelSpec("numbers")):
        pass
    (base_path / "elsewhere").rename(numbers)
    put(numbers / "1", numbers / "2")
    until(lambda: {one.number: one.state for one in models.status(ModelSpec("numbers"))} == {1: "END", 2: "AVAILABLE"})
    for number in ("1", "2"):
        (numbers / number).rename(base_path / number)
    until(lambda: state() == "END")
    models.stop()


def test_a_base_path_that_is_not_there_yet_is_waited_for(base_path, caplog):
    models = Models(lambda: [ModelConfig("later", base_path / "later")], load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    assert f"{base_path / 'later'}, the base path of later, is not there" in caplog.text
    with pytest.raises(InputError, match="the base path of other, is not there"):
        models.replace([ModelConfig("other", base_path / "other")])
    (base_path / "numbers").rename(base_path / "later")
    until(lambda: [one.state for one in models.served()] == ["AVAILABLE"])
    assert not models.knows("other")
    models.stop()


def test_a_directory_without_a_version_is_told_once(base_path, saved_models, caplog):
    """As TF Serving warns of it, but not at every look."""
    for name in ("empty", "notes/drafts", "unnumbered/new", ".hidden"):
        (base_path / name).mkdir(parents=True)
    shutil.copy(saved_models / "numbers" / "1" / "saved_model.pb", base_path / "unnumbered" / "new")
    (base_path / "a file").touch()
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    for _ in range(3):
        models.look()
    told = [record.getMessage() for record in caplog.records if "has no version to serve" in record.getMessage()]
    assert [message.partition(" ")[0] for message in told] == ["empty", "notes", "unnumbered"]
    assert f"{base_path / 'empty'} should hold 1/saved_model.pb, or one with a higher number." in told[0]
    assert [one.name for one in models.served()] == ["numbers"]
    put(saved_models / "numbers" / "2", base_path / "empty" / "7")
    models.look()
    shutil.rmtree(base_path / "empty" / "7")
    models.look()
    assert caplog.text.count("empty has no version to serve") == 2
    models.stop()


def test_a_base_path_that_is_not_here_at_the_start_is_told_as_one_that_serves_nothing(tmp_path, caplog):
    models = Models(lambda: [ModelConfig("a", tmp_path / "nothing")], load, Metrics(), 0)
    models.start()
    assert models.first_look.wait(30)
    assert "nothing is served: " in caplog.text and "the base path of a, is not there" in caplog.text
    models.stop()


def test_a_version_that_is_asked_for_and_not_there_is_told(base_path, caplog):
    models = Models(partial(find_models, base_path, 1, (3, 5)), load, Metrics(), 0)
    models.look()
    assert "numbers has no version to serve" in caplog.text
    assert "should hold 3/saved_model.pb or 5/saved_model.pb." in caplog.text


@contextlib.contextmanager
def no_more_files():
    """Nothing can be opened, as when too many connections are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_path_that_is_no_text_is_told_with_escapes(base_path):
    named = base_path / os.fsdecode(b"caf\xe9")
    named.mkdir()
    (base_path / "numbers").rename(named / "numbers")
    metrics = Metrics()
    models = Models(partial(find_models, named), load, metrics, 0)
    models.look()
    (found,) = json.loads(status_json(models.status(ModelSpec("numbers"))))["model_version_status"]
    assert found["state"] == "END" and r"caf\udce9/numbers/1 cannot be loaded" in found["status"]["error_message"]
    assert rb"caf\\udce9/numbers/1" in metrics.page()


def test_a_version_that_a_long_request_holds_keeps_no_other_waiting(base_path, saved_models):
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    models.look()
    with models.acquire(ModelSpec("numbers")) as first:
        put(saved_models / "numbers" / "2", base_path / "numbers" / "2")
        models.look()
        put(saved_models / "numbers" / "1", base_path / "numbers" / "3")
        models.look()
        found = {version.number: version.state for version in models.status(ModelSpec("numbers"))}
        assert found == {1: "UNLOADING", 2: "END", 3: "AVAILABLE"}
        signature = first.model.signatures["serving_default"]
        feeds = {signature.inputs["x"].name: [1.0]}
        assert first.model.run(feeds, [signature.outputs["y"].name])
        shutil.rmtree(base_path / "numbers" / "3")
        shutil.rmtree(base_path / "numbers" / "2")
        models.look()  # the one that is leaving is wanted again
        assert {version.number: version.state for version in models.status(ModelSpec("numbers"))}[1] == "AVAILABLE"
    models.stop()
    assert {version.state for version in models.status(ModelSpec("numbers"))} == {"END"}


def test_a_config_that_breaks_meanwhile_is_said_and_changes_nothing(base_path, caplog):
    config = base_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "a" base_path: "{base_path}/numbers" }} }}')
    models = Models(partial(read_config, config), load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    config.write_text("models:")
    until(lambda: "not a ModelServerConfig" in caplog.text)
    config.unlink()
    until(lambda: "No such file" in caplog.text)
    assert "Traceback" not in caplog.text
    assert [one.state for one in models.status(ModelSpec("a"))] == ["AVAILABLE"]
    models.stop()


def test_what_is_still_loading_is_unavailable_and_not_unknown(base_path):
    begun, goes_on = threading.Event(), threading.Event()

    def load_slowly(directory):
        begun.set()
        assert goes_on.wait(30)
        raise InputError("in the end it fails")

    models = Models(partial(find_models, base_path), load_slowly, Metrics(), 0)
    models.start()
    assert begun.wait(30)
    for number in (None, 1):
        with pytest.raises(ServingError) as error, models.acquire(ModelSpec("numbers", number)):
            pass
        assert (error.value.code, error.value.http_status) == ("UNAVAILABLE", 503)
    assert models.status(ModelSpec("numbers"))[0].state == "LOADING"
    goes_on.set()
    assert models.first_look.wait(30)
    with pytest.raises(ServingError) as error, models.acquire(ModelSpec("numbers")):
        pass
    assert error.value.http_status == 404
    models.stop()
