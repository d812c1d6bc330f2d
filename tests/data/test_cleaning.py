"""Repeated texts, near repetitions and quotations of evaluation texts are found, in English and Chinese."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data.cleaning import Fingerprinter, left_out, ngram_hashes, read_quotes, units

ENGLISH = (
    "The harbour lay quiet in the early light while two boys rowed a borrowed boat across the water, counting gulls "
    "on the pier and arguing about who had seen the first seal of the spring near the old lighthouse."
)
CHINESE = (
    "清晨的港口很安静，两个男孩划着借来的小船穿过水面，数着码头上的海鸥，争论谁在旧灯塔附近看见了今年春天的第一只海豹。"
)
OTHER = (
    "A recipe for bread needs flour, water, salt and time; nothing in it has to do with boats, or gulls, or the sea."
)


def reasons(texts, deduplicate="none", quotes=()):
    hashes = np.unique(np.concatenate([np.zeros(0, np.uint64), *(ngram_hashes(units(quote), 13) for quote in quotes)]))
    fingerprints = Fingerprinter(deduplicate, hashes)(texts)
    return left_out(fingerprints.T, len(texts), deduplicate).tolist()


def test_units_are_words_and_characters_where_words_are_not_parted():
    assert units("Good, GOOD 天气! ｆｕｌｌ") == ["good", "good", "天", "气", "full"]
    assert units("東京タワー ไทย") == [*"東京タワー", *"ไทย"]
    assert units("𠀀…?") == ["𠀀"]


def test_ngram_hashes_depend_on_every_unit_and_their_order():
    assert len(ngram_hashes(list("abcdefg"), 5)) == 3
    assert len(ngram_hashes(list("ab"), 5)) == 1
    assert ngram_hashes([], 5).dtype == np.uint64
    runs = ["ab", "ba", "aa", "bb", "abc", "a"]
    assert len({int(ngram_hashes(list(run), 5)[0]) for run in runs}) == len(runs)


def test_exact_repetitions_go_but_for_the_first_whatever_their_case_width_or_spaces():
    texts = [
        ENGLISH,
        OTHER,
        ENGLISH.upper(),
        CHINESE,
        f"  {OTHER}",
        CHINESE.replace("，", ","),
        ENGLISH[:-1],
        "Ａ b",
        "a  B",
    ]
    assert reasons(texts, "exact") == [0, 0, 1, 0, 1, 1, 0, 0, 1]
    assert reasons(texts, "none") == [0] * 9


@pytest.mark.parametrize("text", [ENGLISH * 3, CHINESE * 3], ids=["english", "chinese"])
def test_near_repetitions_go_and_other_texts_stay(text):
    changed = text[:-4] + text[-3:]
    half = text[: len(text) // 9] + OTHER
    assert reasons([OTHER, text, changed, half, text], "near") == [0, 0, 2, 0, 1]
    assert reasons([OTHER, text, changed, half, text], "exact") == [0, 0, 0, 0, 1]


def test_texts_without_a_word_repeat_each_other_only_exactly():
    assert reasons(["...", "?!", "...", "", "(:"], "near") == [0, 0, 1, 0, 0]


def test_texts_that_quote_13_words_or_characters_go_first_and_repeat_nothing():
    words = ENGLISH.split()
    quoting = f"Someone wrote: {' '.join(words[4:17]).upper()}!"
    short_of = f"Someone wrote: {' '.join(words[4:16])}!"
    texts = [quoting, short_of, CHINESE[:16], CHINESE[:12], OTHER, quoting]
    assert reasons(texts, "exact", [ENGLISH, CHINESE]) == [3, 0, 3, 0, 0, 3]


def test_a_short_evaluation_text_goes_only_as_a_whole():
    assert reasons(
        ["good tea", "Good  TEA!", "very good tea", "tea", "很好", "很好喝"], "none", ["good tea", "很好"]
    ) == [3, 3, 0, 0, 3, 0]


def test_evaluation_texts_are_all_cells_of_all_files(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer\nwhere is it,over there\n", "utf-8")
    (tmp_path / "b.jsonl").write_text('{"n": 1, "turns": [{"said": "well now"}]}\n', "utf-8")
    (tmp_path / "c.txt").write_text("one line\n", "utf-8")
    quotes = read_quotes(tmp_path, "utf-8")
    fingerprint = Fingerprinter("none", quotes)
    texts = ["Where is it?", "over there", "well now", "one line", "where it is"]
    assert fingerprint(texts)[:, 0].tolist() == [1, 1, 1, 1, 0]
    assert quotes.dtype == np.uint64
    assert len(read_quotes(None, "utf-8")) == 0
    (tmp_path / "bad.jsonl").write_text("{\n", "utf-8")
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        read_quotes(tmp_path / "bad.jsonl", "utf-8")


def test_fingerprints_are_the_same_in_every_process():
    found = Fingerprinter("near", ngram_hashes(units(CHINESE), 13))([ENGLISH, CHINESE])
    assert found.dtype == np.uint64
    assert found[:, 0].tolist() == [0, 1]
    assert found[:, :3].tolist() == [
        [0, 2499835599184456100, 2495257221950733680],
        [1, 7646228425611482731, 2973744312767775635],
    ]
