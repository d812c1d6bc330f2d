"""Scores of a model that chats: the perplexity of answers by hand, and what it answers beside what is right."""

import numpy as np
import pytest

from tfllm.evaluation.chat import evaluate_chat
from tfllm.models import add_causal_lm_head, build_decoder
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.chat import default_template

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 32}


def test_answers_are_scored_by_hand():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcd"])
    tokenizer.chat_template = default_template(tokenizer.special_tokens)
    model = add_causal_lm_head(build_decoder(9, **SIZE))
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    talk = [("user", "a"), ("assistant", "b c"), ("user", "d"), ("assistant", "a")]
    messages = [{"role": role, "content": content} for role, content in talk]
    scores = evaluate_chat(model, tokenizer, [messages, messages[:2]], sequence_length=16, max_new_tokens=4)
    losses = []
    for ids, places in (([2, 4, 5, 3, 6, 7, 3, 4, 8, 3, 5, 3], (3, 4, 5, 9, 10)), ([2, 4, 5, 3, 6, 7, 3], (3, 4, 5))):
        ids = np.array([ids], "int32")
        logits = model.predict({"token_ids": ids, "padding_mask": np.ones_like(ids)}, verbose=0)[0]
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses += [-log_probs[place, ids[0, place + 1]] for place in places]
    assert scores["tokens"] == 8 and scores["examples"] == 2
    assert scores["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert scores["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    assert len(scores["predictions"]) == 2 and {"exact_match", "distinct_1", "distinct_2", "bleu"} <= set(scores)
