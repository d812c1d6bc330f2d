"""`tfllm pretrain --objective denoise | infill | prefix`, and fine-tuning from what it leaves."""

import pytest

from tfllm import load_model
from tfllm.checks import InputError
from tfllm.cli.finetune import finetune
from tfllm.cli.pretrain import pretrain
from tfllm.data import sentinel_ids
from tfllm.generation import TextGenerator

QUICK = {"size": "tiny", "steps": 2, "batch_size": 4, "sequence_length": 32, "held_out": 0.2}


@pytest.fixture(scope="module")
def denoiser(corpus, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("denoise") / "model"
    run = pretrain([str(corpus)], out, tokenizer=tokenizer_directory, objective="denoise", **QUICK)
    return out, run


def test_denoising_leaves_an_encoder_decoder_with_sentinels_behind_its_vocabulary(denoiser, tiny_tokenizer):
    out, run = denoiser
    model = load_model(out)
    assert model.name == "seq2seq"
    assert model.output.shape[-1] == sentinel_ids(tiny_tokenizer)[-1] + 1
    assert run["held_out_scores"]["perplexity"] > 1


@pytest.mark.slow
def test_a_task_goes_on_from_it_and_no_sentinel_is_written(denoiser, tiny_tokenizer, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("source,target\n" + "one,two\nthe cat,a dog\n" * 8, "utf-8")
    out = tmp_path / "model"
    settings = {"epochs": 1, "batch_size": 8, "sequence_length": 16}
    finetune([str(pairs)], out, task="seq2seq", init=denoiser[0], **settings)
    rows = TextGenerator.load(out).generate(["the cat"] * 8, temperature=9.0, min_new_tokens=9, seed=list(range(8)))
    assert all(row["num_tokens"] >= 9 for row in rows)
    (row,) = TextGenerator.load(out).score(["the cat"], ["a dog"])
    assert row["log_prob"] < 0


def test_an_encoder_cannot_go_on_from_it_nor_records_be_damaged(denoiser, corpus, tmp_path):
    with pytest.raises(InputError, match="holds a decoder; this needs an encoder"):
        pretrain([str(corpus)], tmp_path / "m", init=denoiser[0], **QUICK)
    with pytest.raises(InputError, match="holds no decoder"):
        pretrain([str(corpus)], tmp_path / "m", init=denoiser[0], objective="prefix", **QUICK)


@pytest.mark.slow
def test_infilling_and_prefixes_train_too(corpus, tokenizer_directory, tmp_path):
    for objective in ("infill", "prefix"):
        out = tmp_path / objective
        run = pretrain([str(corpus)], out, tokenizer=tokenizer_directory, objective=objective, **QUICK)
        assert run["held_out_scores"]["loss"] > 0
    assert "prefix_mask" in load_model(out).input
    assert TextGenerator.load(out).generate(["the cat"], max_new_tokens=3)[0]["prompt"] == "the cat"
    with pytest.raises(InputError, match="no embeddings for the sentinels of --objective denoise: use --obj"):
        pretrain([str(corpus)], tmp_path / "m", init=tmp_path / "infill", objective="denoise", **QUICK)
    with pytest.raises(InputError, match="was trained with --objective prefix, and goes on so"):
        pretrain([str(corpus)], tmp_path / "m", init=out, objective="causal", **QUICK)


@pytest.mark.parametrize(
    ("objective", "option"),
    [("mlm", {"span_length": 5.0}), ("causal", {"mask_rate": 0.3}), ("denoise", {"whole_word": True})],
)
def test_an_option_of_another_objective_is_refused(corpus, tokenizer_directory, tmp_path, objective, option):
    with pytest.raises(InputError, match="is for --objective"):
        pretrain([str(corpus)], tmp_path / "m", tokenizer=tokenizer_directory, objective=objective, **QUICK, **option)
