"""Conversations: files -> `Conversations`, lists of messages that are known to take turns.

In: JSON lines, or one JSON list, of rows in one of three layouts; tables (CSV, TSV) with the columns of the second:

    {"messages": [{"role": "system" | "user" | "assistant", "content": TEXT}, ...]}
    {"instruction": TEXT, "input": TEXT, "output": TEXT}                                as Alpaca has it
    {"conversations": [{"from": "system" | "human" | "gpt", "value": TEXT}, ...]}       as ShareGPT has it

The last two may have a "system" text beside them.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfllm.checks import InputError, check_one_of
from tfllm.data.rows import BadRow, Row, check_encoding, file_kind, json_type, open_text, read_rows, text_fault
from tfllm.data.sources import bad_rows_error, expand_paths
from tfllm.data.tfds import TfdsSource, read_tfds_rows
from tfllm.messages import message_fault

log = logging.getLogger("tfllm")
_ROLES = {  # what files call the roles
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_LAYOUTS = "`messages`, or `instruction` and `output`, or `conversations`"


@dataclass
class Conversations:
    """Rows as columns: entry i of each list belongs to conversation i.

    Attributes:
        messages: of each conversation a list of {"role", "content"}, the system's first if there is one, then of user
            and assistant in turn; at least one of the assistant.
        places: where each stands: `chat.jsonl:42`, `alpaca.json: entry 42`.
        bad_rows: the rows left out under 'skip' and 'collect'.
    """

    messages: list[list[dict[str, str]]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.messages)

    def select(self, indices: Sequence[int]) -> "Conversations":
        """These conversations, in this order, without bad rows."""
        return Conversations(*([values[index] for index in indices] for values in (self.messages, self.places)))


def read_conversations(
    paths: str | Path | Sequence[str | Path], *, encoding: str = "utf-8", on_bad_rows: str = "error"
) -> Conversations:
    """Read conversations.

    Args:
        paths: files, globs, directories, `tfds:NAME[:SPLIT]`.
        encoding: of all files.
        on_bad_rows: 'error' = raise and name the first five; 'skip' = leave them out with one warning;
            'collect' = leave them out silently. Both keep them in `bad_rows`.

    Raises:
        InputError: nothing is found, a file cannot be read, rows are bad, or none is left.
    """
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    check_encoding(encoding)
    found = Conversations()
    for source in expand_paths(paths):
        for row in read_tfds_rows(source) if isinstance(source, TfdsSource) else _rows(source, encoding):
            bad = row if isinstance(row, BadRow) else _append(found, row)
            if bad:
                found.bad_rows.append(bad)
    bad, total = found.bad_rows, len(found.bad_rows) + len(found)
    if bad and (on_bad_rows == "error" or not len(found)):
        remedy = "Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip)." if len(found) else ""
        raise bad_rows_error(bad, f"{len(bad)} of {total} conversations are bad. {remedy}".rstrip(), encoding)
    if bad and on_bad_rows == "skip":
        log.warning("%d of %d conversations were bad and left out; the first: %s", len(bad), total, bad[0])
    if not len(found):
        raise InputError(
            f"No conversation in {paths if isinstance(paths, str | Path) else ', '.join(map(str, paths))}."
        )
    return found


def _rows(path: Path, encoding: str) -> Iterator[Row | BadRow]:
    """The rows of a file; one whose first character is a bracket is one JSON list."""
    if file_kind(path) != "json":
        yield from read_rows(path, encoding)
        return
    with open_text(path, encoding) as stream:
        is_list = stream.read(1000).lstrip()[:1] == "["
    if not is_list:
        yield from read_rows(path, encoding)
        return
    with open_text(path, encoding) as stream:
        content = stream.read()
    try:
        entries = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists nested 10,000 deep
        raise InputError(f"{path}: not readable as JSON: {error}.") from None
    for number, entry in enumerate(entries, 1):
        place = f"{path}: entry {number}"
        if isinstance(entry, dict):
            yield Row(place, entry)
        else:
            yield BadRow(place, "", f"must be an object, not a {json_type(entry)}")


def _append(found: Conversations, row: Row) -> BadRow | None:
    """Append a good row to `found`; a bad one comes back instead."""
    column, messages = _messages(row.cells)
    if not column:
        return BadRow(row.place, "", f"must have {_LAYOUTS}; it has {', '.join(map(repr, row.cells)) or 'nothing'}")
    fault = message_fault(messages) or _text_fault(messages)
    if fault:
        return BadRow(row.place, column, fault)
    found.messages.append(messages)
    found.places.append(row.place)
    return None


def _messages(cells: Mapping[str, object]) -> tuple[str, object]:
    """The column that holds a row's conversation, and its messages; '' when there is none."""
    for column in ("messages", "conversations"):
        if column in cells:
            value = cells[column]
            messages = [_message(one) for one in value] if isinstance(value, list) else value
            return column, _with_system(cells, messages)
    if {"instruction", "output"} <= set(cells):
        given = [cells["instruction"], cells.get("input") or ""]
        texts = all(isinstance(text, str) for text in given)
        content = "\n\n".join(text for text in given if text.strip()) if texts else None
        answer = {"role": "assistant", "content": cells["output"]}
        return "instruction", _with_system(cells, [{"role": "user", "content": content}, answer])
    return "", None


def _message(value: object) -> object:
    """{"role", "content"} of a message in either layout; what is neither comes back as it is."""
    if not isinstance(value, dict):
        return value
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    return {"role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": content}


def _with_system(cells: Mapping[str, object], messages: object) -> object:
    system = cells.get("system")
    if not system or not isinstance(messages, list):
        return messages
    return [{"role": "system", "content": system}, *messages]


def _text_fault(messages: list[dict[str, str]]) -> str:
    """What is wrong with messages that take turns; '' when nothing is."""
    if all(message["role"] != "assistant" for message in messages):
        return "holds no message of the assistant, and so nothing to learn"
    for number, message in enumerate(messages, 1):
        if not message["content"].strip():
            return f"message {number}, of the {message['role']}, is blank"
        fault = text_fault(message["content"])
        if fault:
            return f"message {number}, character {fault[0] + 1}: {fault[1]}"
    return ""
