"""Training: optimizer, precision, progress, pretraining, fine-tuning. It is given built models and built datasets."""

from tfllm.training.causal import train_causal_lm
from tfllm.training.classification import (
    MONITORS,
    balanced_class_weights,
    classification_monitors,
    train_classifier,
)
from tfllm.training.finetuning import best_epoch, fine_tune
from tfllm.training.optimizer import WarmupDecay, adamw
from tfllm.training.precision import choose_precision
from tfllm.training.pretraining import train_masked_lm
from tfllm.training.progress import Progress
from tfllm.training.run import ON_DIVERGENCE, Run
from tfllm.training.strategy import STRATEGIES, Strategy, choose_strategy

__all__ = [
    "MONITORS",
    "ON_DIVERGENCE",
    "STRATEGIES",
    "Progress",
    "Run",
    "Strategy",
    "WarmupDecay",
    "adamw",
    "balanced_class_weights",
    "best_epoch",
    "choose_precision",
    "choose_strategy",
    "classification_monitors",
    "fine_tune",
    "train_causal_lm",
    "train_classifier",
    "train_masked_lm",
]
