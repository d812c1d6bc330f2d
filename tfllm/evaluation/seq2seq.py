"""Texts a model wrote and texts it should have written -> BLEU, chrF, TER, ROUGE and others, as JSON values.

In: what `add_seq2seq_head` returns, sources and targets. The scores are those of sacrebleu and rouge-score.
"""

import itertools
import re
from collections.abc import Sequence

import keras
import tensorflow as tf
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF, TER

from tfllm.checks import InputError
from tfllm.evaluation.causal_lm import mean_loss
from tfllm.generation import TextGenerator
from tfllm.tokenizers import Tokenizer

_CHINESE = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE_SHARE = 0.3  # of the letters, from which on a text is taken for Chinese
_ROUGE = ("rouge1", "rouge2", "rougeL")


def evaluate_seq2seq(
    model: keras.Model,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    targets: Sequence[str | Sequence[str]],
    *,
    sequence_length: int,
    **settings,
) -> dict:
    """Let a model write after each source, and compare with the targets.

    Args:
        model, tokenizer: a model from `add_seq2seq_head` and the tokenizer it was trained with.
        sources: N texts.
        targets: for each the text that is right, or several of them.
        sequence_length: tokens of a source at most.
        settings: how to write, see `tfllm.writing`; what is not given is as the model says.

    Returns:
        What `text_scores` gives, `examples`, and `predictions`.
    """
    return written_scores(TextGenerator(model, tokenizer, sequence_length), sources, targets, **settings)


def written_scores(
    generator: TextGenerator, sources: Sequence[str], targets: Sequence[str | Sequence[str]], **settings
) -> dict:
    """`evaluate_seq2seq` of a generator, which is not traced anew when it is asked again."""
    order = sorted(range(len(sources)), key=lambda place: len(sources[place]))  # sources of a batch are alike in length
    rows = generator.generate([sources[place] for place in order], **settings)
    texts = [row["text"] for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]
    return {"examples": len(sources), **text_scores(texts, targets), "predictions": texts}


def text_scores(predictions: Sequence[str], targets: Sequence[str | Sequence[str]]) -> dict:
    """How near texts are to those that are right.

    Args:
        predictions: N texts.
        targets: for each the text that is right, or several of them.

    Returns:
        `bleu`, `chrf`, `ter` in percent, with `signatures` that tell how they were counted; `rouge1`, `rouge2`,
        `rougeL`: mean F1 in percent, of several targets the best; `exact_match`: share of texts equal to a target, but
        for white space around; `distinct_1`, `distinct_2`: different words and pairs of words as a share of all that
        were written; `length_ratio`: words written, as a share of those of the targets. If the targets are Chinese, all
        count characters where they would count words.

    Raises:
        InputError: if there is nothing to compare.

    Source: Post 2018, arXiv:1804.08771; Popović 2015, W15-3049; Snover et al. 2006; Lin 2004, W04-1013; Li et al. 2016,
    arXiv:1510.03055, section 5.1, for distinct n-grams.
    """
    if not predictions or len(predictions) != len(targets):
        raise InputError(f"Every text needs a target. Received: {len(predictions)} texts and {len(targets)} targets.")
    targets = [[one] if isinstance(one, str) else list(one) for one in targets]
    if not all(targets):
        raise InputError("Every text needs a target. Received: a text without one.")
    most = max(map(len, targets))
    columns = [[row[place] if place < len(row) else None for row in targets] for place in range(most)]
    chinese = is_chinese(" ".join(row[0] for row in targets[:1000]))
    metrics = {
        "bleu": BLEU(tokenize="zh" if chinese else "13a"),
        "chrf": CHRF(),
        "ter": TER(normalized=chinese, asian_support=chinese),
    }
    found = {name: metric.corpus_score(list(predictions), columns) for name, metric in metrics.items()}
    scores = {name: float(one.score) for name, one in found.items()}
    scores |= _rouge(predictions, targets)
    pairs = zip(predictions, targets, strict=True)
    exact = sum(text.strip() in [one.strip() for one in right] for text, right in pairs) / len(predictions)
    scores |= {"exact_match": exact, **_distinct(predictions)}
    scores["length_ratio"] = found["bleu"].sys_len / max(found["bleu"].ref_len, 1)
    scores["signatures"] = {name: f"{metric.get_signature()}" for name, metric in metrics.items()}
    return scores


def seq2seq_loss(model: keras.Model, dataset: tf.data.Dataset) -> dict:
    """Loss and perplexity over every token of the targets; see `causal_lm_scores`.

    Args:
        model: from `add_seq2seq_head`.
        dataset: from `Seq2SeqBatches.once`.
    """
    return mean_loss(model)(dataset)


def is_chinese(text: str) -> bool:
    """Whether a third of the letters are Chinese characters."""
    letters = re.findall(r"[^\W\d_]", text)
    return len(re.findall(f"[{_CHINESE}]", text)) > _CHINESE_SHARE * len(letters)


class WordsAndCharacters:
    """A tokenizer for `rouge_score`: words in lower case, and every Chinese character by itself.

    Of English text the words are those of `rouge_score`'s own tokenizer, which drops all letters but a to z.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return re.findall(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+", text.lower())


def _rouge(predictions: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    scorer = rouge_scorer.RougeScorer(list(_ROUGE), tokenizer=WordsAndCharacters())
    rows = [scorer.score_multi(right, text) for text, right in zip(predictions, targets, strict=True)]
    return {name: 100 * sum(float(row[name].fmeasure) for row in rows) / len(rows) for name in _ROUGE}


def _distinct(predictions: Sequence[str]) -> dict[str, float]:
    words = [WordsAndCharacters().tokenize(text) for text in predictions]
    pairs = [list(itertools.pairwise(row)) for row in words]
    shares = {}
    for name, rows in (("distinct_1", words), ("distinct_2", pairs)):
        grams = [gram for row in rows for gram in row]
        shares[name] = len(set(grams)) / len(grams) if grams else 0.0
    return shares
