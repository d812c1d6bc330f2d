"""`tfllm predict` of a masked language model, which nothing fine-tuned: the text filled, the words for each gap."""

import keras
import pytest
from typer.testing import CliRunner

from tfllm.cli import app
from tfllm.models import add_masked_lm_head, build_encoder, save_model


@pytest.fixture(scope="module")
def masked_lm(tiny_tokenizer, tmp_path_factory):
    keras.utils.set_random_seed(0)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 32}
    directory = tmp_path_factory.mktemp("models") / "base"
    save_model(add_masked_lm_head(build_encoder(tiny_tokenizer.vocabulary_size, **size)), directory, tiny_tokenizer)
    return directory


def test_the_filled_text_and_the_words_of_each_gap_are_printed(masked_lm):
    result = CliRunner().invoke(app, ["predict", str(masked_lm), "the [MASK] and the [MASK]!", "no gap"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("the") and lines[0].endswith("!") and "[MASK]" not in lines[0]
    assert lines[1].startswith("  1: ") and lines[1].count(",") >= 4
    assert lines[2].startswith("  2: ")
    assert lines[3:] == ["no gap", "  no [MASK] in it"]
