"""Whether one text follows another: the pretrained head, alone and beside the masked language model."""

import numpy as np
import tensorflow as tf

from tfllm.inference import build_signatures, to_rows
from tfllm.models import add_next_sentence_head, add_pretraining_heads

TEXTS, PAIRS = tf.constant(["the film was good", "bad", ""]), tf.constant(["good", "the film was dull, dull", ""])


def test_the_score_is_the_probability_of_label_1(make_encoder, randomize, tokenizer):
    model = randomize(add_next_sentence_head(make_encoder()))
    found = build_signatures(model, tokenizer, 16)["serving_default"].function(text=TEXTS, text_pair=PAIRS)["score"]
    for row, (text, pair) in enumerate(zip(TEXTS.numpy(), PAIRS.numpy(), strict=True)):
        ids, segments = tokenizer.wrap_pair(tokenizer.tokenize(text), tokenizer.tokenize(pair), 16)
        inputs = {"token_ids": ids.to_tensor(), "segment_ids": segments.to_tensor()}
        logits = model({**inputs, "padding_mask": tf.ones_like(inputs["token_ids"])})
        np.testing.assert_allclose(found[row], tf.nn.softmax(logits)[0, 1], rtol=1e-4)


def test_a_pretrained_model_has_the_same_answer_beside_its_masked_language_model(make_encoder, randomize, tokenizer):
    model = randomize(add_pretraining_heads(make_encoder()))
    alone = add_next_sentence_head(make_encoder())
    by_path = {weight.path: weight for weight in model.weights}
    alone.set_weights([by_path.get(weight.path, weight).numpy() for weight in alone.weights])
    expected, found = (
        build_signatures(one, tokenizer, 16)["next_sentence"].function(text=TEXTS, text_pair=PAIRS)["score"]
        for one in (alone, model)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_row_tells_the_texts_and_the_score():
    rows = to_rows("next_sentence", {"text": ["a"], "text_pair": ["b"]}, {"score": np.array([0.25], "float32")})
    assert rows == [{"text": "a", "text_pair": "b", "score": 0.25}]
