"""Copies: with two labels, in two parts, or twice in one."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.choosing.checking.copies import Copies
from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Finding
from zoo.data.dataset import Item

_PLACES = ("test", "val", "train", "data")
"""Where a copy stays: first where it is measured. What is learned loses it."""


def find_two_labels(evidence: Evidence) -> Iterator[Finding]:
    """One picture or text in two classes: at least one of the labels is wrong, and nobody knows which."""
    for group in evidence.copies:
        labels = {item.label for item in group.items}
        if len(labels) > 1:
            other = next(item for item in group.items if item.label != group.items[0].label)
            detail = f"{_same(group)} {evidence.name(other)}, which is {evidence.label(other)}"
            yield Finding(detail, _beginning_with(group, group.items[0], other), group.items, group.exact)


def find_leaks(evidence: Evidence) -> Iterator[Finding]:
    """One picture or text in two parts: what is measured was learned."""
    for group in _one_label(evidence):
        parts = {evidence.part(item) for item in group.items}
        if len(parts) > 1:
            stays = min(parts, key=_PLACES.index)
            held = [item for item in group.items if evidence.part(item) == stays]
            others = [item for item in group.items if evidence.part(item) != stays]
            detail = f"{_same(group)} {evidence.name(held[0])}, which is in {stays}"
            yield Finding(detail, (*others, *held), (*others, *held[1:]), group.exact)


def find_exact_copies(evidence: Evidence) -> Iterator[Finding]:
    """The same picture or text twice in one part, to the byte or to the letter."""
    yield from _twice(evidence, exact=True)


def find_near_copies(evidence: Evidence) -> Iterator[Finding]:
    """One picture twice in one part, in different files."""
    yield from _twice(evidence, exact=False)


def find_torn_groups(evidence: Evidence) -> Iterator[Finding]:
    """Items that belong together, in two parts: what is measured is a relative of what was learned."""
    groups: dict[str, list[Item]] = {}
    for item in evidence.items:
        if item.group is not None:
            groups.setdefault(item.group, []).append(item)
    for name, items in groups.items():
        parts = sorted({evidence.part(item) for item in items}, key=_PLACES.index)
        if len(parts) > 1:
            held = next(item for item in items if evidence.part(item) == parts[0])
            learned = tuple(item for item in items if evidence.part(item) != parts[0])
            detail = f"is of the group {name!r}, as {evidence.name(held)}, which is in {parts[0]}"
            yield Finding(detail, (*learned, held), learned)


def _twice(evidence: Evidence, *, exact: bool) -> Iterator[Finding]:
    for group in _one_label(evidence):
        if group.exact == exact and len({evidence.part(item) for item in group.items}) == 1:
            first, *others = group.items
            yield Finding(f"{_same(group)} {evidence.name(first)}", (*others, first), tuple(others))


def _one_label(evidence: Evidence) -> Iterator[Copies]:
    return (group for group in evidence.copies if len({item.label for item in group.items}) == 1)


def _same(group: Copies) -> str:
    return "is the same as" if group.exact else "looks the same as"


def _beginning_with(group: Copies, *first: Item) -> tuple[Item, ...]:
    return (*first, *(item for item in group.items if item not in first))
