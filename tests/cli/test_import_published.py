"""Qwen 3 and Llama 3 as they are published, in small: text in, the text that transformers writes out."""

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tfllm.cli.import_ import import_checkpoint
from tfllm.generation import TextGenerator
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.huggingface.byte_pairs import EXPRESSIONS

TEXTS = [
    "The kettle was still warm when Ms. O'Neill came home in 1984, and the cat had eaten 12345 fish.",
    "我昨天在北京的一家小饭馆吃了面条，味道很好！",
    "Привет, как дела? Всё хорошо.\n\n  def f(x):\n    return x ** 2  # don't\n",
    "Weather: sunny, 21 °C ☀️; family 👨‍👩‍👧 went to the sea.",
]
PROMPTS = ["The kettle", "", "北京 e\u0301 123456  ", "def f(x):\n\n    return", "👨‍👩‍👧!"]
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
}
SCALING = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
KINDS = {  # name -> class, more of its configuration, pattern, special tokens
    "qwen3": ("Qwen3", {"head_dim": 12, "tie_word_embeddings": True}, "qwen2", ["<|endoftext|>", "<|im_end|>"]),
    "llama3": ("Llama", {"rope_parameters": SCALING}, "llama3", ["<|begin_of_text|>", "<|end_of_text|>"]),
}


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory):
    """A directory as such a model is published in, its model in transformers, and its tokenizer there."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    classes, more, words, special = KINDS[request.param]
    rust = make_tokenizer(words, special)
    directory = tmp_path_factory.mktemp(request.param)
    rust.save(str(directory / "tokenizer.json"))
    first, end = special
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": first, "eos_token": end}), "utf-8")
    torch.manual_seed(5)
    config = getattr(importlib.import_module("transformers"), f"{classes}Config")
    config = config(**SIZE, **more, vocab_size=rust.get_vocab_size() + 7, eos_token_id=rust.token_to_id(end))
    model = getattr(transformers, f"{classes}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.25)
    model.save_pretrained(directory)
    return directory, model, rust


def make_tokenizer(words, special):
    rust = Tokenizer(models.BPE(ignore_merges=words == "llama3"))
    split = pre_tokenizers.Split(Regex(EXPRESSIONS[words]), "isolated", False)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.Sequence([split, level]), decoders.ByteLevel()
    if words == "qwen2":
        rust.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    rust.train_from_iterator(TEXTS, trainer)
    rust.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in special])
    if words == "llama3":
        begin = special[0]
        rust.post_processor = processors.TemplateProcessing(
            f"{begin} $A", f"{begin} $A {begin}:1 $B:1", [(begin, rust.token_to_id(begin))]
        )
    return rust


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    """It as a model directory of ours."""
    out = tmp_path_factory.mktemp("imported") / "model"
    import_checkpoint(str(published[0]), out)
    return out


def test_what_is_imported_writes_what_transformers_writes(published, imported):
    import torch

    _, theirs, rust = published
    ours, tokenizer, expected = TextGenerator.load(imported), load_tokenizer(imported), []
    barred = {tokenizer.cls_id, tokenizer.pad_id, *range(rust.get_vocab_size(), theirs.config.vocab_size)}
    barred -= {tokenizer.sep_id}
    for prompt in PROMPTS:
        ids = rust.encode(prompt).ids or [tokenizer.cls_id]
        row = torch.tensor([ids])
        options = {"do_sample": False, "max_new_tokens": 12, "bad_words_ids": [[one] for one in sorted(barred)]}
        written = theirs.generate(row, attention_mask=torch.ones_like(row), **options)[0, len(ids) :]
        expected.append(tokenizer.detokenize([written.tolist()]).numpy()[0].decode())
    assert [row["text"] for row in ours.generate(PROMPTS, max_new_tokens=12)] == expected
    assert len({*expected}) == len(PROMPTS)


@pytest.mark.parametrize("published", ["qwen3"], indirect=True)
def test_a_gguf_file_of_it_writes_the_same(published, imported, tmp_path):
    pytest.importorskip("gguf")
    directory, theirs, rust = published
    file = Path(__file__).parents[1] / "models" / "pretrained" / "test_gguf.py"
    specification = importlib.util.spec_from_file_location("test_gguf", file)
    test_gguf = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(test_gguf)
    tokens = [rust.id_to_token(number) or f"[PAD{number}]" for number in range(theirs.config.vocab_size)]
    first, end = (rust.token_to_id(mark) for mark in KINDS["qwen3"][3])
    merges = json.loads((directory / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    values = {"model": "gpt2", "pre": "qwen2", "tokens": tokens, "merges": [" ".join(pair) for pair in merges]}
    values |= {"token_type": [5 if token.startswith("[PAD") else 1 for token in tokens]}
    values |= {"bos_token_id": first, "eos_token_id": end}
    test_gguf.write(tmp_path / "model.gguf", theirs, "qwen3", tokenizer=values)
    import_checkpoint(str(tmp_path / "model.gguf"), tmp_path / "from_file")
    ours, others = (TextGenerator.load(directory) for directory in (tmp_path / "from_file", imported))
    assert ours.generate(PROMPTS, max_new_tokens=12) == others.generate(PROMPTS, max_new_tokens=12)
