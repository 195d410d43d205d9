"""Which strategy is suggested for how many items, on which device, and that the reason has the numbers."""

from __future__ import annotations

import pytest

from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.training.strategies import STRATEGIES
from zoo.training.suggestion import suggest_head, suggest_strategy


@pytest.mark.parametrize(
    ("items", "classes", "device", "kind", "strategy"),
    [
        (16, 2, "cuda", IMAGES, "head"),
        (245, 2, "cpu", IMAGES, "partial"),
        (245, 20, "cpu", IMAGES, "head"),
        (5_001, 2, "cpu", IMAGES, "head"),
        (5_001, 2, "mps", IMAGES, "lp-ft"),
        (400, 2, "cpu", IMAGES, "lp-ft"),
        (200, 2, "cuda", TEXTS, "head"),
        (800, 2, "cpu", TEXTS, "lp-ft"),
    ],
)
def test_the_number_of_items_the_classes_and_the_device_decide(
    items: int, classes: int, device: str, kind: Kind, strategy: str
) -> None:
    found = suggest_strategy(items, classes, device, kind)
    assert found.strategy == strategy
    assert found.strategy in STRATEGIES
    assert any(f"{number:,} {kind.noun}s" in found.why for number in (items, items // classes))


@pytest.mark.parametrize(
    ("items", "classes", "kind", "head"),
    [
        (2, 2, IMAGES, "nearest-mean"),
        (21, 2, TEXTS, "nearest-mean"),
        (22, 2, IMAGES, "linear"),
        (1000, 100, IMAGES, "nearest-mean"),
        (245, 2, TEXTS, "linear"),
    ],
)
def test_few_items_of_a_class_are_answered_by_their_mean(
    items: int, classes: int, kind: Kind, head: str
) -> None:
    found = suggest_head(items, classes, kind)
    assert found.head == head
    assert f"{items // classes:,} {kind.noun}" in found.why
