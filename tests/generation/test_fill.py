"""Gaps are filled as full passes over prefix and suffix say; of long texts what is next to the gap is read."""

import pytest

from tfllm.checks import InputError
from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, read_encoder

CLS, SEP, MASK, WORDS = 2, 3, 4, range(5, 11)
GAPS = [("a b", "c"), ("", "d e"), ("f", ""), ("", "")]


@pytest.fixture(scope="module")
def filler(writing_model, letters):
    """The model of the other tests, which says of itself that it fills gaps."""
    model = add_causal_lm_head(read_encoder(writing_model), fills=True)
    return TextGenerator(model, letters)


def by_full_passes(probabilities, letters, prefix, suffix, count):
    prefix, suffix = (letters.tokenize(text).to_list()[0] for text in (prefix, suffix))
    ids = [CLS, MASK, *prefix, MASK, *suffix, MASK]
    start = len(ids)
    while len(ids) - start < count:
        last = probabilities(ids)[-1]
        token = max([SEP, *WORDS], key=lambda token: last[token])
        if token == SEP:
            break
        ids.append(token)
    return letters.detokenize([ids[start:]]).numpy()[0].decode()


def test_gaps_are_filled_as_full_passes_say(filler, probabilities, letters):
    rows = filler.fill(*map(list, zip(*GAPS, strict=True)), max_new_tokens=6)
    for (prefix, suffix), row in zip(GAPS, rows, strict=True):
        assert row["prompt"] == prefix
        assert row["text"] == by_full_passes(probabilities, letters, prefix, suffix, 6)


def test_of_long_texts_what_is_next_to_the_gap_is_read(filler):
    long, short = "a b c d e f " * 9, "c d e f"
    settings = {"max_new_tokens": 16}  # 16 tokens are left for the prompt, 4 of them marks
    (one,), (other,) = (filler.fill([text], [short], **settings) for text in (long, "e f a b c d e f"))
    assert one["text"] == other["text"]
    (one,), (other,) = (
        filler.fill([before], [after], **settings) for before, after in ((long, long), (long, long[:11]))
    )
    assert one["text"] == other["text"]


def test_every_prefix_needs_a_suffix(filler):
    with pytest.raises(InputError, match="as many prefixes and suffixes"):
        filler.fill(["a", "b"], ["c"])


def test_another_model_says_so(generator):
    with pytest.raises(InputError, match="did not learn to fill gaps"):
        generator.fill(["a"], ["b"])
