"""What docs/coming-from-transformers.md says: its commands and its Python run, on checkpoints of transformers."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfllm.cli import app
from tfllm.models.pretrained.load import ARCHITECTURES, DECODERS
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coming-from-transformers.md"
SHORTENED = {"--epochs 2": "--epochs 1 --sequence-length 32"}
WORDS = "the film was good bad sturdy cheap ada is in turin where it rains street wet a b c d e s t u r y . ? ##s ##y"
SIZE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 128,
}
WRITER = {"vocab_size": 257, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 256, "eos_token_id": 256}
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NLI = ["contradiction", "entailment", "neutral"]


def _named(labels):
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


CHECKPOINTS = {  # directory -> (class, what config.json says besides SIZE)
    "encoder": ("BertModel", {}),
    "reviews": ("RobertaForSequenceClassification", {"type_vocab_size": 1, **_named(["bad", "good"])}),
    "nli": ("BertForSequenceClassification", _named(NLI)),
    "names": ("ElectraForTokenClassification", {"embedding_size": 8, **_named(TAGS)}),
    "answers": ("BertForQuestionAnswering", {}),
    "words": ("AlbertForMaskedLM", {"embedding_size": 8}),
    "writer": ("GPT2LMHeadModel", WRITER),
    "sentences": ("MPNetModel", {}),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory with the files that the page names: checkpoints of tiny random models, and labelled rows."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    directory = tmp_path_factory.mktemp("coming")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(" ")]
    tokenizer = transformers.BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)})
    letters = transformers.GPT2Tokenizer(
        vocab={token: number for number, token in enumerate([*BYTE_TO_CHARACTER.values(), "<|endoftext|>"])}, merges=[]
    )
    for name, (kind, config) in CHECKPOINTS.items():
        family = re.match(r"(.*?)(LMHead)?(Model|For.*)", kind)[1]
        torch.manual_seed(0)
        sizes = {} if family == "GPT2" else SIZE
        model = getattr(transformers, kind)(getattr(transformers, f"{family}Config")(**{**sizes, **config}))
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.25)
        model.save_pretrained(directory / "checkpoints" / name)
        (letters if family == "GPT2" else tokenizer).save_pretrained(str(directory / "checkpoints" / name))
    _write_pooling(directory / "checkpoints" / "sentences")
    rows = "".join(f"the film was {label} {number},{label}\n" for number in range(16) for label in ("good", "bad"))
    (directory / "reviews.csv").write_text(f"text,label\n{rows}", "utf-8")
    pairs = "".join(f"it rains {letter}.,is {letter} wet.\n" for letter in "abcdestury" * 2)
    (directory / "pairs.csv").write_text(f"en,de\n{pairs}", "utf-8")
    return directory


def _write_pooling(directory):
    """The files that make a checkpoint one of sentence-transformers."""
    parts = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(parts)
    ]
    (directory / "1_Pooling").mkdir()
    (directory / "modules.json").write_text(json.dumps(modules), "utf-8")
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")


def _listings():
    """What stands on the right of the tables and in the listings, in order: commands, and pieces of Python."""
    for listing, row in re.findall(r"^```(?:sh|python)\n((?:.|\n)*?)^```|^\| (.*) \|$", PAGE.read_text("utf-8"), re.M):
        code = re.fullmatch(r".* \| `([^`]+)`", row)
        if listing.startswith("tfllm ") or (code and code[1].startswith("tfllm ")):
            yield from (listing or code[1]).strip().splitlines()
        elif listing or (code and not code[1].startswith("--")):  # `--patience` says where it went, and runs nowhere
            yield listing or code[1]


@pytest.mark.slow
def test_every_line_runs_in_the_order_given(directory, monkeypatch):
    monkeypatch.chdir(directory)
    names, count = {}, 0
    for listing in _listings():
        count += 1
        if not listing.startswith("tfllm "):
            exec(compile(listing, listing, "exec"), names)
            continue
        for long, short in SHORTENED.items():
            listing = listing.replace(long, short)
        result = CliRunner().invoke(app, shlex.split(listing)[1:])
        assert result.exit_code == 0, (listing, result.output, result.exception)
    assert count > 40
    assert set(names["scores"]) == {"travel", "cooking"}
    assert names["batch"]["token_ids"].shape == names["batch"]["padding_mask"].shape


@pytest.mark.slow
def test_the_pipelines_answer_alike(directory, monkeypatch):
    import transformers

    import tfllm

    monkeypatch.chdir(directory)
    (theirs,) = transformers.pipeline("text-classification", "checkpoints/reviews")("the film was good.")
    (ours,) = tfllm.Predictor("models/reviews").predict(text=["the film was good."])
    assert ours["label"] == theirs["label"] and ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
    words = [one["token_str"] for one in transformers.pipeline("fill-mask", "checkpoints/words")("the [MASK] is good.")]
    (ours,) = tfllm.Predictor("models/words").predict(text=["the [MASK] is good."])
    assert [one["word"] for one in ours["gaps"][0]][:3] == words[:3]
    (theirs,) = transformers.pipeline("text-classification", "mine")("the film was bad.")
    (ours,) = tfllm.Predictor("models/mine").predict(text=["the film was bad."])
    assert ours["label"] == theirs["label"] and ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_every_class_that_is_read_is_named():
    named = set(re.findall(r"`(TF\w+)`", PAGE.read_text("utf-8")))
    read = {
        f"TF{architecture.classes}{kind}"
        for architecture in ARCHITECTURES.values()
        for kind in (*architecture.heads, *architecture.kinds)
    }
    read |= {f"TF{name}" for family in ("gpt2", "mistral") for name in DECODERS[family].classes}  # others had none
    assert read <= named
