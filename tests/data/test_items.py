"""What an item is labelled with: a class, several classes, or numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.data.dataset import Dataset, Item, Split, Target

EMPTY = Split("made", (), ())


def dataset(*targets: Target) -> Dataset:
    items = [Item(Path(f"/data/{number}.jpg"), target) for number, target in enumerate(targets)]
    blank = Dataset(Path("/data"), ("ant", "bee"), (), (), (), (), EMPTY)
    return blank.with_parts(train=items, val=())


def test_an_item_of_one_class_has_a_label_and_others_have_none() -> None:
    assert Item(Path("a.jpg"), 1).label == 1
    for target in (True, 1.0, (0, 1), (0.5,)):
        with pytest.raises(TypeError, match="not a single class"):
            _ = Item(Path("a.jpg"), target).label


def test_an_item_counts_in_each_of_its_classes() -> None:
    assert dataset(0, 1, 1).counts("train") == (1, 2)
    assert dataset((0, 1), (1,), ()).counts("train") == (1, 2)
    assert dataset(0.5, 1.0).counts("train") == (0, 0)
    with pytest.raises(TypeError, match="not a single class"):
        _ = Item(Path("a.jpg"), (0, 1)).label


def test_every_kind_of_target_is_part_of_the_fingerprint() -> None:
    targets: list[Target] = [0, 1, (0,), (0, 1), (), 0.0, 0.5, (0.5, 1.0)]
    assert len({dataset(target).fingerprint for target in targets}) == len(targets)
