"""The section of docs/results.md about published models that write, from benchmarks/results/published_decoders.json."""

import machine


def sections() -> list[str]:
    """One section, if there is a result."""
    result = machine.load("published_decoders")
    if not result:
        return []
    parts = [_checkpoint(name, found) for name, found in result["checkpoints"].items() if "reference" in found]
    return ["## Published models that write\n\n" + "\n".join(parts)]


def _checkpoint(name: str, found: dict) -> str:
    reference, saved = found["reference"], found.get("savedmodel")
    rows = "\n".join(_row(row) for row in reference["rows"])
    answers = "".join(f"- {_shown(one['question'])} **{_shown(one['answer'])}**\n" for one in reference["answers"])
    exported = ""
    if saved:
        exported = (
            f"\nIts SavedModel ({saved['bytes'] / 1e6:.0f} MB) passed the check of the export in every loader, and "
            f"writes the text of Python for {saved['same_texts']} of {saved['prompts']} prompts.\n"
        )
    return f"""### {name}: `{found["file"]}`, {found["bytes"] / 1e6:.0f} MB, {found["class_name"]}

    python benchmarks/published_decoders.py {name} --file {found["file"]}

{machine.described(found["machine"])}
{found["remark"]}

Greedy text after each prompt, compared with {reference["compared_with"]}.

| prompt | text | same ids | same text | logits differ by at most | of a largest |
|---|---|---|---|---:|---:|
{rows}
{f"{chr(10)}Asked in chat:{chr(10)}{chr(10)}{answers}" if answers else ""}{exported}"""


def _row(row: dict) -> str:
    differ, largest = row.get("logits_differ"), row.get("largest_logit")
    cells = [
        _shown(row["prompt"]),
        _shown(row["text"]),
        "yes" if row["same_ids"] else "no",
        "yes" if row["same_text"] else "no",
        "" if differ is None else f"{differ:.1e}",
        "" if largest is None else f"{largest:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _shown(text: str) -> str:
    """A text in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ⏎ ").strip() or "(nothing)"
