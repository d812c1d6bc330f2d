"""Printed tables: every number a user looks for is there."""

import io

import numpy as np
from rich.console import Console

from tfllm.evaluation import classification_scores, print_scores


def printed(scores) -> str:
    stream = io.StringIO()
    print_scores(scores, Console(file=stream, width=120))
    return stream.getvalue()


def test_a_classifier_is_shown_by_class_with_its_confusion_matrix():
    text = printed(
        classification_scores([0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]], ["a", "b", "[c]"])
    )
    assert "accuracy" in text and "0.6667" in text
    assert "macro average" in text and "Confusion matrix" in text
    assert "so 0 in the macro average: [c]." in text


def test_with_many_classes_the_commonest_confusions_are_listed():
    names = [f"class{number}" for number in range(20)]
    probabilities = np.full((3, 20), 0.01)
    probabilities[:, 7] = 0.81
    text = printed(classification_scores([4, 4, 7], probabilities, names))
    row = next(line for line in text.splitlines() if "class4" in line and "class7" in line)
    assert "2" in row
    assert "Confusion matrix" not in text


def test_a_masked_language_model_is_shown_in_one_table():
    text = printed({"masked_tokens": 1200, "loss": 2.5, "masked_accuracy": 0.5})
    assert "masked tokens" in text and "1,200" in text and "2.5000" in text
