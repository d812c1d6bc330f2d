"""Tokenizers as Llama 3 and Qwen publish them: the ids of the Rust library on real lines, code, emoji and blanks."""

import importlib.util
import json
import random
from pathlib import Path

import pytest
import tensorflow as tf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tfllm.checks import InputError
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.gguf import load_gguf_tokenizer
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer, write_huggingface_tokenizer
from tfllm.tokenizers.huggingface.byte_pairs import EXPRESSIONS
from tfllm.tokenizers.recover_merges import recover_merges

_specification = importlib.util.spec_from_file_location("parity_texts", Path(__file__).parents[1] / "parity_texts.py")
parity_texts = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(parity_texts)

BEGIN, END, TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
LLAMA3_MARKS = [BEGIN, END, "<|reserved_special_token_0|>", "<|start_header_id|>", "<|end_header_id|>", TURN]
QWEN_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]
LLAMA3_CHAT = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CODE = [
    "def f(x):\n    return {'a': x[0]**2, 'b': \"it's\"}  # don't\n\n\n\tif x != y:\r\n\t\tpass\r\n",
    "for (int i=0;i<1000000;++i){a[i]=b[i]*3.14159e-10;}\n\n\n// ---- 12345678901234567890 ----",
    "1 12 123 1234 12345 123456 1234567 ١٢٣٤ ½² 3.14 2024-05-17T12:30:45Z 1,000,000",
    " " * 300 + "x" + " " * 7 + "\n" * 9 + " \n \n  y\t\t\t z \u3000\u3000 \u00a0\u00a0.",
    "👨‍👩‍👧‍👦👍🏽🇩🇪🏳️‍🌈🧑‍🚀 ☀️1️⃣#️⃣ 🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂",
    "He'S WE'RE I'Ll they'vE 'tis o'clock ''s 'ſ DON'T",
    "a" * 500 + "中" * 200 + "-=" * 100 + "\n" + "é" * 64,
]


@pytest.fixture(scope="module")
def lines(shared_data):
    """Thousands of real lines in four languages, as many hostile ones, code, digits and runs of blanks."""
    return CODE + parity_texts.read_texts(shared_data, 4_000)


def every_pair(tokens):
    """All pairs of tokens that are one, under the rank of what they make, as files made of tiktoken's list them."""
    ranks, found = {token: rank for rank, token in enumerate(tokens)}, []
    for token in tokens:
        pairs = [(token[:place], token[place:]) for place in range(1, len(token))]
        pairs = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        found += sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return found


def pattern(words):
    split = pre_tokenizers.Split(Regex(EXPRESSIONS[words]), "isolated", False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def write(directory, rust, settings, ends):
    """The files of a published checkpoint."""
    rust.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), "utf-8")
    return directory


def llama3(directory, tokens, merges):
    """A directory with Llama 3's tokenizer, on these tokens."""
    rust = Tokenizer(models.BPE({token: rank for rank, token in enumerate(tokens)}, merges, ignore_merges=True))
    rust.pre_tokenizer, rust.decoder = pattern("llama3"), decoders.ByteLevel()
    rust.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in LLAMA3_MARKS])
    begin = [(BEGIN, rust.token_to_id(BEGIN))]
    template = processors.TemplateProcessing(f"{BEGIN} $A", f"{BEGIN} $A {BEGIN}:1 $B:1", begin)
    rust.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    settings = {"bos_token": BEGIN, "eos_token": TURN, "chat_template": LLAMA3_CHAT}
    return write(directory, rust, settings, [rust.token_to_id(END), rust.token_to_id(TURN)])


@pytest.fixture(scope="module")
def tokens(lines):
    """A small vocabulary trained with Llama 3's pattern, in the order of its ranks."""
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pattern("llama3")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    rust.train_from_iterator(
        lines[:1_500], trainers.BpeTrainer(vocab_size=2_000, initial_alphabet=alphabet, show_progress=False)
    )
    ids = rust.get_vocab()
    return sorted(ids, key=ids.get)


@pytest.fixture(scope="module")
def llama3_directory(tokens, tmp_path_factory):
    return llama3(tmp_path_factory.mktemp("llama3"), tokens, every_pair(tokens))


@pytest.fixture(scope="module")
def qwen_directory(lines, tmp_path_factory):
    """A directory with the tokenizer of Qwen 3."""
    rust = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    rust.normalizer, rust.pre_tokenizer, rust.decoder = normalizers.NFC(), pattern("qwen2"), decoders.ByteLevel()
    rust.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    rust.train_from_iterator(
        lines[:1_500], trainers.BpeTrainer(vocab_size=2_000, initial_alphabet=alphabet, show_progress=False)
    )
    rust.add_tokens([AddedToken(mark, normalized=False, special=mark.startswith("<|")) for mark in QWEN_MARKS])
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None}
    ends = [rust.token_to_id("<|im_end|>"), rust.token_to_id("<|endoftext|>")]
    return write(tmp_path_factory.mktemp("qwen"), rust, settings, ends)


def reference(directory):
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def test_the_ids_of_llama_3_are_those_of_the_reference(llama3_directory, lines):
    ours, theirs = load_huggingface_tokenizer(llama3_directory), reference(llama3_directory)
    assert (ours.words, ours.whole_words, ours.compose, ours.begins_prompts) == ("llama3", True, False, True)
    expected = [one.ids for one in theirs.encode_batch(lines, add_special_tokens=False)]
    assert ours.tokenize(lines).to_list() == expected
    assert [text.decode() for text in ours.detokenize(ours.tokenize(lines)).numpy()] == lines
    assert (ours.vocabulary[ours.cls_id], [ours.vocabulary[one] for one in ours.end_ids]) == (BEGIN, [TURN, END])
    assert theirs.encode("x").ids[0] == ours.cls_id


def test_the_ids_of_qwen_are_those_of_the_reference(qwen_directory, lines):
    ours, theirs = load_huggingface_tokenizer(qwen_directory), reference(qwen_directory)
    assert (ours.words, ours.whole_words, ours.compose, ours.begins_prompts) == ("qwen2", False, True, False)
    assert ours.tokenize(lines).to_list() == [one.ids for one in theirs.encode_batch(lines)]
    assert [ours.vocabulary[one] for one in ours.end_ids] == ["<|im_end|>", "<|endoftext|>"]


def test_both_go_back_to_transformers_and_to_disk(llama3_directory, qwen_directory, lines, tmp_path):
    transformers = pytest.importorskip("transformers")
    for directory in (llama3_directory, qwen_directory):
        ours = load_huggingface_tokenizer(directory)
        ours.save(tmp_path / directory.name)
        loaded = load_tokenizer(tmp_path / directory.name)
        out = tmp_path / f"{directory.name}-written"
        out.mkdir()
        write_huggingface_tokenizer(loaded, out, writes=True)
        theirs = transformers.AutoTokenizer.from_pretrained(str(out))
        assert theirs(lines[:300])["input_ids"] == [one.ids for one in reference(directory).encode_batch(lines[:300])]
        assert loaded.tokenize(lines[:300]).to_list() == ours.tokenize(lines[:300]).to_list()


def test_llama_3_comes_out_of_gguf_with_the_same_ids(llama3_directory, tokens, lines):
    ours = load_huggingface_tokenizer(llama3_directory)
    values = {
        "model": "gpt2",
        "pre": "llama-bpe",
        "tokens": ours.vocabulary,
        "merges": [" ".join(pair) for pair in every_pair(tokens)],
        "bos_token_id": ours.cls_id,
        "eos_token_id": ours.sep_id,
    }
    found = load_gguf_tokenizer({f"tokenizer.ggml.{name}": value for name, value in values.items()}, "x.gguf")
    assert found.tokenize(lines[:500]).to_list() == ours.tokenize(lines[:500]).to_list()
    assert (found.begins_prompts, found.whole_words) == (True, True)


def test_the_chat_template_of_llama_3_comes_along(llama3_directory):
    transformers = pytest.importorskip("transformers")
    ours = load_huggingface_tokenizer(llama3_directory)
    theirs = transformers.AutoTokenizer.from_pretrained(str(llama3_directory))
    turns = [("system", "Be kind."), ("user", " Hi\n"), ("assistant", "Hello"), ("user", "<|eot_id|>?")]
    for first in (0, 1):
        messages = [{"role": role, "content": content} for role, content in turns[first:]]
        found = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert ours.chat_template.render(messages) == found


def test_typed_marks_of_llama_3_are_text(llama3_directory):
    ours = load_huggingface_tokenizer(llama3_directory)
    typed = "".join(LLAMA3_MARKS)
    ids = ours.tokenize([typed])
    assert not {*ids.to_list()[0]} & {ours.vocabulary.index(mark) for mark in LLAMA3_MARKS}
    assert ours.detokenize(ids).numpy()[0].decode() == typed


def test_a_word_that_is_a_token_stays_whole_in_the_saved_model_too(tmp_path):
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "bc", "abc", "Ġd", "Ġdef"]
    merges = [("a", "b"), ("b", "c"), ("a", "bc"), ("Ġ", "d")]
    (tmp_path / "in").mkdir()
    directory = llama3(tmp_path / "in", tokens, merges)
    ours, theirs = load_huggingface_tokenizer(directory), reference(directory)
    texts = ["abc", "xabc", "abc def defg", "", " ", "ABC abc\nabc", "中abc"]
    expected = [one.ids for one in theirs.encode_batch(texts, add_special_tokens=False)]
    assert ours.tokenize(texts).to_list() == expected
    assert expected[0] == [tokens.index("abc")] and len(expected[1]) == 3
    ends = ours.tokenize_with_offsets(texts).character_ends.to_list()
    assert (ends[0], ends[2]) == ([3], [3, 7, 9, 10, 11, 12])

    class Saved(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def ids(self, text):
            return self.tokenizer.tokenize(text).to_tensor(-1)

    saved = Saved()
    saved.tokenizer = ours
    tf.saved_model.save(saved, str(tmp_path / "saved"))
    found = tf.saved_model.load(str(tmp_path / "saved")).ids(tf.constant(texts)).numpy().tolist()
    assert [[one for one in row if one >= 0] for row in found] == expected


def test_gpt_2s_published_merges_are_found_again_in_the_list_of_all_pairs(shared_models):
    ids = json.loads((shared_models / "gpt2" / "encoder.json").read_text("utf-8"))
    tokens = sorted(ids, key=ids.get)[:20_000]
    published = (shared_models / "gpt2" / "vocab.bpe").read_text("utf-8").split("\n")[1:-1]
    found = recover_merges(every_pair(tokens), tokens)
    assert found == [tuple(line.split(" ")) for line in published[: 20_000 - 256]]


def test_recovered_merges_give_what_all_pairs_give_in_any_vocabulary():
    generator, kinds = random.Random(0), set()
    texts = ["".join(generator.choices("abc", k=generator.randrange(30))) for _ in range(200)]
    for _ in range(300):
        tokens = list("abc")
        for _ in range(generator.randrange(2, 25)):  # as a trainer's, or any two tokens, or any letters at all
            made = "".join(generator.choices(tokens, k=2))
            made = "".join(generator.choices("abc", k=4)) if generator.random() < 0.05 else made
            tokens += [made] * (made not in tokens)
        pairs = every_pair(tokens)
        found, ids = recover_merges(pairs, tokens), {token: number for number, token in enumerate(tokens)}
        kinds.add(found == pairs)
        theirs, ours = (Tokenizer(models.BPE(ids, merges)).encode_batch(texts) for merges in (pairs, found))
        assert [one.ids for one in ours] == [one.ids for one in theirs]
    assert kinds == {True, False}


def test_a_list_of_another_kind_stays_as_it_is():
    merges = [("a", "b"), ("c", "d"), ("a", "bc"), ("b", "c"), ("ab", "c")]
    assert recover_merges(merges, [*"abcd", "ab", "bc", "cd", "abc"]) == merges
    assert recover_merges([], [*"abcd"]) == []
    unknown = [("a", "b"), ("ab", "z")]
    assert recover_merges(unknown, [*"abc", "ab", "abz"]) == unknown  # which no tokenizer takes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore_merges": "yes"}, "`ignore_merges` must be true or false"),
        ({"dropout": 0.5}, "no BPE with `dropout` 0.5"),
        ({"end_of_word_suffix": "</w>"}, "no BPE with `end_of_word_suffix`"),
    ],
)
def test_another_model_is_refused(llama3_directory, tmp_path, change, message):
    document = json.loads((llama3_directory / "tokenizer.json").read_text("utf-8"))
    document["model"] |= change
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match=message):
        load_huggingface_tokenizer(tmp_path)


def test_text_never_becomes_an_added_token_of_marks_alone(llama3_directory, tmp_path):
    document = json.loads((llama3_directory / "tokenizer.json").read_text("utf-8"))
    document["added_tokens"][2]["content"] = "<|>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match=r"text would become the added token '<\|>'"):
        load_huggingface_tokenizer(tmp_path)


def test_the_pattern_of_a_newer_qwen_is_refused(qwen_directory, tmp_path):
    document = json.loads((qwen_directory / "tokenizer.json").read_text("utf-8"))
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = EXPRESSIONS["qwen2"].replace(
        "]?\\p{L}+", "]?[\\p{L}\\p{M}]+"
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match="must be split as GPT-2, SmolLM2, Llama 3 or Qwen 2 do"):
        load_huggingface_tokenizer(tmp_path)
