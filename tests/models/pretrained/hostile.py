"""Directories that are broken or mean harm, each made from a whole one by a few lines.

In: a directory with a tiny BERT. Out: name -> a function that spoils a copy of it, and what the error must say.
"""

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

WORD = "embeddings.word_embeddings.weight"
NORM = "embeddings.LayerNorm.weight"


def config(**values):
    """Change values of config.json; ... takes one away."""

    def spoil(folder: Path):
        found = {**json.loads((folder / "config.json").read_text("utf-8")), **values}
        text = json.dumps({name: value for name, value in found.items() if value is not ...})
        (folder / "config.json").write_text(text, "utf-8")

    return spoil


def write(name, content):
    """Write other bytes into a file."""

    def spoil(folder: Path):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def remove(name):
    return lambda folder: (folder / name).unlink()


def link_out(name):
    """Have a file be a link to one outside."""

    def spoil(folder: Path):
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return spoil


def pipe(name):
    """Have a file be a pipe, at which a reader would wait for ever."""

    def spoil(folder: Path):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def directory(name):
    def spoil(folder: Path):
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def header(change):
    """Change the header of model.safetensors, and write its length anew."""

    def spoil(folder: Path):
        content = (folder / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        found = json.loads(content[8 : 8 + length])
        found = change(found) or found
        text = found if isinstance(found, bytes) else json.dumps(found).encode()
        write("model.safetensors", struct.pack("<Q", len(text)) + text + content[8 + length :])(folder)

    return spoil


def entry(name=WORD, **values):
    """Change what the header says of one tensor."""
    return header(lambda found: found[name].update(values))


def tensors(change):
    """Change the tensors and write them as a whole file."""

    def spoil(folder: Path):
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors")

    return spoil


def cut(end=None, more=b""):
    """Take bytes away from the end of model.safetensors, or add some."""

    def spoil(folder: Path):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:end] + more)

    return spoil


def index(weight_map=None, rename="part.safetensors", text=None):
    """An index instead of the single file, which becomes `rename`; {tensor: file} replaces what is true."""

    def spoil(folder: Path):
        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / rename)
        found = weight_map if isinstance(weight_map, list) else dict.fromkeys(names, rename) | (weight_map or {})
        write("model.safetensors.index.json", text or json.dumps({"weight_map": found}))(folder)

    return spoil


def sentences(modules, **pooling):
    def spoil(folder: Path):
        write("modules.json", json.dumps(modules))(folder)
        write("1_Pooling/config.json", json.dumps(pooling or {"pooling_mode_mean_tokens": True}))(folder)

    return spoil


def module(kind, path):
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def only_a_pickle(folder: Path):
    remove("model.safetensors")(folder)
    write("pytorch_model.bin", pickle.dumps({"weight": np.zeros(3)}))(folder)


def _set(name, value):
    return lambda found: found.update({name: value})


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
PARTS = [module("Transformer", ""), module("Pooling", "1_Pooling")]
HOSTILE = {  # what is wrong -> (how it is made, what the error says)
    "config_missing": (remove("config.json"), "has no config.json"),
    "config_empty": (write("config.json", ""), "is not valid JSON"),
    "config_not_json": (write("config.json", "import os"), "is not valid JSON"),
    "config_a_list": (write("config.json", "[]"), "must hold a JSON object"),
    "config_deep": (write("config.json", DEEP), "too deeply"),
    "config_large": (write("config.json", b" " * 9_000_000), "at most 8,000,000 are read"),
    "config_long_number": (write("config.json", b'{"hidden_size": ' + b"9" * 100_000 + b"}"), "is not valid JSON"),
    "config_twice": (write("config.json", '{"model_type": "bert", "model_type": "bert"}'), "is named twice"),
    "config_not_text": (write("config.json", b'{"model_type": "\xff\xfe"}'), "is not valid JSON"),
    "config_a_directory": (directory("config.json"), "is not a regular file"),
    "config_a_pipe": (pipe("config.json"), "is not a regular file"),
    "config_a_link_out": (link_out("config.json"), "leads out of"),
    "type_missing": (config(model_type=...), "`model_type` must be a string"),
    "type_a_number": (config(model_type=7), "`model_type` must be a string"),
    "type_unknown": (config(model_type="berd"), "did you mean 'bert'"),
    "type_a_path": (config(model_type="../../etc/passwd"), "tfllm reads bert, roberta"),
    "class_a_number": (config(architectures=3), "`architectures` must be one of"),
    "class_unknown": (config(architectures=["BertForEverything"]), "`architectures` must be one of"),
    "classes_two": (config(architectures=["BertModel", "BertModel"]), "`architectures` must be one of"),
    "class_of_another": (config(architectures=["RobertaModel"]), "`architectures` must be one of"),
    "own_code": (config(auto_map={"AutoModel": "modeling.BertModel"}), "`auto_map` must be absent"),
    "quantized": (config(quantization_config={"bits": 4}), "`quantization_config` must be absent"),
    "decoder": (config(is_decoder=True), "`is_decoder` must be absent"),
    "positions_relative": (config(position_embedding_type="relative_key"), "`position_embedding_type` must be"),
    "width_absurd": (config(hidden_size=10**9), "`hidden_size` must be a whole number from 1 to 65,536"),
    "width_negative": (config(hidden_size=-32), "`hidden_size` must be a whole number"),
    "width_a_fraction": (config(hidden_size=32.0), "`hidden_size` must be a whole number"),
    "width_true": (config(hidden_size=True), "`hidden_size` must be a whole number"),
    "width_text": (config(hidden_size="32"), "`hidden_size` must be a whole number"),
    "width_missing": (config(hidden_size=...), "`hidden_size` must be a whole number.*Received: nothing"),
    "width_of_another": (config(hidden_size=64), "has the shape"),
    "layers_absurd": (config(num_hidden_layers=10**6), "`num_hidden_layers` must be a whole number from 1 to 256"),
    "layers_too_many": (config(num_hidden_layers=200), "Missing: encoder.layer.2.*more"),
    "layers_too_few": (config(num_hidden_layers=1), "no place for: encoder.layer.1"),
    "heads_not_dividing": (config(num_attention_heads=5), "cannot be shared by 5 heads"),
    "vocabulary_absurd": (config(vocab_size=10**8), "`vocab_size` must be a whole number"),
    "vocabulary_too_large": (config(vocab_size=9_999_999), "has the shape"),
    "epsilon_text": (config(layer_norm_eps="small"), "`layer_norm_eps` must be a number"),
    "epsilon_not_a_number": (config(layer_norm_eps=float("nan")), "`layer_norm_eps` must be a number"),
    "activation_unknown": (config(hidden_act="os.system"), "`hidden_act` must be one of"),
    "activation_a_list": (config(hidden_act=["gelu"]), "`hidden_act` must be one of"),
    "head_missing": (config(architectures=["BertForMaskedLM"]), "Missing: cls.predictions"),
    "labels_a_list": (config(architectures=["BertForSequenceClassification"], id2label=["a"]), "`id2label` must be"),
    "labels_with_a_hole": (
        config(architectures=["BertForSequenceClassification"], id2label={"0": "a", "2": "b"}),
        "`id2label` must be an object with the keys 0, 1, 2",
    ),
    "labels_repeated": (
        config(architectures=["BertForTokenClassification"], id2label={"0": "O", "1": "O"}),
        "must be distinct",
    ),
    "labels_too_many": (
        config(architectures=["BertForTokenClassification"], id2label={str(n): str(n) for n in range(100_001)}),
        "at most 100,000",
    ),
    "problem_unknown": (
        config(architectures=["BertForSequenceClassification"], problem_type=[1]),
        "`problem_type` must be one of",
    ),
    "weights_missing": (remove("model.safetensors"), "there are no weights"),
    "weights_a_pickle": (only_a_pickle, r"pytorch_model.bin is a pickle.*save_pretrained"),
    "weights_empty": (write("model.safetensors", b""), "is no safetensors file"),
    "weights_short": (write("model.safetensors", b"\x01\x02"), "is no safetensors file"),
    "weights_a_directory": (directory("model.safetensors"), "is not a regular file"),
    "weights_a_pipe": (pipe("model.safetensors"), "is not a regular file"),
    "weights_a_link_out": (link_out("model.safetensors"), "leads out of"),
    "weights_truncated": (cut(end=-1000), "it is not whole"),
    "weights_with_more": (cut(more=b"more"), "is not whole"),
    "header_endless": (write("model.safetensors", b"\xff" * 64), "its header should have 18,446,744,073,709,551,615"),
    "header_beyond_the_file": (cut(end=200), "is no safetensors file"),
    "header_of_nothing": (write("model.safetensors", b"\x00" * 64), "is no safetensors file"),
    "header_not_json": (header(lambda found: b"{" + b" " * 50), "is not valid JSON"),
    "header_a_list": (header(lambda found: b"[]"), "must hold a JSON object"),
    "header_deep": (header(lambda found: DEEP), "too deeply"),
    "header_without_tensors": (header(lambda found: {"__metadata__": {}}), "has 0 tensors"),
    "header_with_a_name_twice": (
        header(lambda found: b'{"a": 1, "a": 2, ' + json.dumps(found).encode()[1:]),
        "'a' is named twice",
    ),
    "too_many_tensors": (
        header(lambda found: {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(30_000)}),
        "has 30,000 tensors",
    ),
    "entry_a_list": (header(_set(WORD, [1, 2])), "has no type, shape and offsets"),
    "entry_without_offsets": (header(_set(WORD, {"dtype": "F32", "shape": [1]})), "has no type, shape and offsets"),
    "offsets_three": (entry(data_offsets=[0, 4, 8]), "has no type, shape and offsets"),
    "offsets_text": (entry(data_offsets=["0", "4"]), "has no type, shape and offsets"),
    "offsets_backwards": (entry(data_offsets=[7680, 0]), "cannot have -7,680 bytes"),
    "offsets_beyond": (entry(data_offsets=[10**9, 10**9 + 7680]), "leaves a gap|is not whole"),
    "offsets_of_another": (
        header(
            lambda found: found[WORD].update(
                data_offsets=found["embeddings.position_embeddings.weight"]["data_offsets"]
            )
        ),
        "cannot have",
    ),
    "overlap": (
        header(
            lambda found: found["encoder.layer.0.output.LayerNorm.bias"].update(
                data_offsets=found["encoder.layer.0.output.LayerNorm.weight"]["data_offsets"]
            )
        ),
        "overlaps another tensor",
    ),
    "type_of_numbers_unknown": (entry(dtype="F31"), "has the unknown type 'F31'"),
    "type_of_numbers_a_list": (entry(dtype=["F32"]), "has no type, shape and offsets"),
    "shape_negative": (entry(shape=[-60, -32]), "has no type, shape and offsets"),
    "shape_absurd": (entry(shape=[2**59, 2**59, 2**59]), "cannot have"),
    "shape_a_fraction": (entry(shape=[60.0, 32]), "has no type, shape and offsets"),
    "shape_of_many_axes": (entry(shape=[1] * 60), "has no type, shape and offsets"),
    "shape_turned": (entry(shape=[32, 60]), "has the shape"),
    "tensor_missing": (tensors(lambda found: found.pop(NORM)), f"Missing: {NORM}"),
    "tensor_left": (tensors(_set("embeddings.extra", np.zeros(3, "float32"))), "no place for: embeddings.extra"),
    "tensor_of_doubles": (tensors(_set(NORM, np.ones(32, "float64"))), "weights must be F32, F16 or BF16"),
    "tensor_of_integers": (tensors(_set(NORM, np.ones(32, "int32"))), "weights must be F32, F16 or BF16"),
    "tensor_not_a_number": (tensors(_set(NORM, np.full(32, np.nan, "float32"))), "infinite or none at all"),
    "tensor_infinite": (tensors(_set(NORM, np.full(32, np.inf, "float16"))), "infinite or none at all"),
    "index_a_path": (index({WORD: "../outside.safetensors"}), "only .safetensors files beside it"),
    "index_an_absolute_path": (index({WORD: "/etc/passwd"}), "only .safetensors files beside it"),
    "index_another_kind": (index({WORD: "pytorch_model.bin"}), "only .safetensors files beside it"),
    "index_a_nul": (index({WORD: "a\x00.safetensors"}), "cannot be the name of a file"),
    "index_a_number": (index({WORD: 3}), "needs a `weight_map`"),
    "index_a_list": (index([WORD]), "needs a `weight_map`"),
    "index_deep": (index(text=DEEP.decode()), "too deeply"),
    "index_without_its_file": (index({WORD: "gone.safetensors"}), "has no gone.safetensors"),
    "index_of_another_file": (index({"unknown": "part.safetensors"}), "does not hold what"),
    "index_of_too_many_files": (index({str(n): f"{n}.safetensors" for n in range(1_500)}), "at most 1,000 are read"),
    "modules_leading_out": (sentences([module("Transformer", ".."), PARTS[1]]), "leads out of|has no config.json"),
    "modules_elsewhere": (sentences([PARTS[0], module("Pooling", "/etc")]), "leads out of"),
    "modules_not_a_list": (write("modules.json", "{}"), "must hold a JSON list"),
    "modules_unknown": (sentences([*PARTS, module("Dense", "2_Dense")]), "the parts must be Transformer, Pooling"),
    "modules_without_paths": (sentences([{"type": "a.Transformer"}]), "the parts must be Transformer, Pooling"),
    "pooling_unknown": (sentences(PARTS, pooling_mode_max_tokens=True), "pools by the mean"),
    "pooling_two": (sentences(PARTS, pooling_mode_cls_token=True, pooling_mode_mean_tokens=True), "pools by the mean"),
}
