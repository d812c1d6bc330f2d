"""One file -> rows: each kind of file, each way it can be malformed."""

import gzip

import pytest

from tfllm.checks import InputError
from tfllm.data.rows import BadRow, Row, read_lines, read_rows, text_fault


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(path, **options):
    """Rows as (line, cells) and bad rows as (line, reason)."""
    found = []
    for row in read_rows(path, **options):
        line = int(row.place.removeprefix(f"{path}:"))
        found.append((line, row.cells if isinstance(row, Row) else row.reason))
    return found


def test_csv_rows_carry_the_line_where_they_start(write):
    path = write("a.csv", 'text,label\n"two\nlines",x\n\n"say ""hi"", now",y\n')
    assert rows(path) == [(2, {"text": "two\nlines", "label": "x"}), (5, {"text": 'say "hi", now', "label": "y"})]


def test_line_ends_inside_quotes_are_kept_as_they_are(write):
    assert rows(write("a.csv", 'text\r\n"one\r\ntwo"\r\n')) == [(2, {"text": "one\r\ntwo"})]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_every_line_end_is_read_alike(write, name, end):
    lines = {
        "a.csv": ["text,label", "one,x", "two,y"],
        "a.tsv": ["text\tlabel", "one\tx", "two\ty"],
        "a.jsonl": ["", '{"text": "one", "label": "x"}', '{"text": "two", "label": "y"}'],
    }[name]
    expected = [(2, {"text": "one", "label": "x"}), (3, {"text": "two", "label": "y"})]
    assert rows(write(name, end.join([*lines, "", ""]))) == expected  # with an empty last line
    assert rows(write(name, end.join(lines))) == expected  # without a last line end


@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
def test_tsv_has_no_quoting(write, name):
    path = write(name, 'text\tlabel\n"stray\tx\n"whole"\ty\n5" pipe\tz\n')
    assert [cells["text"] for _, cells in rows(path)] == ['"stray', '"whole"', '5" pipe']


def test_without_a_header_columns_are_numbered(write):
    assert rows(write("a.tsv", "good\t1\nbad\t0\n"), header=False) == [
        (1, {"0": "good", "1": "1"}),
        (2, {"0": "bad", "1": "0"}),
    ]


def test_a_header_that_pandas_wrote_of_numbers_is_not_a_row(write):
    assert rows(write("a.csv", "0,1\ngood,yes\n"), header=False) == [(2, {"0": "good", "1": "yes"})]


def test_an_unnamed_first_column_is_the_index_pandas_writes(write):
    assert rows(write("a.csv", ",text,label\n0,good,yes\n")) == [(2, {"": "0", "text": "good", "label": "yes"})]


def test_header_names_lose_the_blanks_around_them(write):
    assert rows(write("a.csv", "text, label\ngood,yes\n")) == [(2, {"text": "good", "label": "yes"})]


def test_a_field_of_a_megabyte_is_read(write):
    assert rows(write("a.csv", "text\n" + "x" * 1_000_000))[0][1]["text"] == "x" * 1_000_000


def test_a_wrong_column_count_is_a_bad_row(write):
    assert rows(write("a.csv", "text,label\ngood, but late,yes\nfine,yes\nshort\ngood,yes,\n")) == [
        (2, "3 columns where 2 are expected"),
        (3, {"text": "fine", "label": "yes"}),
        (4, "1 column where 2 are expected"),
        (5, "3 columns where 2 are expected: a trailing comma or tab"),
    ]


def test_an_unterminated_quote_names_the_line_where_it_opens(write):
    assert rows(write("a.csv", 'text,label\nfine,x\n"never closed,y\nlast,z\n')) == [
        (2, {"text": "fine", "label": "x"}),
        (3, "the quote that opens in line 3 is never closed; the row swallows everything up to line 4"),
    ]
    path = write("b.csv", 'text,label\n"two ""fine""\nlines","and\nmore",x\n"a\nb","never\nclosed,y\n')
    assert rows(path)[1] == (
        5,
        "the quote that opens in line 6 is never closed; the row swallows everything up to line 7",
    )


def test_a_quote_not_closed_within_the_largest_field_is_a_bad_row_that_names_the_lines_lost(write, monkeypatch):
    monkeypatch.setattr("tfllm.data.rows._LARGEST_FIELD", 2000)
    lost = "".join(f"line {number:03d},x\n" for number in range(4, 400))
    found = rows(write("a.csv", f'text,label\nfine,x\n"never closed,y\n{lost}'))
    assert found[1] == (
        3,
        "the quote that opens in line 3 is not closed within 2,000 characters; lines 3 to 184 are lost, and reading "
        "goes on after them",
    )
    assert found[2:] == [(line, {"text": f"line {line:03d}", "label": "x"}) for line in range(185, 400)]
    assert rows(write("b.csv", f"text,label\n{'a' * 2001},x\nfine,y\n")) == [
        (2, "a field has more than 2,000 characters; the line is lost"),
        (3, {"text": "fine", "label": "y"}),
    ]


def test_text_after_a_closing_quote_is_a_bad_row_and_the_next_row_is_read(write):
    assert rows(write("a.csv", 'text,label\n"so" he said,x\nfine,y\n')) == [
        (2, "text follows a closing quote; double a quote that stands inside a quoted field"),
        (3, {"text": "fine", "label": "y"}),
    ]
    path = write("b.csv", 'text,label\n"open,x\nmiddle,y\n"so, he",z\nfine,w\n')
    assert rows(path)[0] == (
        2,
        "the quote that opens in line 2 is not closed there; the next quote, in line 4, ends the field, and text "
        "follows it. Close it, or double a quote that stands inside a quoted field",
    )
    assert rows(path)[1] == (5, {"text": "fine", "label": "w"})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("text,label,text", r"a.csv:1: column 3: the header names 'text' twice"),
        ("text,label,", r"a.csv:1: column 3: the header has no name here \(a trailing comma"),
        ('text,"la"bel', r"a.csv:1: the header cannot be read: text follows a closing quote; double"),
        ('text,"label', r"a.csv:1: the header cannot be read: the quote that opens in line 1 is never closed"),
        ('"text;label"', r"a.csv:1: the only column is 'text;label'. Separate columns by commas"),
        ("text|label", r"a.csv:1: the only column is 'text\|label'. Separate columns by commas"),
    ],
)
def test_an_unusable_header_is_an_error(write, header, message):
    with pytest.raises(InputError, match=message):
        rows(write("a.csv", f"{header}\na,b,c\n"))


def test_semicolons_part_no_columns_of_other_files_than_csv(write):
    with pytest.raises(InputError, match=r"a.tsv:1: the only column is 'text;label'"):
        rows(write("a.tsv", "text;label\na;b\n"))


def test_semicolons_part_columns_where_the_header_has_no_comma(write):
    found = rows(write("a.csv", 'text;label\r\n"one; two, three";a\r\nfour, five;b\r\nsix;b;c\r\n'))
    assert found[:2] == [(2, {"text": "one; two, three", "label": "a"}), (3, {"text": "four, five", "label": "b"})]
    assert found[2] == (4, "3 columns where 2 are expected")


@pytest.mark.parametrize("header", ['"text, a, b";label', "text;label;note, if any"])
def test_semicolons_part_columns_where_the_header_has_more_of_them(write, header):
    names = [name.strip('"') for name in header.split(";")]
    assert rows(write("a.csv", f"{header}\none, two{';x' * (len(names) - 1)}\n")) == [
        (2, dict(zip(names, ["one, two", "x", "x"], strict=False)))
    ]


def test_semicolons_in_quotes_part_nothing(write):
    assert rows(write("a.csv", 'text,"a;b;c"\nx;y,z\n')) == [(2, {"text": "x;y", "a;b;c": "z"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "not JSON: Expecting ',' delimiter at character 13"),
        ('"text"', "must be a JSON object, not a string"),
        ("[1]", "must be a JSON object, not a list"),
        ("null", "must be a JSON object, not a null"),
        ("[" * 100_000, "not readable as JSON: maximum recursion depth exceeded"),
        ("1" * 5000, "not readable as JSON: Exceeds the limit"),
    ],
)
def test_a_line_that_is_not_a_json_object_is_a_bad_row(write, line, reason):
    found = rows(write("a.jsonl", f'{line}\n{{"text": "b"}}\n'))
    assert found[0][0] == 1
    assert found[0][1].startswith(reason)
    assert found[1] == (2, {"text": "b"})


@pytest.mark.parametrize("content", ['[\n {"text": "a"}\n]', '{\n "text": "a"\n}', '[{"text": "a"}]'])
def test_json_that_is_not_json_lines_says_how_to_convert_it(write, content):
    with pytest.raises(InputError, match=r"a.json:1: not JSON lines. Write one object a line: jq"):
        rows(write("a.json", content))


def test_gzip_reads_as_the_file_itself(write):
    path = write("a.csv.gz", gzip.compress("text,label\n好,x\n".encode()))
    assert rows(path) == [(2, {"text": "好", "label": "x"})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", gzip.compress(b"text\n" + bytes(range(97, 123)) * 500, mtime=0)[:-20], "cut off or damaged"),
        ("a.csv.gz", gzip.compress(b"text\n" + b"row\n" * 500, mtime=0)[:12] + b"\xff" * 30, "cut off or damaged"),
        ("a.csv.gz", b"text\nplain\n", "is not gzip data, though its name ends in .gz"),
        ("a.csv", gzip.compress(b"text\nrow\n", mtime=0), "is gzip-compressed: give it a name that ends in .gz"),
        ("a.csv", b"PK\x03\x04rest", "is a zip archive"),
        ("a.csv", b"PAR1rest", "is a Parquet file"),
        ("a.txt", b"%PDF-1.7", "is a PDF"),
        ("a.csv", bytes(range(256)) * 40, r"a.csv is not text: \d+ of its first \d+ bytes are control characters"),
        ("a.csv.gz", gzip.compress(bytes(range(256)) * 40, mtime=0), "a.csv.gz is not text"),
        ("a.csv", "text\nrow\n".encode("utf-16"), r"is UTF-16. Save it as UTF-8, or say so: encoding='utf-16'"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_an_error(write, name, content, message):
    with pytest.raises(InputError, match=message):
        rows(write(name, content))


def test_a_few_control_characters_do_not_make_a_file_binary(write):
    path = write("a.tsv", b"text\n" + b"a\0b\n" * 8 + "\x1b[1m好\x1b[0m\n".encode() * 100)
    assert len(rows(path)) == 108


def test_a_missing_file_and_an_unreadable_one_are_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        rows(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        list(read_lines(tmp_path))


def test_a_byte_order_mark_is_left_out_with_a_warning(write, caplog):
    path = write("a.csv", b"\xef\xbb\xbftext,label\ngood,yes\n")
    assert rows(path) == [(2, {"text": "good", "label": "yes"})]
    assert "begins with a byte order mark" in caplog.text


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le"])
def test_a_byte_order_mark_of_another_encoding_is_left_out_with_a_warning_too(write, caplog, encoding):
    path = write("a.csv", "\ufefftext,label\n好,yes\n".encode(encoding))
    assert rows(path, encoding=encoding) == [(2, {"text": "好", "label": "yes"})]
    assert "begins with a byte order mark" in caplog.text


def test_a_byte_order_mark_of_utf_8_contradicts_another_encoding(write):
    with pytest.raises(InputError, match="begins with the byte order mark of UTF-8: leave out the encoding 'gb18030'"):
        rows(write("a.csv", "text\n好\n".encode("utf-8-sig")), encoding="gb18030")


def test_bytes_that_cannot_be_decoded_name_the_encoding_that_was_used(write):
    content = "text,label\n好茶,yes\n".encode() + b"caf\xff,yes\n"
    assert rows(write("a.csv", content))[1:] == [(3, "byte 0xff is not valid UTF-8, at character 4")]
    assert rows(write("a.csv", b"text\ncaf\xff\n"), encoding="gb18030") == [
        (2, "byte 0xff is not valid gb18030, at character 4")
    ]
    assert rows(write("a.jsonl", b'{"text": "caf\xe9"}\n')) == [(1, "byte 0xe9 is not valid UTF-8, at character 14")]


def test_a_header_in_another_encoding_is_an_error_that_names_it(write):
    with pytest.raises(InputError, match=r"a.csv is not all valid UTF-8; it may be gb18030\. Say .*--encoding gb18030"):
        rows(write("a.csv", "文本,标签\n好茶,yes\n".encode("gb18030")))


@pytest.mark.parametrize("encoding", ["latin-1", "gb18030", "utf-16"])
def test_other_encodings_are_read_when_named(write, encoding):
    text = "é" if encoding == "latin-1" else "好"
    assert rows(write("a.csv", f"text\n{text}\n".encode(encoding)), encoding=encoding) == [(2, {"text": text})]


def test_text_cut_in_the_middle_of_a_character_is_an_error_in_utf_16(write):
    with pytest.raises(InputError, match="is not valid utf-16 text"):
        rows(write("a.csv", "text\nrow\n".encode("utf-16")[:-1]), encoding="utf-16")


def test_an_unknown_encoding_is_an_error(write):
    with pytest.raises(InputError, match="`encoding` 'utf-9' is unknown"):
        rows(write("a.csv", "text\n"), encoding="utf-9")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("good 好 \U0001f600", None),
        ("a\0b", (1, "NUL byte")),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), (3, "byte 0xe9 is not valid in the encoding of the file")),
        ("ab\ud83d", (2, "\\ud83d is half of a surrogate pair")),
    ],
)
def test_text_no_model_may_see_is_found_by_position(text, fault):
    assert text_fault(text) == fault


def test_a_bad_row_reads_as_place_column_reason():
    assert str(BadRow("a.csv:2", "label", "empty")) == "a.csv:2: label: empty"
    assert str(BadRow("a.csv:2", "", "not JSON")) == "a.csv:2: not JSON"
