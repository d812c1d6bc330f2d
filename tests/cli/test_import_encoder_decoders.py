"""T5, BART and Marian from their directories to text: as transformers writes it, from a SavedModel, trained on.

The models are tiny and random, the tokenizers small: that a published one is read as they are, transformers vouches.
"""

import importlib
import io
import json

import pytest
import sentencepiece
from tokenizers import ByteLevelBPETokenizer

import tfllm
from tfllm.cli.finetune import finetune
from tfllm.cli.import_ import import_checkpoint
from tfllm.data.samples import sample_path
from tfllm.export import export_huggingface, export_savedmodel, load_generator
from tfllm.models import load_model, read_recipe, set_generation
from tfllm.tokenizers.sentencepiece_model import parse_model

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
TEXTS = ["The film was good.", "", "Café naïve ½ 中文 很好", "A very long one? " * 3, ">>fra<< The cat sat."]
NEW = 9  # tokens to write
SIZE = {
    "d_model": 32,
    **{f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in (("layers", 1), ("ffn_dim", 48))},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def lines():
    """English and Chinese."""
    texts = [sample_path(f"text_{language}.txt").read_text("utf-8").split("\n") for language in ("en", "zh")]
    return [line[:100] for text in texts for line in text[:60] if line.strip()]


def train_pieces(lines, size, **ids):
    content = io.BytesIO()
    options = {"hard_vocab_limit": False, "character_coverage": 0.98, "minloglevel": 2, **ids}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=content, vocab_size=size, **options
    )
    return content.getvalue()


def make_t5(transformers, lines, directory):
    content = train_pieces(lines, 900, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    pieces = [(piece.piece, piece.score) for piece in parse_model(content, "the model").pieces]
    size = len(pieces) + 100
    (directory / "spiece.model").write_bytes(content)
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}', "utf-8")
    config = transformers.T5Config(
        vocab_size=size + 12,  # published ones have more rows than tokens
        d_model=32,
        d_kv=12,
        d_ff=48,
        num_layers=1,
        num_heads=4,
        decoder_start_token_id=0,
    )
    barred = [0, 2, *range(size, size + 12)]
    sentinels = [(f"<extra_id_{number}>", 0.0) for number in reversed(range(100))]
    table = parse_model(content, "the model").normalizer_spec.precompiled_charsmap
    tokenizer = transformers.T5Tokenizer(vocab=[*pieces, *sentinels], _spm_precompiled_charsmap=table)
    return transformers.T5ForConditionalGeneration(config), tokenizer, barred


def make_bart(transformers, lines, directory):
    rust = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    rust.train_from_iterator(lines, vocab_size=500, special_tokens=special, show_progress=False)
    rust.save_model(str(directory))
    tokenizer = transformers.BartTokenizer.from_pretrained(str(directory))
    config = transformers.BartConfig(vocab_size=len(tokenizer), forced_bos_token_id=0, **SIZE)
    return transformers.BartForConditionalGeneration(config), tokenizer, [1, 3, 4]


def make_marian(transformers, lines, directory):
    models = {"source.spm": train_pieces(lines[:40], 200), "target.spm": train_pieces(lines, 900)}
    pieces = {piece.piece for content in models.values() for piece in parse_model(content, "the model").pieces}
    vocabulary = ["</s>", "<unk>", *sorted(pieces - {"<unk>", "<s>", "</s>"}), ">>fra<<", "<pad>"]
    for name, content in models.items():
        (directory / name).write_bytes(content)
    ids = {token: number for number, token in enumerate(vocabulary)}
    (directory / "vocab.json").write_text(json.dumps(ids), "utf-8")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "MarianTokenizer"}', "utf-8")
    pad = ids["<pad>"]
    config = transformers.MarianConfig(
        vocab_size=len(vocabulary),
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        bos_token_id=None,
        activation_function="swish",
        scale_embedding=True,
        **SIZE,
    )
    tokenizer = transformers.MarianTokenizer.from_pretrained(str(directory))
    return transformers.MarianMTModel(config), tokenizer, [1, pad]


KINDS = {"t5": (make_t5, "pad"), "bart": (make_bart, ["sep", "cls"]), "marian": (make_marian, "pad")}


@pytest.fixture(scope="module", params=KINDS)
def published(request, transformers, lines, tmp_path_factory):
    """Its directory, the model and tokenizer of transformers, tokens that are not to come, how targets begin."""
    torch = importlib.import_module("torch")
    directory = tmp_path_factory.mktemp(request.param) / "theirs"
    directory.mkdir()
    torch.manual_seed(5)
    make, start = KINDS[request.param]
    model, tokenizer, barred = make(transformers, lines, directory)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad and weight.ndim > 1:
                weight.normal_(0, 0.4)
        if request.param == "marian":
            model.final_logits_bias.normal_(0, 0.5)
    model.eval().save_pretrained(directory)
    return directory, model, tokenizer, barred, start


@pytest.fixture(scope="module")
def imported(published):
    out = published[0].parent / "ours"
    import_checkpoint(str(published[0]), out, sequence_length=40)
    model = load_model(out)
    set_generation(model, max_new_tokens=NEW)
    return out, model, tfllm.load_tokenizer(out)


@pytest.fixture(scope="module")
def write_theirs(published):
    """`write(text, model, tokenizer)`: what transformers writes, as a rule of ours demands: no special token comes."""
    torch = importlib.import_module("torch")
    _, _, _, barred, start = published
    forced = {"forced_bos_token_id": 0} if isinstance(start, list) else {}

    def write(text, model, tokenizer, **settings):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW + len(forced),
            bad_words_ids=[[number] for number in barred],
            forced_eos_token_id=None,
            **forced,
            **{"do_sample": False, "num_beams": 1, **settings},
        )
        return tokenizer.decode(written[0], skip_special_tokens=True)

    return write


def test_texts_are_those_of_transformers(published, imported, write_theirs):
    _, theirs, tokenizer, _, start = published
    _, model, ours = imported
    assert read_recipe(model)["arguments"]["start"] == start
    assert ours.wrap_source(ours.tokenize(TEXTS), 60).to_list() == tokenizer(TEXTS)["input_ids"]
    generator = tfllm.TextGenerator(model, ours, 40)
    for settings in ({}, {"num_beams": 3}) if isinstance(start, list) else ({},):
        expected = [write_theirs(text, theirs, tokenizer, **settings) for text in TEXTS]
        assert [row["text"] for row in generator.generate(TEXTS, **settings)] == expected
    assert len({*expected}) > 2


@pytest.mark.slow
@pytest.mark.parametrize("published", ["t5", "marian"], indirect=True)  # BART's tokenizer is RoBERTa's
def test_the_saved_model_writes_the_same_texts(imported):
    out, model, ours = imported
    export_savedmodel(model, ours, out.parent / "saved", sequence_length=40)
    python = tfllm.TextGenerator(model, ours, 40).generate(TEXTS)
    saved = load_generator(out.parent / "saved").generate(TEXTS)
    assert [row["text"] for row in saved] == [row["text"] for row in python]


@pytest.mark.slow
@pytest.mark.parametrize("published", ["bart"], indirect=True)  # whose targets begin with two tokens
def test_it_is_trained_on_and_goes_back_to_transformers(published, imported, write_theirs, transformers):
    out, _, _ = imported
    pairs = out.parent / "pairs.csv"
    rows = [("one two", "three"), ("two one", "four"), ("two two", "five"), ("one", "six")] * 8
    pairs.write_text("source,target\n" + "".join(f"{source},{target}\n" for source, target in rows), "utf-8")
    trained = out.parent / "trained"
    lengths = {"sequence_length": 16, "target_length": 12}
    finetune([str(pairs)], trained, task="seq2seq", init=out, epochs=1, batch_size=8, learning_rate=1e-3, **lengths)
    model, ours = load_model(trained), tfllm.load_tokenizer(trained)
    assert read_recipe(model)["arguments"]["start"] == published[-1]
    back = out.parent / "back"
    export_huggingface(model, ours, back)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(str(back)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(back))
    written = tfllm.TextGenerator(model, ours, 40).generate(TEXTS, max_new_tokens=NEW)
    assert [row["text"] for row in written] == [write_theirs(text, theirs, tokenizer) for text in TEXTS]
    settings = json.loads((back / "generation_config.json").read_text("utf-8"))
    assert settings["decoder_start_token_id"] == ours.ids_of(published[-1])[0]
    import_checkpoint(str(back), out.parent / "again")
    again = tfllm.TextGenerator.load(out.parent / "again")
    assert [row["text"] for row in again.generate(TEXTS, max_new_tokens=NEW)] == [row["text"] for row in written]
