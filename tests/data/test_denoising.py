"""Damaged texts: by hand, shares and lengths as asked, nothing lost, rows that fit, any batch first."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import Noise, denoising_dataset, sentinel_ids
from tfllm.data.denoising import damage_spans, infill, pack_damaged
from tfllm.data.samples import sample_path
from tfllm.tokenizers import WordPieceTokenizer

SENTINELS = np.arange(1000, 1100)


def restored(source, target):
    """The text, from a source with sentinels and a target of sentinels and their spans."""
    spans, text = {}, []
    for token in target:
        if token >= 1000:
            spans[token] = current = []
        else:
            current.append(token)
    assert list(spans) == list(range(1000, 1000 + len(spans))) and spans[max(spans)] == []
    for token in source:
        text += spans[token] if token >= 1000 else [token]
    return text


def test_what_was_left_out_stands_in_the_target():
    for seed, length in enumerate([2, 3, 7, 20, 100, 800]):
        tokens = np.arange(length)
        source, target = damage_spans(tokens, SENTINELS, Noise(), np.random.default_rng(seed))
        assert restored(source, target) == tokens.tolist()
        left_out = (target < 1000).sum()
        assert left_out == max(1, round(0.15 * length))
        assert (source >= 1000).sum() == max(1, min(round(left_out / 3), 99))


def test_the_first_and_the_last_token_are_left_out_too():
    random = np.random.default_rng(0)
    pairs = [damage_spans(np.arange(10), SENTINELS, Noise(), random) for _ in range(200)]
    assert {int((target < 1000).nonzero()[0][0]) for _, target in pairs} == {1}
    places = np.bincount(np.concatenate([target[target < 1000] for _, target in pairs]), minlength=10)
    assert places.min() > 5


def test_more_spans_than_sentinels_are_longer():
    source, target = damage_spans(np.arange(900), np.arange(1000, 1004), Noise(), np.random.default_rng(0))
    assert (source >= 1000).sum() == 3 and restored(source, target) == list(range(900))


def test_infilled_texts_keep_their_order_with_one_mask_for_each_span():
    lengths, masks = 0, 0
    for seed in range(50):
        tokens = np.arange(100)
        source, target = infill(tokens, np.array([1000]), Noise("infill", rate=0.3), np.random.default_rng(seed))
        assert (target == tokens).all()
        kept = source[source < 1000]
        assert len(kept) == 70 and (np.diff(kept) > 0).all()
        lengths, masks = lengths + 30, masks + (source == 1000).sum()
        assert len(source) <= 100
    assert lengths / masks == pytest.approx(3, abs=0.4)
    source, _ = infill(np.arange(2), np.array([1000]), Noise("infill"), np.random.default_rng(3))
    assert len(source) <= 2


@pytest.mark.parametrize("noise", [Noise(), Noise(rate=0.5, mean_length=10.0), Noise("infill", 0.3)])
@pytest.mark.parametrize("length", [16, 64])
def test_rows_hold_every_piece_and_are_nearly_full(tiny_tokenizer, noise, length):
    texts = sample_path("text_en.txt").read_text("utf-8").split("\n")
    rows = pack_damaged(texts, tiny_tokenizer, length, np.random.default_rng(0), noise)
    pieces = rows["source_mask"].max(1).sum()
    assert pieces == rows["padding_mask"].max(1).sum() == (rows["source_ids"] == tiny_tokenizer.sep_id).sum()
    assert rows["source_ids"].shape[1] == length
    if noise == Noise():
        kept = (rows["source_ids"] < tiny_tokenizer.vocabulary_size) & (rows["source_mask"] > 0)
        left_out = (rows["token_ids"] < tiny_tokenizer.vocabulary_size) & (rows["padding_mask"] > 0)
        tokens = sum(map(len, tiny_tokenizer.tokenize(texts).to_list()))
        assert kept.sum() - 2 * pieces + left_out.sum() - pieces >= 0.98 * tokens  # but for pieces of one token
    assert (rows["source_mask"] > 0).mean() > 0.8


def test_a_row_has_room_for_a_target_with_two_start_tokens(tiny_tokenizer):
    noise, length = Noise(mean_length=8.0), 32  # a piece of 34 tokens, of which 5 are a span
    rows = pack_damaged(["the " * 200], tiny_tokenizer, length, np.random.default_rng(0), noise, ["sep", "cls"])
    assert (rows["source_mask"] > 0).all(1).any()
    assert (rows["padding_mask"] > 0).sum(1).max() == 9  # two to begin with, two sentinels, the span


def test_sentinels_are_those_of_the_vocabulary_or_stand_behind_it(tokenizer):
    assert sentinel_ids(tokenizer).tolist() == [*range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 100)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<extra_id_1>", "a", "<extra_id_0>"]
    assert sentinel_ids(WordPieceTokenizer(words)).tolist() == [7, 5]


def test_batches_predict_every_token_of_the_targets_and_their_end(tiny_tokenizer):
    dataset = denoising_dataset(sample_path("text_en.txt"), tiny_tokenizer, sequence_length=32, batch_size=4)
    inputs, next_ids, weights = next(iter(dataset.as_numpy_iterator()))
    assert inputs["source_ids"].shape == (4, 32)
    for ids, mask, following, counts in zip(
        inputs["token_ids"], inputs["padding_mask"], next_ids, weights, strict=True
    ):
        assert (counts == (mask > 0)).all()
        for number in range(1, mask.max() + 1):
            here = mask == number
            assert ids[here][0] == tiny_tokenizer.cls_id
            assert following[here].tolist() == [*ids[here][1:], tiny_tokenizer.sep_id]


def test_any_batch_can_be_the_first_and_every_epoch_is_damaged_otherwise(tiny_tokenizer, tmp_path):
    file = tmp_path / "corpus.txt"
    file.write_text(
        "\n".join(f"the cat {'the ' * number} sat on the mat and looked at the dog" for number in range(40)), "utf-8"
    )

    def sources(**arguments):
        dataset = denoising_dataset(file, tiny_tokenizer, sequence_length=64, batch_size=4, held_out=0.0, **arguments)
        return [inputs["source_ids"] for inputs, _, _ in dataset.take(30).as_numpy_iterator()]

    whole, later = sources(), sources(start_batch=12)
    for one, other in zip(whole[12:], later, strict=False):
        np.testing.assert_array_equal(one, other)
    assert len({row.tobytes() for batch in whole for row in batch}) > 80  # of an epoch there are some 40


@pytest.mark.parametrize("noise", [Noise("shuffle"), Noise(rate=0.0), Noise(rate=1.0), Noise(mean_length=0.5)])
def test_noise_that_means_nothing_is_refused(tiny_tokenizer, noise):
    with pytest.raises(InputError, match=r"`noise` must be one of|Noise needs a rate"):
        denoising_dataset(sample_path("text_en.txt"), tiny_tokenizer, noise=noise)


def test_sources_and_targets_begin_as_the_model_reads_them(tiny_tokenizer):
    words = [word for word in tiny_tokenizer.vocabulary if word != "[CLS]"]
    special = {"pad": "[PAD]", "unk": "[UNK]", "sep": "[SEP]", "mask": "[MASK]"}
    t5 = WordPieceTokenizer(words, special_tokens=special)
    texts = ["one of many words", "and a few more of them"] * 4
    for noise in (Noise(), Noise("infill")):
        rows = pack_damaged(texts, t5, 64, np.random.default_rng(0), noise, ["pad", "sep"])
        pieces = int(rows["padding_mask"].max(1).sum())
        firsts = np.diff(rows["padding_mask"], axis=1, prepend=0) > 0
        assert firsts.sum() == pieces == 8
        assert (rows["token_ids"][firsts] == t5.pad_id).all()
        assert (rows["token_ids"][np.roll(firsts, 1, axis=1)] == t5.sep_id).all()
        lasts = np.diff(rows["source_mask"], axis=1, append=0) != 0
        assert (rows["source_ids"][lasts & (rows["source_mask"] > 0)] == t5.sep_id).all()
