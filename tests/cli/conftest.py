"""A tiny tokenizer directory, corpus and labelled rows that the command tests share."""

import pytest

from tfllm.data.samples import sample_path


@pytest.fixture(scope="session")
def tokenizer_directory(tiny_tokenizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "tokenizer"
    tiny_tokenizer.save(out)
    return out


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("cli") / "corpus.txt"
    lines = sample_path("text_en.txt").read_text("utf-8").split("\n")[:20]
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """40 rows whose label is the word they hold, so that a tiny model can learn them."""
    rows = [("a good warm cup", "positive"), ("a bad cold plate", "negative")] * 20
    file = tmp_path_factory.mktemp("cli") / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"{text} {n},{label}\n" for n, (text, label) in enumerate(rows)), "utf-8")
    return file
