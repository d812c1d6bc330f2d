"""What simple methods reach on the same split: a model that does not beat them has not learned the task.

In: labelled training and test texts. Out: accuracy and macro-F1 of each method.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from tfllm.checks import InputError
from tfllm.tokenizers.characters import is_cjk

_CHINESE_SHARE = 0.25  # a corpus with more CJK characters than this is cut into characters, not words
_WORDS = {"analyzer": "word", "token_pattern": r"\w+", "ngram_range": (1, 2)}
_CHARACTERS = {"analyzer": "char", "ngram_range": (1, 3)}


def baseline_scores(
    train_texts: Sequence[str], train_labels: Sequence[str], test_texts: Sequence[str], test_labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of always saying the commonest training label, and of TF-IDF with logistic regression (C = 10).

    TF-IDF counts words and pairs of words, or one to three characters when the training texts are Chinese.
    Nothing is drawn at random: the same texts give the same scores.

    Returns:
        `majority` and `tfidf_logistic_regression`, each a dict of `accuracy` and `macro_f1`.

    Raises:
        InputError: if a part is empty, has not one label per text, or the training part has one label only.
    """
    for name, texts, labels in (("training", train_texts, train_labels), ("test", test_texts, test_labels)):
        if not len(texts) or len(texts) != len(labels):
            raise InputError(f"The {name} part needs texts, and a label for each: {len(texts)} and {len(labels)}.")
    if len(set(train_labels)) < 2:
        raise InputError(f"The training part has one label only, {train_labels[0]!r}: there is nothing to learn.")
    counts = Counter(train_labels)
    majority = min(counts, key=lambda label: (-counts[label], label))
    regression = make_pipeline(
        TfidfVectorizer(**(_CHARACTERS if _is_chinese(train_texts) else _WORDS)),
        LogisticRegression(C=10, max_iter=1000),
    ).fit(train_texts, train_labels)
    return {
        "majority": _scores(test_labels, [majority] * len(test_labels), counts),
        "tfidf_logistic_regression": _scores(test_labels, regression.predict(test_texts), counts),
    }


def _scores(labels: Sequence[str], predicted: Sequence[str], known: Iterable[str]) -> dict[str, float]:
    names = sorted({*labels, *known})  # every label counts in the macro average, as in `classification_scores`
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, labels=names, average="macro", zero_division=0)),
    }


def _is_chinese(texts: Sequence[str]) -> bool:
    counts = Counter("".join(texts))
    chinese = sum(count for character, count in counts.items() if is_cjk(character))
    return chinese > _CHINESE_SHARE * counts.total()
