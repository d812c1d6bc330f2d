"""Answers to questions: the text of the context that answers, its probability, and where it stands.

A context longer than the model is read in windows; a span counts with the best window it stands in, and there is no
answer as far as the window least sure of that says so.
B questions, W windows, T tokens of a window, C tokens of a context, L tokens of an answer at most, N answers.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer, Tokens
    from tfllm.tokenizers.question_windows import Windows

OUTPUTS = ("answer", "end", "score", "start")  # of serving_default
N_BEST = 5
NOWHERE = -1  # start and end of no answer
_POSSIBLE = -1e8  # what no log-probability of a possible span falls below
_BLANK = r"^[\s\p{Z}]+"


class Spans(NamedTuple):
    """The N best answers of B questions, the best first, and how likely it is that there is none.

    Attributes:
        answers: string (B, N); "" where there are fewer.
        log_probabilities: float32 (B, N); the lowest number there is where there are fewer.
        starts, ends: int32 (B, N), characters of the context; -1 where there are fewer.
        no_answer: float32 (B,), log-probability.
    """

    answers: tf.Tensor
    log_probabilities: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    no_answer: tf.Tensor


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_span_head`.

    Returns:
        serving_default: question, context string (B,) -> answer string (B,), score float32 (B,), its probability,
            start, end int32 (B,): `answer` is `context[start:end]`, counted in characters. Without an answer: "",
            -1, -1, and `score` is the probability that there is none.
        n_best: question, context string (B,) -> answers string (B, 5), scores float32 (B, 5), starts, ends int32
            (B, 5), count int32 (B,), of real ones, no_answer_score float32 (B,). The null threshold does not matter.
        tokens: the model's inputs, int32 (B, T) -> start_logits, end_logits float32 (B, T).
    """
    from tfllm.inference.parts import in_parts
    from tfllm.inference.signatures import TEXT, TOKENS, Signature

    def spans_of(question, context):
        inputs, windows, tokens = encode(question, context, tokenizer, sequence_length, arguments["stride"])
        return decode(in_parts(model, inputs), windows, tokens, context, arguments["max_answer_tokens"])

    def serving_default(question, context):
        return choose(spans_of(question, context), arguments["null_threshold"])

    def n_best(question, context):
        spans = spans_of(question, context)
        return {
            "answers": spans.answers,
            "scores": tf.exp(spans.log_probabilities),
            "starts": spans.starts,
            "ends": spans.ends,
            "count": tf.math.count_nonzero(spans.starts >= 0, axis=1, dtype=tf.int32),
            "no_answer_score": tf.exp(spans.no_answer),
        }

    def tokens(**inputs):
        logits = model(inputs, training=False)
        logits *= tf.cast(inputs["padding_mask"] > 0, logits.dtype)[:, tf.newaxis]  # 0 on padding
        return {"start_logits": logits[:, 0], "end_logits": logits[:, 1]}

    texts = {"question": TEXT, "context": TEXT}
    return {
        "serving_default": Signature(serving_default, texts),
        "n_best": Signature(n_best, texts),
        "tokens": Signature(tokens, dict.fromkeys(model.input, TOKENS)),
    }


def encode(
    question: tf.Tensor, context: tf.Tensor, tokenizer: "Tokenizer", sequence_length: int, stride: int | None
) -> tuple[dict[str, tf.Tensor], "Windows", "Tokens"]:
    """The encoder's inputs, int32 (W, T), for string (B,) each; the windows, and the tokens of the contexts."""
    from tfllm.tokenizers.question_windows import cut_windows

    tokens = tokenizer.tokenize_with_offsets(context)
    windows = cut_windows(tokenizer, tokenizer.tokenize(question), tokens.ids, sequence_length, stride)
    lengths = windows.token_ids.row_lengths()
    width = tf.maximum(tf.reduce_max(lengths), 3)  # without any row the maximum is the lowest integer
    shape = tf.stack([windows.token_ids.nrows(), width])
    inputs = {
        "token_ids": windows.token_ids.to_tensor(tokenizer.pad_id, shape=shape),
        "segment_ids": windows.segment_ids.to_tensor(shape=shape),
        "padding_mask": tf.sequence_mask(lengths, width, tf.int32),
    }
    return {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}, windows, tokens


def decode(
    logits: tf.Tensor, windows: "Windows", tokens: "Tokens", context: tf.Tensor, max_answer_tokens: int
) -> Spans:
    """The best spans of every context.

    A span's probability is that of its first token times that of its last one, each among the tokens of a window and
    "no answer"; of several windows that hold it the highest. That of no answer is the lowest of all windows.

    Args:
        logits: float32 (W, 2, T), the model's output.
        windows, tokens: as `encode` gives them.
        context: string (B,).
        max_answer_tokens: L.
    """
    log_probabilities = tf.nn.log_softmax(logits)  # (W, 2, T)
    questions, width = tf.shape(context)[0], tf.shape(logits)[2]
    no_answer = tf.math.unsorted_segment_min(
        tf.reduce_sum(log_probabilities[:, :, 0], axis=1), windows.questions, questions
    )
    scores = _span_scores(log_probabilities, max_answer_tokens)  # (W, T, L)
    # The same span of several windows is one: scores go to the context's tokens.
    most_tokens = tf.maximum(tf.cast(tf.reduce_max(tokens.ids.row_lengths()), tf.int32), 1)  # C
    part_token = tf.range(width) - windows.places[:, tf.newaxis]  # (W, T)
    inside = (part_token >= 0) & (part_token < windows.lengths[:, tf.newaxis])
    context_token = part_token + (windows.starts + windows.questions * most_tokens)[:, tf.newaxis]
    scores = tf.math.unsorted_segment_max(
        tf.reshape(scores, [-1, max_answer_tokens]),
        tf.reshape(tf.where(inside, context_token, -1), [-1]),
        questions * most_tokens,
    )  # (B * C, L)
    scores = tf.reshape(scores, [questions, most_tokens * max_answer_tokens])
    missing = tf.maximum(N_BEST - most_tokens * max_answer_tokens, 0)
    scores, found = tf.math.top_k(tf.pad(scores, [[0, 0], [0, missing]], constant_values=tf.float32.min), N_BEST)
    possible = scores > _POSSIBLE
    first = tf.where(possible, found // max_answer_tokens, 0)
    last = tf.where(possible, first + found % max_answer_tokens, 0)
    texts = _cut_out(context, tokens, first, last, most_tokens)
    answers, starts, ends = (
        tf.where(possible & (texts[0] != ""), values, nothing)
        for values, nothing in zip(texts, ("", NOWHERE, NOWHERE), strict=True)
    )
    return Spans(answers, tf.where(possible, scores, tf.float32.min), starts, ends, no_answer)


def choose(spans: Spans, null_threshold: float | None) -> dict[str, tf.Tensor]:
    """The answer of every question, as `serving_default` gives it."""
    best = spans.log_probabilities[:, 0]
    none = spans.starts[:, 0] < 0
    if null_threshold is not None:
        none |= spans.no_answer - best > null_threshold
    return {
        "answer": tf.where(none, "", spans.answers[:, 0]),
        "score": tf.exp(tf.where(none, spans.no_answer, best)),
        "start": tf.where(none, NOWHERE, spans.starts[:, 0]),
        "end": tf.where(none, NOWHERE, spans.ends[:, 0]),
    }


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each question `question`, `context`, `answer` ("" = there is none), `score`, `start` and `end`."""
    columns = zip(
        inputs["question"],
        inputs["context"],
        *(outputs[name] for name in ("answer", "score", "start", "end")),
        strict=True,
    )
    return [
        {
            "question": question,
            "context": context,
            "answer": answer.decode(),
            "score": float(score),
            "start": int(start),
            "end": int(end),
        }
        for question, context, answer, score, start, end in columns
    ]


def _span_scores(log_probabilities: tf.Tensor, max_answer_tokens: int) -> tf.Tensor:
    """float32 (W, T, L): the log-probability of the span that begins at token t and has l more tokens."""
    starts, ends = tf.unstack(log_probabilities, axis=1)  # (W, T)
    ends = tf.pad(ends, [[0, 0], [0, max_answer_tokens]], constant_values=tf.float32.min / 2)
    lasts = tf.range(tf.shape(starts)[1])[:, tf.newaxis] + tf.range(max_answer_tokens)  # (T, L)
    return starts[:, :, tf.newaxis] + tf.gather(ends, lasts, axis=1)


def _cut_out(
    context: tf.Tensor, tokens: "Tokens", first: tf.Tensor, last: tf.Tensor, most_tokens: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The text from the first to the last token (B, N), without white space around it; its start and end."""
    from tfllm.tokenizers.base import valid_utf8

    def at(offsets, token):
        shape = tf.stack([tf.shape(context)[0], most_tokens])
        return tf.gather(offsets.to_tensor(shape=shape), token, batch_dims=1)  # (B, N)

    byte_start, byte_end = at(tokens.byte_starts, first), at(tokens.byte_ends, last)
    contexts = tf.tile(context[:, tf.newaxis], [1, N_BEST])
    text = valid_utf8(tf.strings.substr(contexts, byte_start, byte_end - byte_start))
    # A SentencePiece token may hold the space before it.
    begun = tf.strings.regex_replace(text, _BLANK, "")
    start = at(tokens.character_starts, first) + _characters(text) - _characters(begun)
    text = tf.strings.regex_replace(begun, r"[\s\p{Z}]+$", "")
    return text, start, start + _characters(text)


def _characters(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(text, unit="UTF8_CHAR")
