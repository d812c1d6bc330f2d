"""The table of TF Serving's REST contract: what is asked, and the answer, or the text of the error.

Source: documentation of the RESTful API and tensorflow_serving/util/json_tensor.cc.
"""

import base64

NAN, INF = float("nan"), float("inf")


def b64(text: bytes) -> dict:
    return {"b64": base64.b64encode(text).decode()}


def row(instances, signature=None):
    return {"instances": instances, **({"signature_name": signature} if signature else {})}


def column(inputs, signature=None):
    return {"inputs": inputs, **({"signature_name": signature} if signature else {})}


def examples(*rows, signature="classify", **more):
    return {"examples": list(rows), "signature_name": signature, **more}


PREDICT = [  # body, answer
    # row format: one input may be a bare list; one output loses its name
    (row([1.0, 2.0, 5.0]), {"predictions": [3.5, 4.0, 5.5]}),
    (row([1, 2, 5]), {"predictions": [3.5, 4.0, 5.5]}),
    (row([{"x": 1.0}, {"x": 2.0}]), {"predictions": [3.5, 4.0]}),
    (row([1.0], "serving_default"), {"predictions": [3.5]}),
    ({"signature_name": "", "instances": [1.0]}, {"predictions": [3.5]}),
    ({"instances": [1.0], "unknown_key": {"a": []}}, {"predictions": [3.5]}),
    (row([1e-3, -0.0, 1e10]), {"predictions": [3.0005, 3.0, 5e9]}),
    (row([16777215]), {"predictions": [8388610.0]}),
    (row([0.2, 0.1]), {"predictions": [3.1, 3.05]}),
    # columnar format
    (column([1.0, 2.0]), {"outputs": [3.5, 4.0]}),
    (column({"x": [1.0, 2.0]}), {"outputs": [3.5, 4.0]}),
    (column({"x": [1.0], "more": 3}), {"outputs": [3.5]}),
    (column([]), {"outputs": []}),
    (column({"x": []}), {"outputs": []}),
    # several outputs keep their names, each row an object
    (
        row([[1, 2], [3, 4]], "matrix"),
        {"predictions": [{"double": [2.0, 4.0], "sum": 3.0}, {"double": [6.0, 8.0], "sum": 7.0}]},
    ),
    (row([{"m": [1, 2]}], "matrix"), {"predictions": [{"double": [2.0, 4.0], "sum": 3.0}]}),
    (column([[1, 2], [3, 4]], "matrix"), {"outputs": {"double": [[2.0, 4.0], [6.0, 8.0]], "sum": [3.0, 7.0]}}),
    (column({"m": [[1, 2]]}, "matrix"), {"outputs": {"double": [[2.0, 4.0]], "sum": [3.0]}}),
    # several inputs
    (
        row([{"a": 1.5, "b": 2}, {"a": 0, "b": -1}], "two"),
        {"predictions": [{"sum": 3.5, "b": 2}, {"sum": -1.0, "b": -1}]},
    ),
    (column({"a": [1.5], "b": [2]}, "two"), {"outputs": {"sum": [3.5], "b": [2]}}),
    # strings
    (
        row(["Ab", "ÄÖ", ""], "text"),
        {"predictions": [{"lower": "ab", "size": 2}, {"lower": "ÄÖ", "size": 4}, {"lower": "", "size": 0}]},
    ),
    (row([{"text": 'A\u0000B\n"\\'}], "text"), {"predictions": [{"lower": 'a\u0000b\n"\\', "size": 6}]}),
    (row(["你好 😀"], "text"), {"predictions": [{"lower": "你好 😀", "size": 11}]}),
    (row([b64(b"AB")], "text"), {"predictions": [{"lower": "ab", "size": 2}]}),
    (row([{"text": b64(b"AB")}], "text"), {"predictions": [{"lower": "ab", "size": 2}]}),
    (row([{"b64": "QUI"}], "text"), {"predictions": [{"lower": "ab", "size": 2}]}),
    (row([{"b64": "\tQ U\r\nI=\n"}], "text"), {"predictions": [{"lower": "ab", "size": 2}]}),
    (column(["A", b64(b"B")], "text"), {"outputs": {"lower": ["a", "b"], "size": [1, 1]}}),
    (column({"text": [b64(b"B")]}, "text"), {"outputs": {"lower": ["b"], "size": [1]}}),
    # outputs named *_bytes are base64
    (row([b64(b"\xff\x00")], "image"), {"predictions": [b64(b"\xff\x00")]}),
    (column([b64(b"\xff\x00")], "image"), {"outputs": [b64(b"\xff\x00")]}),
    (row(["a"], "image_two"), {"predictions": [{"image_bytes": b64(b"a"), "plain": "a"}]}),
    (column(["a"], "image_two"), {"outputs": {"image_bytes": [b64(b"a")], "plain": ["a"]}}),
    # dtypes
    (row([1, -2], "echo_int8"), {"predictions": [1, -2]}),
    (row([1, -2], "echo_int16"), {"predictions": [1, -2]}),
    (row([200], "echo_uint8"), {"predictions": [200]}),
    (row([9007199254740993, -(2**63)], "echo_int64"), {"predictions": [9007199254740993, -(2**63)]}),
    (row([2**32 - 1], "echo_uint32"), {"predictions": [2**32 - 1]}),
    (row([2**64 - 1], "echo_uint64"), {"predictions": [2**64 - 1]}),
    (row([0.1, 1e300], "echo_float64"), {"predictions": [0.1, 1e300]}),
    (row([10**30], "echo_float64"), {"predictions": [1e30]}),
    (row([True, False], "echo_bool"), {"predictions": [True, False]}),
    (column([True], "echo_bool"), {"outputs": [True]}),
    # numbers that are none
    (row([0.0], "divide"), {"predictions": [INF]}),
    (row([-0.0, 2.0], "divide"), {"predictions": [-INF, 0.5]}),
    (row([NAN, INF, -INF]), {"predictions": [NAN, INF, -INF]}),
    (row([NAN], "echo_float64"), {"predictions": [NAN]}),
    # a signature without a batch
    (column(3.0, "scalar"), {"outputs": 6.0}),
    (column({"s": 3.0}, "scalar"), {"outputs": 6.0}),
    (column("Ab", "scalar_text"), {"outputs": "ab"}),
    (column({"s": b64(b"Ab")}, "scalar_text"), {"outputs": "ab"}),
    # int64 are numbers in predictions
    (row([5], "tell"), {"predictions": [{"n": 5, "version": 2}]}),
    (row([3, 1], "wide"), {"predictions": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}),
]
PREDICT_ERRORS = [  # body, part of the message
    ({}, "Missing 'inputs' or 'instances' key"),
    ({"signature_name": "text"}, "Missing 'inputs' or 'instances' key"),
    ([], "Is not object"),
    ("text", "Is not object"),
    (3, "Is not object"),
    (None, "Is not object"),
    (row([]), "No values in 'instances' array"),
    (row({}), "Excepting 'instances' to be an list/array"),
    (row(None), "Excepting 'instances' to be an list/array"),
    (row("a"), "Excepting 'instances' to be an list/array"),
    (row(5), "Excepting 'instances' to be an list/array"),
    (row(b64(b"a"), "text"), "Excepting 'instances' to be an list/array"),
    ({"instances": [1.0], "inputs": [1.0]}, "expecting only one of 'inputs' or 'instances' keys"),
    (row([1.0], "nothing"), 'Serving signature name: "nothing" not found in signature def'),
    ({"signature_name": 3, "instances": [1.0]}, "'signature_name' key must be a string value"),
    (row(["a"]), 'JSON Value: "a" Type: String is not of expected type: float'),
    (row([True]), "JSON Value: true Type: True is not of expected type: float"),
    (row([None]), "JSON Value: null Type: Null is not of expected type: float"),
    (row([{"x": {}}]), "JSON Value: {} Type: Object is not of expected type: float"),
    (row([1.0, "a"]), "Failed to process element: 1 of 'instances' list."),
    (row([{"x": 1.0}, {"x": "a"}]), "Failed to process element: 1 key: x of 'instances' list."),
    (row([{"y": 1.0}]), "JSON object: does not have named input: y"),
    (
        row([{"x": 1.0}, {}]),
        "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x",
    ),
    (row([{"x": 1.0}, 2.0]), "Expecting object but got list at item 1 of input list"),
    (row([1.0, {"x": 1.0}]), "Expecting value/list but got object at item 1 of input list"),
    (row([1.0, [2.0]]), "Expecting shape [] but got: [1]"),
    (row([[1.0], [1.0, 2.0]]), "Expecting tensor size: 1 but got: 2"),
    (row([[[1.0], 2.0]]), "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    (row([[1.0, [2.0]]]), "Encountered list at unexpected level: 1 expected < 1"),
    (row([[[1.0, 2.0], [3.0]]]), "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    (row([16777216]), "Cannot convert JSON value: 16777216 to float without loss of precision."),
    (row([1e39]), "to float without loss of precision."),
    (row([9007199254740992], "echo_float64"), "to double without loss of precision."),
    (row([1.0], "echo_int64"), "JSON Value: 1.0 Type: Number is not of expected type: int64"),
    (row([2**63], "echo_int64"), "is not of expected type: int64"),
    (row([2**31], "two"), "instances is a plain list, but expecting list of objects"),
    (row([{"a": 1.0, "b": 2**31}], "two"), "is not of expected type: int32"),
    (row([{"a": 1.0}], "two"), "keys must be equal to: a,b"),
    (row([-1], "echo_uint32"), "is not of expected type: uint32"),
    (row([1], "echo_bool"), "JSON Value: 1 Type: Number is not of expected type: bool"),
    (row([1], "text"), "JSON Value: 1 Type: Number is not of expected type: string"),
    (row([["a"], "b"], "text"), "Expecting shape [1] but got: []"),
    *((row([{"b64": text}], "text"), "Unable to base64 decode") for text in ("*", "QU=", "Q", "-_8=", "QQ==QQ==", "=")),
    (row([{"text": {"b64": 1}}], "text"), "not formatted correctly for base64 data"),
    (row([{"text": {"b65": "QQ=="}}], "text"), "not formatted correctly for base64 data"),
    (column([1.0], "two"), "inputs is a plain value/list, but expecting an object as multiple input tensors required"),
    (column({"a": [1.0]}, "two"), "Missing named input: b in 'inputs' object."),
    (column({}), "Missing named input: x in 'inputs' object."),
    (column([[1.0], [2.0, 3.0]]), "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    (column(None), "JSON Value: null Type: Null is not of expected type: float"),
    (column([[1.0, 2.0, 3.0]], "matrix"), "[-1, 2]"),
    (row([[1.0]]), "[-1]"),
    (column(1.0), "[-1]"),
    (column(3.0, "serving_default"), "[-1]"),
    (row([3.0], "scalar"), "[]"),
    # a string is no list of strings
    (column("Who are you?", "text"), "input text: the signature has shape [-1], not []"),
    (column({"text": "a"}, "text"), "input text: the signature has shape [-1], not []"),
    (column(b64(b"a"), "text"), "input text: the signature has shape [-1], not []"),
    (column({"text": b64(b"a")}, "text"), "input text: the signature has shape [-1], not []"),
    (column([["a"]], "text"), "input text: the signature has shape [-1], not [1, 1]"),
    (row([[["a"]]], "text"), "input text: the signature has shape [-1], not [1, 1, 1]"),
    (row(["a"], "scalar_text"), "input s: the signature has shape [], not [1]"),
    (column("a", "image"), "input text: the signature has shape [-1], not []"),
    (column({"b64": "*"}, "text"), "Unable to base64 decode"),
    (column({"b64": 5}, "text"), "Missing named input: text in 'inputs' object."),
    (column({"text": {"b64": 5}}, "text"), "not formatted correctly for base64 data"),
    (column(5, "text"), "JSON Value: 5 Type: Number is not of expected type: string"),
    (column({"text": None}, "text"), "JSON Value: null Type: Null is not of expected type: string"),
    (column(None, "text"), "JSON Value: null Type: Null is not of expected type: string"),
    (column(True, "text"), "JSON Value: true Type: True is not of expected type: string"),
    (column("a"), 'JSON Value: "a" Type: String is not of expected type: float'),
    (column("a", "two"), "inputs is a plain value/list, but expecting an object"),
    (row([-1.0], "checked"), "x must not be negative"),
    (row([b64(b"\x0a\xff")], "classify"), "Could not parse example input, value: '\n\ufffd'"),
]
RAW_ERRORS = [  # bytes, part of the message
    (b"", "JSON Parse error: The document is empty"),
    (b"  \n", "JSON Parse error: The document is empty"),
    (b"{", "JSON Parse error: Missing a name for object member."),
    (b'{"instances": [1.0]', "JSON Parse error: Missing a comma"),
    (b'{"instances": [1.0,]}', "JSON Parse error: Invalid value."),
    (b'{"instances" [1.0]}', "JSON Parse error: Missing a colon after a name of object member."),
    (b'{"instances": [1.0]} x', "JSON Parse error: The document root must not be followed by other values."),
    (b"{'instances': [1.0]}", "JSON Parse error: Missing a name for object member."),
    (b'{"instances": ["a]}', "JSON Parse error: Missing a closing quotation mark in string."),
    (b'{"instances": ["\\x"]}', "JSON Parse error: Invalid escape character in string."),
    (b'{"instances": ["\\uZZZZ"]}', "JSON Parse error: Incorrect hex digit after \\u escape in string."),
    (b'{"instances": ["\\ud800"], "signature_name": "text"}', "The surrogate pair in string is invalid."),
    (b'{"instances": ["\xff"], "signature_name": "text"}', "JSON Parse error: Invalid encoding in string."),
    (b'{"instances": [1e400]}', "Number too big to be stored in double."),
    (b'{"instances": [01]}', "JSON Parse error"),
    (b'{"instances": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested"),
]
CLASSIFY = [  # body, results
    (examples({"x": 0.25}), [[["small", 0.75], ["large", 0.25]]]),
    (examples({"x": [0.25]}, {"x": 1.0}), [[["small", 0.75], ["large", 0.25]], [["small", 0.0], ["large", 1.0]]]),
    (examples({"x": 0.5}, signature="classes"), [[["small", 0.0], ["large", 0.0]]]),
    (examples({"x": 0.5}, signature="scores"), [[["", 0.5], ["", 0.5]]]),
    (examples({}, {}, context={"x": 0.5}), [[["small", 0.5], ["large", 0.5]]] * 2),
    (examples({"x": 1.0}, context={"x": 0.5}), [[["small", 0.0], ["large", 1.0]]]),
    (examples({"x": 0.5, "more": ["a", b64(b"b")], "flag": [True, 3]}), [[["small", 0.5], ["large", 0.5]]]),
]
CLASSIFY_ERRORS = [
    ({}, "key 'examples' is expected and was not found"),
    ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
    ({"examples": []}, "'examples' value is an empty array"),
    (examples(3), "Example must be JSON object but got JSON Number"),
    (examples([]), "Example must be JSON object but got JSON Array"),
    (examples({"x": 0.5}, context=3), "Example must be JSON object but got JSON Number"),
    (examples({"x": None}), "Feature: x has element with unexpected JSON type: Null"),
    (examples({"x": [[0.5]]}), "Feature: x has element with unexpected JSON type: Array"),
    (examples({"x": {"a": 1}}), "Feature: x has element with unexpected JSON type: Object"),
    (examples({"x": [0.5, 1]}), "Unexpected element type in feature: x expecting type: float"),
    (examples({"x": ["a", 0.5]}), "Unexpected element type in feature: x expecting type: bytes"),
    (examples({"x": [True, "a"]}), "Unexpected element type in feature: x expecting type: int64"),
    (examples({"x": 2**63}), "Feature: x has uint64 element. Only int64 is supported."),
    (examples({"x": 1e39}), "to float without loss of precision."),
    (examples({"x": b64(b"a") | {"b64": "*"}}), "Unable to base64 decode"),
    (examples({"x": 0.5}, signature="nothing"), "No signature was found with the name: nothing"),
    (examples({"x": 0.5}, signature="serving_default"), "No classification inputs found in SignatureDef"),
    (examples({"x": 0.5}, signature="two"), "Expected one input Tensor."),
    (examples({"x": 0.5}, signature="regress"), "Expected classification signature outputs to contain at least one of"),
    (examples({"x": "a"}), "Data types don't match"),
    (examples({"y": 0.5}), "Feature: x (data type: float) is required but could not be found."),
    (examples(*[{}] * 2000, context={"z": "a" * 10**6}), "The context takes 2000046000 bytes in all examples"),
    (examples({"z": ["a" * 10**6, "b" * 10**6]}), "--max-text-bytes"),
]
REGRESS = [
    (examples({"x": 1.0}, {"x": 3.0}, signature="regress"), [3.5, 4.5]),
    (examples({"x": 1.0}, {"x": 3.0}, signature="regress_column"), [1.0, 3.0]),
    (examples({}, context={"x": 1.0}, signature="regress"), [3.5]),
]
REGRESS_ERRORS = [
    (
        examples({"x": 1.0}, signature="regress_wide"),
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]",
    ),
    (examples({"x": 1.0}, signature="classify"), "Expected one output Tensor."),
    (examples({"x": 1.0}, signature="classes"), "No regression outputs found in SignatureDef"),
    (examples({"x": 1.0}, signature="nothing"), "No signature was found with the name: nothing"),
    (examples({"x": 1.0}, signature="serving_default"), "No regression inputs found in SignatureDef"),
    ({"examples": []}, "'examples' value is an empty array"),
]
PATHS = [  # method, path, status code, part of the answer
    ("POST", "/v1/models/numbers/versions/1:predict", 200, "2.5"),
    ("POST", "/v1/models/numbers/versions/2:predict", 200, "3.5"),
    ("POST", "/v1/models/numbers/labels/old:predict", 200, "2.5"),
    ("POST", "/v1/models/numbers/labels/new:predict", 200, "3.5"),
    ("POST", "/V1/Models/numbers/Versions/1:PREDICT", 200, "2.5"),
    ("POST", "/v1/models/n%75mbers:predict", 200, "3.5"),
    ("POST", "/v1/models/numbers:predict?query=1", 200, "3.5"),
    ("POST", "/v1/models/Numbers:predict", 404, "Servable not found for request: Latest(Numbers)"),
    ("POST", "/v1/models/nothing:predict", 404, "Servable not found for request: Latest(nothing)"),
    ("POST", "/v1/models/numbers/versions/7:predict", 404, "Servable not found for request: Specific(numbers, 7)"),
    ("POST", "/v1/models/numbers/labels/gone:predict", 404, "Servable not found for request: Specific(numbers, 9)"),
    ("POST", "/v1/models/numbers/labels/none:predict", 400, "Unrecognized servable version label: none"),
    ("POST", "/v1/models/numbers/versions/99999999999999999999:predict", 400, "Failed to convert version"),
    (
        "POST",
        "/v1/models/numbers/versions/x:predict",
        400,
        "Malformed request: POST /v1/models/numbers/versions/x:predict",
    ),
    ("POST", "/v1/models/numbers:explain", 400, "Malformed request: POST /v1/models/numbers:explain"),
    ("POST", "/v1/models/numbers", 400, "Malformed request: POST /v1/models/numbers"),
    ("POST", "/v1/models/:predict", 400, "Malformed request"),
    ("POST", "/v1/models/numbers/versions/1/labels/old:predict", 400, "Malformed request"),
    ("GET", "/v1/models/numbers:predict", 400, "Malformed request: GET /v1/models/numbers:predict"),
    ("PUT", "/v1/models/numbers:predict", 400, "Malformed request: PUT"),
    ("OPTIONS", "/v1/models/numbers:predict", 400, "Malformed request: OPTIONS"),
    ("GET", "/v1", 404, ""),
    ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
    ("GET", "/v1/models/numbers/", 400, "Malformed request"),
    ("GET", "/v2/models/numbers", 404, ""),
    ("GET", "/v1/models/numbers", 200, "AVAILABLE"),
    ("GET", "/V1/MODELS/numbers/VERSIONS/1", 200, '"1"'),
    ("GET", "/v1/models/nothing", 404, "Could not find any versions of model nothing"),
    ("GET", "/v1/models/numbers/versions/7", 404, "Could not find version 7 of model numbers"),
    ("GET", "/v1/models/numbers/labels/none", 400, "Unrecognized servable version label: none"),
    ("GET", "/v1/models/nothing/metadata", 404, "Servable not found for request: Latest(nothing)"),
    ("GET", "/v1/models/numbers/versions/7/metadata", 404, "Servable not found for request: Specific(numbers, 7)"),
    ("GET", "/v1/models/numbers/labels/old/metadata", 200, "serving_default"),
]
