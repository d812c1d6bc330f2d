"""Texts piece by piece, and OpenAI's chat API."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.serving import Client, ServingError
from tfllm.writing import RowSettings


def events(response) -> list:
    found = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert found[-1] == "[DONE]"
    return [json.loads(one) for one in found[:-1]]


def stream(rest, **inputs):
    return rest.post("/v1/models/words:stream", json={"inputs": inputs})


def test_the_pieces_are_the_text(rest):
    response = stream(rest, text="Go", max_new_tokens=10)
    assert response.headers["content-type"].startswith("text/event-stream")
    found = events(response)
    assert [one["text"] for one in found] == [" w0 w1 w2 w3", " w4 w5 w6 w7", " w8 w9"]
    assert found[-1]["done"] and found[-1]["finish_reason"] == "length" and found[-1]["num_tokens"] == 10
    assert found[-1]["whole"] == "".join(one["text"] for one in found)


def test_a_text_that_ends_by_itself_is_asked_for_no_further(rest):
    found = events(stream(rest, text="Go", max_new_tokens=1000))
    assert found[-1]["finish_reason"] == "stop" and found[-1]["num_tokens"] == 20


def test_drawn_words_are_those_of_the_whole(rest, server):
    settings = {"max_new_tokens": 15, "temperature": 1.0, "seed": 7}
    found = events(stream(rest, text="Go", **settings))
    assert len(found) == 3
    whole = {name: [value] for name, value in {"text": "Go", "top_k": 0, "top_p": 1.0, **settings}.items()}
    with Client(server.url) as client:
        answer = client.predict("words", whole, signature_name="generate")
        assert "".join(one["text"] for one in found) == answer["text"][0]
        assert list(client.stream("words", "Go", **settings)) == [one["text"] for one in found]


def test_where_the_prompt_may_be_cut_the_text_comes_at_once(rest):
    assert len(events(stream(rest, text="x" * 150, max_new_tokens=15))) == 3
    assert len(events(stream(rest, text="x" * 190, max_new_tokens=15))) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Give `inputs`: an object with `text`"),
        ({"text": 3}, "Give `inputs`: an object with `text`"),
        ({"text": "a", "beams": 3}, "`beams` is no setting of a request"),
        ({"text": "a", "max_new_tokens": "3"}, "`max_new_tokens` must be a whole number"),
        ({"text": "a", "max_new_tokens": True}, "`max_new_tokens` must be a whole number"),
        ({"text": "a", "max_new_tokens": -1}, "must be a whole number of at least 0"),
        ({"text": "a", "temperature": float("nan")}, "must be a number of at least 0"),
        ({"text": "a", "temperature": float("inf")}, "`temperature` must be at most 3.4"),
        ({"text": "a", "temperature": 1e300}, "`temperature` must be at most 3.4"),
        ({"text": "a", "seed": 2**40}, "must be a whole number"),
        ({"text": "a", "top_p": 0}, "must be above 0 and at most 1"),
    ],
)
def test_settings_that_mean_nothing_are_said(rest, inputs, message):
    content = json.dumps({"inputs": inputs})
    response = rest.post("/v1/models/words:stream", content=content)
    assert response.status_code == 400, response.text
    assert message in response.json()["error"]


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_settings_that_are_no_numbers_are_said_by_predict_too(rest, name, value):
    settings = {"max_new_tokens": "3", "temperature": "0.5", "top_k": "0", "top_p": "1.0", "seed": "1", name: value}
    row = ", ".join(f'"{key}": {number}' for key, number in settings.items())
    body = f'{{"signature_name": "generate", "instances": [{{"text": "a", {row}}}]}}'
    response = rest.post("/v1/models/words:predict", content=body)
    assert response.status_code == 400, response.text
    said = value.lower().replace("infinity", "inf")
    assert response.json() == {"error": f"`{name}` must be a finite number. Received: {said}."}


def test_a_name_that_stands_twice_is_said(rest):
    text = '{"inputs": {"text": "a", "seed": 1, "text": "b"}}'
    turns = '{"model": "words", "messages": [{"role": "user", "content": "a", "role": "user"}]}'
    for path, body, name in (
        ("/v1/models/words:stream", text, "text"),
        ("/v1/chat/completions", turns, "role"),
    ):
        response = rest.post(path, content=body)
        assert response.status_code == 400, response.text
        assert f'names "{name}" twice' in response.text.replace('\\"', '"')


def test_the_curl_line_of_the_documentation_streams(server):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    text = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text("utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("curl ") and ":stream" in line)
    line = line.replace("http://localhost:8501", server.url).replace("/models/stories:", "/models/words:")
    done = subprocess.run([*shlex.split(line), "-s"], capture_output=True, text=True, check=True)
    found = [json.loads(one.removeprefix("data: ")) for one in done.stdout.split("\n\n") if one.startswith("data: {")]
    assert len(found) > 1 and found[-1]["done"] and found[-1]["whole"] == "".join(one["text"] for one in found)
    assert done.stdout.endswith("data: [DONE]\n\n")
    told = re.findall(r"^\| `(\w+)` \|", text.split("### A text as it is written")[1].split("\n## ")[0], re.MULTILINE)
    assert told == ["text", *RowSettings._fields]


def test_the_clients_deadline_holds_for_a_stream_and_a_chat(rest):
    headers = {"X-Request-Timeout": "0.000001"}
    asked = {"model": "words", "messages": [{"role": "user", "content": "a"}]}
    for path, body in (
        ("/v1/models/words:stream", {"inputs": {"text": "a"}}),
        ("/v1/chat/completions", asked),
        ("/v1/chat/completions", {**asked, "stream": True}),
    ):
        response = rest.post(path, json=body, headers=headers)
        assert response.status_code == 504, response.text
    response = rest.post("/v1/chat/completions", json=asked, headers={"X-Request-Timeout": "soon"})
    assert response.status_code == 400 and "seconds above 0" in response.json()["error"]["message"]


def test_only_writers_stream(rest, server):
    response = rest.post("/v1/models/numbers:stream", json={"inputs": {"text": "a"}})
    assert response.status_code == 400 and "does not write text" in response.json()["error"]
    with Client(server.url) as client, pytest.raises(ServingError, match="does not write text"):
        list(client.stream("numbers", "a"))


def test_the_client_streams_settings_of_any_kind_or_says_what_is_wrong(server):
    with Client(server.url) as client:
        whole = client.stream("words", "Go", max_new_tokens=np.int32(3), temperature=np.float32(0))
        assert "".join(whole) == "".join(client.stream("words", "Go", max_new_tokens=3))
        with pytest.raises(ServingError, match="surrogate pair in string is invalid"):
            list(client.stream("words", "\udc80"))
        with pytest.raises(ServingError, match="`temperature` must be a number"):
            list(client.stream("words", "Go", temperature=float("nan")))
        with pytest.raises(InputError, match="Values must be strings, numbers"):
            list(client.stream("words", "Go", seed=object()))


def chat(rest, *messages, **more):
    roles = ("user", "assistant", "user")
    asked = [{"role": role, "content": message} for role, message in zip(roles, messages, strict=False)]
    return rest.post("/v1/chat/completions", json={"model": "words", "messages": asked, **more})


def test_chat_answers_the_last_message(rest):
    found = chat(rest, "Hello", "Good day", "Well", max_tokens=3).json()
    assert found["object"] == "chat.completion" and found["model"] == "words" and found["id"].startswith("chatcmpl-")
    choice = {"role": "assistant", "content": "Well w0 w1 w2"}
    assert found["choices"] == [{"index": 0, "message": choice, "finish_reason": "length"}]
    assert found["usage"] == {"prompt_tokens": 5 + 8 + 4, "completion_tokens": 3, "total_tokens": 20}


def test_what_says_the_usual_is_taken(rest):
    usual = {"stream": None, "stop": None, "n": 1, "response_format": {"type": "text"}, "tool_choice": "none"}
    assert chat(rest, "Well", max_tokens=1, **usual).json()["choices"][0]["message"]["content"] == "Well w0"


def test_a_stream_tells_its_usage_when_it_is_asked_to(rest):
    found = events(chat(rest, "Well", max_tokens=9, stream=True, stream_options={"include_usage": True}))
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}


def test_chats_are_counted(rest):
    assert chat(rest, "Well", max_tokens=1).status_code == 200
    asked = {"messages": [{"role": "user", "content": "a"}]}
    for model in ("numbers", "made-up-name", ["a"], None):
        assert rest.post("/v1/chat/completions", json={**asked, "model": model}).status_code in (400, 404)
    page = rest.get("/monitoring/prometheus/metrics").text
    assert ':tensorflow:serving:request_latency_count{API="Chat",entrypoint="REST",model_name="words"} ' in page
    assert ':tensorflow:serving:request_count{model_name="numbers",status="INVALID_ARGUMENT"} ' in page
    assert "made-up-name" not in page


def test_chat_streams_the_same(rest):
    found = events(chat(rest, "Well", max_tokens=9, stream=True))
    assert all(one["object"] == "chat.completion.chunk" for one in found)
    assert len({one["id"] for one in found}) == 1 and {one["model"] for one in found} == {"words"}
    deltas = [one["choices"][0] for one in found]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["delta"].get("content", "") for one in deltas) == "Well w0 w1 w2 w3 w4 w5 w6 w7 w8"
    assert [one["finish_reason"] for one in deltas] == [None] * (len(deltas) - 1) + ["length"]
    assert len(deltas) > 4


def test_an_event_is_one_line_whatever_ends_a_line(rest):
    text = "one\ntwo\r\nthree\u2028four\u2029five\x85six\x0bseven"
    response = chat(rest, text, max_tokens=1, stream=True)
    assert all(line.startswith("data: ") for line in response.text.splitlines() if line)
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in events(response)) == f"{text} w0"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_ends_the_answer_and_is_never_shown(rest, streamed):
    response = chat(rest, "Well", max_tokens=12, stop=" w5", stream=streamed)
    if streamed:
        deltas = [one["choices"][0] for one in events(response)]
        text, reason = "".join(one["delta"].get("content", "") for one in deltas), deltas[-1]["finish_reason"]
    else:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice["finish_reason"]
    assert (text, reason) == ("Well w0 w1 w2 w3 w4", "stop")


def test_parts_of_text_are_a_message(rest):
    parts = [{"type": "text", "text": "He"}, {"type": "text", "text": "llo"}]
    assert chat(rest, parts, max_tokens=1).json()["choices"][0]["message"]["content"] == "Hello w0"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "`model` must be the name of a model"),
        ({"model": "words"}, 400, "`messages` must be a list"),
        ({"model": "words", "messages": [{}]}, 400, "`messages`: message 1 must be"),
        ({"model": "words", "messages": [{"role": "user"}]}, 400, "with a text as content"),
        ({"model": "words", "messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "only parts of type"),
        ({"n": 2}, 400, "`n` is not supported"),
        ({"tools": [{}]}, 400, "`tools` is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "`response_format` is not supported"),
        ({"temperature": "hot"}, 400, "`temperature` must be a number"),
        ({"stop": 3}, 400, "`stop` must be a string"),
        ({"stream": "yes"}, 400, "`stream` must be true or false"),
        ({"model": "nothing"}, 404, "Servable not found"),
        ({"model": "numbers"}, 400, "does not chat"),
    ],
)
def test_chat_says_what_does_not_fit(rest, body, status, message):
    usual = {"model": "words", "messages": [{"role": "user", "content": "a"}]}
    whole = body if body in ({}, {"model": "words"}) or "messages" in body else {**usual, **body}
    response = rest.post("/v1/chat/completions", json=whole)
    assert response.status_code == status, response.text
    assert message in response.json()["error"]["message"]
    assert response.json()["error"]["type"]


def test_all_models_are_listed(rest):
    found = rest.get("/v1/models").json()
    assert found["object"] == "list"
    numbers, reviews, words = found["data"]
    assert (numbers["id"], numbers["version"], numbers["chats"], numbers["streams"]) == ("numbers", 2, False, False)
    assert (words["id"], words["task"], words["chats"], words["streams"]) == ("words", "generation", True, True)
    assert words["inputs"] == ["text"] and reviews["task"] is None
    assert numbers["signatures"]["two"] == {"inputs": ["a", "b"], "outputs": ["b", "sum"]}
