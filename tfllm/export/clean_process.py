"""Ask a SavedModel where there is neither Keras nor tfllm: TensorFlow and the tensorflow-text ops, as in TF Serving.

Run as `python -I clean_process.py JOB ANSWERS`; it imports nothing of tfllm. A tensor is the base64 of its TensorProto.
JOB: JSON {"packages": [directory, ...], "savedmodel": directory, "requests": [{"signature", "inputs": {name: tensor}}]}
ANSWERS: JSON {"modules": [Keras and tfllm modules found, ...],
               "loaded": [{name: tensor}, ...] by `tf.saved_model.load`,
               "session": [{name: tensor}, ...] by the `tf.compat.v1` loader in a Session}
"""

import base64
import gc
import importlib.util
import json
import sys
from pathlib import Path

ABSENT = ("keras", "keras_hub", "keras_nlp", "tf_keras", "tfllm")


def load_text_ops() -> None:
    """Register the tensorflow-text ops from their libraries: importing the package would import Keras."""
    import tensorflow as tf

    package = importlib.util.find_spec("tensorflow_text").submodule_search_locations[0]
    for library in sorted(Path(package, "python", "ops").glob("_*.so")):
        tf.load_op_library(str(library))


def main(job_file: str, answers_file: str) -> None:
    """Answer the requests of a job."""
    job = json.loads(Path(job_file).read_text("utf-8"))
    sys.path += job["packages"]
    gc.disable()  # what is imported is not garbage, and the process ends soon
    sys.modules.update(keras=None, jax=None)  # TensorFlow imports them where they are installed; a server has neither
    load_text_ops()
    answers = {
        "loaded": _answers_loaded(job["savedmodel"], job["requests"]),
        "session": _answers_in_session(job["savedmodel"], job["requests"]),
        "modules": sorted(name for name, module in sys.modules.items() if module and name.split(".")[0] in ABSENT),
    }
    Path(answers_file).write_text(json.dumps(answers), "utf-8")


def _answers_loaded(savedmodel: str, requests: list[dict]) -> list[dict]:
    import tensorflow as tf

    signatures = tf.saved_model.load(savedmodel).signatures
    answers = []
    for request in requests:
        function = signatures[request["signature"]]
        specs = function.structured_input_signature[1]
        inputs = {
            name: tf.io.parse_tensor(base64.b64decode(tensor), specs[name].dtype)
            for name, tensor in request["inputs"].items()
        }
        answers.append(_encode({name: (tensor.numpy(), tensor.dtype) for name, tensor in function(**inputs).items()}))
    return answers


def _answers_in_session(savedmodel: str, requests: list[dict]) -> list[dict]:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    answers = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], savedmodel).signature_def
        for request in requests:
            signature = signatures[request["signature"]]
            inputs = {
                signature.inputs[name].name: tf.make_ndarray(
                    tensor_pb2.TensorProto.FromString(base64.b64decode(tensor))
                )
                for name, tensor in request["inputs"].items()
            }
            outputs = session.run({name: info.name for name, info in signature.outputs.items()}, inputs)
            answers.append(_encode({name: (value, signature.outputs[name].dtype) for name, value in outputs.items()}))
    return answers


def _encode(arrays: dict) -> dict[str, str]:
    """TensorProtos in base64 of (array, dtype) by name."""
    import tensorflow as tf

    protos = {name: tf.make_tensor_proto(array, dtype) for name, (array, dtype) in arrays.items()}
    return {name: base64.b64encode(proto.SerializeToString()).decode() for name, proto in protos.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
