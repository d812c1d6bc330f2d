"""The model card: README.md of a model directory, and the scores that later evaluations add to it.

In: a model, how it was trained, scores. Out: Markdown; `evaluations/NAME.json` holds every number.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import keras

from tfllm import manifest
from tfllm.models import read_recipe
from tfllm.models.saving import CARD, KIND

EVALUATIONS = "evaluations"
_BEGIN, _END = "<!-- scores: `tfllm evaluate` writes what stands here -->", "<!-- end of scores -->"
_MOST_CLASSES = 50  # more are left to the JSON file
_TASKS = {
    "add_classifier_head": "text classification",
    "add_masked_lm_head": "masked language modelling",
    "add_pretraining_heads": "masked language modelling and next-sentence prediction",
    "add_next_sentence_head": "next-sentence prediction",
    "build_encoder": "an encoder without a head",
}


def model_card(
    name: str,
    model: keras.Model,
    run: dict,
    *,
    inputs: Iterable[str | Path] = (),
    evaluations: dict[str, dict] | None = None,
) -> str:
    """The Markdown of a model card, for `save_model(..., card=...)`.

    Args:
        name: of the model; its directory's name.
        model: what a tfllm builder returned.
        run: JSON values that tell how it was trained, as given to `save_model`.
        inputs: the data files; their SHA-256 is recorded.
        evaluations: scores by the name of the data they were measured on ("validation").

    Raises:
        InputError: if the model was not made by a tfllm builder.
    """
    recipe = read_recipe(model)
    task = _TASKS[recipe["builder"]]
    labels = recipe["arguments"].get("labels", [])
    hashes = [(file, manifest.hash_file(file)) for file in inputs]
    parts = [
        f"# {name}",
        f"A TensorFlow model for {task}, made with [tfllm]. It has {model.count_params():,} parameters.",
        f"Labels: {', '.join(map(_code, labels))}." if labels else "",
        _scores_section(evaluations or {}),
        "## Use",
        _usage(name, recipe["builder"]),
        "## How it was trained",
        _table(["argument", "value"], [(key, _code(json.dumps(run[key], ensure_ascii=False))) for key in run]),
        "Versions: " + ", ".join(f"{package} {version}" for package, version in manifest.versions().items()) + ".",
        "## Data",
        _table(["file", "SHA-256"], [(_code(file), _code(digest)) for file, digest in hashes])
        if hashes
        else "Which files it was trained on is not recorded here.",
        "## Limits and licence",
        "The model knows only what its training data shows: text of another kind, language or time lowers its scores, "
        "and it repeats the biases of the data. The scores above hold for the data they were measured on.\n\n"
        "tfllm claims no rights in this model. The licence of the training data applies; whoever passes the model on "
        "states it here.",
        "[tfllm]: https://pypi.org/project/tfllm/",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def add_evaluation(directory: str | Path, name: str, scores: dict, *, inputs: Iterable[str | Path] = ()) -> None:
    """Add scores to a model directory: `evaluations/NAME.json`, and a section of its card.

    An evaluation of the same name is replaced. The manifest is brought up to date, so the directory stays valid.

    Args:
        directory: of a saved model.
        name: of the evaluation, fit for a file name.
        scores: JSON values.
        inputs: the data files; their SHA-256 is recorded.

    Raises:
        InputError: if it is not a finished model directory.
    """
    directory = Path(directory)
    files = manifest.read_manifest(directory, KIND)["files"]
    evaluations = {
        Path(file).stem: json.loads((directory / file).read_text("utf-8"))["scores"]
        for file in files
        if file.startswith(f"{EVALUATIONS}/")
    }
    evaluations[name] = scores
    hashes = {str(file): manifest.hash_file(file) for file in inputs}
    document = {"scores": scores, "inputs": hashes, "versions": manifest.versions()}
    card = _replace_scores((directory / CARD).read_text("utf-8"), _scores_section(evaluations))
    texts = {f"{EVALUATIONS}/{name}.json": json.dumps(document, ensure_ascii=False, indent=1) + "\n", CARD: card}
    manifest.update_files(directory, KIND, texts)


def _replace_scores(card: str, section: str) -> str:
    before, begin, rest = card.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:  # a card of the user's own
        return f"{card.rstrip()}\n\n{section}\n"
    return before + section + after


def _scores_section(evaluations: dict[str, dict]) -> str:
    parts = [_BEGIN, "## Scores"]
    for name in sorted(evaluations):
        parts += [f"### {name}", _markdown_scores(evaluations[name])]
    if not evaluations:
        parts.append("Not evaluated yet: `tfllm evaluate` adds the scores.")
    return "\n\n".join([*parts, _END])


def _markdown_scores(scores: dict) -> str:
    """A table of the single numbers; for a classifier also one of the averages and classes."""
    singles = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    tables = [_table(["score", "value"], [(key.replace("_", " "), _number(singles[key])) for key in singles])]
    if "per_class" in scores:
        classes = scores["per_class"] if len(scores["per_class"]) <= _MOST_CLASSES else {}
        rows = [(_cell(label), *map(_number, row.values())) for label, row in classes.items()]
        rows += [(f"*{name}*", *map(_number, scores[name].values()), "") for name in ("macro", "micro", "weighted")]
        tables.append(_table(["class", "precision", "recall", "F1", "examples"], rows))
    return "\n\n".join(tables)


def _usage(name: str, builder: str) -> str:
    python = [
        "import tfllm",
        f'model, tokenizer = tfllm.load_model("{name}"), tfllm.load_tokenizer("{name}")',
    ]
    if builder == "add_classifier_head":
        python.append('logits = model.predict(tfllm.text_dataset(["a text", "another one"], tokenizer))')
        shell = [f'tfllm predict {name} "a text"', f"tfllm export {name} --out savedmodels/{name}"]
    else:
        python.append(f'encoder = tfllm.load_encoder("{name}")  # put a head on it, and fine-tune')
        shell = [f"tfllm finetune --task classify --init {name} --data train.csv --out classifier"]
    return "\n".join(["```python", *python, "```", "", "```sh", *shell, "```"])


def _table(header: list[str], rows: Iterable[tuple]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _code(value: object) -> str:
    return f"`{_cell(value)}`"


def _cell(value: object) -> str:
    """Text that cannot break a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
