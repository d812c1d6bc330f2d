"""What `tfllm pretrain` needs to know of each objective: its batches, its model, its training, its held-out scores."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfllm import checks
from tfllm.checks import InputError
from tfllm.cli import running

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.tokenizers import Tokenizer

_PSEUDO_PERPLEXITY_TEXTS = 32


class Objective(abc.ABC):
    """One objective, for the data and the arguments of a run.

    Args:
        data: as `read_texts` takes it, or one records directory.
        run: the command's arguments by name, `sequence_length` and `held_out` resolved.
        reading: how text is read, see `read_texts`.
        is_text: False for records, which keep no text.
    """

    def __init__(self, data: list[str], run: dict, reading: dict, *, is_text: bool):
        self._data, self._run, self._reading, self._is_text = data, run, reading, is_text
        self._batching = {name: run[name] for name in ("batch_size", "sequence_length", "held_out", "seed")} | reading

    @abc.abstractmethod
    def batches(self, tokenizer: "Tokenizer", part: str, **options) -> "tf.data.Dataset":
        """Batches of a part of the data; options as `repeat` and `start_batch` of the data sets."""

    @abc.abstractmethod
    def build(self, tokenizer: "Tokenizer") -> "keras.Model":
        """The model, with its head."""

    @property
    @abc.abstractmethod
    def train(self) -> Callable[..., dict]:
        """A function as `train_masked_lm`."""

    @abc.abstractmethod
    def held_out_scores(self, model: "keras.Model", tokenizer: "Tokenizer") -> dict:
        """What the model is worth on text it has not seen."""

    def _held_out_texts(self):
        from tfllm.data import read_held_out

        return read_held_out(self._data, self._run["held_out"], **self._reading)


class MaskedLm(Objective):
    """`mlm`, and `mlm-nsp` with next-sentence prediction."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import masked_lm_dataset

        masking = {name: self._run[name] for name in ("mask_rate", "whole_word")}
        masking["next_sentence"] = self._run["objective"] == "mlm-nsp"
        return masked_lm_dataset(self._data, tokenizer, part=part, **self._batching, **masking, **options)

    def build(self, tokenizer):
        from tfllm.models import add_masked_lm_head, add_pretraining_heads

        encoder = running.make_encoder(self._run, tokenizer.vocabulary_size)
        return add_masked_lm_head(encoder) if self._run["objective"] == "mlm" else add_pretraining_heads(encoder)

    @property
    def train(self):
        from tfllm.training import train_masked_lm

        return train_masked_lm

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import masked_lm_scores, pseudo_perplexity

        scores = masked_lm_scores(model, self.batches(tokenizer, "held-out", repeat=False))
        if self._is_text:
            length = self._run["sequence_length"]
            options = {"sequence_length": length, "max_texts": _PSEUDO_PERPLEXITY_TEXTS}
            scores |= pseudo_perplexity(model, tokenizer, self._held_out_texts(), **options)
        return scores


class CausalLm(Objective):
    """`causal`."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import causal_lm_dataset

        return causal_lm_dataset(self._data, tokenizer, part=part, **self._batching, **options)

    def build(self, tokenizer):
        from tfllm.models import add_causal_lm_head

        return add_causal_lm_head(_make_decoder(self._run, tokenizer.vocabulary_size))

    @property
    def train(self):
        from tfllm.training import train_causal_lm

        return train_causal_lm

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import causal_lm_scores, evaluate_causal_lm

        if not self._is_text:
            return causal_lm_scores(model, self.batches(tokenizer, "held-out", repeat=False))
        options = {"sequence_length": self._run["sequence_length"], "batch_size": self._run["batch_size"]}
        return evaluate_causal_lm(model, tokenizer, self._held_out_texts(), **options)


OBJECTIVES = {"mlm": MaskedLm, "mlm-nsp": MaskedLm, "causal": CausalLm}


def check_objective(run: dict) -> None:
    """Raise InputError for an unknown objective, or options that say nothing to it."""
    checks.check_one_of("objective", run["objective"], OBJECTIVES)
    for name in ("whole_word", "pre_norm"):
        if run["objective"] == "causal" and run.get(name):
            raise InputError(f"--{name.replace('_', '-')} is for masked language models: leave it out.")


def _make_decoder(run: dict, vocabulary_size: int) -> "keras.Model":
    """The decoder that the arguments ask for: loaded from `init`, or of `size` with random weights."""
    from tfllm import models

    if run["init"]:
        if running.base_builder(run["init"]) != "build_decoder":
            raise InputError(f"{run['init']} holds no decoder, which --objective causal goes on from.")
        decoder = models.load_encoder(run["init"], dropout=run["dropout"])
    else:
        checks.check_one_of("size", run["size"], models.DECODER_SIZES)
        decoder = models.build_decoder(
            vocabulary_size,
            **models.DECODER_SIZES[run["size"]],
            max_sequence_length=max(512, run["sequence_length"]),
            dropout=run["dropout"],
        )
    models.check_length(decoder, run["sequence_length"])
    if run["remat"]:
        models.recompute_activations(decoder)
    return decoder
