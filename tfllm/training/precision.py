"""Which numbers a machine multiplies fastest: the Keras dtype policy to train under."""

import logging
from pathlib import Path

import tensorflow as tf

from tfllm import checks

log = logging.getLogger("tfllm")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_BFLOAT16_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_precision(precision: str = "auto") -> str:
    """The Keras dtype policy for `precision`, said in the log.

    "auto" is mixed_bfloat16 where the machine has units that multiply bfloat16 (CPUs with AMX or AVX512-BF16, TPUs,
    GPUs of compute capability 8 and newer), else float32. Weights stay float32 under every policy.

    Raises:
        InputError: for an unknown name.
    """
    checks.check_one_of("precision", precision, PRECISIONS)
    if precision == "auto":
        precision = "bfloat16" if _multiplies_bfloat16() else "float32"
    policy = precision if precision == "float32" else f"mixed_{precision}"
    log.info("precision: %s", policy)
    return policy


def _multiplies_bfloat16() -> bool:
    if tf.config.list_physical_devices("TPU"):
        return True
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return capability >= (8, 0)
    info = Path("/proc/cpuinfo")
    return info.is_file() and bool(_BFLOAT16_CPU_FLAGS & set(info.read_text().split()))
