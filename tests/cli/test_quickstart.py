"""`tfllm quickstart` runs the whole chain; here in Chinese and with two steps of pretraining."""

from tfllm import manifest
from tfllm.cli.quickstart import quickstart


def test_the_whole_chain_runs_in_chinese(tmp_path, capsys):
    result = quickstart(tmp_path / "q", language="zh", pretraining_steps=2)

    savedmodel = tmp_path / "q" / "savedmodels" / "reviews" / "1"
    manifest.check_files(savedmodel, manifest.read_manifest(savedmodel, "savedmodel"))
    printed = capsys.readouterr().out
    assert "好评" in printed and "用了一年还跟新的一样" in printed
    assert result["scores"]["examples"] == 84
    assert result["baselines"]["majority"]["accuracy"] == 0.5
    for accuracy in (result["scores"]["accuracy"], result["baselines"]["tfidf_logistic_regression"]["accuracy"]):
        assert f"{accuracy:.3f}" in printed
