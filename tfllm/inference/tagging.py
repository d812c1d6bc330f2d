"""A tagger's answers: the entities of a text, or its words with their tags, and where each stands.

Texts longer than the model are read in overlapping windows, and each token's tag comes from the window where the token
has most context; the tags of a text are then chosen together: the likeliest sequence of all that can be.
B texts, W windows, T tokens of a window, N tokens of all texts, L tokens of the longest, C tags, M entities of a text.
P is C where the model tells the probability of each tag after each tag, and 1 where it tells that of each tag.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.tags import TagSet, make_tags

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer
    from tfllm.tokenizers.windows import Windows

NAMES = {"entities": "entity", "words": "tag"}  # what a label is called in the answers
OUTPUTS = ("byte_end", "byte_start", "count", "end", "score", "start", "text")  # of serving_default, besides the label
_ROW = ("text", "start", "end", "score")
_IMPOSSIBLE = -1e9


class TokenPlaces(NamedTuple):
    """Where the tokens of B texts stand in the windows and in the texts.

    Attributes:
        windows: which tokens are in which window.
        starts, ends: ragged int64 (B, (L)), characters, without white space at the borders.
        carried: ragged bool (B, (L)), True where a token has the tag of the one before it: inside whole words.
    """

    windows: "Windows"
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor
    carried: tf.RaggedTensor


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_tagger_head`.

    Returns:
        serving_default: text string (B,) -> what `decode` gives.
        tokens: the model's inputs, int32 (B, T) -> log_probabilities float32 (B, T, P, C); 0 on padding.
    """
    from tfllm.inference.parts import in_parts
    from tfllm.inference.signatures import TEXT, TOKENS, Signature

    def serving_default(text):
        inputs, places = encode(text, tokenizer, sequence_length, arguments["whole_words"])
        return decode(in_parts(model, inputs), places, text, arguments["labels"], arguments["kind"])

    def tokens(**inputs):
        found = _log_probabilities(model(inputs, training=False))
        real = tf.cast(inputs["padding_mask"] > 0, found.dtype)[:, :, tf.newaxis, tf.newaxis]
        return {"log_probabilities": found * real}

    return {
        "serving_default": Signature(serving_default, {"text": TEXT}),
        "tokens": Signature(tokens, dict.fromkeys(model.input, TOKENS)),
    }


def encode(
    text: tf.Tensor, tokenizer: "Tokenizer", sequence_length: int, whole_words: bool
) -> tuple[dict[str, tf.Tensor], TokenPlaces]:
    """The encoder's inputs, int32 (W, T), for string (B,), and where tokens stand; a text without any has no row."""
    from tfllm.tokenizers.offsets import without_spaces
    from tfllm.tokenizers.windows import cut_windows
    from tfllm.tokenizers.words import continues_word

    tokens = tokenizer.tokenize_with_offsets(text)
    windows = cut_windows(tokens.ids.row_lengths(), sequence_length - 2)
    ids = windows.tokens.with_values(tf.gather(tokens.ids.values, windows.tokens.values))
    ids = tokenizer.wrap(ids, sequence_length)
    lengths = ids.row_lengths()
    width = tf.maximum(tf.reduce_max(lengths), 3)  # without any row the maximum is the lowest integer
    token_ids = ids.to_tensor(tokenizer.pad_id, shape=tf.stack([ids.nrows(), width]))
    inputs = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.sequence_mask(lengths, width, tf.int32),
    }
    starts, ends = without_spaces(text, tokens.character_starts, tokens.character_ends)
    carried = continues_word(text, starts) if whole_words else tf.zeros_like(starts.values, tf.bool)
    places = TokenPlaces(windows, starts, ends, starts.with_values(carried))
    return {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}, places


def decode(
    outputs: tf.Tensor, places: TokenPlaces, text: tf.Tensor, labels: list[str], kind: str
) -> dict[str, tf.Tensor]:
    """The entities of every text, or its words.

    Args:
        outputs: float32 (W, T, C, C) or (W, T, C), the model's.
        places: as `encode` gives them.
        text: string (B,).
        labels, kind: those of the head.

    Returns:
        count int32 (B,): how many each text has. And, padded to the largest count with "" and 0, each (B, M):
        entity (or tag, of words) string: the label; start, end int32: it is `text[start:end]`, counted in characters;
        byte_start, byte_end int32: the same in bytes; score float32: the mean probability of the tags of its tokens;
        text string: its words.
    """
    import tensorflow_text as tf_text

    from tfllm.tokenizers.base import valid_utf8
    from tfllm.tokenizers.neighbours import row_numbers
    from tfllm.tokenizers.offsets import character_boundaries

    tags, windows, rows = make_tags(labels, kind), places.windows, row_numbers(places.starts)
    at = tf.stack([windows.owner, windows.place + 1], axis=1)  # [CLS] stands at place 0
    scores = _log_probabilities(tf.gather_nd(outputs, at)[tf.newaxis])[0]  # (N, P, C)
    chosen, score = best_tags(places.starts.with_values(scores), places.carried, tags)  # both (N,)
    begins = tf.gather(tags.begins, chosen)
    entity = tf.where(tf.gather(tags.inside, chosen), tf.cumsum(tf.cast(begins, tf.int32)) - 1, -1)  # (N,)
    first = tf.where(begins)[:, 0]  # the first token of each entity
    count = tf.size(first)
    found = {
        NAMES[kind]: tf.gather(labels, tf.gather(tags.label, tf.gather(chosen, first))),
        "start": tf.gather(places.starts.values, first),
        "end": tf.math.unsorted_segment_max(places.ends.values, entity, count),
        "score": tf.math.unsorted_segment_mean(tf.exp(score), tf.where(places.carried.values, -1, entity), count),
    }
    real = found["start"] < found["end"]  # tokens that stand for no character are no entity
    rows = tf.boolean_mask(tf.gather(rows, first), real)
    found = {name: tf.boolean_mask(values, real) for name, values in found.items()}
    bounds = character_boundaries(text)
    for name in ("start", "end"):
        byte = tf.gather(bounds.values, tf.gather(bounds.row_starts(), rows) + found[name])
        found[name], found[f"byte_{name}"] = tf.cast(found[name], tf.int32), tf.cast(byte, tf.int32)
    ragged = {
        name: tf.RaggedTensor.from_value_rowids(values, rows, places.starts.nrows(), validate=False)
        for name, values in found.items()
    }
    pieces = tf_text.ByteSplitter().split_by_offsets(text, ragged["byte_start"], ragged["byte_end"])
    ragged["text"] = pieces.with_values(valid_utf8(pieces.values))
    outputs = {name: tf.ensure_shape(part.to_tensor(), [None, None]) for name, part in ragged.items()}
    return {**outputs, "count": tf.cast(ragged["start"].row_lengths(), tf.int32)}


def best_tags(scores: tf.RaggedTensor, carried: tf.RaggedTensor, tags: TagSet) -> tuple[tf.Tensor, tf.Tensor]:
    """Of all sequences of tags that can be, the likeliest of each text.

    Args:
        scores: float32 (B, (L), P, C), log-probabilities; of a text's first tag, P says nothing.
        carried: bool (B, (L)), tokens that have the tag of the one before; their scores do not count.
        tags: which tag may follow which.

    Returns:
        The tags of all tokens laid end to end, int32 (N,), and their log-probabilities, float32 (N,).

    Source: Viterbi 1967, doi:10.1109/TIT.1967.1054010.
    """
    found = _viterbi(scores, carried.values, tags)
    before = tf.pad(found, [[1, 0]])[:-1] if scores.shape[2] != 1 else tf.zeros_like(found)
    token = tf.range(tf.size(found))
    return found, tf.gather_nd(scores.values, tf.stack([token, before, found], axis=1))


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each text `text` and a list, `entities` or `words`, of dicts with `entity` (or `tag`), `text`, `start`, `end`
    in characters, and `score`."""
    kind = next(kind for kind, name in NAMES.items() if name in outputs)
    rows = []
    for number, text in enumerate(inputs["text"]):
        columns = [outputs[name][number, : outputs["count"][number]].tolist() for name in _ROW]
        names = outputs[NAMES[kind]][number]
        found = [
            {NAMES[kind]: name.decode(), "text": words.decode(), "start": start, "end": end, "score": score}
            for name, words, start, end, score in zip(names, *columns, strict=False)
        ]
        rows.append({"text": text, kind: found})
    return rows


def _log_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """float32 (B, T, P, C) of a model's outputs; the mean of several models' does not sum to 1."""
    return tf.nn.log_softmax(outputs if outputs.shape.rank == 4 else outputs[:, :, tf.newaxis])


def _viterbi(scores: tf.RaggedTensor, carried: tf.Tensor, tags: TagSet) -> tf.Tensor:
    """The likeliest possible tags, int32 (N,); scores float32 (B, (L), P, C), carried bool (N,)."""
    texts = tf.where(scores.row_lengths() > 0)[:, 0]
    starts, lengths = (tf.cast(tf.gather(part(), texts), tf.int32) for part in (scores.row_starts, scores.row_lengths))
    width = tf.maximum(tf.reduce_max(lengths), 1)  # without any row the maximum is the lowest integer
    same = tf.range(len(tags.names))
    barred = tf.where(tags.may_follow, 0.0, _IMPOSSIBLE)  # (C, C)
    carrying = tf.one_hot(tags.carried, len(tags.names), on_value=0.0, off_value=_IMPOSSIBLE)  # (C, C)
    best = tf.gather(scores.values, starts)[:, 0] + tf.where(tags.may_begin, 0.0, _IMPOSSIBLE)
    previous = tf.TensorArray(tf.int32, width, element_shape=[None, len(tags.names)])

    def forward(place, best, previous):  # `best` (B, C): of sequences that end in each tag
        token = starts + tf.minimum(place, lengths - 1)
        step = tf.gather(scores.values, token) + barred
        step = tf.where(tf.gather(carried, token)[:, tf.newaxis, tf.newaxis], carrying, step)
        through = best[:, :, tf.newaxis] + step  # (B, C, C)
        goes_on = (place < lengths)[:, tf.newaxis]
        came_from = tf.where(goes_on, tf.argmax(through, axis=1, output_type=tf.int32), same)
        best = tf.where(goes_on, tf.reduce_max(through, axis=1), best)
        return place + 1, best, previous.write(place, came_from)

    def backward(place, tag, found):
        found = found.write(place, tag)
        return place - 1, tf.gather(previous.read(place), tag, batch_dims=1), found

    _, best, previous = tf.while_loop(lambda place, *_: place < width, forward, (1, best, previous))
    tag = tf.argmax(best, axis=1, output_type=tf.int32)
    found = tf.TensorArray(tf.int32, width, element_shape=[None])
    _, tag, found = tf.while_loop(lambda place, *_: place > 0, backward, (width - 1, tag, found))
    return tf.boolean_mask(tf.transpose(found.write(0, tag).stack()), tf.sequence_mask(lengths, width))
