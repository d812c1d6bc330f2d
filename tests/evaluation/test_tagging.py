"""Scores of entities and of words, against numbers worked out by hand; and of a model that has learnt its texts."""

import keras
import pytest

from tfllm.checks import InputError
from tfllm.data import TaggedTexts, tagging_batches
from tfllm.data.spans import Span
from tfllm.evaluation import entity_scores, evaluate_tagger, word_scores
from tfllm.inference import build_signatures
from tfllm.losses import TaggingLoss
from tfllm.models import add_tagger_head, build_encoder
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.base import SPECIAL_TOKENS

TEXTS = ["Ada is in New York", "Bob left"]
WORDS = [[(0, 3), (4, 6), (7, 9), (10, 13), (14, 18)], [(0, 3), (4, 8)]]
ENTITIES = [[Span(0, 3, "PER"), Span(10, 18, "LOC")], [Span(0, 3, "PER")]]


def rows_of(kind, spans, words=WORDS):
    return TaggedTexts(kind, TEXTS, spans, words, ["a:1", "a:7"])


def test_entities_count_when_words_and_label_are_right():
    predicted = [[Span(0, 3, "LOC"), Span(10, 18, "LOC")], [Span(0, 3, "PER"), Span(4, 8, "PER")]]
    scores = entity_scores(rows_of("entities", ENTITIES), predicted)
    assert (scores["examples"], scores["entities"]) == (2, 3)
    assert (scores["precision"], scores["recall"]) == pytest.approx((2 / 4, 2 / 3))
    assert scores["f1"] == scores["strict_f1"] == scores["micro"]["f1"] == pytest.approx(4 / 7)
    assert scores["accuracy"] == pytest.approx(5 / 7)
    assert scores["per_class"]["LOC"] == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3, "support": 1})
    assert scores["per_class"]["PER"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert scores["macro"]["f1"] == pytest.approx((2 / 3 + 0.5) / 2)
    assert scores["weighted"]["recall"] == pytest.approx((1 + 2 * 0.5) / 3)


def test_borders_inside_a_word_do_not_matter_where_words_are_known():
    predicted = [[Span(0, 2, "PER"), Span(11, 16, "LOC")], [Span(0, 3, "PER")]]
    assert entity_scores(rows_of("entities", ENTITIES), predicted)["f1"] == 1
    assert entity_scores(rows_of("entities", ENTITIES, None), predicted)["f1"] == pytest.approx(1 / 3)
    assert entity_scores(rows_of("entities", ENTITIES, None), ENTITIES)["accuracy"] == 1


def test_nothing_found_scores_0_and_entities_that_touch_are_two():
    nothing = entity_scores(rows_of("entities", ENTITIES), [[], []])
    assert (nothing["f1"], nothing["strict_f1"], nothing["precision"]) == (0, 0, 0)
    touching = [[Span(0, 3, "PER"), Span(4, 6, "PER")], []]
    assert entity_scores(rows_of("entities", touching), touching)["entities"] == 2
    assert entity_scores(rows_of("entities", touching), [[Span(0, 6, "PER")], []])["f1"] == 0


def test_words_count_by_their_tags_and_by_their_borders():
    truth = [
        [Span(*word, tag) for word, tag in zip(words, tags, strict=True)]
        for words, tags in zip(WORDS, (["N", "V", "P", "N", "N"], ["N", "V"]), strict=True)
    ]
    predicted = [[Span(0, 3, "N"), Span(4, 9, "V"), Span(10, 13, "N"), Span(14, 18, "X")], [Span(0, 3, "N")]]
    scores = word_scores(rows_of("words", truth), predicted)
    assert (scores["examples"], scores["words"]) == (2, 7)
    assert scores["accuracy"] == pytest.approx(4 / 7)  # "in" got V, "York" X, "left" nothing
    assert scores["f1"] == pytest.approx(2 * 3 / 12)
    assert scores["borders_f1"] == pytest.approx(2 * 4 / 12)
    assert scores["per_class"]["N"] == pytest.approx({"precision": 1, "recall": 3 / 4, "f1": 6 / 7, "support": 4})
    assert scores["per_class"]["X"]["support"] == 0 and scores["labels"] == ["N", "P", "V", "X"]
    assert word_scores(rows_of("words", truth), truth)["f1"] == 1


@pytest.fixture(scope="module")
def tokenizer():
    words = "the film was good bad ##ly dull , . a b c 世 界"
    return WordPieceTokenizer([*SPECIAL_TOKENS, *words.split()])


@pytest.fixture(scope="module")
def learnt(tokenizer):
    """A model that has learnt ten texts by heart, one of them longer than the model; and these texts."""
    texts = ["the film was good", "世界 is badly good", "a b c the film", "good good bad", "film , dull"] * 2
    texts[-1] = "the film was good . " * 9
    marks = {"film": "THING", "世界": "LOC", "c": "LOC", "good": "THING"}
    rows = TaggedTexts("entities", texts, [], None, ["x"] * 10)
    for text in texts:
        found = [Span(at, at + len(word), marks[word]) for word in marks for at in range(len(text))
                 if text.startswith(word, at) and f" {text} "[at] == " "]  # fmt: skip
        rows.spans.append(sorted(found))
    keras.utils.set_random_seed(1)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 16}
    encoder = build_encoder(tokenizer.vocabulary_size, dropout=0.0, **size)
    model = add_tagger_head(encoder, rows.labels, dropout=0.0)
    batches = tagging_batches(rows, tokenizer, labels=rows.labels, sequence_length=16, batch_size=8)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=TaggingLoss(reduction="mean_with_sample_weight"))
    model.fit(batches(), steps_per_epoch=100, shuffle=False, verbose=0)
    return model, rows


def test_what_is_learnt_by_heart_is_found_in_long_texts_too(learnt, tokenizer):
    model, rows = learnt
    scores = evaluate_tagger(model, tokenizer, rows, sequence_length=16, batch_size=3)
    assert (scores["f1"], scores["accuracy"], scores["examples"]) == (1, 1, 10)
    assert scores["predictions"] == [[list(span) for span in spans] for spans in rows.spans]
    assert len(scores["predictions"][-1]) == 18


def test_what_is_measured_is_what_is_served(learnt, tokenizer):
    model, rows = learnt
    scores = evaluate_tagger(model, tokenizer, rows, sequence_length=8, batch_size=4)
    served = build_signatures(model, tokenizer, 8)["serving_default"].function(text=rows.texts)
    for row, spans in enumerate(scores["predictions"]):
        names = ("start", "end", "entity")
        found = zip(*(served[name][row, : served["count"][row]].numpy().tolist() for name in names), strict=True)
        assert spans == [[start, end, label.decode()] for start, end, label in found]


def test_data_of_the_other_kind_and_rows_that_are_too_long_are_input_errors(learnt, tokenizer):
    model, rows = learnt
    with pytest.raises(InputError, match="trained on entities, and the data holds words: a:1"):
        evaluate_tagger(model, tokenizer, rows_of("words", ENTITIES), sequence_length=16)
    with pytest.raises(InputError, match="must not exceed 16"):
        evaluate_tagger(model, tokenizer, rows, sequence_length=17)
