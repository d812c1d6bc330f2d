"""`tfllm finetune --lora-rank`: query and value learn, all else of the encoder stays, the model is an ordinary one."""

import numpy as np
import pytest

from tfllm import add_adapters, load_encoder, load_model
from tfllm.checks import InputError
from tfllm.cli.finetune import finetune

QUICK = {"epochs": 2, "batch_size": 8, "sequence_length": 16}


@pytest.fixture(scope="module")
def base(reviews, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "m"
    finetune(str(reviews), out, tokenizer=tokenizer_directory, size="tiny", **{**QUICK, "epochs": 1})
    return out


def test_only_query_value_and_the_head_have_learned(base, reviews, tmp_path):
    finetune(str(reviews), tmp_path / "m", init=base, lora_rank=2, learning_rate=1e-2, **QUICK)
    before, after = load_encoder(base), load_encoder(tmp_path / "m")
    for old, new in zip(before.weights, after.weights, strict=True):
        learned = old.path.endswith(("query/kernel", "value/kernel"))
        if not old.path.startswith("pooled_dense"):  # of no use to a head that takes the mean: it is not saved
            assert np.array_equal(old, new) != learned, old.path
    assert not [weight.path for weight in load_model(tmp_path / "m").weights if "lora" in weight.path]


def test_a_rank_or_a_dropout_that_means_nothing_is_told_before_anything_is_read(base, tmp_path):
    for arguments, message in (
        ({"lora_rank": 5_000_000}, "`lora_rank` must be at most the width of .*, 128; .* Received: 5000000."),
        ({"lora_rank": 129}, "`lora_rank` must be at most the width"),
        ({"lora_rank": -1}, "`lora_rank` must be at least 0"),
        ({"dropout": 1}, "`dropout` must be between 0 and 1, and not 1"),
    ):
        with pytest.raises(InputError, match=message):
            finetune("nothing.csv", tmp_path / "m", init=base, **arguments, **QUICK)
    with pytest.raises(InputError, match=r"`rank` must be between 1 and 128\. Received: 129\."):
        add_adapters(load_model(base), 129)


def test_it_is_not_combined_with_frozen_layers(base, reviews, tmp_path):
    with pytest.raises(InputError, match="--lora-rank leaves all layers as they are"):
        finetune(str(reviews), tmp_path / "m", init=base, lora_rank=2, frozen_layers=1, **QUICK)
