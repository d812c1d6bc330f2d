"""Tiny random checkpoints of every architecture, made by `transformers` itself. V = 60, D = 32."""

import importlib
import json

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tfllm.models import read_recipe
from tfllm.tags import make_tags

BERT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
DISTILBERT = {
    "vocab_size": 60,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 24,
}
CONFIGS = {  # name -> (how its classes begin, arguments of its configuration)
    "bert": ("Bert", BERT),
    "bert_tanh": ("Bert", {**BERT, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    "roberta": ("Roberta", {**BERT, "type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "xlm_roberta": ("XLMRoberta", {**BERT, "type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "distilbert": ("DistilBert", DISTILBERT),
    "electra_small": ("Electra", {**BERT, "embedding_size": 16}),
    "electra_base": ("Electra", {**BERT, "embedding_size": 32}),
    "mpnet": ("MPNet", BERT),
    "albert": ("Albert", {**BERT, "embedding_size": 16}),
}
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
TAGS = {0: "B-LOC", 1: "I-PER", 2: "O", 3: "B-PER", 4: "I-LOC"}  # in an order of their own


@pytest.fixture(params=CONFIGS)
def name(request):
    """Each architecture."""
    return request.param


@pytest.fixture(params=HEADS)
def head(request):
    """How the name of a class ends."""
    return request.param


@pytest.fixture
def torch():
    """PyTorch; the test is skipped without it or `transformers`."""
    pytest.importorskip("transformers")
    return pytest.importorskip("torch")


@pytest.fixture
def make_theirs(torch):
    """Build a model of `transformers` with random weights large enough that every one of them shows."""
    transformers = importlib.import_module("transformers")

    def make(name, head, **arguments):
        classes, config = CONFIGS[name]
        if head == "ForTokenClassification":
            arguments = {"id2label": TAGS, "label2id": {tag: number for number, tag in TAGS.items()}, **arguments}
        torch.manual_seed(3)
        model = getattr(transformers, classes + head)(getattr(transformers, f"{classes}Config")(**config, **arguments))
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.25)
        return model.eval()

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Directories that are well, by name; one of them is copied to be spoilt."""
    found = {}

    def make(name, make_theirs):
        if name not in found:
            found[name] = tmp_path_factory.mktemp(name) / "whole"
            make_theirs(name).save_pretrained(found[name])
        return found[name]

    return make


@pytest.fixture
def load_theirs(torch, tmp_path):
    """Write a description as a directory, and load it with `transformers`: nothing missing, nothing left over."""
    transformers = importlib.import_module("transformers")

    def load(description):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "config.json").write_text(json.dumps(description.config), "utf-8")
        save_file(description.tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
        kind = getattr(transformers, description.class_name)
        model, told = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not any(told[name] for name in ("unexpected_keys", "mismatched_keys")), told
        pooler = {"pooler.dense.weight", "pooler.dense.bias"}  # of a bare encoder; what was trained without has none
        assert told["missing_keys"] in (set(), pooler if kind.__name__ == "BertModel" else set()), told
        return model.eval()

    return load


@pytest.fixture
def batch():
    """Three rows of 10, 7 and 3 tokens with ids of 5 and above."""
    random = np.random.default_rng(4)
    mask = (np.arange(10) < np.array([10, 7, 3])[:, None]).astype("int32")
    return {
        "token_ids": random.integers(5, 60, mask.shape).astype("int32"),
        "segment_ids": (np.arange(10) >= 4).astype("int32") * mask,
        "padding_mask": mask,
    }


@pytest.fixture
def ask_theirs(torch, batch):
    """What a model of `transformers` gives for the batch, as `ask_ours` gives it."""

    def ask(model):
        ids = np.where(batch["padding_mask"], batch["token_ids"], model.config.pad_token_id)
        inputs = {"input_ids": ids, "attention_mask": batch["padding_mask"]}
        if getattr(model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = batch["segment_ids"]
        with torch.no_grad():
            outputs = model(**{name: torch.tensor(value, dtype=torch.long) for name, value in inputs.items()})
        kinds = {
            "last_hidden_state": ("sequence_output", True),
            "pooler_output": ("pooled_output", False),
            "logits": ("logits", outputs.get("logits") is not None and outputs["logits"].ndim == 3),
            "start_logits": ("start", True),
            "end_logits": ("end", True),
        }
        found = {
            ours: _real(outputs[name].numpy(), batch, rows) for name, (ours, rows) in kinds.items() if name in outputs
        }
        if type(model).__name__.endswith("ForTokenClassification"):
            found["logits"] = _sorted(found["logits"], [tag for _, tag in sorted(model.config.id2label.items())])
        return found

    return ask


@pytest.fixture
def ask_ours(batch):
    """What a model of ours gives for the batch: by name, of real tokens only; of spans, of what can be an answer."""

    def ask(model):
        positions = np.tile(np.arange(10, dtype="int32"), (3, 1))
        inputs = {**batch, "mask_positions": positions} if "mask_positions" in model.input else batch
        outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs))
        if isinstance(outputs, dict):
            return {name: _real(value, batch, value.ndim == 3) for name, value in outputs.items()}
        if outputs.ndim == 3 and outputs.shape[1:] == (2, 10):
            return {"start": _real(outputs[:, 0], batch, True), "end": _real(outputs[:, 1], batch, True)}
        logits, recipe = _real(outputs, batch, outputs.ndim == 3), read_recipe(model)
        if recipe["builder"] == "add_tagger_head":
            logits = _sorted(logits, make_tags(recipe["arguments"]["labels"], recipe["arguments"]["kind"]).names)
        return {"logits": logits}

    return ask


def _real(outputs, batch, by_token):
    return outputs[batch["padding_mask"] == 1] if by_token else outputs


def _sorted(logits, tags):
    return logits[..., [tags.index(tag) for tag in sorted(tags)]]


@pytest.fixture
def assert_equal():
    """`assert_equal(found, expected)`: the same outputs to 1e-4, but for ends of answers our head rules out."""

    def check(found, expected):
        assert set(found) & set(expected)
        for name in set(found) & set(expected):
            ruled_out = found[name] < -1e8
            assert not ruled_out.any() or name in ("start", "end")
            np.testing.assert_allclose(found[name][~ruled_out], expected[name][~ruled_out], atol=1e-4, err_msg=name)

    return check
