"""Tokenizers of published decoders: their words, beginnings and ends, chat templates, both ways."""

import io
import json

import pytest
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tfllm.checks import InputError
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.gguf import load_gguf_tokenizer
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer, write_huggingface_tokenizer
from tfllm.tokenizers.huggingface.byte_pairs import EXPRESSIONS

TEXTS = [
    "Hello's World,  DON'T!\n\n  12345 x",
    "",
    " a",
    "Café e\u0301\u0327 中文, 한국어 ½²\t7",
    "<|im_end|> <tool> ok",
]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def splitter(words):
    """The pre-tokenizer of the reference."""
    if words in EXPRESSIONS:
        split = pre_tokenizers.Split(Regex(EXPRESSIONS[words]), "isolated", False)
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, level]) if words == "gpt2-digits" else level


@pytest.fixture(scope="module")
def make_directory(tmp_path_factory):
    """A directory with a byte-level BPE tokenizer that splits words as named."""

    def make(texts, words="qwen2", **settings):
        directory = tmp_path_factory.mktemp("tokenizer")
        rust = Tokenizer(models.BPE())
        rust.pre_tokenizer, rust.decoder = splitter(words), decoders.ByteLevel()
        if words == "qwen2":
            rust.normalizer = normalizers.NFC()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        rust.train_from_iterator(
            texts * 4,
            trainers.BpeTrainer(
                vocab_size=500, special_tokens=MARKS, initial_alphabet=alphabet, min_frequency=2, show_progress=False
            ),
        )
        rust.add_tokens([AddedToken("<tool>", normalized=False, special=False)])
        rust.save(str(directory / "tokenizer.json"))
        settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **settings}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        return directory

    return make


@pytest.mark.parametrize("words", ["gpt2", "gpt2-digits", "llama3", "qwen2"])
def test_ids_are_those_of_the_reference_both_ways(make_directory, texts, tmp_path, words):
    transformers = pytest.importorskip("transformers")
    directory = make_directory(texts, words)
    ours, theirs = load_huggingface_tokenizer(directory), Tokenizer.from_file(str(directory / "tokenizer.json"))
    batch = [*TEXTS[:-1], *texts]
    assert (ours.words, ours.compose, ours.begins_prompts) == (words, words == "qwen2", False)
    assert ours.tokenize(batch).to_list() == [one.ids for one in theirs.encode_batch(batch)]
    write_huggingface_tokenizer(ours, tmp_path, writes=True)
    again = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert again(batch)["input_ids"] == ours.tokenize(batch).to_list()
    assert load_huggingface_tokenizer(tmp_path).words == words


def test_composed_text_has_the_offsets_of_the_text_as_it_was(make_directory, texts):
    ours = load_huggingface_tokenizer(make_directory(texts))
    tokens = ours.tokenize_with_offsets(["e\u0301 x"])
    assert ours.detokenize(tokens.ids).numpy()[0].decode() == "é x"
    assert tokens.character_ends.to_list()[0][-1] == 4
    assert tokens.byte_starts.to_list()[0][0] == 0


def test_typed_marks_are_text(make_directory, texts):
    ours = load_huggingface_tokenizer(make_directory(texts))
    ids = ours.tokenize(TEXTS[-1:])
    assert not {*ids.to_list()[0]} & {ours.vocabulary.index(mark) for mark in (*MARKS, "<tool>")}
    assert ours.detokenize(ids).numpy()[0].decode() == TEXTS[-1]


def test_ends_and_chat_template_come_along_and_are_kept(make_directory, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    directory = make_directory(texts, chat_template=CHATML)
    (directory / "generation_config.json").write_text('{"eos_token_id": [2, 0]}', "utf-8")
    ours = load_huggingface_tokenizer(directory)
    assert ours.end_ids == [2, 0]
    ours.save(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert (loaded.end_ids, loaded.begins_prompts, loaded.words) == ([2, 0], False, "qwen2")
    (tmp_path / "written").mkdir()
    write_huggingface_tokenizer(loaded, tmp_path / "written", writes=True)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "written"))
    turns = [("user", "Hi"), ("assistant", "{{ no }}\n'quoted'"), ("user", "More")]
    for first in ([], [{"role": "system", "content": "Be kind."}]):
        messages = [*first, *({"role": role, "content": content} for role, content in turns)]
        found = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert found == loaded.chat_template.render(messages)


def test_a_template_that_is_no_fixed_text_is_left_out_with_a_warning(make_directory, texts, caplog):
    ours = load_huggingface_tokenizer(make_directory(texts, chat_template="{{ raise_exception('no') }}"))
    assert ours.chat_template is None
    assert "The chat template is left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}}, "must be split"),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
                        {"type": "ByteLevel", "use_regex": False},
                    ],
                }
            },
            "must be split as GPT-2, SmolLM2, Llama 3 or Qwen 2",
        ),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}}, "must be split as GPT-2"),
        ({"normalizer": {"type": "Lowercase"}}, "takes text as it is, or in form NFC"),
    ],
)
def test_other_ways_to_split_are_refused(make_directory, texts, change, message):
    directory = make_directory(texts)
    file = directory / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(InputError, match=message):
        load_huggingface_tokenizer(directory)


@pytest.mark.parametrize("ends", ["2", [10**9], [-1], [True], list(range(200))])
def test_ends_that_are_no_tokens_are_refused(make_directory, texts, ends):
    directory = make_directory(texts)
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), "utf-8")
    with pytest.raises(InputError, match="`eos_token_id` must be ids of tokens"):
        load_huggingface_tokenizer(directory)


@pytest.fixture(scope="module")
def llama_model():
    """A SentencePiece model as Llama has it."""

    def train(texts):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts * 4),
            model_writer=model,
            vocab_size=420,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            character_coverage=0.98,
            minloglevel=2,
        )
        return model.getvalue()

    return train


def test_a_tokenizer_of_llama_has_the_ids_of_sentencepiece_both_ways(llama_model, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = llama_model(texts)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tokenizer.model").write_bytes(model)
    ours = load_huggingface_tokenizer(tmp_path / "in")
    theirs, batch = sentencepiece.SentencePieceProcessor(model_proto=model), [*TEXTS, *texts, "  two", "x\ny"]
    assert ours.tokenize(batch).to_list() == theirs.encode(batch)
    assert (ours.begins_prompts, ours.special_tokens["cls"], ours.end_ids) == (True, "<s>", [2])
    write_huggingface_tokenizer(ours, tmp_path, writes=True)
    fast = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert fast(batch)["input_ids"] == [[1, *ids] for ids in theirs.encode(batch)]
    again = load_huggingface_tokenizer(tmp_path)
    assert again.tokenize(batch).to_list() == theirs.encode(batch)
    assert again.begins_prompts


def gguf_values(ours, **more):
    """What a GGUF file would say of a byte-level BPE tokenizer."""
    values = {
        "model": "gpt2",
        "pre": "qwen2",
        "tokens": ours.vocabulary,
        "merges": [" ".join(pair) for pair in ours.merges],
        "eos_token_id": 2,
        "bos_token_id": 1,
        "eot_token_id": 0,
        **more,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in values.items() if value is not None}


def test_a_tokenizer_comes_out_of_gguf(make_directory, texts):
    ours = load_huggingface_tokenizer(make_directory(texts))
    found = load_gguf_tokenizer(gguf_values(ours), "x.gguf")
    assert found.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    assert (found.begins_prompts, found.end_ids, found.cls_id) == (False, [2, 0], 1)


def test_a_tokenizer_of_llama_comes_out_of_gguf(llama_model, texts):
    theirs = sentencepiece.SentencePieceProcessor(model_proto=llama_model(texts))
    ids = range(theirs.vocab_size())
    kinds = [2 if theirs.is_unknown(n) else 3 if theirs.is_control(n) else 6 if theirs.is_byte(n) else 1 for n in ids]
    values = {
        "model": "llama",
        "tokens": [theirs.id_to_piece(number) for number in ids],
        "scores": [theirs.get_score(number) for number in ids],
        "token_type": kinds,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    found = load_gguf_tokenizer({f"tokenizer.ggml.{name}": value for name, value in values.items()}, "x.gguf")
    assert found.tokenize(TEXTS).to_list() == theirs.encode(TEXTS)
    assert found.begins_prompts


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "bert"}, "the tokenizers gpt2 and llama"),
        ({"pre": "mystery"}, "words are split as by"),
        ({"tokens": "abc"}, "must be a list"),
        ({"tokens": [1, 2]}, "must be a list"),
        ({"merges": None}, "must be a list"),
        ({"merges": ["a b c"]}, "is not a pair"),
        ({"merges": ["zz qq"]}, "which the vocabulary lacks"),
        ({"eos_token_id": None}, "does not name the token that ends a text"),
        ({"eos_token_id": 10**6}, "the eos token must be one of"),
        ({"bos_token_id": -1}, "the bos token must be one of"),
        ({"model": "llama"}, "must be a list"),
        ({"model": "llama", "scores": [0.0], "token_type": [1]}, "have 1 scores and 1 types"),
    ],
)
def test_a_broken_tokenizer_of_gguf_is_refused(make_directory, texts, more, message):
    ours = load_huggingface_tokenizer(make_directory(texts))
    with pytest.raises(InputError, match=message):
        load_gguf_tokenizer(gguf_values(ours, **more), "x.gguf")
