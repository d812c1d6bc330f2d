"""Arguments that are left out are chosen by the model a training starts from."""

import pytest

from tfllm import manifest
from tfllm.cli.defaults import suited_dropout, suited_learning_rate
from tfllm.cli.finetune import finetune
from tfllm.cli.pretrain import pretrain
from tfllm.models import add_causal_lm_head, build_decoder, build_encoder, build_encoder_decoder, save_model

WIDTHS = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 4}


@pytest.mark.parametrize(
    ("width", "rate", "of_adapters"), [(32, 1e-3, 2e-3), (384, 1.1e-4, 1.1e-3), (768, 2.8e-5, 2.8e-4)]
)
def test_the_wider_the_pretrained_model_the_lower_the_learning_rate(width, rate, of_adapters, tokenizer, tmp_path):
    encoder = build_encoder(tokenizer.vocabulary_size, num_layers=1, num_heads=2, hidden_dim=width, intermediate_dim=4)
    save_model(encoder, tmp_path / "m", tokenizer)
    assert suited_learning_rate(tmp_path / "m", 0) == rate
    assert suited_learning_rate(tmp_path / "m", 4) == of_adapters
    assert suited_learning_rate(None, 0) == 3e-4
    assert suited_learning_rate(None, anew=1e-3) == 1e-3


@pytest.mark.parametrize(
    ("build", "more", "dropout"),
    [
        (build_encoder, {"dropout": 0.0}, 0.1),
        (build_decoder, {"dropout": 0.0}, 0.0),
        (build_decoder, {"dropout": 0.2}, 0.2),
        (build_encoder_decoder, {"dropout": 0.0}, 0.0),
    ],
)
def test_a_model_that_writes_keeps_its_dropout(build, more, dropout, tokenizer, tmp_path):
    model = build(tokenizer.vocabulary_size, **WIDTHS, **more)
    save_model(model, tmp_path / "m", tokenizer)
    assert suited_dropout(tmp_path / "m") == dropout
    assert suited_dropout(None) == 0.1


def test_what_was_chosen_is_noted_with_the_model(tokenizer, tmp_path):
    decoder = add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **WIDTHS, dropout=0.0))
    save_model(decoder, tmp_path / "m", tokenizer)
    (tmp_path / "text.txt").write_text("the film was good\n" * 40, "utf-8")
    row = '{"messages": [{"role": "user", "content": "good"}, {"role": "assistant", "content": "bad"}]}\n'
    (tmp_path / "chat.jsonl").write_text(row * 8, "utf-8")
    run = {"init": tmp_path / "m", "batch_size": 4, "sequence_length": 16, "epochs": 1}
    pretrain(str(tmp_path / "text.txt"), tmp_path / "more", objective="causal", held_out=0.0, **run)
    finetune(str(tmp_path / "chat.jsonl"), tmp_path / "chat", task="chat", **run)
    for name in ("more", "chat"):
        noted = manifest.read_manifest(tmp_path / name, "model")["arguments"]["run"]
        assert (noted["dropout"], noted["learning_rate"]) == (0.0, 1e-3)
