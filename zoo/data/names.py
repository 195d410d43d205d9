"""File and class names as people sort, compare and print them."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key that puts 2 before 10 and does not care about capitals, except to break ties.

    >>> sorted(["20", "Bee", "1", "ant", "10", "2"], key=natural_key)
    ['1', '2', '10', '20', 'ant', 'Bee']
    """
    # re.split with a group gives text, digits, text, …: equal positions always hold equal types.
    parts = _DIGITS.split(name.casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def same_form(name: str) -> str:
    """The name in Unicode's composed form (NFC): macOS writes 'é' as two characters, Linux as one.

    >>> same_form("cafe\\u0301") == "caf\\u00e9"
    True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def twin_key(name: str) -> str:
    """Equal for names that are one file on a disk that ignores capitals and Unicode form."""
    return same_form(name).casefold()


def safe_text(path: Path | str) -> str:
    """The path as text that any JSON or CSV writer accepts; bytes that are not UTF-8 become \\xNN.

    >>> safe_text("a\\udcff.jpg")
    'a\\\\xff.jpg'
    """
    text = os.fspath(path)
    try:
        text.encode()  # Python keeps undecodable bytes as lone surrogates, which no encoder takes
    except UnicodeEncodeError:
        return "".join(
            f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text
        ).encode("utf-8", "backslashreplace").decode()  # fmt: skip
    return text


def one_line(path: Path | str) -> str:
    """The path as a message shows it: one line, and no character that could steer a terminal.

    >>> one_line("a\\nb.jpg")
    'a\\\\nb.jpg'
    """
    text = safe_text(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: Path | str, most: int = 100) -> str:
    """The text on one line, cut in the middle where it is long: for cells of tables and names from files.

    >>> shortened("a" * 50 + "b" * 50, 11)
    'aaaaa…bbbbb'
    """
    line = one_line(text)
    half = (most - 1) // 2
    return line if len(line) <= most else f"{line[:half]}…{line[-half:]}"
