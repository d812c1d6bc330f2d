"""Models that write, as workers of a contest (see contest.py): tfllm in Python and as a SavedModel, KerasHub, and
Hugging Face transformers on PyTorch, which runs in the peers' environment.

All have random weights of one size and get prompts of as many random tokens; a turn is one call for a batch of prompts,
greedy, with exactly as many new tokens for each. Strings or ids are not turned into one another in the turns of those
that take ids (KerasHub, transformers): what they are given is less work than what tfllm does.
"""

import tempfile
from pathlib import Path

import contest
import numpy as np


def main():
    asked = contest.request()
    {"tfllm": tfllm, "savedmodel": savedmodel, "keras_hub": keras_hub, "transformers": transformers}[asked["work"]](
        asked
    )


def tfllm(asked):
    """`TextGenerator.generate`: strings in, strings out."""
    from tfllm.generation import TextGenerator

    model, tokenizer = _model(asked)
    generator = TextGenerator(model, tokenizer)
    settings = dict.fromkeys(("max_new_tokens", "min_new_tokens"), asked["new_tokens"])
    texts = _texts(asked)
    contest.serve(lambda: _counted(asked, [row["num_tokens"] for row in generator.generate(texts, **settings)]))


def savedmodel(asked):
    """The exported graph's `generate`, by `tf.saved_model.load`: strings in, strings out."""
    import tensorflow as tf

    from tfllm.export.savedmodel import _save
    from tfllm.inference.signatures import build_signatures
    from tfllm.models import set_generation

    model, tokenizer = _model(asked)
    set_generation(model, **dict.fromkeys(("max_new_tokens", "min_new_tokens"), asked["new_tokens"]))
    with tempfile.TemporaryDirectory() as folder:
        _save(
            [one.value for one in model.weights],
            tokenizer,
            build_signatures(model, tokenizer, _length(asked)),
            Path(folder),
        )
        loaded = tf.saved_model.load(folder)
    write, texts = loaded.signatures["serving_default"], tf.constant(_texts(asked))
    contest.serve(lambda: _counted(asked, write(text=texts)["num_tokens"].numpy().tolist()))


def keras_hub(asked):
    """`GPT2CausalLM.generate` or `Llama3CausalLM.generate` of token ids, without its preprocessor."""
    import keras
    import keras_hub

    size, kind = asked["size"], asked["kind"]
    common = {
        "vocabulary_size": asked["vocabulary_size"],
        "num_layers": size["num_layers"],
        "hidden_dim": size["hidden_dim"],
        "intermediate_dim": size["intermediate_dim"],
    }
    if kind == "gpt2":
        backbone = keras_hub.models.GPT2Backbone(
            num_heads=size["num_heads"], max_sequence_length=_length(asked), dropout=0.0, **common
        )
        model = keras_hub.models.GPT2CausalLM(backbone)
    else:
        heads = {"num_query_heads": size["num_heads"], "num_key_value_heads": size["num_key_value_heads"]}
        backbone = keras_hub.models.LlamaBackbone(dropout=0.0, tie_word_embeddings=True, **heads, **common)
        model = keras_hub.models.LlamaCausalLM(backbone)
    model.compile(sampler="greedy")
    prompts = np.array(_prompts(asked), "int32")
    rows, length = prompts.shape
    total = length + asked["new_tokens"]
    token_ids = np.zeros((rows, total), "int32")
    token_ids[:, :length] = prompts
    mask = np.zeros((rows, total), bool)
    mask[:, :length] = True
    inputs = {"token_ids": token_ids, "padding_mask": mask}

    def turn() -> dict:
        model.generate(inputs, stop_token_ids=None)
        return _counted(asked, [asked["new_tokens"]] * rows)

    keras.utils.set_random_seed(0)
    contest.serve(turn)


def transformers(asked):
    """`generate` with its key-value cache, of token ids."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    size, kind = asked["size"], asked["kind"]
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=asked["vocabulary_size"],
            n_positions=_length(asked),
            n_embd=size["hidden_dim"],
            n_layer=size["num_layers"],
            n_head=size["num_heads"],
            n_inner=size["intermediate_dim"],
        )
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            vocab_size=asked["vocabulary_size"],
            max_position_embeddings=_length(asked),
            hidden_size=size["hidden_dim"],
            num_hidden_layers=size["num_layers"],
            num_attention_heads=size["num_heads"],
            num_key_value_heads=size["num_key_value_heads"],
            intermediate_size=size["intermediate_dim"],
            tie_word_embeddings=True,
        )
        model = LlamaForCausalLM(config)
    model.eval()
    input_ids = torch.tensor(_prompts(asked))
    options = {"min_new_tokens": asked["new_tokens"], "max_new_tokens": asked["new_tokens"], "do_sample": False}

    def turn() -> dict:
        with torch.inference_mode():
            out = model.generate(input_ids, attention_mask=torch.ones_like(input_ids), pad_token_id=0, **options)
        return _counted(asked, [out.shape[1] - input_ids.shape[1]] * len(out))

    contest.serve(turn)


def _model(asked):
    """A decoder of tfllm as GPT-2 or Llama is, and a tokenizer in which every word is a token."""
    import keras

    from tfllm.models import add_causal_lm_head, build_decoder
    from tfllm.tokenizers import WordPieceTokenizer

    keras.utils.set_random_seed(0)
    gpt2 = {"positions": "learned", "norm": "layer", "activation": "gelu_tanh", "biases": "all"}
    size = {name: value for name, value in asked["size"].items() if asked["kind"] != "gpt2" or "key_value" not in name}
    decoder = build_decoder(
        asked["vocabulary_size"],
        **size,
        max_sequence_length=_length(asked),
        **(gpt2 if asked["kind"] == "gpt2" else {}),
    )
    words = [f"w{number}" for number in range(asked["vocabulary_size"] - 5)]
    return add_causal_lm_head(decoder), WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])


def _length(asked) -> int:
    return asked["prompt_tokens"] + asked["new_tokens"]


def _prompts(asked) -> list[list[int]]:
    random = np.random.default_rng(0)
    return random.integers(5, asked["vocabulary_size"], (asked["rows"], asked["prompt_tokens"])).tolist()


def _texts(asked) -> list[str]:
    """The prompts as words; the first token of each is [CLS]."""
    return [" ".join(f"w{token - 5}" for token in row[1:]) for row in _prompts(asked)]


def _counted(asked, counts: list[int]) -> dict:
    if counts != [asked["new_tokens"]] * asked["rows"]:
        raise SystemExit(f"{asked['new_tokens']} new tokens were asked for. Written: {counts}.")
    return {"tokens": sum(counts)}


if __name__ == "__main__":
    main()
