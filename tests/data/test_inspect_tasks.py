"""The report of each task's files: what is counted, what is too long, what stands twice, what is bad. Exact numbers."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.data.inspect import check_data
from tfllm.data.inspect_tasks import READERS
from tfllm.tokenizers import WordPieceTokenizer


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer directory of a few words."""
    directory = tmp_path_factory.mktemp("inspect") / "tokenizer"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ada", "is", "in", "turin", "good", "bad", "?", "where"]
    WordPieceTokenizer(names).save(directory)
    return directory


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


def test_pairs_name_their_second_column(write, words):
    file = write("a.csv", "a,b,label\nada,good,yes\nada,bad,no\nAda,good,no\n")
    report = check_data(file, task="pairs", text="a", text_pair="b", tokenizer=words, sequence_length=4)
    assert (report["labels"], report["counted"]) == ({"no": 2, "yes": 1}, "rows")
    assert report["truncated"] == {"sequence_length": 4, "rows": 3, "share": 1.0}
    assert report["duplicates"]["conflicting_texts"] == 1
    with pytest.raises(InputError, match="needs the column of the second text"):
        check_data(file, task="pairs", text="a")


def test_several_labels_are_counted_by_name(write):
    file = write("a.csv", "text,label\ngood,x;y\nbad,\ngood,y;x\nturin,x;x\n")
    report = check_data(file, task="multilabel", separator=";")
    assert (report["rows"], report["labels"], report["rows_without_labels"]) == (3, {"x": 2, "y": 2}, 1)
    repeats = [{"text": "good", "places": [f"{file}:2", f"{file}:4"]}]
    assert report["duplicates"] == {"repeated_rows": 1, "repeats": repeats, "conflicting_texts": 0, "conflicts": []}
    assert [row["column"] for row in report["bad_rows"]] == ["label"]


def test_scores_have_a_range_and_a_spread(write):
    file, test = (
        write("a.csv", "text,label\ngood,1\nbad,3\nbad,2\nada,x\n"),
        write("b.csv", "text,label\nBad,9\nnew,1\n"),
    )
    report = check_data(file, task="regress", score_range=(0, 5), test=test)
    assert report["scores"] == {"min": 1.0, "max": 3.0, "mean": 2.0, "deviation": pytest.approx((2 / 3) ** 0.5)}
    assert report["labels"] is None
    assert report["duplicates"]["conflicts"][0]["places"] == {"3.0": [f"{file}:3"], "2.0": [f"{file}:4"]}
    assert report["bad_rows"][0]["reason"] == "'x' is not a number"
    assert report["test"]["rows"] == 1 and "outside the range" in report["test"]["bad_rows"][0]["reason"]


def test_texts_that_get_a_vector_each_have_their_own_special_tokens(write, words):
    file = write("a.csv", "text,pair,label\nada,good,1\nada is,good bad,2\n")
    columns = {"text": "text", "text_pair": "pair", "tokenizer": words}
    report = check_data(file, task="similarity", label="label", sequence_length=7, **columns)
    assert report["truncated"]["rows"] == 1 and report["scores"]["max"] == 2.0
    report = check_data(file, task="embed", sequence_length=8, **columns)
    assert report["truncated"]["rows"] == 0 and "scores" not in report
    with pytest.raises(InputError, match="the column of the scores"):
        check_data(file, task="similarity", **columns)


def test_choices_are_counted_by_the_place_of_the_right_one(write, words):
    rows = "question,a,b,c,answer\nwhere ?,turin,ada is in turin,,B\nwho,ada,bad,good,A\nwho,ada,bad,good,D\n"
    report = check_data(
        write("a.csv", rows), task="choice", choices=["a", "b", "c"], tokenizer=words, sequence_length=8
    )
    assert report["labels"] == {"choice 2": 1, "choice 1": 1}
    assert report["choices"] == {"min": 2, "max": 3}
    assert report["truncated"]["rows"] == 1  # [CLS] where ? [SEP] ada is in turin [SEP]
    assert report["bad_rows"][0]["place"].endswith(":4")


@pytest.mark.parametrize("name", ["a.conll", "a.jsonl"])
def test_entities_are_counted_and_long_texts_are_read_in_windows(write, words, name):
    conll = "Ada B-PER\nis O\nin O\nTurin B-LOC\n\nbad O\n\nbad\n"
    rows = [
        {"text": "Ada is in Turin", "entities": [[0, 3, "PER"], [10, 15, "LOC"]]},
        {"text": "bad", "entities": []},
        {"text": "bad", "entities": [[0, 9, "PER"]]},
    ]
    text = conll if name == "a.conll" else "\n".join(map(json.dumps, rows))
    other = {"text": "Ada", "entities": [[0, 3, "ACT"]]}
    test = write(f"test{name[1:]}", "Ada B-ACT\n" if name == "a.conll" else json.dumps(other))
    report = check_data(write(name, text), task="tag", tokenizer=words, sequence_length=5, test=test)
    assert (report["rows"], report["labels"], report["counted"]) == (2, {"PER": 1, "LOC": 1}, "entities")
    assert report["rows_without_entities"] == 1
    assert report["truncated"] is None and report["windowed"]["rows"] == 1
    assert len(report["bad_rows"]) == 1 and report["test"]["unseen_labels"] == ["ACT"]


def test_words_with_tags_are_counted_as_words(write):
    report = check_data(write("a.tsv", "Ada\tNOUN\nis\tVERB\nada\tNOUN\n"), task="tag")
    assert (report["labels"], report["counted"]) == ({"NOUN": 2, "VERB": 1}, "words")
    assert "rows_without_entities" not in report


def _squad(*questions, context="Ada is in Turin"):
    return {"context": context, "qas": list(questions)}


def test_questions_tell_contexts_answers_repairs_and_shared_contexts(write, words, caplog):
    def asked(question, *answers):
        return {"question": question, "id": question, "answers": [{"text": t, "answer_start": at} for t, at in answers]}

    first = _squad(asked("where ?", ("Turin", 10)), asked("who ?", ("Ada", 3)), asked("bad ?"), asked("x", ("Rome", 0)))
    file = write("a.json", json.dumps({"data": [{"title": "t", "paragraphs": [first]}]}))
    test = write(
        "b.json", json.dumps({"data": [{"paragraphs": [_squad(asked("where ?"), context="ada is in  turin")]}]})
    )
    report = check_data(file, task="qa", tokenizer=words, sequence_length=8, test=test)
    assert (report["rows"], report["contexts"], report["rows_without_answer"]) == (3, 1, 1)
    assert report["longest_answer"] == 5 and report["windowed"]["rows"] == 3
    assert "does not start at character 3" in report["repairs"][0]["reason"] and report["answers"] == 2
    assert "have no place in their context" not in caplog.text  # the report says so
    assert "is not in the context" in report["bad_rows"][0]["reason"]
    assert (report["test"]["overlap"], report["test"]["overlap_of_contexts"]) == (1, 1)
    assert json.loads(json.dumps(report)) == report


def test_sources_are_measured_and_two_targets_of_one_are_told(write, words):
    file = write("a.csv", "de,target\ngood room,x y\nbad,z\ngood room,y\n")
    report = check_data(file, task="seq2seq", source="de", tokenizer=words, sequence_length=4)
    assert (report["rows"], report["labels"], report["truncated"]["rows"]) == (3, None, 0)
    assert report["tokens"]["max"] == 2 and report["duplicates"]["conflicting_texts"] == 1
    with pytest.raises(InputError, match=r"no column 'source'\. Columns: 'de', 'target'"):
        check_data(file, task="seq2seq")


@pytest.mark.parametrize("task", READERS)
def test_what_a_task_does_not_read_is_refused(write, task):
    file = write("a.csv", "text,label\ngood,1\n")
    columns = {"text_pair": "label"} if task in ("pairs", "embed", "similarity") else {}
    with pytest.raises(InputError, match="is for --task"):
        if task == "choice":
            check_data(file, task=task, score_range=(0, 1))
        else:
            check_data(file, task=task, choices=["a"], **columns)
    if task not in ("classify", "pairs", "multilabel"):
        with pytest.raises(InputError, match="--labels is for --task classify, pairs, multilabel"):
            check_data(file, task=task, labels=["a"], **columns)


def test_an_unknown_task_and_a_corpus_with_one_are_refused(write):
    file = write("a.csv", "text,label\ngood,1\n")
    with pytest.raises(InputError, match="did you mean 'regress'"):
        check_data(file, task="regres")
    with pytest.raises(InputError, match="A corpus has no task"):
        check_data(file, task="classify", corpus=True)
