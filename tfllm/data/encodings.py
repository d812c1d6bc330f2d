"""What a file with bytes that are not valid in its encoding may be encoded in, for the error message.

In: a file, and the encoding it was read in. Out: a sentence that says what to do.
"""

import codecs
import gzip
import re
import zlib
from pathlib import Path

_FOR_ICONV = {"utf-16": "UTF-16", "gb18030": "GB18030", "latin-1": "LATIN1"}
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_MOST = 2**22  # bytes that are tried
_SPARSE = 0.3  # share of accented letters that no Western European text reaches
_C1 = bytes(range(0x80, 0xA0))  # control characters in latin-1, which no text has


def encoding_name(encoding: str) -> str:
    """What people call it: UTF-8 under any of its names, else the name given."""
    return "UTF-8" if is_utf_8(encoding) else encoding


def is_utf_8(encoding: str) -> bool:
    """True for UTF-8 under any of its names, with or without a byte order mark."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def encoding_advice(path: str | Path, encoding: str) -> str:
    """What is wrong with a file that is not all valid in `encoding`, and which one to name, if its bytes tell."""
    found = _find_encoding(_start_of(Path(path)), encoding)
    cause = f"{path} is not all valid {encoding_name(encoding)}"
    if found == "utf-8":
        return f"{cause}; it is UTF-8, which is read if no encoding is named."
    named, by_iconv = (found, _FOR_ICONV[found]) if found else ("NAME", "FROM")
    return (
        f"{cause}{f'; it may be {found}' if found else ''}. Say which encoding it has (encoding='{named}'; "
        f"--encoding {named}), or convert it: iconv -f {by_iconv} -t UTF-8 FILE > NEW_FILE."
    )


def _start_of(path: Path) -> bytes:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            return stream.read(_MOST)
    except (OSError, EOFError, zlib.error):  # standard input has no path
        return b""


def _find_encoding(content: bytes, encoding: str) -> str | None:
    """The first encoding, except the one given, in which the bytes make a text; None if none does."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    names = ("utf-8", "gb18030", "latin-1") if _BEYOND_ASCII.search(content) else ()
    return next((name for name in names if _fits(content, name, encoding)), None)


def _fits(content: bytes, name: str, encoding: str) -> bool:
    if codecs.lookup(name) == codecs.lookup(encoding):
        return False
    if name == "latin-1":  # every byte is a character there
        others = len(content.translate(None, bytes(range(128))))
        return others <= _SPARSE * len(content) and not any(control in content for control in _C1)
    try:
        codecs.getincrementaldecoder(name)("strict").decode(content)
    except UnicodeDecodeError:
        return False
    return name != "gb18030" or _stand_together(content)


def _stand_together(content: bytes) -> bool:
    """Are most bytes beyond ASCII beside another, as in Chinese? An accented letter and an ASCII one decode, too."""
    lengths = [len(run) for run in _BEYOND_ASCII.findall(content)]
    return sum(length for length in lengths if length > 1) > sum(lengths) / 2
