"""What a training is given for an argument that is left out, where that depends on the model it starts from."""

from pathlib import Path

from tfllm import checks
from tfllm.checks import InputError
from tfllm.cli.running import base_recipe
from tfllm.cli.startup import log

_WRITERS = ("build_decoder", "build_encoder_decoder")


def fill_in(run: dict, **suited: float) -> None:
    """Put what suits into `run` for the arguments that are None, and say so."""
    for name, value in suited.items():
        if run[name] is None:
            run[name] = value
            log.info("%s: %.2g", name.replace("_", " "), value)


def suited_learning_rate(init: Path | None, lora_rank: int = 0, *, anew: float = 3e-4) -> float:
    """`anew` for random weights; else what suits most models of this width: it falls with the square of it.

    Fitted to 1e-3 at 128, which was best of four (docs/experiments.md), 1e-4 at 384, which gave the scores of MiniLM in
    docs/results.md, and the 2e-5 to 5e-5 of BERT's authors at 768 (arXiv:1810.04805, appendix A.3). Adapters: ten times
    that, as on trec and ag_news there.
    """
    if init is None:
        return anew
    rate = 1e-3 * min(1, 128 / _width(init)) ** 2
    return float(f"{min(10 * rate, 2e-3) if lora_rank else rate:.2g}")


def check_lora_rank(rank: int, init: Path | None) -> None:
    """Raise InputError for a rank that is none, or more than the width of the model."""
    checks.check_at_least("lora_rank", rank, 0)
    if init is not None and rank > (width := _width(init)):
        raise InputError(
            f"`lora_rank` must be at most the width of {init}, {width}; 4 to 64 is usual. Received: {rank}."
        )


def _width(init: Path) -> int:
    arguments = base_recipe(init)["arguments"]
    return arguments.get("hidden_dim") or arguments["config"].get("hidden_dim", 768)  # a backbone of KerasHub


def suited_dropout(init: Path | None) -> float:
    """0.1; of a model that writes, what it was trained with.

    Published ones were mostly trained without, and do not stand it: on summaries SmolLM2-135M has a loss of 2.3 nats
    without and 6.7 with 0.1 (docs/experiments.md).
    """
    base = base_recipe(init) if init else None
    return base["arguments"]["dropout"] if base and base["builder"] in _WRITERS else 0.1
