"""Files of llama2.c: a small Llama as plain float32, in its first format.

In: a `.bin` file. Out: what `load_checkpoint` gives.

Seven int32 (width, feed-forward width, layers, heads, heads of keys and values, vocabulary, positions), then float32:
token embedding, and for all layers attention norms, queries, keys, values, attention outputs, feed-forward norms, and
the three feed-forward matrices (rows are outputs); the final norm; two tables of cosines and sines; and the output
matrix, if the vocabulary is written as a negative number.

Source: `legacy_export` and `memory_map_weights` of karpathy/llama2.c.
"""

import math
import struct
from pathlib import Path

import numpy as np

from tfllm.checks import InputError
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import fill_decoder
from tfllm.models.pretrained.gguf_checkpoint import halves_first
from tfllm.models.pretrained.llama import LLAMA
from tfllm.models.pretrained.load import Checkpoint
from tfllm.models.pretrained.tensors import Tensor

_HEADER = struct.Struct("<7i")
_NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def load_llama2c(file: Path) -> Checkpoint:
    """The model of a llama2.c file.

    Raises:
        InputError: if the sizes in its header and its length do not agree.
    """
    with file.open("rb") as stream:
        start = stream.read(_HEADER.size)
    if len(start) < _HEADER.size:
        raise InputError(f"{file} is no file of llama2.c: it ends within its header.")
    *sizes, vocabulary, positions = _HEADER.unpack(start)
    values = dict(zip(_NAMES, sizes, strict=True))
    values |= {"vocab_size": abs(vocabulary), "max_position_embeddings": positions, "rms_norm_eps": 1e-5}
    config = Config(file, {**values, "tie_word_embeddings": vocabulary > 0})
    model, _ = fill_decoder(config, LLAMA, _tensors(config))
    return Checkpoint(model, LLAMA.classes[0], {})


def _tensors(config: Config) -> dict[str, Tensor]:
    arguments = LLAMA.read(config)
    hidden, between, layers = arguments["hidden_dim"], arguments["intermediate_dim"], arguments["num_layers"]
    heads, groups = arguments["num_heads"], arguments["num_key_value_heads"]
    if hidden % (2 * heads):
        raise InputError(f"{config.file}: the width {hidden} cannot be shared by {heads} heads in pairs.")
    width, words = hidden // heads, arguments["vocabulary_size"]
    blocks = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (groups * width, hidden),
        "self_attn.v_proj": (groups * width, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (between, hidden),
        "mlp.down_proj": (hidden, between),
        "mlp.up_proj": (between, hidden),
    }
    shapes = {"model.embed_tokens.weight": (words, hidden)}
    for name, shape in blocks.items():
        shapes |= {f"model.layers.{number}.{name}.weight": shape for number in range(layers)}
    shapes |= {"model.norm.weight": (hidden,), "cosines and sines": (2, arguments["max_sequence_length"], width // 2)}
    if not arguments["tie_embeddings"]:
        shapes["lm_head.weight"] = (words, hidden)
    size = _HEADER.size + 4 * sum(map(math.prod, shapes.values()))
    if config.file.stat().st_size != size:
        raise InputError(
            f"{config.file} is no file of llama2.c, or not whole: by its header it has {size:,} bytes, and it has "
            f"{config.file.stat().st_size:,}."
        )
    found, place = {}, _HEADER.size
    for name, shape in shapes.items():
        tensor = Tensor(shape, "F32", _reader(config.file, name, shape, place))
        for letter, count in (("q", heads), ("k", groups)):
            if name.endswith(f".{letter}_proj.weight"):
                tensor = tensor._replace(read=halves_first(tensor, count, config.file))
        found[name] = tensor
        place += 4 * math.prod(shape)
    del found["cosines and sines"]
    return found


def _reader(file: Path, name: str, shape: tuple[int, ...], place: int):
    def read() -> np.ndarray:
        numbers = np.fromfile(file, "<f4", math.prod(shape), offset=place).reshape(shape)
        if not np.isfinite(numbers).all():
            raise InputError(f"{file}: {name} holds numbers that are infinite or none at all (NaN).")
        return numbers

    return read
