"""Sentences of files with one word a line: columns in any order, comments, real text, places of what is wrong."""

import gzip

import pytest

from tfllm.checks import InputError
from tfllm.data.conll import find_words, read_columns, read_conllu
from tfllm.data.rows import BadRow


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.conll"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return path

    return write


def found(sentences):
    """(text, [(word, tag), ...]) of each sentence, or what is wrong."""
    return [
        str(one).rpartition("/")[2]
        if isinstance(one, BadRow)
        else (one.text, [(one.text[slice(*place)], tag) for place, tag in zip(one.words, one.tags, strict=True)])
        for one in sentences
    ]


@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.conll", "a.iob2.gz", "a.txt"])
def test_words_and_tags_with_tabs_or_spaces(write, separator, end, name):
    lines = ["Ada B-PER", "Byron I-PER", "", "  ", "left O", ""]
    path = write(end.join(line.replace(" ", separator) if line.strip() else line for line in lines), name)
    sentences = list(read_columns(path))
    assert found(sentences) == [("Ada Byron", [("Ada", "B-PER"), ("Byron", "I-PER")]), ("left", [("left", "O")])]
    assert [one.place for one in sentences] == [f"{path}:1", f"{path}:5"]
    assert sentences[0].places == [f"{path}:1", f"{path}:2"]


def test_columns_are_found_out_or_named(write):
    conll2003 = write("-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n")
    assert found(read_columns(conll2003)) == [("EU rejects", [("EU", "B-ORG"), ("rejects", "O")])]
    assert found(read_columns(conll2003, tag=1))[0][1] == [("EU", "NNP"), ("rejects", "VBZ")]
    numbered = write("1\tEU\tB-ORG\t-\tann\n2\trejects\tO\t-\t-\n")
    assert found(read_columns(numbered)) == [("EU rejects", [("EU", "B-ORG"), ("rejects", "O")])]
    last_first = write("O EU\nO rejects\n\nB-ORG BASF\n")
    assert found(read_columns(last_first, word=1, tag=0))[1] == ("BASF", [("BASF", "B-ORG")])
    with pytest.raises(InputError, match=r"no column 5 for the label. The columns are 0 to 1"):
        list(read_columns(last_first, tag=5))


def test_words_are_not_their_own_tags(write):
    with pytest.raises(InputError, match="Column '1' is named twice"):
        list(read_columns(write("1\tAda\tB-PER\n"), word=1, tag=1))


def test_a_hash_is_a_comment_only_where_it_cannot_be_a_word(write):
    tabs = write("# sent_id = 1\n# text = #1 is #\n#\tO\n1\tO\nis\tO\n#\tB-X\n")
    assert found(read_columns(tabs)) == [("#1 is #", [("#", "O"), ("1", "O"), ("is", "O"), ("#", "B-X")])]
    spaces = write("# sent_id = 1\n# O\n1 O\n# B-X\n\n#hash O\n# O\n")
    assert found(read_columns(spaces)) == [
        ("# 1 #", [("#", "O"), ("1", "O"), ("#", "B-X")]),
        ("#hash #", [("#hash", "O"), ("#", "O")]),
    ]


def test_the_text_of_a_comment_says_where_spaces_are(write):
    path = write('# text = It\'s  "here".\nIt\tO\n\'s\tO\n"\tO\nhere\tO\n"\tO\n.\tO\n\n# text = other\nIt\tO\n\'s\tO\n')
    assert [one.text for one in read_columns(path)] == ['It\'s  "here".', "It 's"]


def test_chinese_is_joined_without_spaces(write):
    path = write("高 B-NAME\n勇 E-NAME\n1 O\n9 O\n\nA B-ORG\nB E-ORG\n公 O\n司 O\n")
    assert [one.text for one in read_columns(path)] == ["高勇19", "AB公司"]
    assert [one.text for one in read_columns(write("안녕 O\n세계 O\n"))] == ["안녕 세계"]
    words = write("今天\tNT\n\u3000\tPU\n天气\tNN\n")
    assert found(read_columns(words)) == [("今天\u3000天气", [("今天", "NT"), ("\u3000", "PU"), ("天气", "NN")])]


def test_a_word_may_be_white_space_other_than_ascii(write):
    path = write("a O\n\xa0 O\nb O\n")
    assert found(read_columns(path)) == [("a \xa0 b", [("a", "O"), ("\xa0", "O"), ("b", "O")])]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a O\nb\n", "a.conll:2: a word without a tag: 'b'"),
        ("a O\nb B-X x\n", "a.conll:2: 3 columns where others have 2: 'b B-X x'"),
        ("a\tO\n\tO\n", "a.conll:2: 0: empty"),
        ("a\tO\nb\t\n", "a.conll:2: 1: empty"),
        ("a O\nb\x00 O\n", "a.conll:2: 0: NUL byte, at character 2"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line_and_the_rest_is_read(write, lines, message):
    assert found(read_columns(write(f"{lines}\nx{lines[1]}O\ny{lines[1]}O\nz{lines[1]}O\n"))) == [
        message,
        ("x y z", [("x", "O"), ("y", "O"), ("z", "O")]),
    ]


def test_bytes_that_are_no_utf8_are_named(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes("caf\xe9 O\n".encode("latin-1"))
    assert "byte 0xe9 is not valid UTF-8" in found(read_columns(path))[0]
    assert found(read_columns(path, encoding="latin-1")) == [("café", [("café", "O")])]


@pytest.mark.parametrize("content", ["one\ntwo\n", "", "\n\n"])
def test_a_file_without_columns_is_an_input_error(write, content):
    with pytest.raises(InputError, match="no columns"):
        list(read_columns(write(content)))


CONLLU = """\
# newdoc id = x
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
3\t,\t,\tPUNCT\t,\t_\t1\tpunct\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\tCopyOf=1
4-5\tdu\t_\t_\t_\t_\t_\t_\t_\t_
4\tde\tde\tADP\tIN\t_\t1\tcase\t_\t_
5\tle\tle\tDET\tDT\t_\t1\tdet\t_\tSpaceAfter=No|Gloss=the
6\t10 000\t10000\tNUM\tCD\t_\t1\tobj\t_\tGloss=x|SpaceAfter=No
7\t!\t!\tPUNCT\t.\t_\t1\tpunct\t_\t_
"""


@pytest.mark.parametrize("comment", ["", "# text = don't, du 10 000!\n"])
def test_conllu_gives_the_text_as_it_was_and_every_word_its_characters(write, comment):
    words = [("do", "AUX"), ("n't", "PART"), (",", "PUNCT"), ("du", "ADP+DET"), ("10 000", "NUM"), ("!", "PUNCT")]
    path = write(comment + CONLLU, "a.conllu")
    assert found(read_conllu(path)) == [("don't, du 10 000!", words)]
    assert [tag for _, tag in found(read_conllu(path, "xpos"))[0][1]] == ["VBP", "RB", ",", "IN+DT", "CD", "."]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\ta\t_\tX", "a.conllu:1: 4 columns where CoNLL-U has 10, separated by tabs"),
        ("x\ta" + "\t_" * 8, "a.conllu:1: ID: must be a number, or 1-2, or 1.1, not 'x'"),
        ("1\ta" + "\t_" * 8, "a.conllu:1: a word without a tag: '_'"),
        ("1\t\t_\tX" + "\t_" * 6, "a.conllu:1: FORM: empty"),
        ("1-2\tdu" + "\t_" * 8, "a.conllu:1: ID: a token of several words without its words"),
    ],
)
def test_what_is_wrong_in_conllu_is_named(write, line, message):
    assert found(read_conllu(write(line + "\n", "a.conllu"))) == [message]


def test_only_two_columns_of_conllu_hold_tags(write):
    with pytest.raises(InputError, match="upos, xpos"):
        list(read_conllu(write(CONLLU, "a.conllu"), "upso"))


def test_words_are_found_in_their_text():
    assert find_words(["a", "'", "b"], "a' \t b ") == [(0, 1), (1, 2), (5, 6)]
    assert find_words(["a", "\u3000", "b"], "a\u3000b") == [(0, 1), (1, 2), (2, 3)]
    assert find_words(["a", "b"], "a c b") is None
    assert find_words(["a"], "a b") is None
