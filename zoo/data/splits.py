"""A validation part drawn from the training images: stratified, seeded, and stable when files come or go."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from zoo.data.dataset import Item, relative_name


def split_off(
    items: Sequence[Item], *, root: Path, fraction: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """Two lists, the rest and the drawn part, each in the order of `items`.

    Of every class `fraction` is drawn, rounded, at least one image and never the last one. Files are drawn by
    the hash of seed and relative name, not by a shuffle: a file that is added or removed later leaves nearly
    all others in the part that they were in, and no library version can change the draw.
    """
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for position, item in enumerate(items):
        key = f"{seed}\0{relative_name(item.path, root)}".encode()
        by_class.setdefault(item.label, []).append((blake2b(key, digest_size=16).digest(), position))
    drawn: set[int] = set()
    for ranked in by_class.values():
        drawn.update(position for _, position in sorted(ranked)[: share(len(ranked), fraction)])
    rest = [item for position, item in enumerate(items) if position not in drawn]
    return rest, [item for position, item in enumerate(items) if position in drawn]


def share(count: int, fraction: float) -> int:
    """How many of `count` images are drawn.

    >>> [share(n, 0.2) for n in (1, 2, 4, 10, 13)]
    [0, 1, 1, 2, 3]
    """
    return min(count - 1, max(1, round(count * fraction))) if count else 0
