"""Conversations in all three layouts; what is wrong with others, by file, line and reason."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.data.conversations import read_conversations

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}
SYSTEM = {"role": "system", "content": "Be kind."}


def write(file, rows):
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"messages": [SYSTEM, USER, ANSWER]}, [SYSTEM, USER, ANSWER]),
        ({"messages": [USER, ANSWER, USER]}, [USER, ANSWER, USER]),
        ({"instruction": "Hi", "output": "Hello!"}, [USER, ANSWER]),
        ({"instruction": "Hi", "input": "", "output": "Hello!", "system": "Be kind."}, [SYSTEM, USER, ANSWER]),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            [{"role": "user", "content": "Add.\n\n1 2"}, {"role": "assistant", "content": "3"}],
        ),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}, [USER, ANSWER]),
        ({"conversations": [USER, ANSWER], "system": "Be kind."}, [SYSTEM, USER, ANSWER]),
    ],
)
def test_every_layout_becomes_messages(tmp_path, row, messages):
    found = read_conversations(write(tmp_path / "chat.jsonl", [row]))
    assert found.messages == [messages]
    assert found.places == [f"{tmp_path}/chat.jsonl:1"]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([row, row], indent=1), "utf-8")
    found = read_conversations(listed)
    assert found.messages == [messages] * 2
    assert found.places[1] == f"{listed}: entry 2"


def test_a_table_of_instructions_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("instruction,output\nHi,Hello!\n", "utf-8")
    assert read_conversations(tmp_path / "t.csv").messages == [[USER, ANSWER]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "Hi"}, "must have `messages`, or `instruction`"),
        ({"messages": "Hi"}, "messages: must be a list"),
        ({"messages": [{"role": "user", "content": 3}, ANSWER]}, "messages: message 1 must be"),
        ({"messages": [{"role": "robot", "content": "a"}, ANSWER]}, "the role 'robot'"),
        ({"messages": [ANSWER, USER]}, "one of user is due"),
        ({"messages": [USER, USER, ANSWER]}, "one of assistant is due"),
        ({"messages": [USER]}, "no message of the assistant"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "message 2, of the assistant, is blank"),
        ({"messages": [USER, {"role": "assistant", "content": "a\0"}]}, "message 2, character 2: NUL"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "conversations: message 1 is of the role assistant"),
        ({"instruction": None, "output": "a"}, "instruction: message 1 must be"),
        ({"messages": [["role", "user"]]}, "message 1 must be"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path, row, reason):
    file = write(tmp_path / "chat.jsonl", [{"messages": [USER, ANSWER]}, row])
    with pytest.raises(InputError) as error:
        read_conversations(file)
    assert reason in str(error.value) and "chat.jsonl:2" in str(error.value)
    for choice in ("skip", "collect"):
        found = read_conversations(file, on_bad_rows=choice)
        assert len(found) == 1 and len(found.bad_rows) == 1


def test_nothing_to_read_is_said(tmp_path):
    (tmp_path / "e.jsonl").write_text("", "utf-8")
    with pytest.raises(InputError, match="No conversation in"):
        read_conversations(tmp_path / "e.jsonl")
    (tmp_path / "e.json").write_text("[1,", "utf-8")
    with pytest.raises(InputError, match="not JSON"):
        read_conversations(tmp_path / "e.json")
    (tmp_path / "f.json").write_text("[1]", "utf-8")
    with pytest.raises(InputError, match="must be an object, not a number"):
        read_conversations(tmp_path / "f.json")


def test_the_report_of_data_counts_messages(tmp_path):
    from tfllm.data.inspect_tasks import read_task

    found = read_task("chat", write(tmp_path / "chat.jsonl", [{"messages": [SYSTEM, USER, ANSWER]}, {"text": "a"}]))
    assert found.counts == {"system": 1, "user": 1, "assistant": 1} and found.counted == "messages"
    assert found.table.texts == ["Be kind.\nHi\nHello!"] and len(found.table.bad_rows) == 1


def test_published_instructions_are_read(shared_data):
    found = read_conversations(sorted((shared_data / "alpaca_demo").glob("*.json.gz")))
    assert len(found) == 1999
    assert found.messages[0][0]["content"] == "Describe a process of making crepes."
