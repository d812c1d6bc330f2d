"""What native code writes to standard error while it is imported, held back: TensorFlow asks nobody whether it may."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# A line of TensorFlow's own log or of absl's, or one that goes with it.
TENSORFLOW = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |[IWE]\d{4} \d\d:\d\d|"
    rb"WARNING: All log messages before absl::InitializeLog|To enable the following instructions:"
)
ANYTHING = re.compile(b"")


@contextlib.contextmanager
def held_back(noise: re.Pattern[bytes]) -> Iterator[None]:
    """Hold back what this process writes to standard error; lines that do not begin as `noise` come after the block.

    If the block raises, all of it comes.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(kept, 2)
            written.seek(0)
            for line in written:
                if failed or not noise.match(line):
                    os.write(kept, line)
            os.close(kept)
