"""What is wrong with a registry file, as values, and the wording of hints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from zoo.errors import close_names, join_names

Step: TypeAlias = str | int


class Problem(NamedTuple):
    """One thing that is wrong with a file. line: counted from 1. field: dotted, empty for the file itself."""

    line: int
    field: str
    what: str
    hint: str | None = None


class Finding(NamedTuple):
    """One thing that is wrong with an entry. path: of the field, from the entry down."""

    path: tuple[Step, ...]
    what: str
    hint: str | None = None


def dotted(path: Sequence[Step]) -> str:
    """A path in dotted form.

    >>> dotted(["models", "net", "input", "mean", 1])
    'models.net.input.mean[1]'
    """
    return "".join(f"[{s}]" if isinstance(s, int) else f".{shorten(s)}" for s in path).removeprefix(".")


def quote(word: str) -> str:
    """The hint to put quotes around a value."""
    return f"If it is text, put it in quotes: '{shorten(word)}'"


def shorten(word: str) -> str:
    """A word cut to fit into a message."""
    return word if len(word) <= 80 else word[:77] + "…"


def suggest(name: str, known: Iterable[str]) -> str:
    """The hint after an unknown word: close names, else all names."""
    names = list(known)
    close = close_names(name, names)
    return f"Did you mean {join_names(close)}?" if close else f"There are: {', '.join(names)}."
