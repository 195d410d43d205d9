"""What one command asks of the same data several times, read once: a run, and the page about it.

Only which items there are and where they lie is kept. What is in a file is asked of its stamp each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_KEPT: ContextVar[dict[Hashable, Any] | None] = ContextVar("zoo_data_read_once", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Within it `once` answers with what was read the first time: about the data as they were then."""
    outer = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(outer)


def once(key: Hashable, read: Callable[[], T]) -> T:
    """What `read` gives; within `read_once`, what it gave when it was first called for this key.

    >>> with read_once():
    ...     once("photos", lambda: 1), once("photos", lambda: 2)
    (1, 1)
    >>> once("photos", lambda: 3)
    3
    """
    kept = _KEPT.get()
    if kept is None:
        return read()
    if key not in kept:
        kept[key] = read()
    found: T = kept[key]
    return found
