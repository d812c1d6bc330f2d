"""Texts become rows in which every token predicts the next one of its own text."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data import causal_lm_dataset, write_records
from tfllm.data.causal import fill_in_middle, next_token_targets, pack_texts
from tfllm.tokenizers import WordPieceTokenizer, train_byte_bpe

WORDS = [f"w{number}" for number in range(400)]
PAD, CLS, SEP = 0, 2, 3


@pytest.fixture(scope="module")
def tokenizer():
    """Every word of the corpus is its own token, `w0` is 6."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS])


@pytest.fixture
def corpus(tmp_path):
    """Texts of 1, 2, ... 27 words; every word stands once."""
    words, lines = iter(WORDS), []
    for length in range(1, 28):
        lines.append(" ".join(next(words) for _ in range(length)))
    (tmp_path / "corpus.txt").write_text("\n".join(lines), "utf-8")
    return str(tmp_path / "corpus.txt")


def texts_of(dataset):
    """Ids of each text of each row, and what each of its tokens is to predict (None: nothing)."""
    found = []
    for inputs, next_ids, weights in dataset.as_numpy_iterator():
        for ids, mask, wanted, weight in zip(
            inputs["token_ids"], inputs["padding_mask"], next_ids, weights, strict=True
        ):
            for number in range(1, mask.max() + 1):
                here = mask == number
                targets = [int(t) if w else None for t, w in zip(wanted[here], weight[here], strict=True)]
                found.append((ids[here].tolist(), targets))
            assert not weight[mask == 0].any()
    return found


def test_targets_by_hand():
    rows = {
        "token_ids": tf.constant([[CLS, 10, 11, SEP, CLS, 12, SEP, PAD]]),
        "padding_mask": tf.constant([[1, 1, 1, 1, 2, 2, 2, 0]]),
    }
    inputs, next_ids, weights = next_token_targets()(rows)
    assert inputs["token_ids"] is rows["token_ids"] and inputs["padding_mask"] is rows["padding_mask"]
    assert next_ids.numpy().tolist() == [[10, 11, SEP, CLS, 12, SEP, 0, 0]]
    assert weights.numpy().tolist() == [[1, 1, 1, 0, 1, 1, 0, 0]]


def test_where_a_long_text_was_cut_no_end_is_to_be_predicted():
    whole = {"token_ids": tf.constant([[CLS, 10, 11, SEP]]), "padding_mask": tf.constant([[1, 1, 1, 1]])}
    assert next_token_targets(every_part_ends=True)(whole)[2].numpy().tolist() == [[1, 1, 0, 0]]
    short = {"token_ids": tf.constant([[CLS, 10, SEP, PAD]]), "padding_mask": tf.constant([[1, 1, 1, 0]])}
    assert next_token_targets(every_part_ends=True)(short)[2].numpy().tolist() == [[1, 1, 0, 0]]


def test_a_long_text_is_cut_elsewhere_every_time_and_ends_once(tokenizer):
    text, cuts = " ".join(WORDS[:20]), set()
    for seed in range(8):
        rows = pack_texts([text], tokenizer, 8, np.random.default_rng(seed))
        pieces = [
            ids[mask == number].tolist()
            for ids, mask in zip(*rows.values(), strict=True)
            for number in range(1, mask.max() + 1)
        ]
        pieces.sort(key=lambda piece: piece[1] if piece[1] != SEP else 1000)
        assert all(piece[0] == CLS and len(piece) <= 8 for piece in pieces)
        assert [token for piece in pieces for token in piece[1:]] == [*range(6, 26), SEP]
        cuts.add(len(pieces[0]))
    assert len(cuts) > 2


def test_one_pass_predicts_every_token_and_every_end_once(corpus, tokenizer):
    dataset = causal_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, repeat=False)
    found = texts_of(dataset)
    for ids, targets in found:
        assert ids[0] == CLS
        assert targets == [*ids[1:], None]
    predicted = [target for _, targets in found for target in targets[:-1]]
    assert sorted(predicted) == sorted([*range(6, 6 + 378), *[SEP] * 27])


def test_batches_keep_the_contract_with_static_lengths(corpus, tokenizer):
    inputs, next_ids, weights = causal_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4).element_spec
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()} == dict.fromkeys(
        ("token_ids", "padding_mask"), ([4, 16], tf.int32)
    )
    assert (next_ids.shape.as_list(), next_ids.dtype) == ([4, 16], tf.int32)
    assert (weights.shape.as_list(), weights.dtype) == ([4, 16], tf.float32)


def test_records_give_the_same_words_and_no_false_ends(corpus, tokenizer, tmp_path):
    write_records(corpus, tokenizer, tmp_path / "records", sequence_length=16, held_out=0.0, workers=1)
    found = texts_of(causal_lm_dataset(tmp_path / "records", tokenizer, batch_size=4, repeat=False))
    predicted = [target for _, targets in found for target in targets if target is not None]
    assert sorted(token for token in predicted if token != SEP) == list(range(6, 6 + 378))
    assert predicted.count(SEP) == 27 - 1  # the text of 14 words fills a row, as the part of a longer one would
    with pytest.raises(InputError, match="no text can be parted"):
        causal_lm_dataset(tmp_path / "records", tokenizer, middle_share=0.5)


def test_from_any_batch_on_it_goes_on_as_from_the_first(corpus, tokenizer):
    def batches(start):
        dataset = causal_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, seed=3, start_batch=start)
        return [batch[0]["token_ids"] for batch in dataset.take(12 - start).as_numpy_iterator()]

    for first, later in zip(batches(0)[7:], batches(7), strict=True):
        np.testing.assert_array_equal(first, later)


def test_a_bad_argument_is_refused_by_name(corpus, tokenizer):
    with pytest.raises(InputError, match="`batch_size` must be at least 1"):
        causal_lm_dataset(corpus, tokenizer, batch_size=0)
    with pytest.raises(InputError, match="`part` must be one of"):
        causal_lm_dataset(corpus, tokenizer, part="test")


def test_of_a_share_of_the_texts_the_middle_comes_last():
    tokenizer = train_byte_bpe(["the cat sat on the mat", "你好，世界"] * 3, vocabulary_size=280)
    texts = ["the cat sat on the mat", "你好，世界", "on the mat, the cat", "x"] * 50
    pieces = [np.append(ids, tokenizer.sep_id) for ids in tokenizer.tokenize(texts).to_list()]
    moved = fill_in_middle(pieces, tokenizer, 0.5, 60, np.random.default_rng(0))
    changed = [tokenizer.mask_id in piece for piece in moved]
    assert 70 < sum(changed) < 130
    for text, before, after, parted in zip(texts, pieces, moved, changed, strict=True):
        if not parted:
            assert before is after
            continue
        places = np.flatnonzero(after == tokenizer.mask_id)
        assert len(places) == 3 and places[0] == 0 and after[-1] == tokenizer.sep_id and after.dtype == np.int32
        parts = [part.tolist() for part in np.split(after, places)[1:]]
        prefix, suffix, middle = (tokenizer.detokenize([part]).numpy()[0].decode() for part in parts)
        assert prefix + middle + suffix == text
    again = fill_in_middle(pieces, tokenizer, 0.5, 60, np.random.default_rng(0))
    assert all(np.array_equal(one, other) for one, other in zip(moved, again, strict=True))
    assert max(map(len, fill_in_middle(pieces, tokenizer, 1.0, 10, np.random.default_rng(0)))) == 10


def test_of_a_text_that_was_cut_within_a_character_the_rest_of_it_is_left_out():
    tokenizer = train_byte_bpe(["a"], vocabulary_size=261)
    ids = tokenizer.tokenize(["你好，世界"]).to_list()[0]
    assert len(ids) == 15
    moved = fill_in_middle([np.array(ids[1:-1])] * 20, tokenizer, 1.0, 60, np.random.default_rng(0))
    for piece in moved:
        parts = [part.tolist() for part in np.split(piece, np.flatnonzero(piece == tokenizer.mask_id))[1:]]
        prefix, suffix, middle = (tokenizer.detokenize([part]).numpy()[0].decode() for part in parts)
        assert prefix + middle + suffix == "好，世"


def test_parted_texts_stand_in_rows_as_others_do(tokenizer, corpus):
    options = {"sequence_length": 32, "batch_size": 4, "repeat": False, "middle_share": 1.0}
    for ids, targets in texts_of(causal_lm_dataset(corpus, tokenizer, **options)):
        assert ids[0] == CLS and ids[1] == tokenizer.mask_id
        assert targets[:-1] == ids[1:]
