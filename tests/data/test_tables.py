"""Labelled rows from every source, and every way a row can be bad."""

import json
import zipfile

import pytest

from tfllm.checks import InputError
from tfllm.data.rows import BadRow
from tfllm.data.tables import Table, read_table, write_bad_rows

GOOD = "text,label\nfine,positive\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name="reviews.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


def test_a_table_holds_texts_labels_and_places(write):
    path = write('text,label\n"so\nso",neutral\nfine, positive \n')
    assert read_table(path) == Table(
        ["so\nso", "fine"], None, ["neutral", "positive"], ["reviews.csv:2", "reviews.csv:4"]
    )


def test_columns_are_taken_by_name(write):
    path = write("id,premise,hypothesis,gold\n1,a,b,yes\n")
    table = read_table(path, text="premise", text_pair="hypothesis", label="gold")
    assert table == Table(["a"], ["b"], ["yes"], ["reviews.csv:2"])


def test_column_numbers_mean_that_there_is_no_header(write):
    table = read_table(write("fine\t1\npoor\t0\n", "train.txt"), text="0", label="1")
    assert table == Table(["fine", "poor"], None, ["1", "0"], ["train.txt:1", "train.txt:2"])


def test_a_column_number_may_be_an_int(write):
    table = read_table(write("0\tgood\tso\n1\tbad\tno\n", "a.tsv"), text=1, text_pair=2, label=0)
    assert (table.texts, table.pairs, table.labels) == (["good", "bad"], ["so", "no"], ["0", "1"])


def test_column_numbers_and_names_do_not_mix(write):
    with pytest.raises(InputError, match="Name all columns by name, or all by number"):
        read_table(write(GOOD), text="0", label="label")


@pytest.mark.parametrize("header", ["text,label", "sentence,label", "Review,Label", "评论,label", "anything,label"])
def test_usual_column_names_need_not_be_given(write, header):
    assert read_table(write(f"{header}\nfine,1\n")).labels == ["1"]


def test_without_a_label_column_there_are_no_labels(write):
    assert read_table(write("text,stars\nfine,5\n")).labels is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "lable"}, r"reviews.csv: no column 'lable' \(did you mean 'label'\?\). Columns: 'text', 'label'"),
        ({"text": "txt"}, r"no column 'txt' \(did you mean 'text'\?\)"),
        ({"text_pair": "other"}, "no column 'other'"),
        ({"text": "5"}, "no column '5'. Columns: '0', '1'"),
    ],
)
def test_a_missing_column_is_an_error_that_lists_the_columns(write, options, message):
    with pytest.raises(InputError, match=message):
        read_table(write(GOOD), **options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"text": "label", "label": "label"}, "label, label"),
        ({"text_pair": "text"}, "text, text"),
        ({"text": "text", "text_pair": "text", "label": "label"}, "text, text, label"),
    ],
)
def test_a_column_is_for_one_thing_only(write, options, named):
    with pytest.raises(InputError, match=f"is named twice: .* Received: {named}"):
        read_table(write(GOOD), **options)


def test_a_column_that_is_a_text_is_not_taken_for_the_labels_as_well(write):
    assert read_table(write(GOOD), text="label").labels is None


def test_a_file_without_a_header_is_told_how_to_name_its_columns(write):
    with pytest.raises(InputError, match="If the file has no header row, name columns by number"):
        read_table(write("a long first text\t1\nanother\t0\n", "a.tsv"))


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        (b"good,postive", "label: 'postive' is not one of the labels (did you mean 'positive'?)"),
        (b"good,xyz", "label: 'xyz' is not one of the labels positive, negative"),
        (b",positive", "text: empty"),
        (b" \t,positive", "text: empty"),
        (b"good,", "label: empty"),
        (b"good", "1 column where 2 are expected"),
        (b"good,positive,", "3 columns where 2 are expected: a trailing comma or tab"),
        (b"caf\xe9,positive", "text: byte 0xe9 is not valid UTF-8, at character 4"),
        (b"good,posit\xefve", "label: byte 0xef is not valid UTF-8, at character 6"),
        (b"go\0od,positive", "text: NUL byte, at character 3"),
        (b'"go"od,positive', "text follows a closing quote; double a quote that stands inside a quoted field"),
    ],
)
def test_each_bad_row_is_named_by_place_column_and_reason(write, row, bad):
    path = write(GOOD.encode() + row + b"\nlast,positive\n")
    table = read_table(path, labels=["positive", "negative"], on_bad_rows="collect")
    assert [str(found) for found in table.bad_rows] == [f"reviews.csv:3: {bad}"]
    assert table.texts == ["fine", "last"]


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        ({"text": 1, "label": "a"}, "text: must be a string, not a number"),
        ({"text": None, "label": "a"}, "text: empty"),
        ({"text": ["x"], "label": "a"}, "text: must be a string, not a list"),
        ({"label": "a"}, "text: the column is missing"),
        ({"text": "x", "labels": "a"}, "label: the column is missing (did you mean 'labels'?)"),
        ({"text": "x", "label": None}, "label: empty"),
        ({"text": "x", "label": ["a"]}, "label: must be a string or a number, not a list"),
        ({"text": "x", "label": True}, "label: must be a string or a number, not a boolean"),
        ({"text": "\ud83d", "label": "a"}, "text: \\ud83d is half of a surrogate pair, at character 1"),
    ],
)
def test_each_bad_json_value_is_named(write, row, bad):
    path = write('{"text": "x", "label": "a"}\n' + json.dumps(row), "a.jsonl")
    assert [str(found) for found in read_table(path, on_bad_rows="collect").bad_rows] == [f"a.jsonl:2: {bad}"]


def test_a_number_of_thousands_of_digits_is_no_label(write):
    path = write(GOOD + "good," + "9" * 5000 + "\n")
    (bad,) = read_table(path, on_bad_rows="collect").bad_rows
    assert str(bad) == "reviews.csv:3: label: a number of 5,000 digits is no label"


def test_json_numbers_become_labels_as_they_are_written(write):
    path = write('{"text": "x", "label": 1}\n{"text": "y", "label": 2.5}\n', "a.jsonl")
    assert read_table(path).labels == ["1", "2.5"]


def test_bad_rows_are_an_error_that_shows_five_and_counts_all(write):
    path = write(GOOD + ",positive\n" * 7)
    with pytest.raises(InputError) as error:
        read_table(path)
    assert str(error.value).splitlines() == [
        *(f"reviews.csv:{line}: text: empty" for line in range(3, 8)),
        "7 of 8 rows are bad. Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip).",
    ]


def test_bad_bytes_come_with_advice_on_encodings(write):
    with pytest.raises(InputError, match=r"it may be latin-1\. .*encoding='latin-1'; --encoding"):
        read_table(write(GOOD.encode() + b"caf\xe9,positive\n"))
    assert read_table("reviews.csv", encoding="latin-1").texts == ["fine", "café"]


def test_skip_warns_and_collect_is_silent(write, caplog):
    path = write(GOOD + ",positive\n")
    assert len(read_table(path, on_bad_rows="collect")) == 1
    assert not caplog.text
    assert len(read_table(path, on_bad_rows="skip")) == 1
    assert "1 of 2 rows were bad and left out; the first: reviews.csv:3: text: empty" in caplog.text


def test_an_unknown_on_bad_rows_is_an_error(write):
    with pytest.raises(InputError, match="`on_bad_rows` must be one of error, skip, collect"):
        read_table(write(GOOD), on_bad_rows="ignore")


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_a_table_without_rows_is_an_error(write, content):
    with pytest.raises(InputError, match=r"No usable row in reviews.csv"):
        read_table(write(content), on_bad_rows="skip")


def test_a_table_with_bad_rows_only_is_an_error_that_says_what_is_wrong_with_them(write):
    with pytest.raises(InputError, match=r"reviews.csv:2: text: empty\nAll 1 rows are bad"):
        read_table(write("text,label\n,x\n"), on_bad_rows="collect")


def test_several_files_must_have_the_same_columns(write):
    write("text,label\none,a\n", "1.csv")
    write('{"label": "b", "text": "two"}\n', "2.jsonl")
    assert read_table(["1.csv", "2.jsonl"]).labels == ["a", "b"]
    write("text\nthree\n", "3.csv")
    with pytest.raises(InputError, match=r"3.csv: no column 'label'"):
        read_table("*.csv")


def test_an_empty_file_among_others_is_a_warning(write, caplog):
    write(GOOD, "1.csv")
    write("text,label\n", "2.csv")
    assert len(read_table("*.csv")) == 1
    assert "2.csv holds no usable row" in caplog.text


def test_sub_folders_of_text_files_are_labels(write, caplog):
    for name in ("neg/a.txt", "pos/b.txt", "pos/deep/c.txt"):
        write(f"text of\n{name}\n", f"reviews/{name}")
    write("urls", "reviews/urls.txt")
    table = read_table("reviews")
    assert table == Table(
        ["text of\nneg/a.txt", "text of\npos/b.txt", "text of\npos/deep/c.txt"],
        None,
        ["neg", "pos", "pos"],
        ["reviews/neg/a.txt", "reviews/pos/b.txt", "reviews/pos/deep/c.txt"],
    )
    assert "reviews/urls.txt is left out" in caplog.text


def test_a_directory_of_tables_is_read_as_tables(write):
    write(GOOD, "data/a/1.csv")
    write(GOOD, "data/b/2.csv")
    assert read_table("data").places == ["data/a/1.csv:2", "data/b/2.csv:2"]


def test_selected_rows_keep_their_columns_together():
    table = Table(["a", "b", "c"], None, ["0", "1", "2"], ["f:1", "f:2", "f:3"], [BadRow("f:4", "", "x")])
    assert table.select([2, 0]) == Table(["c", "a"], None, ["2", "0"], ["f:3", "f:1"])


def test_bad_rows_are_written_as_json_lines(tmp_path):
    write_bad_rows([BadRow("a.csv:2", "text", "empty")], tmp_path / "bad.jsonl")
    assert json.loads((tmp_path / "bad.jsonl").read_text()) == {
        "place": "a.csv:2",
        "column": "text",
        "reason": "empty",
    }


@pytest.mark.parametrize(
    ("path", "options", "rows", "labels"),
    [
        ("sst2/train.tsv", {"text": "0", "label": "1"}, 6920, 2),
        ("sst2/dev.tsv", {"text": "0", "label": "1"}, 872, 2),
        ("sst2/test.tsv", {"text": "0", "label": "1"}, 1821, 2),
        ("ag_news/test.csv.gz", {"text": "1", "text_pair": "2", "label": "0"}, 7600, 4),
        ("thucnews_titles/dev.txt.gz", {"text": "0", "label": "1"}, 10000, 10),
        ("stsb/stsb-zh-train.csv", {"text": "0", "text_pair": "1", "label": "2"}, 5749, 140),
        (
            "sick/SICK_test_annotated.txt",
            {"text": "sentence_A", "text_pair": "sentence_B", "label": "entailment_judgment"},
            4927,
            3,
        ),
        ("csl_title/dev.tsv.gz", {"text": "1", "label": "0"}, 1000, 1),
        ("ocnli/test_public.json", {"text": "sentence1", "text_pair": "sentence2"}, 2520, 3),
        ("trec/train.txt", {"text": "0", "encoding": "latin-1"}, 5452, None),
    ],
)
def test_real_files_have_the_rows_their_readme_counts(shared_data, path, options, rows, labels):
    table = read_table(shared_data / path, **options)
    assert len(table) == rows
    assert (len(set(table.labels)) if table.labels else None) == labels


def test_the_empty_review_of_a_real_file_is_found(shared_data):
    path = shared_data / "chnsenticorp_htl"
    with pytest.raises(InputError, match=r"csv.gz:6376: review: empty\n1 of 7766 rows are bad"):
        read_table(path)
    table = read_table(path, on_bad_rows="collect")
    assert (len(table), len(table.bad_rows)) == (7765, 1)
    assert table.labels.count("1") == 5322


def test_real_folders_of_documents_are_labels(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "movie_reviews" / "movie_reviews.zip") as archive:
        archive.extractall(tmp_path)
    table = read_table(tmp_path / "movie_reviews")
    assert len(table) == 2000
    assert table.labels.count("pos") == 1000
