"""With the same weights, transformers' Llama gives the same logits and writes the same texts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLS, SEP, PAD = 2, 3, 0
BARRED = [[0], [1], [2], [4]]


@pytest.fixture(scope="module")
def llama(writing_model):
    """transformers' model with the weights of ours."""
    config = transformers.LlamaConfig(
        vocab_size=11,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=CLS,
        eos_token_id=SEP,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    ours = {weight.path: weight.numpy() for weight in writing_model.weights}
    embeddings = ours["token_embedding/embeddings"]
    state = {"model.embed_tokens.weight": embeddings, "lm_head.weight": embeddings}
    state["model.norm.weight"] = ours["final_norm/gamma"]
    for number in range(2):
        block, layer = f"decoder_block_{number}/", f"model.layers.{number}."
        query, key, value = np.split(ours[f"{block}attention_input/kernel"].T, [32, 48])
        gate, up = np.split(ours[f"{block}feedforward_input/kernel"].T, 2)
        state |= {
            f"{layer}self_attn.q_proj.weight": query,
            f"{layer}self_attn.k_proj.weight": key,
            f"{layer}self_attn.v_proj.weight": value,
            f"{layer}self_attn.o_proj.weight": ours[f"{block}attention_output/kernel"].T,
            f"{layer}mlp.gate_proj.weight": gate,
            f"{layer}mlp.up_proj.weight": up,
            f"{layer}mlp.down_proj.weight": ours[f"{block}feedforward_output/kernel"].T,
            f"{layer}input_layernorm.weight": ours[f"{block}attention_norm/gamma"],
            f"{layer}post_attention_layernorm.weight": ours[f"{block}feedforward_norm/gamma"],
        }
    model.load_state_dict({name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()})
    return model


def test_logits_are_the_same(llama, writing_model):
    ids = np.array([[2, 5, 6, 7, 8, 9, 10, 5]], "int32")
    with torch.no_grad():
        expected = llama(torch.tensor(ids, dtype=torch.long)).logits.numpy()
    found = writing_model.predict({"token_ids": ids, "padding_mask": np.ones_like(ids)}, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_new_tokens": 8}, {"min_new_tokens": 8}),
        ({"num_beams": 4}, {"num_beams": 4}),
        (
            {"num_beams": 4, "length_penalty": 0.6, "no_repeat_ngram": 2},
            {"num_beams": 4, "length_penalty": 0.6, "no_repeat_ngram_size": 2},
        ),
    ],
)
def test_texts_are_the_same(llama, generator, letters, ours, theirs):
    for prompt in ("a b c", "f", "d d e"):
        ids = torch.tensor([[CLS, *letters.tokenize(prompt).to_list()[0]]])
        options = {"max_new_tokens": 12, "do_sample": False, "bad_words_ids": BARRED, **theirs}
        written = llama.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :].tolist()
        expected = letters.detokenize([[token for token in written if token not in (PAD, SEP)]]).numpy()[0].decode()
        (row,) = generator.generate([prompt], max_new_tokens=12, **ours)
        assert row["text"].strip() == expected
