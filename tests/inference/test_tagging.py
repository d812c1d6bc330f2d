"""A tagger's answers: spans come back as they went in, tags are the likeliest there can be, hostile text is no harm."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tfllm.data import TaggedTexts
from tfllm.data.spans import Span
from tfllm.data.tagging import encode_tagged, has_whole_words
from tfllm.inference import build_signatures
from tfllm.inference.tagging import OUTPUTS, best_tags, decode, encode, to_rows
from tfllm.models import add_tagger_head, build_encoder
from tfllm.tags import make_tags
from tfllm.tokenizers import WordPieceTokenizer, train_sentencepiece, train_wordpiece
from tfllm.tokenizers.base import SPECIAL_TOKENS
from tfllm.tokenizers.offsets import without_spaces

LABELS = ["LOC", "人", "x-y"]
PIECES = [
    "a",
    "B",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "中",
    "国",
    "，",
    ".",
    "'",
    "-",
    "7",
    "😀",
    "👩\u200d👩\u200d👧",
    "한",
    "ก",
]
SPACES = [" ", "  ", "\u3000", "\xa0", "\t"]
HOSTILE = [
    b"the film was good",
    "你好，世界。 the film 😀 was good, badly! ".encode() * 4,
    b"",
    b" \t\n",
    "Café e\u0301 👩\u200d👩\u200d👧 \u202eשלום ﷺ ½ a b c . good".encode(),
    b"a\x00 b",
    b"a \xff\xfe b good",
    b"\xe4\xb8 a \xed\xa0\x80 b\xc0",
]


def random_rows(count, kind, seed):
    """Texts of letters, words, scripts, emoji and white space, with spans that begin and end anywhere but on spaces."""
    random = np.random.default_rng(seed)
    rows = TaggedTexts(kind, [], [], None, [f"text {number}" for number in range(count)])
    for _ in range(count):
        pieces = random.choice([*PIECES, *SPACES], random.integers(0, 40), p=[0.85 / 17] * 17 + [0.03] * 5)
        ends = np.cumsum([len(piece) for piece in pieces], dtype=int)
        solid = [number for number, piece in enumerate(pieces) if not piece.isspace()]
        share = 1.0 if kind == "words" else random.uniform(0, 1)
        spans, cuts = [], [0, *sorted(random.choice(len(solid), min(len(solid), 6), replace=False) if solid else [])]
        for first, after in itertools.pairwise([*cuts, len(solid)]):
            if first < after and random.random() <= share:
                start, last = solid[first], solid[after - 1]
                spans.append(Span(int(ends[start] - len(pieces[start])), int(ends[last]), str(random.choice(LABELS))))
        rows.texts.append("".join(pieces))
        rows.spans.append(spans)
    return rows


def there_and_back(rows, tokenizer, sequence_length, whole_words=False):
    """Texts and spans -> tokens and tags, as for training -> logits -> spans, as served."""
    encoded, targets = encode_tagged(rows, tokenizer, LABELS, sequence_length, whole_words)
    text = tf.constant([text.encode() for text in rows.texts])
    inputs, places = encode(text, tokenizer, sequence_length, whole_words)
    ids = encoded.token_ids
    kept = ids.row_lengths() > 2  # a text without tokens has a row to learn from, and none to ask about
    np.testing.assert_array_equal(tf.ragged.boolean_mask(ids, kept).to_tensor(tokenizer.pad_id), inputs["token_ids"])
    tags, weights = (ids.with_values(part) for part in (targets.values, targets._weights))
    right = tf.one_hot(tags.to_tensor(), len(make_tags(LABELS, rows.kind).names)) * 9
    noise = tf.random.stateless_normal(tf.shape(right), (1, 2)) * 99  # outside a token's own window nothing counts
    logits = tf.where(weights.to_tensor()[..., tf.newaxis] > 0, right, noise)
    outputs = {name: part.numpy() for name, part in decode(logits, places, text, LABELS, rows.kind).items()}
    found = to_rows({"text": rows.texts}, outputs)
    name = "entity" if rows.kind == "entities" else "tag"
    for row in found:
        assert all(one["text"] == row["text"][one["start"] : one["end"]] for one in row[rows.kind])
    return [[Span(one["start"], one["end"], one[name]) for one in row[rows.kind]] for row in found]


@pytest.fixture(scope="module")
def character_tokenizer():
    """Every character is a token, at the beginning of a word or inside it: every border is a token's."""
    characters = sorted(set("".join(PIECES).replace("\u200d", "")) | set("abeiss") | set("한"))
    return WordPieceTokenizer([*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)])


@pytest.fixture(scope="module")
def subword_tokenizers():
    """Trained on such texts: tokens of several characters, some with the space before them, and unknown ones."""
    texts = [text for text in random_rows(300, "entities", 5).texts if text.strip()]
    return [train_wordpiece(texts, vocabulary_size=120), train_sentencepiece(texts, vocabulary_size=400)]


@pytest.mark.parametrize("kind", ["entities", "words"])
def test_spans_whose_borders_are_those_of_tokens_come_back_exactly_in_10_000_texts(character_tokenizer, kind):
    rows = random_rows(10_000, kind, 1)
    assert sum(map(len, rows.spans)) > 20_000
    assert there_and_back(rows, character_tokenizer, 12) == rows.spans


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["entities", "words"])
@pytest.mark.parametrize("number", [0, 1], ids=["wordpiece", "sentencepiece"])
def test_other_spans_come_back_with_the_borders_of_their_tokens(subword_tokenizers, number, kind):
    """And those, cut at tokens once, come back exactly."""
    tokenizer, rows = subword_tokenizers[number], random_rows(5_000, kind, 2)
    back = there_and_back(rows, tokenizer, 12)
    tokens = tokenizer.tokenize_with_offsets(rows.texts)
    places = without_spaces(tf.constant(rows.texts), tokens.character_starts, tokens.character_ends)
    borders = [(set(starts), set(ends)) for starts, ends in zip(*(part.to_list() for part in places), strict=True)]
    moved = 0
    for spans, found, (starts, ends) in zip(rows.spans, back, borders, strict=True):
        assert all(span.start in starts and span.end in ends for span in found)
        fitting = [span for span in spans if span.start in starts and span.end in ends]
        moved += len(spans) - len(fitting)
        if len(fitting) == len(spans):
            assert found == spans
    assert moved > 1_000
    rows.spans = back
    assert there_and_back(rows, tokenizer, 12) == back


@pytest.mark.parametrize("kind", ["words", *slow("entities")])
def test_spans_of_whole_words_come_back_from_the_first_token_of_each(subword_tokenizers, kind):
    rows = random_rows(5_000, kind, 4)
    rows.texts = [text.replace("\u0301", "").replace("\u200d", "") for text in rows.texts]
    rows.spans = [spans_of_words(text, kind, seed) for seed, text in enumerate(rows.texts)]
    assert has_whole_words(rows) and sum(map(len, rows.spans)) > 5_000
    wordpiece, sentencepiece = subword_tokenizers
    assert there_and_back(rows, wordpiece, 12, whole_words=True) == rows.spans
    back = there_and_back(rows, sentencepiece, 12, whole_words=True)  # a piece may hold the end of a word and another
    rows.spans = back
    assert there_and_back(rows, sentencepiece, 12, whole_words=True) == back


def spans_of_words(text, kind, seed):
    """Spans of one to three words each, as BERT splits text; of all words, or about half of them."""
    random, spans = np.random.default_rng(seed), []
    words = [(match.start(), match.end()) for match in re.finditer(r"[中国，.'-]|[^中国，.'\-\s]+", text)]
    while words:
        count = random.integers(1, 4)
        taken, words = words[:count], words[count:]
        if kind == "words" or random.random() < 0.5:
            spans.append(Span(taken[0][0], taken[-1][1], str(random.choice(LABELS))))
    return spans


@pytest.mark.parametrize("kind", ["entities", "words"])
@pytest.mark.parametrize("after_each_tag", [True, False])
def test_the_tags_are_the_likeliest_of_all_that_can_be(kind, after_each_tag):
    random, tags = np.random.default_rng(0), make_tags(["x", "y"], kind)
    count, lengths = len(tags.names), [0, 1, 3, 0, 4, 2, 3]
    scores = random.normal(0, 1, (sum(lengths), count if after_each_tag else 1, count)).astype("float32")
    starts = np.cumsum(lengths) - lengths
    scores[starts[np.array(lengths) > 0]] = scores[starts[np.array(lengths) > 0], :1]  # nothing stands before the first
    carried = random.random(len(scores)) < 0.3
    carried[starts[np.array(lengths) > 0]] = False
    ragged = [tf.RaggedTensor.from_row_lengths(part, lengths) for part in (scores, carried)]
    found, log_probabilities = best_tags(*ragged, tags)
    for start, end in zip(starts, starts + lengths, strict=True):

        def steps(path, start=start):
            before = [0, *path][:-1] if after_each_tag else [0] * len(path)
            return [scores[start + at, a, b] for at, (a, b) in enumerate(zip(before, path, strict=True))]

        possible = [
            path
            for path in itertools.product(range(count), repeat=int(end - start))
            if all(tags.may_begin[tag] for tag in path[:1])
            and all(
                b == tags.carried[a] if carried[start + at] else tags.may_follow[a][b]
                for at, (a, b) in enumerate(itertools.pairwise(path), 1)
            )
        ]
        free = ~carried[start:end]
        best = max(possible, key=lambda path: np.array(steps(path))[free].sum())
        assert found[start:end].numpy().tolist() == list(best)
        np.testing.assert_allclose(log_probabilities[start:end], steps(best), rtol=1e-6)


@pytest.fixture(scope="module", params=["entities", *slow("words")])
def signatures(request, tokenizer):
    keras.utils.set_random_seed(3)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 16}
    model = add_tagger_head(build_encoder(tokenizer.vocabulary_size, **size), LABELS, kind=request.param)
    model.get_layer("logits").kernel.assign(
        np.random.default_rng(3).normal(0, 1, model.get_layer("logits").kernel.shape)
    )
    return build_signatures(model, tokenizer, 16)


def ask(signatures, texts):
    text = tf.constant(texts, tf.string, [len(texts)])
    return {name: part.numpy() for name, part in signatures["serving_default"].function(text=text).items()}


def test_places_are_exact_in_hostile_text(signatures):
    outputs = ask(signatures, HOSTILE)
    assert outputs["count"].dtype == np.int32 and (outputs["count"][[0, 1, 4, 5, 6, 7]] > 0).sum() > 3
    for row, text in enumerate(HOSTILE):
        string, last = text.decode("utf-8", "replace"), 0
        for column in range(outputs["start"].shape[1]):
            start, end, first, after = (
                outputs[name][row, column] for name in ("start", "end", "byte_start", "byte_end")
            )
            found = outputs["text"][row, column].decode()
            assert found == string[start:end] == text[first:after].decode("utf-8", "replace")
            assert (column < outputs["count"][row]) == bool(found.strip())
            assert found == found.strip() and (start >= last or not found)
            assert 0 < outputs["score"][row, column] <= 1.00001 or not found
            last = end


def test_answers_do_not_depend_on_the_other_texts(signatures):
    together, (name,) = ask(signatures, HOSTILE), [name for name in ("entity", "tag") if name in ask(signatures, [])]
    for row, text in enumerate(HOSTILE):
        alone, count = ask(signatures, [text]), together["count"][row]
        assert alone["count"] == [count]
        for output in (name, "start", "end"):
            np.testing.assert_array_equal(alone[output][0], together[output][row, :count])
        np.testing.assert_allclose(alone["score"][0], together["score"][row, :count], rtol=1e-4)


def test_a_traced_signature_answers_the_same_and_takes_no_row_and_5_000_characters(signatures):
    traced = tf.function(signatures["serving_default"].function, autograph=False).get_concrete_function(
        **signatures["serving_default"].inputs
    )
    outputs = traced.structured_outputs
    assert set(OUTPUTS) < set(outputs)
    assert {name: part.shape.rank for name, part in outputs.items()} == {
        name: 2 - (name == "count") for name in outputs
    }
    long = ("你好，世界。 the film 😀 was good! " * 200)[:5000].encode()
    for texts in ([*HOSTILE, long], [], [b""]):
        served, eager = traced(text=tf.constant(texts, tf.string, [len(texts)])), ask(signatures, texts)
        for name, part in eager.items():
            assert part.shape[0] == len(texts)
            if name == "score":
                np.testing.assert_allclose(served[name], part, rtol=1e-4)
            else:
                np.testing.assert_array_equal(served[name], part)
    assert ask(signatures, [long])["end"].max() > 4_900


def test_rows_are_plain_python():
    outputs = {
        "count": np.array([1, 0], np.int32),
        "entity": np.array([[b"LOC"], [b""]], object),
        "text": np.array([["世界".encode()], [b""]], object),
        "start": np.array([[2], [0]], np.int32),
        "end": np.array([[4], [0]], np.int32),
        "score": np.array([[0.5], [0.0]], np.float32),
    }
    assert to_rows({"text": ["你好世界", "a"]}, outputs) == [
        {
            "text": "你好世界",
            "entities": [{"entity": "LOC", "text": "世界", "start": 2, "end": 4, "score": 0.5}],
        },
        {"text": "a", "entities": []},
    ]
