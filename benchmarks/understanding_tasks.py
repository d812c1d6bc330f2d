"""The understanding tasks: which files, which arguments, which scores, and the floor of each.

In: the directory of the data sets. Out: files as users have them; where a set is an archive of another format, or has
no test part of its own, it is written anew beside the runs.
"""

import csv
import html
import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import corpora


class Files(NamedTuple):
    """Training, validation (none: a part of the training rows) and test files."""

    train: list[Path]
    validation: list[Path]
    test: list[Path]


class UnderstandingTask(NamedTuple):
    """One line of the table."""

    language: str
    arguments: dict  # of `tfllm finetune`
    scores: tuple[str, ...]  # of `tfllm evaluate`; the first is compared with the floor
    floor: float | None  # what the data's own notes give
    sentences: dict = {}  # noqa: RUF012 -- the arguments instead, where the encoder gives vectors of sentences


_CLASSIFY = {"task": "classify", "monitor": "accuracy"}
_PAIRS = {"task": "pairs", "text": "text", "text_pair": "text_pair", "label": "label", "monitor": "accuracy"}
_STSB = {"task": "regress", "text": "0", "text_pair": "1", "label": "2"}
_STSB_OF_VECTORS = {
    **_STSB,
    "task": "similarity",
    "score_range": "0,5",
    "epochs": 2,
    "learning_rate": 5e-5,
    "layer_decay": 1.0,
}
_SICK = {"text": "sentence_A", "text_pair": "sentence_B"}
_QA = {"task": "qa", "sequence_length": 256, "batch_size": 16, "epochs": 4}

TASKS = {
    "sst2": UnderstandingTask("en", _CLASSIFY, ("accuracy",), 0.813),
    "trec": UnderstandingTask("en", _CLASSIFY, ("accuracy",), 0.910),
    "ag_news": UnderstandingTask("en", {**_CLASSIFY, "epochs": 3}, ("accuracy",), 0.881),
    "stsb-en": UnderstandingTask("en", _STSB, ("spearman", "pearson"), 0.504, _STSB_OF_VECTORS),
    "sick-entailment": UnderstandingTask(
        "en", {"task": "pairs", "monitor": "accuracy", "label": "entailment_judgment", **_SICK}, ("accuracy",), 0.559
    ),
    "sick-relatedness": UnderstandingTask(
        "en", {"task": "regress", "label": "relatedness_score", **_SICK}, ("spearman", "pearson"), None
    ),
    "rte": UnderstandingTask("en", _PAIRS, ("accuracy",), 0.605),
    "wnut17": UnderstandingTask("en", {"task": "tag"}, ("f1", "accuracy"), 0.060),
    "ud_english_ewt": UnderstandingTask("en", {"task": "tag", "label": "upos"}, ("accuracy",), 0.862),
    "squad-xquad": UnderstandingTask("en", _QA, ("f1", "exact_match"), None),
    "stsb-zh": UnderstandingTask(  # vectors learn more from few scores than a head does: docs/experiments.md
        "zh", {**_STSB_OF_VECTORS, "epochs": 5, "learning_rate": 1e-3}, ("spearman", "pearson"), 0.585
    ),
    "ocnli": UnderstandingTask("zh", _PAIRS, ("accuracy",), 0.358),
    "resume_ner": UnderstandingTask(
        "zh", {"task": "tag", "epochs": 20, "learning_rate": 2e-3}, ("f1", "accuracy"), 0.225
    ),
    "cmrc2018": UnderstandingTask("zh", {**_QA, "on_bad_rows": "skip"}, ("f1", "exact_match"), None),
}


def write_task(name: str, data: Path, directory: Path) -> Files:
    """The files of a task; those that must be written stand in `directory`."""
    if name in corpora.ENGLISH_TASKS:
        train, test = corpora.write_task(name, data, directory / name)
        return Files([train], [], [test])
    if name in _WRITERS:
        (directory / name).mkdir(parents=True, exist_ok=True)
        return _WRITERS[name](data, directory / name)
    return {
        "stsb-en": _three(data / "stsb", "stsb-en-train.csv", "stsb-en-dev.csv", "stsb-en-test.csv"),
        "stsb-zh": _three(data / "stsb", "stsb-zh-train.csv", "stsb-zh-dev.csv", "stsb-zh-test.csv"),
        "sick-entailment": _sick(data),
        "sick-relatedness": _sick(data),
        "wnut17": _three(data / "wnut17", "wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
        "resume_ner": _three(data / "resume_ner", "train.char.bmes.gz", "dev.char.bmes", "test.char.bmes"),
        "ud_english_ewt": _three(
            data / "ud_english_ewt",
            *(f"en_ewt-ud-{part}.conllu.gz" for part in ("train", "dev", "test")),
        ),
        "cmrc2018": Files([data / "cmrc2018/cmrc2018_dev.json.gz"], [], [data / "cmrc2018/cmrc2018_trial.json.gz"]),
    }[name]


def _three(folder: Path, train: str, validation: str, test: str) -> Files:
    return Files([folder / train], [folder / validation], [folder / test])


def _sick(data: Path) -> Files:
    return _three(data / "sick", "SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt")


def _rte(data: Path, directory: Path) -> Files:
    """RTE-1, RTE-2 and the development part of RTE-3 to train on, the test part of RTE-3 to be scored on."""
    parts = {"train": [], "test": []}
    with zipfile.ZipFile(data / "rte/rte.zip") as archive:
        for name in sorted(entry for entry in archive.namelist() if entry.endswith(".xml")):
            text = archive.read(name).decode("utf-8", "replace")
            for attributes, pair in re.findall(r"<pair([^>]*)>(.*?)</pair>", text, re.DOTALL):
                follows = re.search(r'(?:value|entailment)="(TRUE|YES)"', attributes)
                premise, hypothesis = (
                    html.unescape(re.search(rf"<{tag}>(.*?)</{tag}>", pair, re.DOTALL)[1]) for tag in "th"
                )
                row = " ".join(premise.split()), " ".join(hypothesis.split()), "yes" if follows else "no"
                parts["test" if "rte3_test" in name else "train"].append(row)
    return _write_pairs(directory, parts)


def _ocnli(data: Path, directory: Path) -> Files:
    """The two parts of 160 rows to train on, the large one to be scored on."""
    parts = {"train": [], "test": []}
    for name in ("train_few_all", "dev_few_all", "test_public"):
        with open(data / f"ocnli/{name}.json", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        parts["test" if name == "test_public" else "train"] += [
            (row["sentence1"], row["sentence2"], row["label"]) for row in rows
        ]
    return _write_pairs(directory, parts)


def _squad(data: Path, directory: Path) -> Files:
    """SQuAD's development set without the paragraphs that XQuAD has, to train on; XQuAD's English to be scored on."""
    asked = {
        question["id"]
        for article in json.loads(corpora._text(data / "xquad/xquad.en.json.gz"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    (squad,) = corpora._zipped(data / "squad/dev-v1.1.json.zip", ".json")
    document = json.loads(squad)
    for article in document["data"]:
        article["paragraphs"] = [
            paragraph
            for paragraph in article["paragraphs"]
            if not any(question["id"] in asked for question in paragraph["qas"])
        ]
    document["data"] = [article for article in document["data"] if article["paragraphs"]]
    file = directory / "train.json"
    file.write_text(json.dumps(document), "utf-8")
    return Files([file], [], [data / "xquad/xquad.en.json.gz"])


def _write_pairs(directory: Path, parts: dict[str, list[tuple[str, str, str]]]) -> Files:
    for part, rows in parts.items():
        with open(directory / f"{part}.csv", "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "text_pair", "label"), *rows])
    return Files([directory / "train.csv"], [], [directory / "test.csv"])


_WRITERS = {"rte": _rte, "ocnli": _ocnli, "squad-xquad": _squad}
