"""Training: optimizer, precision, progress, pretraining, fine-tuning. It is given built models and built datasets."""

from tfllm.training.classification import train_classifier
from tfllm.training.optimizer import WarmupDecay, adamw
from tfllm.training.precision import choose_precision
from tfllm.training.pretraining import train_masked_lm
from tfllm.training.progress import Progress

__all__ = ["Progress", "WarmupDecay", "adamw", "choose_precision", "train_classifier", "train_masked_lm"]
