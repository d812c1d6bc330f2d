"""The advice on a file that is in another encoding than it was read in."""

import gzip
import re

import pytest

from tfllm.data.encodings import encoding_advice


@pytest.mark.parametrize(
    ("content", "read_in", "advice"),
    [
        ("好茶，我还要一杯\n".encode("gb18030"), "utf-8", "not all valid UTF-8; it may be gb18030. .*-f GB18030 -t"),
        ("un café à Paris\n".encode("latin-1"), "utf-8", "it may be latin-1. .*--encoding latin-1.*-f LATIN1 -t"),
        ("Herr Müller wohnt in Köln, naïve façade\n".encode("latin-1"), "utf-8", "it may be latin-1"),
        (b"x" * 2**22 + "Köln".encode("latin-1"), "utf-8", r"valid UTF-8\. .*--encoding NAME"),
        ("привет, мир\n".encode("cp1251"), "UTF8", r"valid UTF-8\. .*--encoding NAME.*iconv -f FROM"),
        ("好茶\n".encode("utf-16"), "gb18030", "not all valid gb18030; it may be utf-16. .*-f UTF-16 -t"),
        ("naïve 好茶\n".encode(), "gb18030", "it is UTF-8, which is read if no encoding is named"),
    ],
)
def test_the_encoding_in_which_the_bytes_make_a_text_is_named(tmp_path, content, read_in, advice):
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    for name in ("a.txt", "a.txt.gz"):
        said = encoding_advice(tmp_path / name, read_in)
        assert said.startswith(f"{tmp_path / name} is ")
        assert re.search(advice, said), said


def test_what_is_no_file_gets_advice_without_a_name():
    assert "iconv -f FROM -t UTF-8" in encoding_advice("standard input", "utf-8")
