"""What checks look at, gathered once: the data set, what its items look like, what a model sees in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.choosing.checking.copies import Copies
from zoo.data.dataset import PARTS, Dataset, Item, relative_name
from zoo.data.names import one_line
from zoo.data.pixels.appearance import Appearance
from zoo.features.suspects import JudgedLabels

WHOLE = "data"
"""The part of every item where the user made no split: one that zoo drew is nobody's mistake."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a data set. By the items' paths: appearances, of images that can be read; unreadable,
    why the others cannot. copies: items that are one. features: (items, width) of `judged`, what a model sees
    in them; None without a model. labels: what is thought of their labels."""

    dataset: Dataset
    appearances: Mapping[Path, Appearance] = field(default_factory=dict)
    unreadable: Mapping[Path, str] = field(default_factory=dict)
    copies: tuple[Copies, ...] = ()
    judged: tuple[Item, ...] = ()
    features: NDArray[np.float32] | None = None
    labels: JudgedLabels = field(default_factory=JudgedLabels)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every item of every part."""
        return self.dataset.items

    @cached_property
    def readable(self) -> tuple[Item, ...]:
        """The items without those that cannot be read."""
        return tuple(item for item in self.items if item.path not in self.unreadable)

    @cached_property
    def _parts(self) -> dict[Path, str]:
        if self.dataset.split.origin == "made":
            return {}
        return {item.path: part for part in PARTS for item in getattr(self.dataset, part)}

    def part(self, item: Item) -> str:
        """The part that the user put an item in."""
        return self._parts.get(item.path, WHOLE)

    def label(self, item: Item) -> str:
        """The name of an item's class."""
        return one_line(self.dataset.classes[item.label])

    def name(self, item: Item) -> str:
        """What an item is called: its path below the root of the data."""
        return one_line(relative_name(item.path, self.dataset.root))
