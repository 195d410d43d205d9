"""What a check found: some items, what is wrong with them, and which of them a clean data set lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from zoo.choosing.checking.evidence import Evidence
from zoo.data.dataset import Item

Level = Literal["error", "warning", "info"]
"""error: training or measuring is wrong with it. warning: it likely is. info: worth to know."""


@dataclass(frozen=True)
class Finding:
    """items: what it is about: one item, or copies of one; none where it is about a class or the whole.
    detail: what is wrong, to be read behind the name of the first item. culprits: what a clean data set
    lacks. weight: how sure it is, among findings of one check."""

    detail: str
    items: tuple[Item, ...] = ()
    culprits: tuple[Item, ...] = ()
    weight: float = 0.0


@dataclass(frozen=True)
class Check:
    """A row of CHECKS. name: as --skip and JSON have it. title: what was found, as a heading of the table.
    advice: what to do about it. find: the findings in some evidence, the surest first. needs_model: whether
    it looks at features."""

    name: str
    title: str
    level: Level
    advice: str
    find: Callable[[Evidence], Iterator[Finding]]
    needs_model: bool = False
