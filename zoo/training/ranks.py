"""Which of several processes this one is, from its environment, as torchrun sets it. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import UsageError

MEETING = "ZOO_MEETING"
"""Variable: the file in which the processes of `--processes` find each other. torchrun has an address."""


def are_several() -> bool:
    """Whether this process was started as one of several: by torchrun, or by `--processes`."""
    return whole_number("WORLD_SIZE", 1) > 1 and "RANK" in os.environ


def is_first() -> bool:
    """Whether this process is the first of those that it was started with."""
    return not are_several() or whole_number("RANK", 0) == 0


def whole_number(name: str, default: int) -> int:
    """A variable of the environment. Raises UsageError for what is not a whole number."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} must be a whole number, not {text!r}", hint=f"unset {name}") from None


def mark_lost() -> None:
    """Leave word, for whoever started this process, that another one is gone."""
    if place := os.environ.get(MEETING):
        lost_mark(Path(place)).touch()


def lost_mark(meeting: Path) -> Path:
    """The file that leaves that word."""
    return meeting.with_name("lost")
