"""Reference answers as files hold them -> answers and where they stand in the context.

In: the cells of a row, in any of four layouts. Out: `Answer`s, what had to be repaired, what is wrong.
"""

from typing import NamedTuple

from tfllm.data.rows import json_type, text_fault


class Answer(NamedTuple):
    """A reference answer: its text, and the character of the context where it starts; -1 = not in the context."""

    text: str
    start: int


def read_answers(cells: dict[str, object], column: str, context: str) -> tuple[list[Answer], list[str], str]:
    """The answers of a row.

    Layouts of `cells[column]`: a string, with the offset in `cells["answer_start"]` if there is one; a list of
    strings; a list of {"text", "answer_start"} (SQuAD); {"text": [...], "answer_start": [...]}. No answer: an empty
    string or list, null, or `cells["is_impossible"]`.

    Returns:
        The answers; one sentence for each whose place had to be found, or was not; what makes the row a bad one, or ''.
        It is bad when the layout is broken, or when none of its answers stands in the context.
    """
    impossible = str(cells.get("is_impossible")).strip().lower()  # tables write True as 'True'
    if impossible == "true":
        return [], [], ""
    pairs, reason = _pairs(cells.get(column), cells.get("answer_start"))
    if reason:
        return [], [], reason
    if not pairs and impossible == "false":
        return [], [], "there is none, though is_impossible is false"
    answers, repairs = [], []
    for text, start in pairs:
        reason = _text_reason(text)
        start, start_reason = _whole_number(start)
        if reason or start_reason:
            return [], [], reason or start_reason
        answer, repair = locate(context, text, start)
        answers.append(answer)
        if repair:
            repairs.append(repair)
    if answers and all(answer.start < 0 for answer in answers):
        return [], [], repairs[0]
    return answers, repairs, ""


def locate(context: str, text: str, start: int | None) -> tuple[Answer, str]:
    """Where an answer stands in its context, and what was wrong with `start` ('' when it was right, or not given).

    The nearest place to a wrong `start` is taken; the first one without. White space around an answer does not count.

    Example: context "no, no", "no" at 1 -> 0, "'no' does not start at character 1, but at 0".
    """
    if start is not None and start >= 0 and context.startswith(text, start):
        return Answer(text, start), ""
    stripped = text.strip()
    places = (
        [place for place in range(len(context)) if context.startswith(stripped, place)] if stripped in context else []
    )
    if not places:
        return Answer(text, -1), f"{_shown(text)} is not in the context"
    place = min(places, key=lambda place: abs(place - (start or 0)))
    if start is None:
        many = f"{_shown(text)} stands {len(places)} times in the context and has no answer_start: the first is taken"
        return Answer(stripped, place), many if len(places) > 1 else ""
    return Answer(stripped, place), f"{_shown(text)} does not start at character {start}, but at {place}"


def _pairs(value: object, start: object) -> tuple[list[tuple[object, object]], str]:
    """Texts and offsets as they stand in the file, and what is wrong with the layout."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return [], ""
    if isinstance(value, str):
        return [(value, start)], ""
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return [], "must have the lists `text` and `answer_start`, of the same length"
        return list(zip(texts, starts, strict=True)), ""
    if not isinstance(value, list):
        return [], f"must be a string or a list, not a {json_type(value)}"
    return [
        (entry.get("text"), entry.get("answer_start")) if isinstance(entry, dict) else (entry, None) for entry in value
    ], ""


def _text_reason(text: object) -> str:
    if not isinstance(text, str):
        return f"the text must be a string, not a {json_type(text)}"
    fault = text_fault(text)
    if fault:
        return f"{fault[1]}, at character {fault[0] + 1}"
    return "" if text.strip() else "an answer is empty"


def _whole_number(value: object) -> tuple[int | None, str]:
    """An offset, None when there is none, and what is wrong with it. Spreadsheets write 12 as '12.0'."""
    if value is None or value == "":
        return None, ""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        if number is not None and number == int(number):
            return int(number), ""
    except (ValueError, OverflowError):
        pass
    return None, f"answer_start must be a whole number, not {value!r}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
