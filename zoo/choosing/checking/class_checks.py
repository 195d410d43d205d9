"""Classes: too few items, sizes that differ much, names that are one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Finding
from zoo.data.dataset import PARTS
from zoo.data.names import one_line, twin_key

_FEW = 10
"""Items of a class below which neither learning nor measuring it means much."""
_UNEVEN = 5  # times that the largest class has the items of the smallest


def find_small_classes(evidence: Evidence) -> Iterator[Finding]:
    """Classes with fewer than ten items to learn from."""
    for name, count in zip(evidence.dataset.classes, _sizes(evidence), strict=True):
        if count < _FEW:
            yield Finding(f"{one_line(name)} has {evidence.dataset.kind.count(count)}", weight=-count)


def find_imbalance(evidence: Evidence) -> Iterator[Finding]:
    """A largest class with many times the items of the smallest."""
    sizes = dict(zip(evidence.dataset.classes, _sizes(evidence), strict=True))
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if sizes[largest] >= _UNEVEN * max(1, sizes[smallest]):
        always = sizes[largest] / max(1, sum(sizes.values()))
        yield Finding(
            f"{one_line(largest)} has {sizes[largest]:,}, {one_line(smallest)} {sizes[smallest]:,}: "
            f"always answering {one_line(largest)} is right in {always:.0%}"
        )


def find_twin_names(evidence: Evidence) -> Iterator[Finding]:
    """Classes whose names differ only in capitals, blanks, hyphens and underscores: most likely one class."""
    groups: dict[str, list[str]] = {}
    for name in evidence.dataset.classes:
        groups.setdefault(re.sub(r"[\s_-]+", "", twin_key(name)), []).append(name)
    for names in groups.values():
        if len(names) > 1:
            yield Finding(" and ".join(f"{one_line(name)!r}" for name in names))


def _sizes(evidence: Evidence) -> list[int]:
    """Items per class: those that are learned from, and those that zoo would hold out of them."""
    dataset = evidence.dataset
    drawn = dataset.split.origin == "made"
    parts = [part for part in PARTS if part == "train" or (drawn and part == "val")]
    return [sum(column) for column in zip(*(dataset.counts(part) for part in parts), strict=True)]
