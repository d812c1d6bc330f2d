"""What goes wrong when a server is asked, as TF Serving names it: a code, and a message for people.

In: nothing. Out: `ServingError`, and what its code is in HTTP.
"""

from tfllm.checks import InputError

# Source: ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc.
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

_LONGEST = 1000  # characters of a message: what arrived may stand in it, and gRPC sends it as a header


class ServingError(InputError):
    """An answer that is an error.

    Attributes:
        code: the name of a gRPC status code, "INVALID_ARGUMENT" say.
        message: what is wrong, cut if it is long.
    """

    def __init__(self, code: str, message: str):
        message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http_status(self) -> int:
        """The HTTP status code that TF Serving answers with."""
        return HTTP_STATUS[self.code]


def invalid(message: str) -> ServingError:
    """What was asked is wrong: INVALID_ARGUMENT."""
    return ServingError("INVALID_ARGUMENT", message)
