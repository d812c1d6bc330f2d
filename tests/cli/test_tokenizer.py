"""`tfllm tokenizer`, called as Typer calls it, and the Python function behind `train`."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from tfllm.checks import InputError
from tfllm.cli.tokenizer import app, train_tokenizer
from tfllm.tokenizers import load_tokenizer

LINES = ["the kettle sang", "the cat was fed", "我在北京", "The Kettle fell"] * 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    file.write_text("\n".join(LINES) + "\n", "utf-8")
    return file


@pytest.fixture(scope="module")
def directory(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "tokenizer"
    train_tokenizer(corpus, out=out, vocabulary_size=150)
    return out


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_train_writes_a_tokenizer_that_loads(corpus, tmp_path):
    out = run("train", corpus, "--out", tmp_path / "t", "--kind", "sentencepiece", "--vocabulary-size", 282)
    assert "sentencepiece, 282 tokens" in out
    tokenizer = load_tokenizer(tmp_path / "t")
    assert (tokenizer.kind, tokenizer.vocabulary_size) == ("sentencepiece", 282)
    manifest = json.loads((tmp_path / "t" / "manifest.json").read_text("utf-8"))
    assert list(manifest["inputs"]) == [str(corpus)]


def test_lowercase_is_the_default_of_wordpiece_only(corpus, tmp_path):
    assert train_tokenizer(corpus).lowercase is True
    run("train", corpus, "--out", tmp_path / "cased", "--no-lowercase")
    assert load_tokenizer(tmp_path / "cased").lowercase is False
    pieces = train_tokenizer(corpus, kind="sentencepiece", vocabulary_size=282)
    assert pieces.tokenize("The").to_list() != pieces.tokenize("the").to_list()


def test_byte_bpe_gives_every_text_back(corpus, tmp_path):
    out = run("train", corpus, "--out", tmp_path / "t", "--kind", "byte-bpe", "--vocabulary-size", 280)
    assert "byte-bpe, 280 tokens" in out
    tokenizer = load_tokenizer(tmp_path / "t")
    texts = ["The KETTLE\r\n  sang\0 🙂", "没见过的字"]
    assert [text.decode() for text in tokenizer.detokenize(tokenizer.tokenize(texts)).numpy()] == texts
    with pytest.raises(InputError, match="`lowercase` is for the other kinds"):
        train_tokenizer(corpus, kind="byte-bpe", lowercase=True)


def test_train_reads_a_column_of_a_gzipped_table(tmp_path):
    with gzip.open(tmp_path / "reviews.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("label,review\n" + "".join(f"zzz,{line}\n" for line in LINES))
    vocabulary = train_tokenizer(str(tmp_path / "*.gz"), text="review").vocabulary
    assert "kettle" in vocabulary and not any("z" in token for token in vocabulary)


def test_encode_prints_tokens_ids_and_offsets(directory):
    answer = json.loads(run("encode", directory, "the Kettle", "北京", "--json"))
    assert [entry["text"] for entry in answer] == ["the Kettle", "北京"]
    vocabulary = load_tokenizer(directory).vocabulary
    assert answer[0]["tokens"][1] == {
        "token": "kettle",
        "id": vocabulary.index("kettle"),
        "part": "Kettle",
        "characters": [4, 10],
        "bytes": [4, 10],
    }
    assert [token["bytes"] for token in answer[1]["tokens"]] == [[0, 3], [3, 6]]
    table = run("encode", directory, "the [bold]Kettle")
    assert "kettle" in table and "[bold]" in table  # text is shown as it is, not read as markup


def test_report_prints_numbers(directory, corpus):
    found = json.loads(run("report", directory, corpus, "--json"))
    assert (found["texts"], found["unknown_rate"], found["round_trip_failures"]) == (20, 0.0, 0)
    assert "bytes per token" in run("report", directory, corpus)


def test_report_reads_other_encodings_and_leaves_bad_texts_out(directory, tmp_path):
    file = tmp_path / "corpus.txt"
    file.write_bytes("我在北京\n北京\n".encode("gb18030"))
    found = json.loads(run("report", directory, file, "--encoding", "gb18030", "--json"))
    assert (found["texts"], found["unknown_rate"]) == (2, 0.0)
    file.write_bytes(b"the cat\ncaf\xe9\n")
    assert json.loads(run("report", directory, file, "--on-bad-rows", "skip", "--json"))["texts"] == 1
    with pytest.raises(InputError, match="it may be latin-1"):
        run("report", directory, file)


def test_mistakes_are_input_errors(corpus, directory, tmp_path):
    with pytest.raises(InputError, match="`vocabulary_size` must be between 1 and 10000000"):
        train_tokenizer(corpus, out=tmp_path / "t", vocabulary_size=10**13)
    with pytest.raises(InputError, match="did you mean 'wordpiece'"):
        train_tokenizer(corpus, kind="word-piece")
    with pytest.raises(InputError, match=r"`model_type` is for kind sentencepiece: leave it out\. .*kind='wordpiece'"):
        train_tokenizer(corpus, model_type="bpe")
    with pytest.raises(InputError, match="already exists"):
        train_tokenizer(corpus, out=directory)
    with pytest.raises(InputError, match="nowhere"):
        train_tokenizer(tmp_path / "nowhere.txt")
