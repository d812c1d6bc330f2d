"""A language model is scored on files that are read in another way than those it was trained on."""

import pytest

from tfllm import add_masked_lm_head, build_encoder, save_model
from tfllm.cli.evaluate import evaluate
from tfllm.data import write_records


@pytest.fixture(scope="module")
def model(tiny_tokenizer, tmp_path_factory):
    """As if trained on a column of tables, and on files that are one document each."""
    encoder = build_encoder(
        tiny_tokenizer.vocabulary_size, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16
    )
    directory = tmp_path_factory.mktemp("model") / "m"
    run = {"objective": "mlm", "text": "review", "document": "file", "sequence_length": 32}
    save_model(add_masked_lm_head(encoder), directory, tiny_tokenizer, run=run)
    return directory


def test_on_records(model, corpus, tiny_tokenizer, tmp_path):
    write_records(corpus, tiny_tokenizer, tmp_path / "r", sequence_length=32, workers=1)
    assert evaluate(model, [str(tmp_path / "r")])["loss"] > 0


def test_on_plain_text(model, tmp_path):
    (tmp_path / "a.txt").write_text("a good film\n")
    assert evaluate(model, [str(tmp_path / "a.txt")])["loss"] > 0
