"""The original BERT checkpoints of TensorFlow 1: `bert_config.json` and `bert_model.ckpt.*`.

Their tensors are given the names they have in safetensors files, and then read like those.
"""

import glob
import math
import re

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.models.pretrained.bert import BERT
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.files import Folder, read_json
from tfllm.models.pretrained.load import Checkpoint, fill
from tfllm.models.pretrained.tensors import Tensor

CONFIG = "bert_config.json"
_OPTIMIZER = r"(.*/adam_[mv]|.*/Adam(_1)?|global_step|beta[12]_power|good_steps|loss_scale|current_loss_scale)"
_NAMES = (  # of variables, and what they are called in safetensors files
    (r"/layer_(\d+)/", r"/layer/\1/"),
    (r"/kernel$", "/weight"),
    (r"_embeddings$", "_embeddings/weight"),
    (r"^cls/predictions/output_bias$", "cls/predictions/bias"),
)


def is_tensorflow_bert(folder: Folder) -> bool:
    """Whether the directory holds such a checkpoint."""
    return folder.find(CONFIG) is not None and folder.find("config.json") is None


def load_tensorflow_bert(folder: Folder) -> Checkpoint:
    """Read an original BERT checkpoint: the encoder, its pooler and, if it is there, the masked LM's head.

    Raises:
        InputError: as `load_checkpoint` does.
    """
    file = folder.need(CONFIG)
    values = read_json(file)
    if values.get("hidden_act") == "gelu":
        values["hidden_act"] = "gelu_new"  # the authors' code computes the tanh approximation under this name
    tensors, optimizer = _open(folder)
    kind = "ForMaskedLM" if any(name.startswith("cls.predictions.") for name in tensors) else "Model"
    checkpoint = fill(Config(file, values), BERT, kind, tensors)
    left_out = {**checkpoint.left_out, **dict.fromkeys(optimizer, "the state of the optimizer that trained it")}
    return checkpoint._replace(left_out=left_out)


def _open(folder: Folder) -> tuple[dict[str, Tensor], list[str]]:
    """The model's tensors, and the names of the optimizer's."""
    indexes = sorted(file.name for file in folder.path.glob("*.index"))
    if len(indexes) != 1:
        raise InputError(f"{folder.path} must hold one checkpoint, NAME.index and NAME.data-*. Received: {indexes}.")
    prefix = folder.path / indexes[0].removesuffix(".index")
    files = [folder.need(file.name) for file in folder.path.glob(f"{glob.escape(prefix.name)}.data-*")]
    folder.need(indexes[0])
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(f"{prefix} is not a whole TensorFlow checkpoint: {str(error)[:200]}") from None
    optimizer = [name for name in shapes if re.fullmatch(_OPTIMIZER, name)]
    variables = sorted(set(shapes) - set(optimizer))
    numbers = sum(math.prod(shapes[name]) for name in variables)
    if numbers * 4 > sum(file.stat().st_size for file in files):
        raise InputError(f"{prefix} should hold {numbers:,} numbers, more than its files can: it is not whole.")
    tensors = {}
    for name in variables:
        if types[name] != tf.float32:
            raise InputError(f"{prefix}: {name} has the type {types[name].name}; weights must be float32.")
        tensors[_rename(name)] = _tensor(reader, name, tuple(shapes[name]))
    return tensors, optimizer


def _rename(variable: str) -> str:
    for pattern, replacement in _NAMES:
        variable = re.sub(pattern, replacement, variable)
    return variable.replace("/", ".")


def _tensor(reader, name: str, shape: tuple[int, ...]) -> Tensor:
    turned = name.endswith("/kernel")

    def read() -> np.ndarray:
        try:
            value = reader.get_tensor(name)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise InputError(f"{name} cannot be read: {str(error)[:200]}") from None
        if not np.isfinite(value).all():
            raise InputError(f"{name} holds numbers that are infinite or none at all (NaN).")
        return value.T if turned else value

    return Tensor(shape[::-1] if turned else shape, "F32", read)
