"""Tokenizers of published encoder-decoders: T5's sentinels and ends, Marian's two models, both ways."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tfllm.checks import InputError
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer, write_huggingface_tokenizer
from tfllm.tokenizers.sentencepiece_model import parse_model

_specification = importlib.util.spec_from_file_location("parity_texts", Path(__file__).parents[1] / "parity_texts.py")
parity_texts = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(parity_texts)

SENTINELS = [f"<extra_id_{number}>" for number in reversed(range(100))]
TEXTS = [
    "Hello's World,  don't! 1990",
    "",
    "  ",
    "Café naïve 中文",
    "👨‍👩‍👧 ok\tyes",
    "</s> <pad> <extra_id_0>",
    "x" * 150,
]
CODED = [*TEXTS, ">>fra<< A café", ">>fra<<", ">>deu<< A café", ">> fra << A", "a >>fra<< b", ">><<"]
HALF = 300  # of the texts, lines as people wrote them


def train(texts, size, **ids):
    """The bytes of a unigram model."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=content,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    return content.getvalue()


def pieces_of(content):
    return [(piece.piece, piece.score) for piece in parse_model(content, "the model").pieces]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def lines(shared_data):
    """Lines as people wrote them, in three languages."""
    return parity_texts.read_texts(shared_data, 2 * HALF)[:HALF]


@pytest.fixture(scope="module")
def t5_model(texts):
    return train(texts * 3, 300, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


@pytest.fixture(scope="module")
def t5(transformers, t5_model):
    """transformers' tokenizer."""
    table = parse_model(t5_model, "the model").normalizer_spec.precompiled_charsmap
    vocabulary = [*pieces_of(t5_model), *((token, 0.0) for token in SENTINELS)]
    return transformers.T5Tokenizer(vocab=vocabulary, _spm_precompiled_charsmap=table)


def ids_of(ours, texts):
    """Ids of texts that are read."""
    return ours.wrap_source(ours.tokenize(texts), 10_000).to_list()


def as_text(texts):
    """Texts in which nothing looks like a special token: transformers takes such for one."""
    return [text for text in texts if "<" not in text]


def test_t5_ends_a_text_and_puts_nothing_before_it(t5, lines, tmp_path):
    t5.save_pretrained(str(tmp_path))
    ours = load_huggingface_tokenizer(tmp_path)
    assert ours.special_tokens == {"pad": "<pad>", "unk": "<unk>", "sep": "</s>"}
    assert (ours.pad_id, ours.sep_id, ours.vocabulary[-1]) == (0, 1, "<extra_id_0>")
    texts = [*as_text(TEXTS), *lines]
    assert ids_of(ours, texts) == t5(texts)["input_ids"]
    cut = ours.wrap_source(ours.tokenize(texts), 5).to_list()
    assert cut == t5(texts, truncation=True, max_length=5)["input_ids"]
    ids = [[5, 9, ours.vocabulary_size - 1, 12, 1, 0]]
    assert ours.detokenize(ids).numpy()[0].decode() == t5.decode(ids[0], skip_special_tokens=True)


def test_text_becomes_no_sentinel(t5, tmp_path):
    t5.save_pretrained(str(tmp_path))
    ours = load_huggingface_tokenizer(tmp_path)
    assert max(ours.tokenize(["</s> <extra_id_0>"]).to_list()[0]) < ours.vocabulary_size - 100


@pytest.mark.parametrize("told", ["config.json", "tokenizer_config.json"])
def test_t5s_model_alone_is_read_with_its_sentinels(t5_model, lines, tmp_path, told):
    (tmp_path / "spiece.model").write_bytes(t5_model)
    says = {"config.json": {"model_type": "t5"}, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"}}
    (tmp_path / told).write_text(json.dumps(says[told]), "utf-8")
    ours, processor = load_huggingface_tokenizer(tmp_path), sentencepiece.SentencePieceProcessor(model_proto=t5_model)
    assert ours.vocabulary[processor.vocab_size() :] == SENTINELS
    texts = [*TEXTS, *lines]
    assert ids_of(ours, texts) == [[*ids, 1] for ids in processor.encode(texts)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extra_ids": -1}, "`extra_ids` must be a number from 0"),
        ({"extra_ids": "x"}, "`extra_ids` must be a whole number"),
        ({"tokenizer_class": "CamembertTokenizer"}, "reads it as the tokenizer of Albert, T5"),
    ],
)
def test_other_settings_are_refused(t5_model, tmp_path, settings, message):
    (tmp_path / "spiece.model").write_bytes(t5_model)
    settings = {"tokenizer_class": "T5Tokenizer", **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(InputError, match=message):
        load_huggingface_tokenizer(tmp_path)


def test_t5_goes_back_to_transformers(transformers, t5, lines, tmp_path):
    t5.save_pretrained(str(tmp_path / "in"))
    ours = load_huggingface_tokenizer(tmp_path / "in")
    (tmp_path / "out").mkdir()
    write_huggingface_tokenizer(ours, tmp_path / "out", segments=False)
    (tmp_path / "out" / "config.json").write_text('{"model_type": "t5"}', "utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    texts = [*as_text(TEXTS), *lines]
    assert theirs(texts)["input_ids"] == t5(texts)["input_ids"]
    assert theirs("a", "b")["input_ids"] == t5("a", "b")["input_ids"]
    again = load_huggingface_tokenizer(tmp_path / "out")
    assert ids_of(again, texts) == ids_of(ours, texts)
    assert again.special_tokens == ours.special_tokens


@pytest.fixture(scope="module")
def marian_directory(texts, tmp_path_factory):
    """Marian's files: some pieces of the models are not in the vocabulary."""
    directory = tmp_path_factory.mktemp("marian")
    models = {"source.spm": train(texts * 3, 200), "target.spm": train(texts[::-1][:5] * 3, 150)}
    pieces = {piece for content in models.values() for piece, _ in pieces_of(content)} - {"<unk>", "<s>", "</s>"}
    vocabulary = ["</s>", "<unk>", *sorted(pieces)[:-4], ">>fra<<", ">>zho<<", "<pad>"]
    for name, content in models.items():
        (directory / name).write_bytes(content)
    ids = {token: number for number, token in enumerate(vocabulary)}
    (directory / "vocab.json").write_text(json.dumps(ids), "utf-8")
    return directory


@pytest.fixture(scope="module")
def marian(transformers, marian_directory):
    """transformers' tokenizer."""
    pytest.importorskip("torch")
    return transformers.MarianTokenizer.from_pretrained(str(marian_directory))


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marian_reads_with_one_model_and_writes_with_the_other(marian, marian_directory, lines):
    ours = load_huggingface_tokenizer(marian_directory)
    texts = [*as_text(TEXTS), *CODED[len(TEXTS) :], *lines]
    assert ids_of(ours, texts) == marian(texts)["input_ids"]
    targets = [[*ids, ours.sep_id] for ids in ours.tokenize_target(texts).to_list()]
    assert targets == marian(text_target=texts)["input_ids"]
    assert targets != ids_of(ours, texts)
    random = np.random.default_rng(0)
    rows = [random.integers(0, ours.vocabulary_size, 9).tolist() for _ in range(50)]
    decoded = [marian.decode(row, skip_special_tokens=True) for row in rows]
    assert [text.decode() for text in ours.detokenize(rows).numpy()] == decoded


def test_offsets_of_marian_cover_the_text_behind_its_language(marian_directory):
    ours = load_huggingface_tokenizer(marian_directory)
    text = ">>fra<< Café 中"
    found = ours.tokenize_with_offsets([text, "Café"])
    assert found.ids.to_list() == ours.tokenize([text, "Café"]).to_list()
    starts, ends = found.character_starts.to_list(), found.character_ends.to_list()
    assert (starts[0][0], ends[0][0], ends[0][-1], ends[1][-1]) == (0, 7, len(text), 4)


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marian_is_saved_and_goes_back(transformers, marian, marian_directory, tmp_path):
    ours = load_huggingface_tokenizer(marian_directory)
    ours.save(tmp_path / "tokenizer")
    again = load_tokenizer(tmp_path / "tokenizer")
    assert (again.kind, again.special_tokens) == ("sentencepiece-pair", ours.special_tokens)
    assert again.tokenize(CODED).to_list() == ours.tokenize(CODED).to_list()
    (tmp_path / "out").mkdir()
    write_huggingface_tokenizer(again, tmp_path / "out")
    theirs = transformers.MarianTokenizer.from_pretrained(str(tmp_path / "out"))
    assert theirs(CODED)["input_ids"] == marian(CODED)["input_ids"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("target.spm", None, r"has no target\.spm: Marian's tokenizer has one for each language"),
        ("target.spm", b"x", "is not a SentencePiece model"),
        ("vocab.json", None, r"has no vocab\.json"),
        ("vocab.json", b'{"a": 0, "</s>": 1}', "must have <pad>, <unk> and </s>"),
        ("tokenizer_config.json", b'{"separate_vocabs": true}', "one vocabulary for both languages"),
        ("tokenizer_config.json", b'{"tokenizer_class": "M2M100Tokenizer"}', "reads it as the tokenizer of Marian"),
    ],
)
def test_a_broken_marian_is_refused(marian_directory, tmp_path, name, content, message):
    for file in marian_directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_huggingface_tokenizer(tmp_path)
