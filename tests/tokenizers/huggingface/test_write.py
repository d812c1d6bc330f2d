"""Our tokenizers written for `transformers`: AutoTokenizer gives the same ids, and so do we when we read them back."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import train_sentencepiece
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer, write_huggingface_tokenizer

TEXTS = [
    "Hello's World,  don't!\n",
    "",
    "  ",
    "Café e\u0301 naïve 中文 ½",
    "``quoted'' 1990,",
    "x" * 150,
    "👨‍👩‍👧 ok\tyes",
]


def test_auto_tokenizer_gives_the_same_ids_and_pairs(tokenizer, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    write_huggingface_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    batch = [*TEXTS, *texts]
    assert theirs(batch, add_special_tokens=False)["input_ids"] == tokenizer.tokenize(batch).to_list()
    pair = theirs(texts[0], texts[1])
    token_ids, segment_ids = tokenizer.wrap_pair(tokenizer.tokenize(texts[0]), tokenizer.tokenize(texts[1]), 500)
    assert [pair["input_ids"]] == token_ids.to_list()
    assert [pair["token_type_ids"]] == segment_ids.to_list()
    assert (theirs.pad_token_id, theirs.mask_token_id) == (tokenizer.pad_id, tokenizer.mask_id)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "albert", "distilbert"])
def test_the_class_of_the_model_beside_it_changes_nothing(wordpiece, texts, tmp_path, model_type):
    transformers = pytest.importorskip("transformers")
    write_huggingface_tokenizer(wordpiece, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs(texts, add_special_tokens=False)["input_ids"] == wordpiece.tokenize(texts).to_list()


def test_what_is_written_is_read_back(tokenizer, texts, tmp_path):
    write_huggingface_tokenizer(tokenizer, tmp_path)
    again = load_huggingface_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert (again.special_tokens, again.pair_separators) == (tokenizer.special_tokens, tokenizer.pair_separators)
    assert again.tokenize([*TEXTS, *texts]).to_list() == tokenizer.tokenize([*TEXTS, *texts]).to_list()


def test_a_model_without_segments_is_not_given_any(wordpiece, tmp_path):
    write_huggingface_tokenizer(wordpiece, tmp_path, segments=False)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]


def test_sentencepiece_of_type_bpe_that_joins_spaces_is_an_input_error(texts, tmp_path):
    with pytest.raises(InputError, match="only those are written for transformers that keep all spaces"):
        write_huggingface_tokenizer(train_sentencepiece(texts * 3, vocabulary_size=430, model_type="bpe"), tmp_path)
