"""The model card: README.md of a model directory, and the scores that later evaluations add to it.

In: a model, how it was trained, scores. Out: Markdown; `evaluations/NAME.json` holds every number.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras

from tfllm import manifest
from tfllm.models import read_recipe
from tfllm.models.saving import KIND

EVALUATIONS = "evaluations"
_BEGIN, _END = "<!-- scores: `tfllm evaluate` writes what stands here -->", "<!-- end of scores -->"
_SCORES = "_scores"  # how the names of scores in a run end
_MOST_ROWS = 50  # more classes or files are left to the JSON files
_LONGEST_VALUE = 200  # characters; longer arguments are left to the manifest
_TASKS = {
    "add_classifier_head": "text classification",
    "add_multilabel_head": "several labels for a text",
    "add_regression_head": "scores of texts",
    "add_embedding_head": "vectors of texts",
    "add_tagger_head": "tagging words and entities",
    "add_span_head": "answering questions out of a context",
    "add_choice_head": "multiple choice",
    "add_masked_lm_head": "masked language modelling",
    "add_pretraining_heads": "masked language modelling and next-sentence prediction",
    "add_next_sentence_head": "next-sentence prediction",
    "add_causal_lm_head": "writing text",
    "add_seq2seq_head": "writing a text after another: translation, summary",
    "build_encoder": "an encoder without a head",
    "build_decoder": "a decoder without a head",
    "build_encoder_decoder": "an encoder-decoder without a head",
}
_TO_GO_ON_FROM = ("add_masked_lm_head", "add_pretraining_heads", "add_next_sentence_head", "build_encoder")
_ASKS = {
    "add_span_head": ["question", "context"],
    "add_choice_head": ["question", "choices"],
    "add_next_sentence_head": ["text", "text_pair"],
}
_QUOTED, _GAP = '"a text"', '"a [MASK] text"'
_EXAMPLE = {"choices": '["one answer", "another"]'}


def model_card(
    name: str, model: keras.Model, run: dict, *, inputs: Iterable[str | Path] | Mapping[str, str] = ()
) -> str:
    """The Markdown of a model card, for `save_model(..., run=run, card=...)`.

    Args:
        name: of the model; its directory's name.
        model: what a tfllm builder returned.
        run: JSON values that tell how it was trained, as given to `save_model`. Scores stand in it under names that end
            in `_scores`: `validation_scores`.
        inputs: the data files, see `manifest.hash_files`; their SHA-256 is recorded.

    Raises:
        InputError: if the model was not made by a tfllm builder.
    """
    recipe = read_recipe(model)
    labels = recipe["arguments"].get("labels", [])
    arguments = {key: json.dumps(value, ensure_ascii=False) for key, value in run.items() if value is not None}
    told = [
        (key, _code(value))
        for key, value in arguments.items()
        if len(value) <= _LONGEST_VALUE and not key.endswith(_SCORES)
    ]
    hashes = [(_code(file), _code(digest)) for file, digest in manifest.hash_files(inputs).items()]
    parts = [
        f"# {name}",
        f"A TensorFlow model for {_TASKS[recipe['builder']]}, made with tfllm. "
        f"It has {model.count_params():,} parameters.",
        f"Labels: {', '.join(labels)}." if labels else "",
        _scores_section(_scores_of_run(run)),
        "## Use",
        _usage(name, recipe),
        "## How it was trained",
        _table(["argument", "value"], told) if told else "Not recorded.",
        "Versions: " + ", ".join(f"{package} {version}" for package, version in manifest.versions().items()) + ".",
        "`manifest.json` holds all of this for programs.",
        "## Data",
        _table(["file", "SHA-256"], hashes[:_MOST_ROWS]) if hashes else "Not recorded.",
        f"These are {_MOST_ROWS} of {len(hashes)} files." if len(hashes) > _MOST_ROWS else "",
        "## Limits and licence",
        "The model knows only what its training data shows: text of another kind, language or time lowers its scores, "
        "and it repeats the biases of the data. Scores hold for the data they were measured on.",
        "tfllm claims no rights in this model. The licence of the training data applies; it is not recorded here.",
    ]
    card = "\n\n".join(part for part in parts if part) + "\n"
    return card.encode("utf-8", "backslashreplace").decode("utf-8")  # names of files may hold bytes that are no text


def add_evaluation(directory: str | Path, name: str, scores: dict, *, inputs: Iterable[str | Path] = ()) -> None:
    """Add scores to a model directory: `evaluations/NAME-HASH.json`, and a section of its card.

    HASH tells data of the same name apart; an evaluation of the same data is replaced. The manifest is brought up to
    date, so the directory stays valid.

    Args:
        directory: of a saved model.
        name: of the data, fit for a file name.
        scores: JSON values.
        inputs: the data files; their SHA-256 is recorded.

    Raises:
        InputError: if it is not a finished model directory.
        OSError: if it cannot be written.
    """
    directory, inputs = Path(directory), manifest.hash_files(inputs)
    found = manifest.read_manifest(directory, KIND)
    evaluations = _scores_of_run(found["arguments"]["run"])
    for file in found["files"]:
        if file.startswith(f"{EVALUATIONS}/"):
            evaluations[Path(file).stem] = json.loads((directory / file).read_text("utf-8"))["scores"]
    if inputs:
        name = f"{name}-{hashlib.sha256(''.join(inputs.values()).encode()).hexdigest()[:8]}"
    evaluations[name] = scores
    document = {"scores": scores, "inputs": inputs, "versions": manifest.versions()}
    texts = {
        f"{EVALUATIONS}/{name}.json": manifest.as_json(document),
        manifest.CARD: _replace_scores((directory / manifest.CARD).read_text("utf-8"), _scores_section(evaluations)),
    }
    manifest.update_files(directory, KIND, texts)


def _scores_of_run(run: dict) -> dict[str, dict]:
    """The scores training itself measured, by the name of the data: `held_out_scores` -> `held out`."""
    return {key.removesuffix(_SCORES).replace("_", " "): run[key] for key in run if key.endswith(_SCORES)}


def _replace_scores(card: str, section: str) -> str:
    before, begin, rest = card.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:  # a card of the user's own
        return f"{card.rstrip()}\n\n{section}\n"
    return before + section + after


def _scores_section(evaluations: dict[str, dict]) -> str:
    parts = [_BEGIN, "## Scores"]
    for name, scores in evaluations.items():
        parts += [f"### {name}", _markdown_scores(scores)]
    if not evaluations:
        parts.append("Not evaluated yet: `tfllm evaluate` adds the scores.")
    return "\n\n".join([*parts, _END])


def _markdown_scores(scores: dict) -> str:
    """A table of the single numbers; for a classifier also one of the averages and classes."""
    singles = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    tables = [_table(["score", "value"], [(key.replace("_", " "), _number(singles[key])) for key in singles])]
    if "per_class" in scores:
        classes = scores["per_class"] if len(scores["per_class"]) <= _MOST_ROWS else {}
        columns = list(next(iter(scores["per_class"].values())))
        rows = [(_cell(label), *map(_number, row.values())) for label, row in classes.items()]
        averages = [name for name in ("macro", "micro", "weighted") if name in scores]
        rows += [
            (f"*{name}*", *(_number(scores[name][column]) if column in scores[name] else "" for column in columns))
            for name in averages
        ]
        tables.append(_table(["class", *columns], rows))
    return "\n\n".join(tables)


def _usage(name: str, recipe: dict) -> str:
    builder = recipe["builder"]
    python, shell = ["import tfllm"], []
    if builder in ("add_causal_lm_head", "build_decoder"):
        python.append(f'texts = tfllm.TextGenerator.load("{name}").generate(["how a text begins"])')
        shell = [f'tfllm generate {name} "how a text begins"', f"tfllm export {name} --out savedmodels/{name}"]
    else:
        texts = _ASKS.get(builder, ["text", "text_pair"] if recipe["arguments"].get("pairs") else ["text"])
        quoted = _GAP if builder in ("add_masked_lm_head", "add_pretraining_heads") else _QUOTED
        asked = ", ".join(f"{text}=[{_EXAMPLE.get(text, quoted)}]" for text in texts)
        python.append(f'answers = tfllm.Predictor("{name}").predict({asked})')
        shell = [f"tfllm export {name} --out savedmodels/{name}"]
        if "choices" not in texts:
            shell = [" ".join([f"tfllm predict {name}", *(quoted for _ in texts)]), *shell]
    if builder in _TO_GO_ON_FROM:
        python.append(f'encoder = tfllm.load_encoder("{name}")  # put a head on it, and fine-tune')
        shell.append(f"tfllm finetune --task classify --init {name} --data train.csv --out classifier")
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
