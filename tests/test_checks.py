"""Every check passes what is right and refuses what is not, with the remedy and what arrived."""

import pytest

from tfllm import checks
from tfllm.checks import InputError


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("postive", " (did you mean 'positive'?)"),
        ("positive", " (did you mean 'positive'?)"),
        ("pos", " (did you mean 'positive'?)"),
        ("p", ""),
        ("zzz", ""),
    ],
)
def test_did_you_mean_names_a_near_choice_only(word, expected):
    assert checks.did_you_mean(word, ["positive", "negative"]) == expected


def test_a_word_of_two_chinese_characters_is_near_if_one_of_them_is_the_same():
    assert checks.did_you_mean("正而", ["负面", "正面"]) == " (did you mean '正面'?)"
    assert checks.did_you_mean("中性", ["负面", "正面"]) == ""
    assert checks.did_you_mean("qb", ["qa", "tag"]) == ""


def test_the_nearest_is_found_whatever_the_case():
    assert checks.did_you_mean("VERBATIM", ["id", "Verbatim"]) == " (did you mean 'Verbatim'?)"
    assert checks.did_you_mean("Negative", ["POSITIVE", "NEGATIVE"]) == " (did you mean 'NEGATIVE'?)"


def test_one_of_names_the_choices_what_arrived_and_the_nearest():
    checks.check_one_of("decay", "linear", ["linear", "cosine"])
    with pytest.raises(
        InputError, match=r"`decay` must be one of linear, cosine\. Received: 'linar' \(did you mean 'linear'\?\)\."
    ):
        checks.check_one_of("decay", "linar", iter(["linear", "cosine"]))


def test_at_least_includes_its_limit_and_refuses_what_is_no_number():
    checks.check_at_least("epochs", 1, 1)
    for value in (0, float("nan")):
        with pytest.raises(InputError, match=f"`epochs` must be at least 1. Received: {value}."):
            checks.check_at_least("epochs", value, 1)
    with pytest.raises(InputError, match=r"`learning_rate` must be at least 0 and finite\. Received: inf\."):
        checks.check_at_least("learning_rate", float("inf"), 0)


@pytest.mark.parametrize("value", [-0.001, 1, 1.5, float("nan"), float("inf")])
def test_a_dropout_leaves_something(value):
    checks.check_dropout(0)
    checks.check_dropout(0.999)
    with pytest.raises(InputError, match=r"`dropout` must be between 0 and 1, and not 1.* Received: "):
        checks.check_dropout(value)


@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan"), float("inf")])
def test_between_refuses_what_is_outside(value):
    with pytest.raises(InputError, match=r"`dropout` must be between 0 and 1\. Received: "):
        checks.check_between("dropout", value, 0, 1)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_between_includes_its_limits(value):
    checks.check_between("dropout", value, 0, 1)


@pytest.mark.parametrize("by", [3, 0, -2])
def test_divisible_says_why(by):
    checks.check_divisible("hidden_dim", 32, "num_heads", 4, "so that heads are alike")
    with pytest.raises(InputError, match=rf"divisible by `num_heads` so that heads are alike.*num_heads={by}\."):
        checks.check_divisible("hidden_dim", 32, "num_heads", by, "so that heads are alike")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least two names"),
        (["one"], "at least two names"),
        (["a", "a"], "distinct, non-empty strings"),
        (["a", ""], "distinct, non-empty strings"),
        (["a", 1], "distinct, non-empty strings"),
    ],
)
def test_labels_must_be_two_distinct_names(labels, message):
    checks.check_labels(["negative", "positive"])
    with pytest.raises(InputError, match=message):
        checks.check_labels(labels)


def test_a_missing_file_names_the_nearest_one_beside_it(tmp_path):
    (tmp_path / "reviews.csv").touch()
    checks.check_exists(tmp_path / "reviews.csv")
    with pytest.raises(InputError, match=r"review\.csv: no such .*\(did you mean '.*.reviews\.csv'\?\)"):
        checks.check_exists(tmp_path / "review.csv")
    with pytest.raises(InputError, match="no such file or directory"):
        checks.check_exists(tmp_path / "nowhere" / "reviews.csv")
