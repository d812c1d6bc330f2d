"""Raw text and labelled rows from a directory of public data sets, as plain files that any tool reads.

In: the data directory (one folder per data set, original file names). Out: text files, one document a line, and CSV
files with the columns `text` and `label`. No test row of a task is ever in a corpus; labels are never in a corpus.
"""

import csv
import gzip
import html
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ENGLISH_TASKS = ("sst2", "trec", "ag_news")
CHINESE_TASKS = ("chnsenticorp_htl", "thucnews_titles")


def write_corpus(language: str, data: Path, file: Path) -> None:
    """Write the raw text of a language, one document a line, without the texts of its tasks' test parts."""
    documents = _english(data) if language == "en" else _chinese(data)
    tasks = ENGLISH_TASKS if language == "en" else CHINESE_TASKS
    shortest = 20 if language == "en" else 7
    beside = file.with_suffix(".unfinished")
    tests = {_squeeze(text) for task in tasks for text, _ in read_task(task, data)[1]}
    with open(beside, "w", encoding="utf-8") as stream:
        for document in documents:
            line = _squeeze(document)
            if len(line) > shortest and line not in tests:
                stream.write(line + "\n")
    beside.rename(file)


def write_task(task: str, data: Path, directory: Path) -> tuple[Path, Path]:
    """Write train.csv and test.csv of a task, split as the data's README suggests."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train.csv", "test.csv"), read_task(task, data), strict=True):
        with open(directory / name, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
    return directory / "train.csv", directory / "test.csv"


def read_task(task: str, data: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(training rows, test rows) of a task; a row is (text, label)."""
    return {"sst2": _sst2, "trec": _trec, "ag_news": _ag_news, "chnsenticorp_htl": _hotels, "thucnews_titles": _titles}[
        task
    ](data / task)


def _sst2(folder: Path):
    return tuple([tuple(line.split("\t")) for line in _lines(folder / name)] for name in ("train.tsv", "test.tsv"))


def _trec(folder: Path):
    def rows(name: str) -> list[tuple[str, str]]:
        lines = _lines(folder / name, "latin-1")
        return [(line.split(" ", 1)[1], line.split(":", 1)[0]) for line in lines]

    return rows("train.txt"), rows("test.txt")


def _ag_news(folder: Path):
    names = _lines(folder / "classes.txt")
    with gzip.open(folder / "test.csv.gz", "rt", encoding="utf-8", newline="") as stream:
        rows = [
            (f"{title}. {description}".replace("\\", " ").replace(" #36;", " $"), names[int(label) - 1])
            for label, title, description in csv.reader(stream)
        ]
    return rows[:6600], rows[6600:]


def _hotels(folder: Path):
    with gzip.open(folder / "ChnSentiCorp_htl_all.csv.gz", "rt", encoding="utf-8", newline="") as stream:
        rows = [(row["review"], row["label"]) for row in csv.DictReader(stream)]
    return _every_fifth([row for row in rows if row[0].strip()])


def _titles(folder: Path):
    names = _lines(folder / "class.txt")
    rows = [line.rsplit("\t", 1) for line in _lines(folder / "dev.txt.gz")]
    return _every_fifth([(text, names[int(label)]) for text, label in rows])


def _every_fifth(rows: list):
    """Training rows and test rows: every fifth row is a test row."""
    return [row for number, row in enumerate(rows) if number % 5 != 4], rows[4::5]


def _english(data: Path) -> Iterator[str]:
    for file in sorted((data / "gutenberg").glob("*.txt.gz")):
        yield from _paragraphs(_text(file))
    for archive in ("us_speeches/state_union.zip", "us_speeches/inaugural.zip"):
        for text in _zipped(data / archive, ".txt"):
            yield from _paragraphs(text)
    yield from _wiki_lines(_lines(data / "raw_wiki_c4/wiki_demo.txt.gz"))
    yield from _column(data / "raw_wiki_c4/c4_demo.jsonl.gz", "text")
    yield from _wiki_lines(_lines(data / "wikitext2/valid.txt.gz"))
    yield from _paragraphs(_text(data / "tiny_shakespeare/input.txt.gz"))
    yield from _zipped(data / "movie_reviews/movie_reviews.zip", ".txt")
    for squad in _zipped(data / "squad/dev-v1.1.json.zip", ".json"):
        for article in json.loads(squad)["data"]:
            for paragraph in article["paragraphs"]:
                yield paragraph["context"]
                yield from (question["question"] for question in paragraph["qas"])
    yield from _texts_of_labelled_sets(data)


def _texts_of_labelled_sets(data: Path) -> Iterator[str]:
    """English texts, news among them, of sets made for other tasks; their labels are not read."""
    for text in _zipped(data / "rte/rte.zip", ".xml"):
        yield from re.findall(r"<t>\s*(.*?)\s*</t>", html.unescape(text), re.DOTALL)
    with open(data / "stsb/stsb-en-train.csv", encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            yield from row[:2]
    for abstract in _column(data / "scitldr/train.jsonl.gz", "source"):
        yield " ".join(abstract)
    for file in sorted((data / "sgd/train").glob("*.json.gz")):
        for dialogue in json.loads(_text(file)):
            yield " ".join(turn["utterance"] for turn in dialogue["turns"])
    for row in json.loads(_text(data / "alpaca_demo/alpaca_en_demo.json.gz")):
        yield f"{row['instruction']} {row['input']} {row['output']}"
    yield from _lines(data / "multi30k/train.en.gz")


def _chinese(data: Path) -> Iterator[str]:
    for text in _column(data / "raw_zh_fewclue/chid/unlabeled.json.gz", "content"):
        yield text.replace("#idiom#", "")
    yield from _column(data / "raw_zh_fewclue/eprstmt/unlabeled.json.gz", "sentence")
    for file in ("cmrc2018/cmrc2018_dev.json.gz", "xquad/xquad.zh.json.gz"):
        for article in json.loads(_text(data / file))["data"]:
            yield from (paragraph["context"] for paragraph in article["paragraphs"])
    for file in ("csl_title/dev.tsv.gz", "csl_title/test.tsv.gz"):
        yield from (line.split("\t")[1] for line in _lines(data / file))
    for one in json.loads(_text(data / "alpaca_demo/alpaca_zh_demo.json.gz")):
        yield one["instruction"] + one["input"] + one["output"]
    with open(data / "stsb/stsb-zh-train.csv", encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            yield from row[:2]
    for task in CHINESE_TASKS:  # the raw text has no titles of news and no hotels
        yield from (text for text, _ in read_task(task, data)[0])


def _paragraphs(text: str) -> Iterable[str]:
    """Paragraphs, joined while short so that a document has some context."""
    gathered = ""
    for paragraph in re.split(r"\n\s*\n", text):
        gathered += " " + paragraph
        if len(gathered) > 800:
            yield gathered
            gathered = ""
    yield gathered


def _wiki_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip().startswith("="):
            yield line.replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".").replace("<unk>", "")


def _column(file: Path, name: str) -> Iterator[str]:
    return (json.loads(line)[name] for line in _lines(file))


def _zipped(archive: Path, suffix: str) -> Iterator[str]:
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            if name.endswith(suffix) and "README" not in name:
                yield _decode(opened.read(name))


def _lines(file: Path, encoding: str = "utf-8") -> list[str]:
    return [line for line in _text(file, encoding).split("\n") if line.strip()]


def _text(file: Path, encoding: str | None = None) -> str:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    text = content.decode(encoding) if encoding else _decode(content)
    return io.StringIO(text, newline=None).read()


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _squeeze(text: str) -> str:
    return " ".join(text.split())
