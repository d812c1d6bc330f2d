"""`export_huggingface`: a trained model and its tokenizer become a directory that `transformers` loads.

In: a Keras model of a tfllm builder, and its tokenizer. Out: config.json, model.safetensors, the tokenizer's files and
a model card; for a model that gives vectors, also what sentence-transformers reads.
"""

import json
import shutil
from pathlib import Path

import keras
from safetensors.numpy import save_file

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.models import check_length, longest_text, read_recipe
from tfllm.models.pretrained import Description, describe
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.huggingface import write_huggingface_tokenizer

KIND = "huggingface"
_PIPELINES = {  # how the name of a class ends -> `pipeline_tag` of the Hub, and the class that loads it
    "Model": ("feature-extraction", "AutoModel"),
    "ForMaskedLM": ("fill-mask", "AutoModelForMaskedLM"),
    "LMHeadModel": ("text-generation", "AutoModelForCausalLM"),
    "ForCausalLM": ("text-generation", "AutoModelForCausalLM"),
    "ForConditionalGeneration": ("text2text-generation", "AutoModelForSeq2SeqLM"),
    "MTModel": ("translation", "AutoModelForSeq2SeqLM"),
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForTokenClassification": ("token-classification", "AutoModelForTokenClassification"),
    "ForQuestionAnswering": ("question-answering", "AutoModelForQuestionAnswering"),
}
_MODULE = "sentence_transformers.models."


def export_huggingface(
    model: keras.Model,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    sequence_length: int | None = None,
    card: str = "",
) -> dict[str, str]:
    """Write a directory that `transformers` loads, with the same numbers, whole or not at all.

    Args:
        model: what a tfllm builder returned: an encoder, or one with a head for masked tokens, texts (pooling "cls"),
            tokens, answers or vectors, which must normalise after each part (post-norm); or a model that writes, built
            as GPT-2, Llama, T5, BART or Marian is.
        tokenizer: the one the model was trained with.
        directory: where; it must not exist.
        sequence_length: where texts are cut, in tokens. None: as long as the model has positions.
        card: Markdown to follow the model card's first section: the card of the model directory.

    Returns:
        Layers that the class has no place for -> what they are; they are not in the directory.

    Raises:
        InputError: when the directory exists, or transformers has no class that computes the same.
    """
    if sequence_length is not None:
        check_length(model, sequence_length)
    length = sequence_length or longest_text(model)
    description = describe(model, tokenizer.pad_id, sentencepiece=tokenizer.kind == "sentencepiece")
    _check_vocabulary(description, tokenizer)
    config = {**description.config, **_token_ids(read_recipe(model), tokenizer), "eos_token_id": tokenizer.sep_id}
    with manifest.write_directory(directory, KIND, {"model": read_recipe(model)}) as beside:
        save_file(description.tensors, beside / "model.safetensors", metadata={"format": "pt"})
        _write_json(beside / "config.json", config)
        shutil.copymode(beside / "config.json", beside / "model.safetensors")  # which is its owner's alone
        segments, writes = config.get("type_vocab_size", 1) > 1, read_recipe(model)["builder"] == "add_causal_lm_head"
        write_huggingface_tokenizer(tokenizer, beside, segments=segments, writes=writes)
        if writes or "decoder_start_token_id" in config:
            _write_json(beside / "generation_config.json", _generation(read_recipe(model), tokenizer))
        _set_length(beside / "tokenizer_config.json", length)
        _write_sentences(beside, read_recipe(model), config, length)
        (beside / manifest.CARD).write_text(_card(Path(directory).name, description, card), "utf-8")
    return description.left_out


def _token_ids(recipe: dict, tokenizer: Tokenizer) -> dict:
    """How a text begins, by the names of transformers."""
    ids = {"bos_token_id": tokenizer.cls_id} if "cls" in tokenizer.special_tokens else {}
    if recipe["builder"] != "add_seq2seq_head":
        return ids
    first, *more = tokenizer.ids_of(recipe["arguments"]["start"])
    if len(more) > 1:
        raise InputError(
            f"transformers begins a text with one or two tokens. Received: {recipe['arguments']['start']}."
        )
    forced = {"forced_bos_token_id": more[0]} if more else {}
    return {**ids, "decoder_start_token_id": first, **forced, "forced_eos_token_id": tokenizer.sep_id}


def _generation(recipe: dict, tokenizer: Tokenizer) -> dict:
    """How a text begins and ends where `generate` of transformers writes it."""
    ids = _token_ids(recipe, tokenizer)
    return {
        **ids,
        **({"bad_words_ids": [[tokenizer.pad_id]]} if "decoder_start_token_id" in ids else {}),
        "eos_token_id": tokenizer.end_ids,
        "pad_token_id": tokenizer.pad_id,
        "do_sample": False,
    }


def _check_vocabulary(description: Description, tokenizer: Tokenizer) -> None:
    if tokenizer.vocabulary_size > description.config["vocab_size"]:
        raise InputError(
            f"The tokenizer has {tokenizer.vocabulary_size:,} tokens, and the model has embeddings for "
            f"{description.config['vocab_size']:,}: they do not belong together."
        )


def _set_length(file: Path, length: int) -> None:
    """Have the tokenizer cut texts where the model's positions end."""
    settings = json.loads(file.read_text("utf-8")) if file.exists() else {}
    _write_json(file, {**settings, "model_max_length": length})


def _write_sentences(directory: Path, recipe: dict, config: dict, length: int) -> None:
    """The files of sentence-transformers, if the model gives vectors."""
    if recipe["builder"] != "add_embedding_head":
        return
    pooling = recipe["arguments"]["pooling"]
    parts = [("Transformer", ""), ("Pooling", "1_Pooling")]
    if recipe["arguments"]["normalize"]:
        parts.append(("Normalize", "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": _MODULE + kind}
        for number, (kind, path) in enumerate(parts)
    ]
    for _, path in parts:
        (directory / path).mkdir(exist_ok=True)
    _write_json(directory / "modules.json", modules)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    _write_json(
        directory / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": config.get("hidden_size", config.get("dim")),
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def _card(name: str, description: Description, card: str) -> str:
    """Markdown, with the header the Hub reads."""
    kind = next(kind for kind in reversed(_PIPELINES) if description.class_name.endswith(kind))
    pipeline, auto = _PIPELINES[kind]
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {pipeline}",
        "tags: [tfllm]",
        "---",
        "",
        f"# {name}",
        "",
        f"A {description.class_name}, trained with tfllm and exported for transformers:",
        "",
        "```python",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'model, tokenizer = {auto}.from_pretrained("{name}"), AutoTokenizer.from_pretrained("{name}")',
        "```",
        *(f"\nNot in this directory: {what}." for what in description.left_out.values()),
        "",
    ]
    return "\n".join(lines) + (f"\n{card}" if card else "")


def _write_json(file: Path, value: dict | list) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")
