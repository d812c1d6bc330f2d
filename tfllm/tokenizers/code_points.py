"""A table over all code points in the graph: a constant, small because most pages of Unicode are alike.

In: one number or row of numbers for each code point. Out: look-ups by TensorFlow ops.
"""

import numpy as np
import tensorflow as tf

CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
_PAGE = 256


class CodePointTable(tf.Module):
    """Looks up `values[code point]`.

    Args:
        values: (1114112,) or (1114112, K), any dtype.
    """

    def __init__(self, values: np.ndarray):
        super().__init__()
        places = {}  # of each page that was kept; equal pages are kept once
        pages = [places.setdefault(page.tobytes(), len(places)) for page in np.split(values, CODE_POINTS // _PAGE)]
        self._pages = tf.constant(np.array(pages, np.int32))
        kept = np.frombuffer(b"".join(places), values.dtype)
        self._values = tf.constant(kept.reshape(-1, *values.shape[1:]))

    def __call__(self, code_points: tf.Tensor) -> tf.Tensor:
        """Values of int32 (N,): (N,) or (N, K)."""
        return tf.gather(self._values, tf.gather(self._pages, code_points // _PAGE) * _PAGE + code_points % _PAGE)


def characters(code_points: range) -> list[str]:
    """Code points as strings of one character; U+FFFD stands for the surrogates, which are none."""
    return ["\ufffd" if code_point in SURROGATES else chr(code_point) for code_point in code_points]
