"""A validation part drawn from the training items: stratified, seeded, and stable when files come or go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path

from zoo.data.dataset import Item, relative_to


def split_off(
    items: Sequence[Item],
    *,
    root: Path,
    fraction: float,
    seed: int,
    copies: Mapping[Path, Path] | None = None,
) -> tuple[list[Item], list[Item]]:
    """Two lists, the rest and the drawn part, each in the order of `items`.

    Single-label items only: it is stratified by `Item.label`. Of every class `fraction` is drawn, rounded, at
    least one item and never the last one. Files are drawn by the hash of seed and relative name, not by a
    shuffle: a file that is added or removed later leaves nearly all others in the part that they were in, and
    no library version can change the draw. copies: from a file to the one that it is drawn together with;
    copies in several classes stay in the rest.
    """
    name = relative_to(root)
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for position, item in enumerate(items):
        drawn_by = copies.get(item.path, item.path) if copies else item.path
        key = f"{seed}\0{name(drawn_by)}".encode()
        by_class.setdefault(item.label, []).append((blake2b(key, digest_size=16).digest(), position))
    classes_of = Counter(
        digest for ranked in by_class.values() for digest in {digest for digest, _ in ranked}
    )
    drawn: set[int] = set()
    for ranked in by_class.values():
        free = sorted(row for row in ranked if classes_of[row[0]] == 1)
        count = min(share(len(ranked), fraction), len(free))
        drawn.update(free[place][1] for place in _whole_groups([digest for digest, _ in free], count))
    rest = [item for position, item in enumerate(items) if position not in drawn]
    return rest, [item for position, item in enumerate(items) if position in drawn]


def _whole_groups(keys: Sequence[bytes], count: int) -> list[int]:
    """The places of about `count` sorted keys, equal ones together: a group is taken where that comes nearer.

    Where every group is too large the smallest is taken; where all keys are equal, `count` of them.

    >>> _whole_groups([b"a", b"b", b"b", b"c"], 2), _whole_groups([b"a", b"a", b"a", b"b"], 1)
    ([0, 3], [3])
    >>> _whole_groups([b"a", b"b", b"b"], 2), _whole_groups([b"a", b"a", b"a"], 1)
    ([0], [0])
    """
    groups = [list(group) for _, group in groupby(range(len(keys)), key=lambda place: keys[place])]
    if len(groups) < 2:
        return list(range(count))
    taken: list[int] = []
    for group in groups:
        if abs(len(taken) + len(group) - count) < abs(len(taken) - count):
            taken += group
    return taken or (min(groups, key=len) if count else [])


def share(count: int, fraction: float) -> int:
    """How many of `count` items are drawn.

    >>> [share(n, 0.2) for n in (1, 2, 4, 10, 13)]
    [0, 1, 1, 2, 3]
    """
    return min(count - 1, max(1, round(count * fraction))) if count else 0
