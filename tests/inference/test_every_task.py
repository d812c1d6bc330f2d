"""What holds for the signatures of every task: any text has an answer, batch mates do not matter, nor does a graph."""

import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tfllm.inference import build_signatures
from tfllm.models import (
    add_embedding_head,
    add_masked_lm_head,
    add_multilabel_head,
    add_next_sentence_head,
    add_pretraining_heads,
    add_regression_head,
)

HEADS = {
    "multilabel": lambda encoder: add_multilabel_head(encoder, ["good", "bad", "中性"]),
    "multilabel of pairs": lambda encoder: add_multilabel_head(encoder, ["good", "bad"], pairs=True),
    "regression": lambda encoder: add_regression_head(encoder, mean=3.0),
    "regression of pairs": lambda encoder: add_regression_head(encoder, output_range=(0, 5), pairs=True),
    "embedding": add_embedding_head,
    "embedding cls": lambda encoder: add_embedding_head(encoder, pooling="cls", normalize=False),
    "encoder": lambda encoder: encoder,
    "masked lm": add_masked_lm_head,
    "pretraining": add_pretraining_heads,
    "next sentence": add_next_sentence_head,
}
SIGNATURES = {
    "multilabel": {"serving_default", "classify", "tokens"},
    "regression": {"serving_default", "regress", "tokens"},
    "embedding": {"serving_default", "similarity"},
    "encoder": {"serving_default", "similarity"},
    "masked lm": {"serving_default", "fill_mask"},
    "pretraining": {"serving_default", "fill_mask", "next_sentence"},
    "next sentence": {"serving_default", "next_sentence"},
}
TEXTS = [
    "the film was good",
    "",
    " \t\n",
    "你好，世界 [MASK]！",
    b"\xff\xfe not \xc3( UTF-8 [MASK]\xed\xa0\x80",
    "[MASK][MASK] [CLS] [SEP] [PAD] [UNK] [mask]",
    "a b c . " * 50,
    "[MASK] " * 40,
]


FURTHER = ("regression", "embedding cls", "masked lm", "next sentence")  # in others of HEADS, or close to them


@pytest.fixture(scope="module", params=[*(head for head in HEADS if head not in FURTHER), *slow(*FURTHER)])
def head(request):
    return request.param


@pytest.fixture(scope="module")
def signatures(head, make_encoder, randomize, tokenizer):
    return build_signatures(randomize(HEADS[head](make_encoder())), tokenizer, 16)


def asked(signature, texts):
    """The answers for texts, each paired with the one after it, as NumPy arrays."""
    inputs = {
        name: tf.constant(texts[place:] + texts[:place], tf.string, [len(texts)])
        for place, name in enumerate(signature.inputs)
    }
    return {name: output.numpy() for name, output in signature.function(**inputs).items()}


def of_texts(signatures):
    return {name: item for name, item in signatures.items() if set(item.inputs) <= {"text", "text_pair"}}


def test_the_signatures_that_apply_are_there(head, signatures):
    key = next(key for key in SIGNATURES if head.startswith(key))
    assert set(signatures) == SIGNATURES[key] | {"embed", "tokenize"}
    pair = "pairs" in head or head == "next sentence"
    assert list(signatures["serving_default"].inputs) == (["text", "text_pair"] if pair else ["text"])


def test_the_graph_answers_as_the_operations_do_whatever_the_text(signatures):
    for name, signature in of_texts(signatures).items():
        traced = tf.function(signature.function, autograph=False).get_concrete_function(**signature.inputs)
        expected = asked(signature, TEXTS)
        found = asked(signature._replace(function=traced), TEXTS)
        for output, values in expected.items():
            assert len(values) == len(TEXTS)
            assert found[output].dtype == values.dtype
            if values.dtype == np.float32:
                assert np.isfinite(values).all(), name
                np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-6)
            else:
                np.testing.assert_array_equal(found[output], values)
        for output, values in asked(signature._replace(function=traced), []).items():
            assert len(values) == 0
            assert values.ndim == expected[output].ndim


def test_a_text_without_batch_mates_gets_the_same_answer(signatures):
    for signature in of_texts(signatures).values():
        together = asked(signature, TEXTS)
        for row in range(len(TEXTS)):
            texts = [*TEXTS[row:], *TEXTS[:row]][: len(signature.inputs)]
            inputs = {name: tf.constant([text]) for name, text in zip(signature.inputs, texts, strict=True)}
            for output, values in signature.function(**inputs).items():
                inside = tuple(slice(size) for size in values.shape[1:])  # padding depends on the longest text
                if values.dtype == tf.float32:
                    np.testing.assert_allclose(
                        values[0], np.asarray(together[output][row])[inside], rtol=2e-4, atol=1e-5
                    )
                else:
                    np.testing.assert_array_equal(values[0].numpy(), np.asarray(together[output][row])[inside])


def test_strings_are_valid_utf8(signatures):
    for signature in of_texts(signatures).values():
        for values in asked(signature, TEXTS).values():
            if values.dtype == object:
                assert all(value.decode("utf-8") is not None for value in values.flat)
