"""`tfllm data check` as a user runs it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfllm.cli import app

GOOD = "text,label\ngood,positive\nbad,negative\nGOOD,negative\n"


@pytest.fixture
def check(tmp_path, monkeypatch, run_tfllm):
    monkeypatch.setenv("COLUMNS", "200")

    def check(*arguments):
        """Run the command in an empty directory; its exit code, standard output and standard error."""
        done = run_tfllm(["data", "check", *arguments], tmp_path)
        return done.returncode, done.stdout, done.stderr

    return check


def test_labels_lengths_duplicates_and_overlap_are_printed(check, tmp_path):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\ngood,positive\nnew,neutral\n")
    code, out, err = check("train.csv", "--test", "test.csv")
    assert (code, err) == (0, "")
    assert "3 rows" in out
    assert "│ negative │    2 │ 66.7% │" in out
    assert "Texts under more than one label: 1." in out
    assert "'good': 'positive' at train.csv:2; 'negative' at train.csv:4" in out
    assert "Test rows: 2, of which 1 repeat a text of the training part." in out
    assert "Labels of the test part that the training part lacks: neutral." in out


def test_where_repeated_texts_stand_is_printed(check, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "often,a\nonce,b\n" + "often,a\n" * 6)
    _, out, _ = check("train.csv")
    places = ", ".join(f"train.csv:{line}" for line in (2, 4, 5, 6, 7))
    assert f"Rows that repeat an earlier text: 6.\n  'often': {places} and 2 more\n" in out


def test_bad_rows_are_printed_by_place_with_exit_code_2(check, tmp_path):
    (tmp_path / "reviews.csv").write_text(GOOD + "late,\n")
    code, out, _ = check("reviews.csv")
    assert code == 2
    assert "Bad rows: 1.\nreviews.csv:5: label: empty\n" in out
    code, out, err = check("reviews.csv", "--on-bad-rows", "collect", "--json")
    assert (code, err) == (0, "bad_rows.jsonl: 1 bad rows.\n")
    bad = {"place": "reviews.csv:5", "column": "label", "reason": "empty"}
    assert json.loads(out)["bad_rows"] == [bad]
    assert json.loads((tmp_path / "bad_rows.jsonl").read_text()) == bad


def test_a_misspelt_label_is_pointed_out_and_with_labels_a_bad_row(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "good,positive\nbad,negative\n" * 30 + "fine,postive\nso,neither\n")
    said = CliRunner().invoke(app, ["data", "check", str(file)])
    assert said.exit_code == 0
    assert "Label 'postive' stands in 1 row only (did you mean 'positive'?).\n" in said.stdout
    assert "Labels with fewer than 3 rows, too few to learn: 'neither' (1).\n" in said.stdout
    said = CliRunner().invoke(app, ["data", "check", str(file), "--labels", "positive, negative, neither"])
    assert said.exit_code == 2
    assert ":62: label: 'postive' is not one of the labels (did you mean 'positive'?)" in said.stdout


def test_an_error_is_one_line_and_exit_code_2(check, tmp_path):
    (tmp_path / "reviews.csv").write_text(GOOD)
    assert check("review.csv") == (
        2,
        "",
        "tfllm: review.csv: no such file or directory (did you mean 'reviews.csv'?).\n",
    )


def test_an_unlabelled_corpus_is_counted(check, tmp_path):
    (tmp_path / "notes.txt").write_text("first\n\nsecond\n")
    code, out, err = check("notes.txt")
    assert (code, err) == (0, "")
    assert "2 documents" in out


def test_of_many_malformed_documents_the_count_the_encoding_and_the_first_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_bytes(b"good\n" + "我要茶\n".encode("gb18030") * 1200)
    said = CliRunner().invoke(app, ["data", "check", "a.txt", "--on-bad-rows", "collect"])
    assert said.exit_code == 0
    assert "Bad rows: 1,200.\na.txt is not all valid UTF-8; it may be gb18030." in said.stdout
    assert "and 1,180 more" in said.stdout
    assert "bad_rows.jsonl: the first 1000 of 1200 bad rows." in said.stderr
    assert len(Path("bad_rows.jsonl").read_text().splitlines()) == 1000


def test_a_table_without_a_column_of_labels_says_which_columns_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "a.csv").write_text("text,sentiment\ngood,positive\n")
    (tmp_path / "b.csv").write_text("text\ngood\n")
    said = CliRunner().invoke(app, ["data", "check", str(tmp_path / "a.csv")])
    assert said.exit_code == 0
    note = "No labels: no column 'label'. If another holds them, name it: --label COLUMN. Columns: 'text', 'sentiment'."
    assert note in said.stdout
    assert "No labels" not in CliRunner().invoke(app, ["data", "check", str(tmp_path / "b.csv")]).stdout


def test_a_task_says_what_only_it_knows(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    document = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "Ada is in Turin",
                        "qas": [
                            {"id": "1", "question": "Where?", "answers": [{"text": "Turin", "answer_start": 9}]},
                            {"id": "2", "question": "Why?", "answers": []},
                        ],
                    }
                ]
            }
        ]
    }
    files = {
        "train.conll": "Ada B-PER\nis O\n\nbad O\n",
        "train.json": json.dumps(document),
        "scores.csv": "text,label\na,1\nb,4\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    said = {}
    for task, name in (("tag", "train.conll"), ("qa", "train.json"), ("regress", "scores.csv")):
        result = CliRunner().invoke(app, ["data", "check", str(tmp_path / name), "--task", task])
        assert result.exit_code == 0, result.output
        said[task] = result.stdout
    assert (
        "│ label │ entities │  share │" in said["tag"].replace("┃", "│") and "Rows without entities: 1." in said["tag"]
    )
    assert "Rows without answer: 1.\nContexts: 1. Longest answer: 5 characters." in said["qa"]
    assert "several: 1 of 1; " in said["qa"] and "does not start at character 9" in said["qa"]
    assert "1 label " in said["tag"] and "2 rows " in said["tag"]
    assert "Scores: 1 to 4, mean 2.5, deviation 1.5." in said["regress"]
