"""Scores of written texts: those of the libraries, by hand where they are small, and of Chinese by characters."""

import math

import pytest
import sacrebleu
from rouge_score import rouge_scorer
from rouge_score.tokenizers import DefaultTokenizer

from tfllm.checks import InputError
from tfllm.data import Seq2SeqBatches
from tfllm.evaluation import evaluate_seq2seq, seq2seq_loss, text_scores
from tfllm.evaluation.seq2seq import WordsAndCharacters, is_chinese
from tfllm.generation import TextGenerator
from tfllm.models import add_seq2seq_head, build_encoder_decoder

WRITTEN = ["the cat sat on the mat .", "a dog runs", "it rains today in the city"]
RIGHT = ["the cat is on the mat .", "a dog runs", "today it rains in the old city"]


def test_scores_are_those_of_the_libraries():
    scores = text_scores(WRITTEN, RIGHT)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(WRITTEN, [RIGHT]).score)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(WRITTEN, [RIGHT]).score)
    assert scores["ter"] == pytest.approx(sacrebleu.corpus_ter(WRITTEN, [RIGHT]).score)
    scorer = rouge_scorer.RougeScorer(["rouge2"])
    expected = [scorer.score(right, text)["rouge2"].fmeasure for right, text in zip(RIGHT, WRITTEN, strict=True)]
    assert scores["rouge2"] == pytest.approx(100 * sum(expected) / 3)
    assert "tok:13a" in scores["signatures"]["bleu"] and "version:" in scores["signatures"]["ter"]


def test_small_scores_by_hand():
    scores = text_scores(["a b a b", "c"], ["a b", "c"])
    assert scores["exact_match"] == 0.5
    assert scores["distinct_1"] == 3 / 5
    assert scores["distinct_2"] == 2 / 3
    assert scores["length_ratio"] == 5 / 3
    assert scores["rouge1"] == pytest.approx(100 * (2 * 0.5 / 1.5 + 1) / 2)


def test_a_text_without_a_target_is_an_input_error():
    with pytest.raises(InputError, match="Every text needs a target"):
        text_scores(["a"], [[]])


def test_of_several_targets_the_best_counts():
    one, several = text_scores(["a b c d"], ["x y"]), text_scores(["a b c d", "e"], [["x y", "a b c d"], "e"])
    assert (one["rouge1"], one["exact_match"]) == (0, 0)
    assert (several["rouge1"], several["exact_match"]) == (100, 1)
    assert several["bleu"] == pytest.approx(100)


def test_chinese_is_compared_by_characters():
    scores = text_scores(["今天天气很好", "我喜欢读书"], ["今天天气好", "我喜欢读书"])
    assert "tok:zh" in scores["signatures"]["bleu"]
    assert "asian:yes" in scores["signatures"]["ter"]
    assert scores["rouge1"] == pytest.approx(100 * (2 * (5 / 6) / (5 / 6 + 1) + 1) / 2)
    assert scores["bleu"] > 40
    assert is_chinese("图书馆 GPT") and not is_chinese("the 图 library") and not is_chinese("")


def test_words_are_those_of_rouge_score_in_english_and_whole_in_other_languages():
    text = "The cat's 3 hats, low-cost_hats!"
    assert WordsAndCharacters().tokenize(text) == DefaultTokenizer().tokenize(text)
    assert WordsAndCharacters().tokenize("Über Straßen 你好ab") == ["über", "straßen", "你", "好", "ab"]


@pytest.mark.parametrize(("written", "right"), [([], []), (["a"], [])])
def test_nothing_to_compare_is_refused(written, right):
    with pytest.raises(InputError, match="Every text needs a target"):
        text_scores(written, right)


def test_a_model_is_scored_in_the_order_of_the_rows(tokenizer):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 32}
    model = add_seq2seq_head(build_encoder_decoder(tokenizer.vocabulary_size, **size))
    sources, targets = ["good tea and rain", "tea", "warm rain"], ["tea", "good tea", "rain"]
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "temperature": 3.0, "seed": 1}
    scores = evaluate_seq2seq(model, tokenizer, sources, targets, sequence_length=32, **settings)
    rows = TextGenerator(model, tokenizer, 32).generate(sources, **settings)
    assert scores["predictions"] == [row["text"] for row in rows]
    assert scores["examples"] == 3
    for weight in model.trainable_weights:
        weight.assign(weight * 0)
    batches = Seq2SeqBatches(sources, targets, tokenizer, sequence_length=32, target_length=32)
    found = seq2seq_loss(model, batches.once())
    assert found["tokens"] == 2 + 3 + 2
    assert found["loss"] == pytest.approx(math.log(15), abs=1e-6)
