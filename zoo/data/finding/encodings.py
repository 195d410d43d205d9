"""The characters of a text file, whatever encoding it was saved in."""

from __future__ import annotations

import codecs
from typing import NamedTuple

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Decoded(NamedTuple):
    """text: with \\n at the end of every line. guessed: nothing in the file states its encoding."""

    text: str
    guessed: bool


def decode(data: bytes) -> Decoded | None:
    """The text by its byte order mark, else as UTF-8, else as Windows-1252; None for bytes that are not text.

    >>> decode("café".encode("utf-16")), decode("café".encode("cp1252")), decode(b"GIF89a\\0")
    (Decoded(text='café', guessed=False), Decoded(text='café', guessed=True), None)
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None and b"\0" in data:
        return None
    guessed = False
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        guessed = encoding is None
        text = data.decode("cp1252" if guessed else str(encoding), "replace")
    return Decoded(text.replace("\r\n", "\n").replace("\r", "\n"), guessed)
