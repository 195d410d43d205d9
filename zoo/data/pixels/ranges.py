"""Which values are black and white in images of 16 bit or of floats: of the file's own word, or of the set's.

Never stretched to what one photograph holds: a dark photograph stays dark. Values are taken to have the
smallest usual depth that holds them: 8, 10, 12, 14 or 16 bit, and 0 to 1, 8 or 16 bit for floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]
"""The values of black and of white, or the least and the largest of some values."""

_INTEGERS = (255, 1023, 4095, 16383, 65535)
_FLOATS = (1, 255, 65535)

_BITS, _MIN, _MAX, _SMIN, _SMAX = 258, 280, 281, 340, 341


@dataclass(frozen=True)
class ValueRange:
    """Black and white of all files of a set that do not state it themselves; None: of each file by itself."""

    integers: Range | None = None
    floats: Range | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The range as plain JSON values, for run.json."""
        return {
            name: list(found)
            for name, found in (("integers", self.integers), ("floats", self.floats))
            if found is not None
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> ValueRange:
        """The range that `facts` was made of."""
        return cls(**{name: (float(low), float(high)) for name, (low, high) in facts.items()})

    def __str__(self) -> str:
        named = (("integers", self.integers), ("floats", self.floats))
        return ", ".join(f"{name} {found[0]:g} to {found[1]:g}" for name, found in named if found)


def usual_range(extremes: Range, *, floats: bool) -> Range:
    """The smallest usual range that holds these values; the values themselves where none does.

    >>> usual_range((3, 3987), floats=False)
    (0, 4095)
    """
    low, high = extremes
    kinds = _FLOATS if floats else _INTEGERS
    return next(((0, kind) for kind in kinds if low >= 0 and high <= kind), (low, high))


def join_extremes(found: Iterable[Range]) -> Range | None:
    """The least and the largest of all; None of none."""
    pairs = list(found)
    return (min(low for low, _ in pairs), max(high for _, high in pairs)) if pairs else None


def declared_range(tags: Mapping[int, tuple[float, ...]], *, floats: bool) -> Range | None:
    """The range that the tags of a TIFF state, None where they do not.

    What MaxSampleValue and SMaxSampleValue name is often just the largest value of the one photograph, so it
    counts only where it is the white of a usual depth.
    """
    for low, high in ((_SMIN, _SMAX), (_MIN, _MAX)):
        least, most = min(tags.get(low) or (0,)), max(tags.get(high) or (0,))
        if (least == 0 and most in (_FLOATS if floats else _INTEGERS)) or (
            floats and (least, most) == (-1, 1)
        ):
            return least, most
    bits = max(tags.get(_BITS) or (16,))
    return (0, 2**bits - 1) if not floats and 8 < bits < 16 else None


def shifted_range(bits: int, extremes: Range, used: int) -> Range | None:
    """The range of 16-bit values of which a PNG's sBIT says that so many bits are significant.

    By the standard they are the high bits; some writers leave them low. bits: of sBIT. used: all values
    joined by "or", so that low bits that are never set show.
    """
    if not 8 <= bits < 16:
        return None
    return (0, 2**bits - 1) if extremes[1] < 2**bits and used % 2 ** (16 - bits) else (0, 65535)
