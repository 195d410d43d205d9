"""Items that belong together, such as the photographs of one patient or the frames of one video.

A model that has seen one of them knows the others: they must lie in one part. Which belong together, a column
of a table says, or an expression that is matched with the items' paths.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from zoo.data.dataset import Dataset, Item, relative_name
from zoo.data.kinds import Kind
from zoo.data.names import one_line, shortened
from zoo.data.splits import share
from zoo.errors import UsageError
from zoo.events import Note


def match_groups(
    paths: Iterable[str], root: Path, expression: str, kind: Kind, columns: Sequence[str] = ()
) -> dict[str, str]:
    """The group of each path that the expression matches, below the root: the match of its first group, if it
    has one, else all of it. columns: of the table, none of which has that name or number.

    Raises UsageError where it is not a regular expression, matches no path, or is a plain text, of which
    there is one group.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(
            f"--group-by {expression!r} is neither a column nor a regular expression: {error}",
            hint=_describe_columns(columns),
        ) from error
    names = {path: relative_name(Path(path), root) for path in paths}
    fits = ((path, pattern.search(name)) for path, name in names.items())
    groups = {path: fit[1 if pattern.groups else 0] for path, fit in fits if fit is not None}
    found = {path: name for path, name in groups.items() if name}
    example = one_line(min(names.values()))
    hint = f"{_describe_columns(columns)} An expression is matched with paths like {example}"
    if not found:
        raise UsageError(
            f"--group-by {expression!r} is not a column, and fits no {kind.noun}", hint=f"{hint}."
        )
    if _SPECIAL.isdisjoint(expression):
        raise UsageError(
            f"--group-by {expression!r} is not a column, and as an expression it puts "
            f"{kind.count(len(found))} into one group",
            hint=f"{hint}, and what it fits names the group: 'patient[0-9]+'.",
        )
    return found


_SPECIAL = frozenset(r"\.^$*+?{}[]|()")
"""What makes an expression of a text, so that it may fit several."""
_MOST_COLUMNS = 12


def _describe_columns(columns: Sequence[str]) -> str:
    """Which columns there are to group by."""
    if not columns:
        return "There are no columns here."
    shown, more = [shortened(name, 40) for name in columns[:_MOST_COLUMNS]], len(columns) - _MOST_COLUMNS
    return f"The columns are {', '.join(shown)}{f' and {more:,} more' if more > 0 else ''}."


def split_off_groups(
    items: Sequence[Item], *, root: Path, fraction: float, seed: int, copies: Mapping[Path, Path]
) -> tuple[list[Item], list[Item]]:
    """As `zoo.data.splits.split_off`, and no group is torn: two lists, each in the order of `items`.

    Whole groups are drawn, those with a rare class first, else in the order of their hash, as long as that
    brings the classes nearer to their share, and leaves each class something to train on. Items that are
    copies of each other come together too, which may join groups. Items may have several classes; of items
    with numbers, fifths of the first number count as classes.
    """
    units: dict[str, list[int]] = {}
    names = [relative_name(copies.get(item.path, item.path), root) for item in items]
    for place, name in enumerate(join_groups(items, names)):
        units.setdefault(name, []).append(place)
    strata = _strata_of(items)
    total = Counter(label for labels in strata for label in labels)
    wanted = {label: share(count, fraction) for label, count in total.items()}
    drawn: Counter[int] = Counter()
    taken: set[int] = set()

    def order(name: str) -> tuple[int, bytes]:
        rarest = min(total[label] for place in units[name] for label in strata[place])
        return rarest, blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()

    ranked = sorted(units, key=order)
    for strict in (True, False):  # first what fits whole, then what brings it nearer than it is
        for name in ranked:
            own = Counter(label for place in units[name] for label in strata[place])
            gain = sum(abs(wanted[c] - drawn[c]) - abs(wanted[c] - drawn[c] - n) for c, n in own.items())
            fits = all(drawn[label] + count <= wanted[label] for label, count in own.items())
            left = all(drawn[label] + count < total[label] for label, count in own.items())
            if taken.isdisjoint(units[name]) and gain > 0 and left and (fits or not strict):
                drawn.update(own)
                taken.update(units[name])
    rest = [item for place, item in enumerate(items) if place not in taken]
    return rest, [item for place, item in enumerate(items) if place in taken]


_FIFTHS = 5
_NONE = -1  # the stratum of an item that has no class


def _strata_of(items: Sequence[Item]) -> list[tuple[int, ...]]:
    """What each item counts for, so that a part of the items is like the whole."""
    if not any(isinstance(item.target, float) or _has_floats(item.target) for item in items):
        return [item.labels or (_NONE,) for item in items]
    values = [float(item.target[0] if isinstance(item.target, tuple) else item.target) for item in items]
    ranked = sorted(range(len(items)), key=lambda place: values[place])
    fifth = {place: rank * _FIFTHS // len(items) for rank, place in enumerate(ranked)}
    return [(fifth[place],) for place in range(len(items))]


def _has_floats(target: object) -> bool:
    return isinstance(target, tuple) and any(isinstance(number, float) for number in target)


def join_groups(items: Sequence[Item], copies: Sequence[object]) -> list[str]:
    """What each item must stay together with, by a name that depends on the items alone: its group, and what
    has an equal value in `copies`, which may join groups."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    names = []
    for item, value in zip(items, copies, strict=True):
        copy = f"copy\0{value}"
        names.append(copy if item.group is None else f"group\0{item.group}")
        low, high = sorted((top(names[-1]), top(copy)))
        above[high] = low
    return [top(name) for name in names]


def describe_groups(dataset: Dataset, by: str) -> Iterator[Note]:
    """How many groups there are; a warning about those in several parts, and about classes that have nothing
    in a part that was drawn, as all their items are of one group."""
    names = {item.group for item in dataset.items if item.group is not None}
    alone = sum(item.group is None for item in dataset.items)
    rest = f", and {dataset.kind.count(alone)} of none" if alone else ""
    yield Note(f"{len(names):,} group{'s' * (len(names) != 1)} by {one_line(by)}{rest}")
    for part, held_out in (("val", dataset.val), ("test", dataset.test)):
        torn = sorted(_groups_of(dataset.train) & _groups_of(held_out))
        if torn:
            count = sum(item.group in torn for item in held_out)
            yield Note(
                f"{dataset.kind.count(count)} of {part} {'is' if count == 1 else 'are'} of groups that are "
                f"trained on ({_few(torn)}): results on {part} will look better than they are",
                hint=f"Keep each group in one part. They are listed by: zoo check DATA --group-by {by!r}",
                level="warning",
            )
    if dataset.split.origin == "made":
        counts = dataset.counts("val")
        if empty := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
            yield Note(
                f"no {dataset.kind.noun} of {_few(empty)} is kept for validation, for each group of theirs "
                f"is too large a part of them: the results say nothing about such a class",
                hint="Collect items of more groups.",
                level="warning",
            )


def _groups_of(items: Collection[Item]) -> set[str]:
    return {item.group for item in items if item.group is not None}


def _few(names: Sequence[str]) -> str:
    shown = [shortened(name) for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
