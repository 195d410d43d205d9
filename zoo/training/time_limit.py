"""How long training may take, and whether that time is up."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import NoReturn

from zoo.errors import UsageError

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_PART = r"\s*(?:([\d.]+)\s*{})?"
_TEXT = re.compile("".join(_PART.format(unit) for unit in _SECONDS) + r"\s*")


def parse_time(given: str | float) -> float:
    """A time in seconds: of a text with units, or of a number of seconds.

    >>> [parse_time(given) for given in ("90s", "30m", "1.5h", "1h30m", 20)]
    [90.0, 1800.0, 5400.0, 5400.0, 20.0]

    Raises UsageError for anything else, and for a time that is not above 0.
    """
    if isinstance(given, str):
        found = _TEXT.fullmatch(given.strip().lower())
        parts = found.groups() if found else (None,)
        if not any(parts):
            _refuse(given, "a number needs its unit" if _is_number(given) else "that is not a time")
        try:
            seconds = sum(
                float(part) * unit for part, unit in zip(parts, _SECONDS.values(), strict=True) if part
            )
        except ValueError:
            _refuse(given, "that is not a time")
    elif isinstance(given, bool) or not isinstance(given, int | float):
        _refuse(given, "that is not a time")
    else:
        seconds = float(given)
    if not (math.isfinite(seconds) and seconds > 0):
        _refuse(given, "it must be above 0")
    return seconds


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+(\.\d*)?\s*", text) is not None and float(text) > 0


def _refuse(given: object, why: str) -> NoReturn:
    raise UsageError(
        f"the time for training cannot be {given!r}: {why}", hint="Like this: 90s, 30m, 2h, 1h30m"
    )


def time_text(seconds: float) -> str:
    """A time as it may be typed.

    >>> [time_text(seconds) for seconds in (0.5, 90, 1800, 5400, 7200)]
    ['0.5s', '1m30s', '30m', '1h30m', '2h']
    """
    if seconds < 60:
        return f"{seconds:g}s"
    rest, parts = round(seconds), []
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, int(size))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


@dataclass(frozen=True)
class TimeLimit:
    """A time that began when this was made. seconds: None for no end."""

    seconds: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Seconds until it is over; None for no end."""
        return None if self.seconds is None else max(0.0, self.began + self.seconds - time.monotonic())

    def is_up(self) -> bool:
        """Whether it is over."""
        return self.seconds is not None and time.monotonic() - self.began >= self.seconds


UNLIMITED = TimeLimit()
