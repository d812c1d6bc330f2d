"""Ask a SavedModel through TensorFlow's C API, in a process that has nothing of TensorFlow's Python: as in a server.

Run as `python -I c_api_process.py JOB ANSWERS`; it imports the standard library only. XLA is off, as in TF Serving.
JOB: JSON {"packages": [directory, ...], "savedmodel": directory,
           "requests": [{"inputs": {tensor name: value}, "outputs": {output: tensor name}}]}
ANSWERS: JSON [{output: value}, ...]
A value is {"dtype": TensorFlow's number, "shape": [...], "data": base64 of the bytes, of strings a list of them}.
"""

import base64
import ctypes
import importlib.util
import json
import math
import sys
from pathlib import Path

STRING = 7
_OFF = "_ZN10tensorflow21DisableXlaCompilationEv"  # tensorflow::DisableXlaCompilation(), which TF Serving calls
_STRING_BYTES = 24  # of a TF_TString


class Output(ctypes.Structure):
    """TF_Output: one of the tensors that an operation gives."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def main(job_file: str, answers_file: str) -> None:
    """Answer the requests of a job."""
    job = json.loads(Path(job_file).read_text("utf-8"))
    sys.path += job["packages"]
    ctypes.CDLL(str(_place("tensorflow") / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    tensorflow = ctypes.CDLL(str(_place("tensorflow") / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_GLOBAL)
    _declare(tensorflow)
    getattr(tensorflow, _OFF)()
    for library in sorted(_place("tensorflow_text").glob("python/ops/_*.so")):
        _call(tensorflow, tensorflow.TF_LoadLibrary, str(library).encode())
    graph = tensorflow.TF_NewGraph()
    tags = (ctypes.c_char_p * 1)(b"serve")
    options = tensorflow.TF_NewSessionOptions()
    session = _call(
        tensorflow, tensorflow.TF_LoadSessionFromSavedModel,
        options, None, job["savedmodel"].encode(), tags, 1, graph, None,
    )  # fmt: skip
    answers = [_answer(tensorflow, session, graph, request) for request in job["requests"]]
    Path(answers_file).write_text(json.dumps(answers), "utf-8")


def _place(package: str) -> Path:
    """The directory of a package, which is not imported."""
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


def _answer(tensorflow, session, graph, request: dict) -> dict[str, dict]:
    feeds, fetches = (
        (Output * len(names))(*[_output(tensorflow, graph, name) for name in names])
        for names in (request["inputs"], request["outputs"].values())
    )
    tensors = [_tensor(tensorflow, value) for value in request["inputs"].values()]
    given = (ctypes.c_void_p * len(feeds))(*tensors)
    found = (ctypes.c_void_p * len(fetches))()
    _call(
        tensorflow, tensorflow.TF_SessionRun,
        session, None, feeds, given, len(feeds), fetches, found, len(fetches), None, 0, None,
    )  # fmt: skip
    answer = {name: _value(tensorflow, tensor) for name, tensor in zip(request["outputs"], found, strict=True)}
    for tensor in (*tensors, *found):
        tensorflow.TF_DeleteTensor(tensor)
    return answer


def _output(tensorflow, graph, name: str) -> Output:
    operation, _, index = name.partition(":")
    return Output(tensorflow.TF_GraphOperationByName(graph, operation.encode()), int(index or 0))


def _tensor(tensorflow, value: dict) -> int:
    shape, strings = value["shape"], value["dtype"] == STRING
    data = [] if strings else base64.b64decode(value["data"])
    size = _STRING_BYTES * math.prod(shape) if strings else len(data)
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    tensor = tensorflow.TF_AllocateTensor(value["dtype"], dimensions, len(shape), size)
    place = tensorflow.TF_TensorData(tensor)
    if not strings:
        ctypes.memmove(place, data, size)
        return tensor
    for number, text in enumerate(map(base64.b64decode, value["data"])):
        tensorflow.TF_StringInit(place + number * _STRING_BYTES)
        tensorflow.TF_StringCopy(place + number * _STRING_BYTES, text, len(text))
    return tensor


def _value(tensorflow, tensor: int) -> dict:
    shape = [tensorflow.TF_Dim(tensor, axis) for axis in range(tensorflow.TF_NumDims(tensor))]
    dtype, place = tensorflow.TF_TensorType(tensor), tensorflow.TF_TensorData(tensor)
    if dtype != STRING:
        data = _text(ctypes.string_at(place, tensorflow.TF_TensorByteSize(tensor)) if math.prod(shape) else b"")
        return {"dtype": dtype, "shape": shape, "data": data}
    strings = [place + number * _STRING_BYTES for number in range(math.prod(shape))]
    data = [
        _text(ctypes.string_at(tensorflow.TF_StringGetDataPointer(one), tensorflow.TF_StringGetSize(one)))
        for one in strings
    ]
    return {"dtype": dtype, "shape": shape, "data": data}


def _call(tensorflow, function, *arguments):
    """Call a function whose last argument is a TF_Status, and end with its message when it is not OK."""
    status = tensorflow.TF_NewStatus()
    result = function(*arguments, status)
    if tensorflow.TF_GetCode(status):
        raise SystemExit(tensorflow.TF_Message(status).decode("utf-8", "replace"))
    tensorflow.TF_DeleteStatus(status)
    return result


def _declare(tensorflow) -> None:
    """Tell ctypes the types, which it would otherwise take for 32-bit integers."""
    pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    signatures = {
        "TF_AllocateTensor": (pointer, integer, pointer, integer, size),
        "TF_DeleteStatus": (None, pointer),
        "TF_DeleteTensor": (None, pointer),
        "TF_Dim": (ctypes.c_int64, pointer, integer),
        "TF_GetCode": (integer, pointer),
        "TF_GraphOperationByName": (pointer, pointer, ctypes.c_char_p),
        "TF_LoadLibrary": (pointer, ctypes.c_char_p, pointer),
        "TF_LoadSessionFromSavedModel": (
            pointer, pointer, pointer, ctypes.c_char_p, pointer, integer, pointer, pointer, pointer,
        ),
        "TF_Message": (ctypes.c_char_p, pointer),
        "TF_NewGraph": (pointer,),
        "TF_NewSessionOptions": (pointer,),
        "TF_NewStatus": (pointer,),
        "TF_NumDims": (integer, pointer),
        "TF_SessionRun": (
            None, pointer, pointer, pointer, pointer, integer, pointer, pointer, integer, pointer, integer, pointer,
            pointer,
        ),
        "TF_StringCopy": (None, pointer, ctypes.c_char_p, size),
        "TF_StringGetDataPointer": (pointer, pointer),
        "TF_StringGetSize": (size, pointer),
        "TF_StringInit": (None, pointer),
        "TF_TensorByteSize": (size, pointer),
        "TF_TensorData": (pointer, pointer),
        "TF_TensorType": (integer, pointer),
    }  # fmt: skip
    for name, (result, *arguments) in signatures.items():
        function = getattr(tensorflow, name)
        function.restype, function.argtypes = result, arguments


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
