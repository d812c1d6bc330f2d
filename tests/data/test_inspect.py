"""The report on data: exact numbers on tiny tables."""

import json
from collections import Counter

import pytest

from tfllm.checks import InputError
from tfllm.data.inspect import check_data, find_rare_labels, inspect_table, inspect_texts
from tfllm.data.rows import BadRow
from tfllm.data.tables import Table
from tfllm.tokenizers import WordPieceTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "room"])


def table_of(rows, pairs=None):
    texts, labels = zip(*rows, strict=True)
    return Table(list(texts), pairs, list(labels), [f"a.csv:{line}" for line in range(2, len(texts) + 2)])


def test_a_report_counts_labels_and_characters_and_is_json():
    report = inspect_table(table_of([("good", "p"), ("bad", "n"), ("good room", "p")]))
    assert report["rows"] == 3
    assert report["labels"] == {"p": 2, "n": 1}
    assert list(report["labels"]) == ["p", "n"]
    assert report["characters"] == {"min": 3, "median": 4, "p95": 9, "max": 9, "total": 16}
    assert (report["tokens"], report["truncated"], report["test"]) == (None, None, None)
    assert json.loads(json.dumps(report)) == report


def test_labels_that_are_rare_and_near_another_or_very_few_are_told():
    rows = [("good", "positive")] * 60 + [("bad", "negative")] * 20 + [("new", "rest")] * 3
    assert inspect_table(table_of(rows))["rare_labels"] == []
    rows += [("good", "postive")] * 3 + [("odd", "other")]
    assert inspect_table(table_of(rows))["rare_labels"] == [
        {"label": "postive", "count": 3, "near": " (did you mean 'positive'?)"},
        {"label": "other", "count": 1, "near": ""},
    ]


def test_a_misspelt_short_label_is_told_but_no_hint_connects_real_ones():
    found = find_rare_labels(Counter({"正面": 500, "负面": 400, "中性": 20, "正而": 1, "止面": 1}))
    assert [(one["label"], one["near"]) for one in found] == [
        ("正而", " (did you mean '正面'?)"),
        ("止面", " (did you mean '负面' or '正面'?)"),
    ]
    assert find_rare_labels(Counter({"正面": 500, "负面": 20})) == []


def test_labels_that_differ_in_case_width_or_white_space_only_are_told_however_many_there_are():
    found = find_rare_labels(
        Counter({"Positive": 500, "positive": 400, "very  good": 60, "very good": 50, "ＯＫ": 5, "ok": 4})
    )
    assert [(one["label"], one["near"]) for one in found] == [
        ("positive", " (did you mean 'Positive'?)"),
        ("very good", " (did you mean 'very  good'?)"),
        ("ok", " (did you mean 'ＯＫ'?)"),
    ]


def test_a_label_that_is_not_one_of_those_named_is_a_bad_row(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,positive\nfine,postive\n")
    for task in (None, "classify", "multilabel"):
        report = check_data(tmp_path / "a.csv", task=task, labels=["positive", "negative"])
        assert report["labels"] == {"positive": 1}
        assert "did you mean 'positive'" in report["bad_rows"][0]["reason"]


def test_percentiles_are_the_length_that_share_of_the_rows_does_not_exceed():
    report = inspect_texts("x" * length for length in range(1, 101))
    assert report["characters"] == {"min": 1, "median": 50, "p95": 95, "max": 100, "total": 5050}


def test_truncation_counts_rows_longer_than_the_sequence_with_its_special_tokens(tokenizer):
    table = table_of([("good", "p"), ("good room", "p"), ("good bad room", "n"), ("bad", "n")])
    report = inspect_table(table, tokenizer, sequence_length=4)
    assert report["tokens"] == {"min": 1, "median": 1, "p95": 3, "max": 3, "total": 7}
    assert report["truncated"] == {"sequence_length": 4, "rows": 1, "share": 0.25}


def test_a_pair_counts_both_texts_and_three_special_tokens(tokenizer):
    table = table_of([("good", "p"), ("good room", "p")], pairs=["bad", "bad room"])
    report = inspect_table(table, tokenizer, sequence_length=6)
    assert report["tokens"]["max"] == 4
    assert report["truncated"]["rows"] == 1


def test_more_rows_than_a_tokenizer_batch_are_all_counted(tokenizer):
    assert inspect_table(table_of([("good room", "p")] * 2500), tokenizer)["tokens"]["total"] == 5000


def test_duplicates_are_repeated_texts_and_texts_with_two_labels():
    table = table_of([("good", "p"), ("good", "p"), ("Good ", "n"), ("bad", "n"), ("bad", "n")])
    assert inspect_table(table)["duplicates"] == {
        "repeated_rows": 2,
        "repeats": [
            {"text": "good", "places": ["a.csv:2", "a.csv:3"]},
            {"text": "bad", "places": ["a.csv:5", "a.csv:6"]},
        ],
        "conflicting_texts": 1,
        "conflicts": [{"text": "good", "places": {"p": ["a.csv:2", "a.csv:3"], "n": ["a.csv:4"]}}],
    }


def test_a_test_part_shows_its_overlap_and_labels_never_trained():
    report = inspect_table(table_of([("good", "p"), ("bad", "n")]), test=table_of([("Good", "p"), ("new", "x")]))
    assert report["test"] == {"rows": 2, "overlap": 1, "unseen_labels": ["x"], "bad_rows": [], "bad_row_count": 0}


def test_a_table_without_labels_has_no_conflicts():
    report = inspect_table(Table(["a", "a"], None, None, ["f:1", "f:2"]))
    assert report["labels"] is None
    repeats = [{"text": "a", "places": ["f:1", "f:2"]}]
    assert report["duplicates"] == {"repeated_rows": 1, "repeats": repeats, "conflicting_texts": 0, "conflicts": []}


def test_texts_are_counted_with_their_malformed_ones(tokenizer):
    bad = BadRow("a.txt:2:1", "", "NUL byte")
    assert inspect_texts(["good room", bad, "bad"], tokenizer) == {
        "documents": 2,
        "characters": {"min": 3, "median": 3, "p95": 9, "max": 9, "total": 12},
        "tokens": {"min": 1, "median": 1, "p95": 2, "max": 2, "total": 3},
        "bad_rows": [{"place": "a.txt:2:1", "column": "", "reason": "NUL byte"}],
        "bad_row_count": 1,
    }
    with pytest.raises(InputError, match="There is no document"):
        inspect_texts([bad])


def test_a_corpus_in_another_encoding_is_refused_with_the_one_that_fits(tmp_path):
    (tmp_path / "a.txt").write_bytes("我要茶\n好茶呢\n".encode("gb18030"))
    with pytest.raises(
        InputError,
        match=r"(?s)^\S+a.txt is not all valid UTF-8; it may be gb18030.*There is no document that is not bad",
    ):
        check_data(tmp_path / "a.txt")


def test_of_the_malformed_documents_of_a_corpus_the_first_are_listed_and_all_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("good\n" + ("x" * 40 + "\0\n") * 2500)
    report = check_data(tmp_path / "a.txt")
    assert (report["documents"], report["bad_row_count"], report["encoding_advice"]) == (1, 2500, None)
    assert [row["place"].split(":")[1] for row in report["bad_rows"]] == [str(line) for line in range(2, 1002)]
    with pytest.raises(InputError, match=r"no document that is not bad \(1001 are\)"):
        inspect_texts(BadRow(f"a.txt:{line}:2", "", "NUL byte") for line in range(1, 1002))


def test_bytes_that_cannot_be_decoded_are_told_with_the_encoding_that_fits(tmp_path):
    (tmp_path / "a.txt").write_bytes("a\n我要茶\n好茶呢\n".encode("gb18030"))
    (tmp_path / "a.csv").write_bytes("text,label\na,p\n我要茶,n\n好茶呢,n\n".encode("gb18030"))
    (tmp_path / "b.csv").write_text("text,label\nb,p\n,n\n")
    advice = (
        "is not all valid UTF-8; it may be gb18030. Say which encoding it has (encoding='gb18030'; --encoding gb18030)"
    )
    assert f"{tmp_path / 'a.txt'} {advice}" in check_data(tmp_path / "a.txt")["encoding_advice"]
    for report in (check_data(tmp_path / "a.csv"), check_data(tmp_path / "b.csv", test=tmp_path / "a.csv")):
        assert f"{tmp_path / 'a.csv'} {advice}" in report["encoding_advice"]
    assert check_data(tmp_path / "b.csv")["encoding_advice"] is None


def test_plain_text_is_a_corpus_unless_a_column_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("good\tp\nbad\tn\n")
    assert check_data(tmp_path / "a.txt")["documents"] == 2
    assert check_data(tmp_path / "a.txt", text="0", label="1")["labels"] == {"p": 1, "n": 1}


def test_folders_of_text_files_are_labels_unless_a_corpus_is_meant(tmp_path):
    for name in ("neg", "pos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("one\ntwo\n")
    assert check_data(tmp_path)["labels"] == {"neg": 1, "pos": 1}
    assert check_data(tmp_path, corpus=True)["documents"] == 4


def test_a_tokenizer_directory_gives_lengths_in_tokens(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "a.csv").write_text("text,label\ngood room,p\n")
    report = check_data(tmp_path / "a.csv", tokenizer=tmp_path / "tokenizer", sequence_length=8)
    assert report["tokens"]["max"] == 2
    assert report["truncated"]["rows"] == 0


def test_arguments_that_do_not_fit_are_errors(tmp_path):
    (tmp_path / "a.txt").write_text("good\n")
    with pytest.raises(InputError, match="name the tokenizer"):
        check_data(tmp_path / "a.txt", sequence_length=8)
    with pytest.raises(InputError, match="`test` needs labelled rows"):
        check_data(tmp_path / "a.txt", test=tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"choices": ["a"]}, "--choices is for --task choice; without a task nothing reads it"),
        ({"separator": ";"}, "--label-separator is for --task multilabel; without"),
        ({"score_range": (0, 1)}, "--score-range is for --task regress, similarity; without"),
        ({"source": "text"}, "--source is for --task seq2seq; without"),
        ({"target": "text"}, "--target is for --task seq2seq; without"),
    ],
)
def test_without_a_task_what_only_a_task_reads_is_refused(tmp_path, argument, message):
    (tmp_path / "a.csv").write_text("text,label\ngood,p\n")
    with pytest.raises(InputError, match=message):
        check_data(tmp_path / "a.csv", **argument)


@pytest.mark.parametrize(
    "argument",
    [
        {"labels": ["p"]},
        {"label": "label"},
        {"text_pair": "label"},
        {"sequence_length": 8},
        {"choices": ["a"]},
        {"test": "a.csv"},
    ],
)
def test_what_a_corpus_does_not_read_is_refused(tmp_path, tokenizer, argument):
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "a.csv").write_text("text,label\ngood,p\n")
    with pytest.raises(InputError, match=f"`{next(iter(argument))}` needs labelled rows: these files are unlabelled"):
        check_data(tmp_path / "a.csv", corpus=True, text="text", tokenizer=tmp_path / "tokenizer", **argument)


def test_the_known_overlap_of_a_real_data_set_is_found(shared_data):
    columns = {"text": "sentence_A", "text_pair": "sentence_B", "label": "entailment_judgment"}
    sick = shared_data / "sick"
    report = check_data(sick / "SICK_train.txt", test=sick / "SICK_test_annotated.txt", **columns)
    assert report["test"]["overlap"] == 49
