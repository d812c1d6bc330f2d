"""The report's numbers on texts small enough to count by hand."""

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import WordPieceTokenizer, report
from tfllm.tokenizers.base import SPECIAL_TOKENS

TOKENIZER = WordPieceTokenizer([*SPECIAL_TOKENS, "a", "##b", "中"])


def test_numbers_are_exact():
    found = report(TOKENIZER, iter(["ab a", "中z", "a"]))
    assert found == {
        "texts": 3,
        "tokens": 6,  # a ##b a · 中 [UNK] · a
        "bytes_per_token": 9 / 6,
        "characters_per_token": 7 / 6,
        "unknown_rate": 1 / 6,
        "round_trip_failures": 1,
        "round_trip_examples": [{"text": "中z", "decoded": "中"}],
    }


def test_examples_are_few_and_short():
    found = report(TOKENIZER, ["z" * 500] * 600)
    assert found["round_trip_failures"] == found["texts"] == 600
    assert [len(example["text"]) for example in found["round_trip_examples"]] == [200] * 5


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_nothing_to_measure_is_an_input_error(texts):
    with pytest.raises(InputError, match="nothing to measure"):
        report(TOKENIZER, texts)
