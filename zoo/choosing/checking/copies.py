"""Which items are the same, or nearly: equal bytes, equal texts, one picture in different files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.dataset import Item
from zoo.data.kinds import Kind
from zoo.data.leaks import LOOK_ALIKE, find_copies
from zoo.data.names import natural_key
from zoo.data.pixels.appearance import Appearance, near_hashes

_NEAR_BITS = 8
"""Bits of 64 in which the hashes of one picture may differ. Of two different photographs of hymenoptera at
least 16 do."""

_MOST_FLAT = 0.98  # share of one colour above which a hash is that of noise


@dataclass(frozen=True)
class Copies:
    """Items that are one. exact: to the byte, or to the letter; else they only appearance or read alike."""

    items: tuple[Item, ...]
    exact: bool


def find_copy_groups(
    items: Sequence[Item], kind: Kind, appearances: Mapping[Path, Appearance]
) -> tuple[Copies, ...]:
    """Groups of items that are the same or show the same picture, each item in one group at most.

    appearances: of image files that can be read; of texts there are none.
    """
    exact = _exact_groups(items, kind)
    joined = _Groups(len(items))
    for group in exact:
        for other in group[1:]:
            joined.join(group[0], other)
    for first, second in _near_pairs(items, appearances):
        joined.join(first, second)
    wholly = {tuple(group) for group in exact}
    return tuple(Copies(tuple(items[at] for at in group), tuple(group) in wholly) for group in joined.found())


def _order(item: Item) -> object:
    """Copies in the order of their names, whatever part a split drew them into."""
    return natural_key(str(item.path))


def _exact_groups(items: Sequence[Item], kind: Kind) -> list[list[int]]:
    """Positions of items whose files hold the same bytes, or whose texts are the same, in order."""
    if kind.in_files:
        return [sorted(group) for group in find_copies([item.path for item in items])]
    groups: dict[str | None, list[int]] = {}
    for position, item in enumerate(items):
        if item.text and item.text.strip():  # an empty text is another fault
            groups.setdefault(item.content, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def _near_pairs(items: Sequence[Item], appearances: Mapping[Path, Appearance]) -> Iterable[tuple[int, int]]:
    """Positions of images that appearance alike."""
    seen = [
        (position, appearance)
        for position, item in enumerate(items)
        if (appearance := appearances.get(item.path)) is not None and appearance.flat < _MOST_FLAT
    ]
    for first, second in near_hashes([appearance.hash for _, appearance in seen], _NEAR_BITS):
        if float(seen[first][1].thumbnail @ seen[second][1].thumbnail) > LOOK_ALIKE:  # digits share hashes
            yield seen[first][0], seen[second][0]


class _Groups:
    """Positions that were joined, directly or through others."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, first: int, second: int) -> None:
        """Put two positions, and all that each is joined with, into one group."""
        one, other = sorted((self._root(first), self._root(second)))
        self._parent[other] = one

    def found(self) -> list[list[int]]:
        """Groups of at least two, in order."""
        groups: dict[int, list[int]] = {}
        for position in range(len(self._parent)):
            groups.setdefault(self._root(position), []).append(position)
        return [group for group in groups.values() if len(group) > 1]

    def _root(self, position: int) -> int:
        while self._parent[position] != position:
            self._parent[position] = self._parent[self._parent[position]]
            position = self._parent[position]
        return position
