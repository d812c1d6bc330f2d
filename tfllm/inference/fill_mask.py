"""Words for the gaps of a text: what a masked language model holds likely at each typed [MASK].

B texts, P pieces of all texts, T tokens, M gaps, V vocabulary, K words for a gap.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("count", "filled", "scores", "words")  # of serving_default
MASK = "[MASK]"
NUM_WORDS = 5  # K
_NO_WORD = re.compile(r"\s*|<0x[0-9A-F]{2}>")  # a blank, or a byte of a character


class Gaps(NamedTuple):
    """The gaps of B texts.

    Attributes:
        pieces: ragged string (B, (1 + gaps)), the text between them.
        count: int32 (B,), how many the model sees, the first ones of the text.
        inputs: the model's inputs.
    """

    pieces: tf.RaggedTensor
    count: tf.Tensor
    inputs: dict[str, tf.Tensor]


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_masked_lm_head` or `add_pretraining_heads`.

    Returns:
        serving_default, fill_mask: text string (B,), with a [MASK] for each gap -> words string (B, M, 5): the most
            probable for each gap, as if it were the only one; scores float32 (B, M, 5), their probabilities among all
            words; count int32 (B,), how many gaps the text has, 0 or more: "" and 0 stand behind it; filled string
            (B,): the text with the best word in each gap. Of a text longer than the model the part around the gaps is
            read; gaps outside of it stay [MASK] and are not counted.
        next_sentence: where the model was trained on it, as `inference.next_sentence` tells.
    """
    import keras

    from tfllm.inference import next_sentence
    from tfllm.inference.signatures import TEXT, Signature

    table, signatures, masked_lm = Words(tokenizer), {}, model
    if isinstance(model.output, dict):
        masked_lm = keras.Model(model.input, model.output["masked_lm"])
        encoder_inputs = {name: tensor for name, tensor in model.input.items() if name != "mask_positions"}
        follows = keras.Model(encoder_inputs, model.output["next_sentence"])
        signatures = next_sentence.build_signatures(follows, {}, tokenizer, sequence_length)

    def fill_mask(text):
        gaps = encode(text, tokenizer, sequence_length)
        return decode(masked_lm(gaps.inputs, training=False), gaps, table)

    signature = Signature(fill_mask, {"text": TEXT})
    return {**signatures, "serving_default": signature, "fill_mask": signature}


class Words:
    """The tokens of a vocabulary as words for a gap.

    Attributes:
        words: string (V,), without marks of where a word begins or goes on.
        ids: int32 (W,), the tokens that are words: no special ones, bytes or blanks.
        continues: bool (V,), whether a token goes on with the word before it.
    """

    def __init__(self, tokenizer: "Tokenizer"):
        words = [
            word.decode().removeprefix("##")
            for word in tokenizer.detokenize(tf.range(tokenizer.vocabulary_size)[:, tf.newaxis]).numpy()
        ]
        ids = [
            number
            for number, token in enumerate(tokenizer.vocabulary)
            if not _NO_WORD.fullmatch(words[number]) and not _NO_WORD.fullmatch(token)
        ]
        self.words, self.ids = tf.constant(words), tf.constant(ids, tf.int32)
        self.continues = tokenizer.word_starts(tf.range(tokenizer.vocabulary_size)) == 0


def encode(text: tf.Tensor, tokenizer: "Tokenizer", sequence_length: int) -> Gaps:
    """The model's inputs for string (B,).

    A typed "[MASK]" is ordinary text to the tokenizer, so the text is cut there and its pieces are tokenized.
    """
    pieces = tf.strings.split(text, MASK)  # (B, (1 + gaps))
    ids = tokenizer.tokenize(pieces.flat_values)  # (P, (T))
    is_gap = tf.cast(tf.logical_not(_is_last(pieces)), tf.int64)
    gap_ids = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(is_gap)], tokenizer.mask_id), is_gap)
    ids = tf.concat([ids, gap_ids], axis=1)
    ids = tf.RaggedTensor.from_row_splits(ids.flat_values, tf.gather(ids.row_splits, pieces.row_splits))  # (B, (T))
    ids = tokenizer.wrap(_around_gaps(ids, tokenizer.mask_id, sequence_length - 2), sequence_length)

    num_tokens = ids.row_lengths()
    width = tf.maximum(tf.reduce_max(num_tokens), 2)  # without any row the maximum is the lowest integer
    token_ids = ids.to_tensor(tokenizer.pad_id, shape=tf.stack([ids.nrows(), width]))
    positions = tf.ragged.boolean_mask(tf.ragged.range(num_tokens), ids == tokenizer.mask_id)  # (B, (M))
    most = tf.maximum(tf.reduce_max(positions.row_lengths()), 1)
    inputs = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.sequence_mask(num_tokens, width, tf.int32),
        "mask_positions": tf.cast(positions.to_tensor(shape=tf.stack([ids.nrows(), most])), tf.int32),
    }
    inputs = {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}
    return Gaps(pieces, tf.cast(positions.row_lengths(), tf.int32), inputs)


def decode(logits: tf.Tensor, gaps: Gaps, table: Words) -> dict[str, tf.Tensor]:
    """What `serving_default` gives, of logits float32 (B, M, V)."""
    probabilities = tf.nn.softmax(tf.gather(logits, table.ids, axis=2))  # (B, M, W)
    scores, best = tf.math.top_k(probabilities, min(NUM_WORDS, len(table.ids)))
    ids = tf.gather(table.ids, best)  # (B, M, K)
    real = tf.sequence_mask(gaps.count, tf.shape(ids)[1])[:, :, tf.newaxis]
    return {
        "words": tf.where(real, tf.gather(table.words, ids), ""),
        "scores": tf.where(real, scores, 0.0),
        "count": gaps.count,
        "filled": _filled(gaps, ids[:, :, 0], table),
    }


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each text it `filled`, and for each of its `gaps` the words with their scores, the best first."""
    columns = zip(inputs["text"], *(outputs[name] for name in ("filled", "count", "words", "scores")), strict=True)
    return [
        {
            "text": text,
            "filled": filled.decode(),
            "gaps": [
                [{"word": word.decode(), "score": float(score)} for word, score in zip(*gap, strict=True)]
                for gap in zip(words[:count], scores[:count], strict=True)
            ],
        }
        for text, filled, count, words, scores in columns
    ]


def _is_last(pieces: tf.RaggedTensor) -> tf.Tensor:
    """bool (P,): whether a piece is the last one of its text, with no gap after it."""
    return tf.range(1, tf.shape(pieces.flat_values, tf.int64)[0] + 1) == tf.gather(
        pieces.row_limits(), pieces.value_rowids()
    )


def _around_gaps(ids: tf.RaggedTensor, mask_id: int, room: int) -> tf.RaggedTensor:
    """At most `room` tokens of each row: those around the middle of its gaps, never without the first one."""
    lengths = ids.row_lengths()
    places = tf.ragged.boolean_mask(tf.ragged.range(lengths), ids == mask_id).to_tensor(
        0, shape=tf.stack([ids.nrows(), tf.maximum(tf.reduce_max(lengths), 1)])
    )  # increasing, then zeros
    last = tf.reduce_max(places, axis=1)
    first = places[:, 0]
    start = tf.clip_by_value(tf.minimum((first + last + 1 - room) // 2, first), 0, tf.maximum(lengths - room, 0))
    chosen = tf.ragged.range(start, start + tf.minimum(lengths, room))
    offsets = tf.gather(ids.row_starts(), chosen.value_rowids())
    return chosen.with_flat_values(tf.gather(ids.flat_values, chosen.flat_values + offsets))


def _filled(gaps: Gaps, ids: tf.Tensor, table: Words) -> tf.Tensor:
    """string (B,), valid UTF-8: the texts with the words of `ids`, int32 (B, M), in their gaps."""
    from tfllm.tokenizers.base import valid_utf8

    pieces, rows = gaps.pieces.flat_values, gaps.pieces.value_rowids()
    number = tf.range(tf.shape(pieces, tf.int64)[0]) - tf.gather(gaps.pieces.row_starts(), rows)  # of the gap after it
    seen = tf.cast(number, tf.int32) < tf.gather(gaps.count, rows)
    chosen = tf.gather_nd(ids, tf.stack([rows, tf.where(seen, number, 0)], axis=1))  # (P,)
    word = tf.where(seen, tf.gather(table.words, chosen), tf.where(_is_last(gaps.pieces), "", MASK))
    joined = seen & tf.gather(table.continues, chosen)  # "cat [MASK]" and "##s" are "cats"
    pieces = tf.where(joined, tf.strings.regex_replace(pieces, r"\s+$", ""), pieces)
    text = gaps.pieces.with_flat_values(tf.strings.join([pieces, word]))
    return valid_utf8(tf.strings.reduce_join(text.to_tensor(""), axis=1))
