"""Answers against reference answers: exact match and F1 by the rules of SQuAD, or of CMRC 2018 for Chinese.

In: a model from `add_span_head` and questions; or answers and references. Out: a dict of JSON values. N questions.
The answers are read off the logits by `tfllm.inference`: what is measured is what is served.
"""

import difflib
import re
import string
from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.question_answering import Questions
from tfllm.inference.question_answering import Spans, choose, decode, encode
from tfllm.models import read_recipe
from tfllm.tokenizers import Tokenizer

_CHUNK = 100  # questions whose windows are read together
_WIDTH_MULTIPLE = 32  # few different shapes: each is a trace, and on JAX a compilation
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ENGLISH_MARKS = str.maketrans("", "", string.punctuation)
_CHINESE_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_IDEOGRAPH = "\u4e00-\u9fa5"
_CHINESE_UNITS = re.compile(rf"[{_IDEOGRAPH}]|[^\W{_IDEOGRAPH}]+(?:[.,'][^\W{_IDEOGRAPH}]+)*|[^\w\s]")


def answer_scores(answers: Sequence[str], references: Sequence[Sequence[str]], *, chinese: bool) -> dict:
    """Exact match and F1, each question by the reference answer that suits best.

    Args:
        answers: N texts; "" says that there is no answer.
        references: for each question its right answers; none = there is no answer.
        chinese: by the rules of CMRC 2018: case and most punctuation do not count, each ideograph is a unit, and F1 is
            that of the longest common run of units. Otherwise by those of SQuAD: case, punctuation and the articles a,
            an, the do not count, and F1 is that of the words in common, whatever their order.

    Returns:
        Dict of JSON values: `examples` (N), `exact_match`, `f1`, `rules` ("squad" or "cmrc"), and where there are such
        questions `answerable`, how many have an answer, `answerable_exact_match`, `answerable_f1`; `unanswerable` and
        `unanswerable_accuracy`.

    Raises:
        InputError: if there is no question, or not as many answers as questions.

    Example: "the Denver Broncos" for "Denver Broncos, Colorado" -> 0 and 2 * 1 * 2/3 / (1 + 2/3) = 0.8.
    Source: evaluate-v2.0.py of SQuAD (Rajpurkar et al. 2018, arXiv:1806.03822); cmrc2018_evaluate.py (Cui et al. 2019,
    arXiv:1810.07366). Differs: runs of Latin letters in Chinese text are split by a plain rule, there by NLTK.
    """
    if not len(answers) or len(answers) != len(references):
        raise InputError(
            "Scores need questions, and an answer to each. "
            f"Received: {len(references)} questions, {len(answers)} answers."
        )
    single = [_best(answer, right, chinese) for answer, right in zip(answers, references, strict=True)]
    exact, f1 = (np.array(values, np.float64) for values in zip(*single, strict=True))
    has_answer = np.array([bool(right) for right in references])
    scores = {
        "examples": len(answers),
        "exact_match": float(exact.mean()),
        "f1": float(f1.mean()),
        "rules": "cmrc" if chinese else "squad",
    }
    if has_answer.any():
        scores["answerable"] = int(has_answer.sum())
        scores["answerable_exact_match"] = float(exact[has_answer].mean())
        scores["answerable_f1"] = float(f1[has_answer].mean())
    if not has_answer.all():
        scores["unanswerable"] = int((~has_answer).sum())
        scores["unanswerable_accuracy"] = float(exact[~has_answer].mean())
    return scores


def evaluate_question_answering(
    model: keras.Model,
    tokenizer: Tokenizer,
    rows: Questions,
    *,
    sequence_length: int = 384,
    batch_size: int = 32,
    tune: bool = False,
) -> dict:
    """Let a model answer each question, and score it.

    Args:
        model: from `add_span_head`.
        tokenizer: the one the model was trained with.
        rows: the questions with their reference answers.
        sequence_length: of a window of a context.
        batch_size: windows read together.
        tune: if the model may say that there is no answer, score it with the null threshold that gives the best F1 on
            these rows; `set_null_threshold` makes it the model's own.

    Returns:
        `answer_scores`, by the rules for Chinese if more than half of the questions hold an ideograph;
        the `null_threshold` used; and `predictions`: for each question its `id`, and the `answer`, `score`, `start` and
        `end` that `serving_default` gives.
    """
    arguments = read_recipe(model)["arguments"]
    spans = _read_spans(model, arguments, tokenizer, rows, sequence_length, batch_size)
    references = [[answer.text for answer in answers] for answers in rows.answers]
    chinese = sum(bool(re.search(f"[{_IDEOGRAPH}]", question)) for question in rows.questions) * 2 > len(rows)
    null_threshold = arguments["null_threshold"]
    if tune and null_threshold is not None:
        null_threshold = _best_threshold(spans, references, chinese)
    outputs = {name: tensor.numpy() for name, tensor in choose(spans, null_threshold).items()}
    answers = [answer.decode() for answer in outputs["answer"]]
    predictions = [
        {"id": identity, "answer": answer, "score": float(score), "start": int(start), "end": int(end)}
        for identity, answer, score, start, end in zip(
            rows.ids, answers, outputs["score"], outputs["start"], outputs["end"], strict=True
        )
    ]
    return {
        **answer_scores(answers, references, chinese=chinese),
        "null_threshold": null_threshold,
        "predictions": predictions,
    }


def _read_spans(
    model: keras.Model, arguments: dict, tokenizer: Tokenizer, rows: Questions, sequence_length: int, batch_size: int
) -> Spans:
    """The best spans of every question, in the order of `rows`."""
    order = sorted(range(len(rows)), key=lambda row: len(rows.contexts[row]))
    parts = []
    for begin in range(0, len(order), _CHUNK):
        members = order[begin : begin + _CHUNK]
        question, context = (tf.constant([texts[row] for row in members]) for texts in (rows.questions, rows.contexts))
        inputs, windows, tokens = encode(question, context, tokenizer, sequence_length, arguments["stride"])
        logits = _logits(model, {name: tensor.numpy() for name, tensor in inputs.items()}, batch_size)
        parts.append(decode(tf.constant(logits), windows, tokens, context, arguments["max_answer_tokens"]))
    back = np.argsort(order)
    return Spans(*(tf.gather(tf.concat(columns, axis=0), back) for columns in zip(*parts, strict=True)))


def _logits(model: keras.Model, inputs: dict[str, np.ndarray], batch_size: int) -> np.ndarray:
    """The model's logits, float32 (W, 2, T); windows of similar length are read together, on any backend."""
    windows, longest = inputs["token_ids"].shape
    lengths = inputs["padding_mask"].sum(axis=1)
    logits = np.full((windows, 2, longest), -1e9, np.float32)
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, windows, batch_size):
        members = order[begin : begin + batch_size]
        used = min(longest, -(-int(lengths[members].max()) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE)
        batch = {name: np.zeros((batch_size, used), np.int32) for name in inputs}
        for name, values in inputs.items():
            batch[name][: len(members)] = values[members, :used]
        logits[members, :, :used] = model.predict_on_batch(batch)[: len(members)]
    return logits


def _best_threshold(spans: Spans, references: Sequence[Sequence[str]], chinese: bool) -> float:
    """The null threshold with the highest sum of F1: between two neighbouring gaps, or beyond them all.

    A question's gap is how much likelier "no answer" is than its best answer, in log-probability.
    """
    answered = choose(spans, None)["answer"].numpy()
    gaps = (spans.no_answer - spans.log_probabilities[:, 0]).numpy().astype(np.float64)
    gain = [
        _best(answer.decode(), right, chinese)[1] - (not right)
        for answer, right in zip(answered, references, strict=True)
    ]
    order = np.argsort(gaps, kind="stable")
    totals = np.concatenate([[0.0], np.cumsum(np.array(gain)[order])])  # the k questions with the lowest gaps answered
    best = int(totals.argmax())
    edges = np.concatenate([[gaps.min() - 1], np.sort(gaps), [gaps.max() + 1]])
    return float((edges[best] + edges[best + 1]) / 2)


def _best(answer: str, references: Sequence[str], chinese: bool) -> tuple[float, float]:
    """Exact match and F1 with the reference that suits best; "" is right where there is none."""
    score = _chinese_score if chinese else _english_score
    return tuple(max(column) for column in zip(*(score(answer, right) for right in references or [""]), strict=True))


def _english_score(answer: str, reference: str) -> tuple[float, float]:
    found, right = (_ARTICLES.sub(" ", text.lower().translate(_ENGLISH_MARKS)).split() for text in (answer, reference))
    exact = float(found == right)
    if not found or not right:
        return exact, exact
    return exact, _f1((Counter(found) & Counter(right)).total(), len(found), len(right))


def _chinese_score(answer: str, reference: str) -> tuple[float, float]:
    texts = [text.lower().strip().translate(_CHINESE_MARKS) for text in (answer, reference)]
    exact = float(texts[0] == texts[1])
    found, right = (_CHINESE_UNITS.findall(text) for text in texts)
    if not found or not right:
        return exact, exact
    common = difflib.SequenceMatcher(None, found, right, autojunk=False).find_longest_match().size
    return exact, _f1(common, len(found), len(right))


def _f1(common: int, found: int, right: int) -> float:
    """The harmonic mean of common / found and common / right."""
    return 2 * common / (found + right)
