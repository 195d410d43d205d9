"""A validation part drawn from the training items: stratified, seeded, and stable when files come or go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from zoo.data.dataset import Item, relative_name


def split_off(
    items: Sequence[Item],
    *,
    root: Path,
    fraction: float,
    seed: int,
    copies: Mapping[Path, Path] | None = None,
) -> tuple[list[Item], list[Item]]:
    """Two lists, the rest and the drawn part, each in the order of `items`.

    Of every class `fraction` is drawn, rounded, at least one item and never the last one. Files are drawn by
    the hash of seed and relative name, not by a shuffle: a file that is added or removed later leaves nearly
    all others in the part that they were in, and no library version can change the draw. copies: from a file
    to the one that it is drawn together with.
    """
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for position, item in enumerate(items):
        drawn_by = copies.get(item.path, item.path) if copies else item.path
        key = f"{seed}\0{relative_name(drawn_by, root)}".encode()
        by_class.setdefault(item.label, []).append((blake2b(key, digest_size=16).digest(), position))
    drawn: set[int] = set()
    for ranked in by_class.values():
        ranked.sort()
        count = whole_groups([digest for digest, _ in ranked], share(len(ranked), fraction))
        drawn.update(position for _, position in ranked[:count])
    rest = [item for position, item in enumerate(items) if position not in drawn]
    return rest, [item for position, item in enumerate(items) if position in drawn]


def content_name(text: str) -> Path:
    """A name that equal texts share; capitals and spaces do not count.

    >>> content_name("Good  film") == content_name("good film")
    True
    """
    return Path(blake2b(" ".join(text.split()).casefold().encode("utf-8", "replace")).hexdigest())


def whole_groups(keys: Sequence[bytes], count: int) -> int:
    """The number nearest to `count`, from it upwards, at which sorted keys can be cut without parting equal
    ones; downwards where nothing would be left; `count` itself where all are equal.

    >>> whole_groups([b"a", b"b", b"b", b"c"], 2)
    3
    >>> whole_groups([b"a", b"b", b"b"], 2), whole_groups([b"a", b"a", b"a"], 1)
    (1, 1)
    """
    cuts = [i for i in range(1, len(keys)) if keys[i - 1] != keys[i]]
    return next((i for i in cuts if i >= count), cuts[-1] if cuts else count) if count else 0


def share(count: int, fraction: float) -> int:
    """How many of `count` items are drawn.

    >>> [share(n, 0.2) for n in (1, 2, 4, 10, 13)]
    [0, 1, 1, 2, 3]
    """
    return min(count - 1, max(1, round(count * fraction))) if count else 0
