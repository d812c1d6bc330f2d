"""Tiny random checkpoints of every architecture, made by `transformers` itself. V = 60, D = 32."""

import importlib

import numpy as np
import pytest

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
    "albert": ("Albert", {**BERT, "embedding_size": 16}),
}
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


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
        torch.manual_seed(3)
        model = getattr(transformers, classes + head)(getattr(transformers, f"{classes}Config")(**config, **arguments))
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.25)
        return model.eval()

    return make


@pytest.fixture
def batch():
    """Token ids of three rows, 5 and above, and their padding (id 1 for RoBERTa, 0 otherwise, is put in by `rows`)."""
    random = np.random.default_rng(4)
    mask = (np.arange(10) < np.array([10, 7, 3])[:, None]).astype("int32")
    return {
        "token_ids": random.integers(5, 60, mask.shape).astype("int32"),
        "segment_ids": (np.arange(10) >= 4).astype("int32") * mask,
        "padding_mask": mask,
    }
