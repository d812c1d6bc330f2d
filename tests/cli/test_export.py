"""`tfllm export`, `check` and `predict`, one after the other, as a user calls them."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import typer
from typer.testing import CliRunner

from tfllm.checks import InputError
from tfllm.cli.check import check
from tfllm.cli.export import example_request, export
from tfllm.cli.predict import predict
from tfllm.manifest import RUN, read_manifest, write_manifest
from tfllm.models import add_classifier_head, build_encoder, save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tiny_tokenizer, tmp_path_factory):
    keras.utils.set_random_seed(0)
    encoder = build_encoder(
        tiny_tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
    )
    directory = tmp_path_factory.mktemp("models") / "reviews"
    classifier = add_classifier_head(encoder, ["[bad]", "[good]"])  # rich would take [bad] for markup
    save_model(classifier, directory, tiny_tokenizer, run={"sequence_length": 12, "text": "body"})
    return directory


@pytest.fixture(scope="module")
def savedmodel(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("savedmodels") / "reviews"
    printed = run(export, model, "--out", out)
    for expected in (
        f"{out}/1: ",
        " MB",
        "serving_default",
        "scores to 1e-5",
        f"--dir {out}/1",
        "/models/reviews:predict",
    ):
        assert expected in printed
    return out


def run(command, *arguments, stdin=None):
    """Call a command as Typer does; returns what it printed."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_length_of_training_goes_into_the_savedmodel(savedmodel):
    facts = json.loads((savedmodel / "1" / "assets.extra" / "tfllm.json").read_text("utf-8"))
    assert facts["sequence_length"] == 12


def test_check_prints_a_line_for_each_check(savedmodel):
    printed = run(check, savedmodel)
    for name in ("files", "signatures", "ops", "weights", "warm-up", "loaded", "session", "c api"):
        assert name in printed
    assert "FAILED" not in printed


def test_check_gives_json_to_programs_and_fails_with_it(savedmodel, tmp_path):
    copy = Path(shutil.copytree(savedmodel / "1", tmp_path / "reviews" / "1"))
    (copy / "assets.extra" / "proofs.json").write_text("{}")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(check)
    result = CliRunner().invoke(app, [str(copy), "--json"])
    (finding,) = json.loads(result.stdout)
    assert (finding["check"], finding["passed"]) == ("files", False)
    assert isinstance(result.exception, InputError)


def test_the_request_shown_asks_for_what_the_model_asks_for():
    one, several = {"dtype": "string", "shape": [-1]}, {"dtype": "string", "shape": [-1, -1]}
    assert example_request({"text": one}) == '{"instances": ["A text"]}'
    assert json.loads(example_request({"context": one, "question": one})) == {
        "instances": [{"context": "A text", "question": "A text"}]
    }
    assert json.loads(example_request({"choices": several, "question": one})) == {
        "instances": [{"choices": ["One", "Another"], "question": "A text"}]
    }


def test_predict_prints_a_table(savedmodel):
    printed = run(predict, savedmodel, "lovely", "[red]dull[/red]")
    assert "lovely" in printed
    assert "[red]dull[/red]" in printed
    assert "[bad]" in printed or "[good]" in printed


def test_json_lines_are_one_for_each_line_of_the_file_and_the_same_for_model_and_savedmodel(
    model, savedmodel, tmp_path
):
    lines = ["good tea", "", "好茶", "a\u2028b"]
    file = tmp_path / "texts.txt"
    file.write_bytes("\r\n".join(lines).encode() + b"\n")
    packed = tmp_path / "texts.txt.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    by_model, by_savedmodel, by_stdin = (
        [json.loads(line) for line in printed.removesuffix("\n").split("\n")]
        for printed in (
            run(predict, model, "--file", packed, "--json"),
            run(predict, savedmodel, "--file", file, "--json"),
            run(predict, savedmodel, "--file", "-", "--json", stdin=file.read_bytes()),
        )
    )
    assert [result["text"] for result in by_savedmodel] == lines
    assert by_savedmodel == by_stdin
    for left, right in zip(by_model, by_savedmodel, strict=True):
        assert left["label"] == right["label"]
        assert left["scores"] == pytest.approx(right["scores"], abs=1e-5)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"texts.txt.gz: the gzip data is cut off or damaged"):
        run(predict, model, "--file", packed)


def test_a_table_is_read_from_the_column_of_the_training_or_the_one_it_would_read(model, savedmodel, tmp_path):
    file = tmp_path / "test.csv.gz"
    file.write_bytes(gzip.compress(b"id,review,label,body\n7,good tea,[good],dull\n"))

    def asked(of, *arguments):
        return json.loads(run(predict, of, "--file", file, "--json", *arguments))["text"]

    assert asked(model) == asked(savedmodel) == "dull"
    assert asked(savedmodel, "--text", "review") == "good tea"
    with pytest.raises(InputError, match=r"no column 'bdy' \(did you mean 'body'\?\)\. Columns: 'id', 'review'"):
        asked(savedmodel, "--text", "bdy")
    untold = Path(shutil.copytree(model, tmp_path / "model"))
    written = read_manifest(untold, "model")
    written["arguments"]["run"]["text"] = "0"  # of a file without a header: another one may have one
    write_manifest(untold, written)
    assert asked(untold) == "good tea"
    written["arguments"]["run"]["text"] = None
    write_manifest(untold, written)
    assert asked(untold) == "good tea"
    file.write_bytes(gzip.compress(b"id,title\n7,good tea\n"))
    with pytest.raises(InputError, match=r"which column holds the text\? Name it \(--text\)\. Columns: 'id', 'title'"):
        asked(untold)
    with pytest.raises(InputError, match=r"no column 'body'.*Columns: 'id', 'title'"):
        asked(savedmodel)


def test_files_are_read_in_the_encoding_named(model, tmp_path):
    table, lines = tmp_path / "test.csv", tmp_path / "test.txt"
    table.write_text("编号,body\n7,好茶\n", "gb18030")
    lines.write_text("好茶\n世界\n", "utf-16")
    marked = tmp_path / "marked.txt"
    marked.write_text("好茶\n", "utf-8-sig")

    def asked(*arguments):
        printed = run(predict, model, "--json", *arguments).removesuffix("\n").split("\n")
        return [json.loads(line)["text"] for line in printed]

    assert asked("--file", table, "--encoding", "gb18030") == ["好茶"]
    assert asked("--file", lines, "--encoding", "utf-16") == ["好茶", "世界"]
    assert asked("--file", marked) == asked("--file", marked, "--encoding", "UTF8") == ["好茶"]
    with pytest.raises(InputError, match="`encoding` 'latin-77' is unknown"):
        asked("--file", lines, "--encoding", "latin-77")
    with pytest.raises(InputError, match="--encoding is that of a file: give --file, too"):
        asked("好茶", "--encoding", "gb18030")


@pytest.mark.parametrize("encoding", ["gb18030", "latin-1"])
def test_a_file_in_another_encoding_is_refused_and_the_encoding_told(model, tmp_path, encoding):
    text = "好茶，我还要一杯" if encoding == "gb18030" else "un café à Paris"
    lines, table, named = tmp_path / "a.txt", tmp_path / "a.csv", f"it may be {encoding}"
    lines.write_bytes(f"good tea\n{text}\n".encode(encoding))
    table.write_bytes(f"body\n{text}\n".encode(encoding))
    with pytest.raises(
        InputError, match=rf"(?s)a.txt is not all valid UTF-8; {named}.*--encoding {encoding}.*a.txt:2:"
    ):
        run(predict, model, "--file", lines)
    with pytest.raises(InputError, match=rf"a.csv is not all valid UTF-8; {named}"):
        run(predict, model, "--file", table)
    with pytest.raises(InputError, match=r"standard input:2:\d+: byte 0x\w\w is not valid UTF-8"):
        run(predict, model, "--file", "-", stdin=lines.read_bytes())


def test_texts_and_a_file_are_not_mixed(model, tmp_path):
    (tmp_path / "a.txt").write_text("good tea\n")
    with pytest.raises(InputError, match="or --file, not both"):
        run(predict, model, "good tea", "--file", tmp_path / "a.txt")


def test_an_unfinished_training_is_not_asked(tmp_path):
    (tmp_path / RUN).mkdir()
    with pytest.raises(InputError, match="a training that is not finished"):
        run(predict, tmp_path, "good tea")


def test_what_a_directory_is_instead_is_told(model, tmp_path):
    with pytest.raises(InputError, match="holds a model, not a SavedModel"):
        run(check, model)
    with pytest.raises(InputError, match="holds a tokenizer, not a SavedModel"):
        run(predict, model / "tokenizer", "a text")
    with pytest.raises(InputError, match="is a directory: give a file"):
        run(predict, model, "--file", tmp_path)


def test_a_file_in_place_of_a_text_is_refused(model, tmp_path):
    (tmp_path / "test.csv").write_text("text\ngood tea\n")
    with pytest.raises(InputError, match=r"test.csv' is a file: give --file .*test.csv to ask"):
        run(predict, model, tmp_path / "test.csv")
    with pytest.raises(InputError, match=r"one text a line\. --text is for tables"):
        run(predict, model, "--file", "-", "--text", "review", stdin=b"good tea")
    with pytest.raises(InputError, match="--text names a column of a table: give --file, too"):
        run(predict, model, "good tea", "--text", "review")


def test_a_missing_text_is_named_and_not_taken_for_the_word_none(model, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "good tea"}\n{"text": null}\n', "utf-8")
    with pytest.raises(InputError, match=r"texts.jsonl:2: text: must be a text, not a null"):
        run(predict, model, "--file", file)


@pytest.mark.parametrize("name", ["rows.json", "ROWS.JSONL", "T.CSV", "T.Tsv", "T.CSV.gz"])
def test_a_table_is_known_by_the_names_that_training_knows(model, tmp_path, name):
    content = b'{"body": "good tea"}\n' if "rows" in name.lower() else b"body\ngood tea\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert json.loads(run(predict, model, "--file", tmp_path / name, "--json"))["text"] == "good tea"


@pytest.mark.parametrize("text", ['"a \\ud83d b"', '["good tea", "a \\ud83d b"]'])
def test_half_a_surrogate_pair_is_named_by_its_row(model, tmp_path, text):
    file = tmp_path / "texts.jsonl"
    file.write_text(f'{{"body": "good tea"}}\n{{"body": {text}}}\n', "utf-8")
    with pytest.raises(InputError, match=r"texts.jsonl:2: body: \\ud83d is half of a surrogate pair, at character 3"):
        run(predict, model, "--file", file)


def test_the_first_text_of_a_table_without_a_header_is_not_lost(model, tmp_path):
    untold = Path(shutil.copytree(model, tmp_path / "model"))
    written = read_manifest(untold, "model")
    written["arguments"]["run"]["text"] = None
    write_manifest(untold, written)

    def asked(name, content, *arguments):
        (tmp_path / name).write_text(content, "utf-8")
        printed = run(predict, untold, "--file", tmp_path / name, "--json", *arguments)
        return [json.loads(line)["text"] for line in printed.splitlines()]

    lines = "good tea\nbad tea\n"
    with pytest.raises(InputError, match=r"(?s)texts.csv: its first line, 'good tea', was taken for .*--text 0.*\.txt"):
        asked("texts.csv", lines)
    assert asked("texts.csv", lines, "--text", "good tea") == ["bad tea"]
    assert asked("texts.csv", lines, "--text", "0") == ["good tea", "bad tea"]
    assert asked("texts.csv", f"Review\n{lines}") == ["good tea", "bad tea"]
    assert asked("texts.jsonl", '{"phrase": "good tea"}\n') == ["good tea"]  # which has no header to mistake


def test_a_user_sees_answers_and_nothing_of_tensorflow(savedmodel):
    command = [sys.executable, "-m", "tfllm", "predict", savedmodel, "lovely", b"not UTF-8: \xff"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lovely" in done.stdout
    assert done.stderr == ""


def test_a_failed_check_is_shown_and_said(savedmodel, tmp_path, capsys):
    broken = Path(shutil.copytree(savedmodel / "1", tmp_path / "1"))
    with (broken / "saved_model.pb").open("ab") as graph:
        graph.write(b"x")
    with pytest.raises(InputError, match="failed the check of files"):
        check(broken)
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (export, ["no/such/model", "--out", "x"], "no/such/model"),
        (export, ["no/such/model", "--out", "x", "--format", "savedmodels"], "did you mean 'savedmodel'"),
        (check, ["no/such/model"], "no such file or directory"),
        (predict, ["no/such/model", "text"], "no such file or directory"),
        (predict, ["no/such/model"], "Nothing to answer"),
        (predict, ["no/such/model", "--file", "no/such/file"], "no/such/file: no such file"),
    ],
)
def test_a_mistake_is_named(command, arguments, message):
    with pytest.raises(InputError, match=message):
        run(command, *arguments)
