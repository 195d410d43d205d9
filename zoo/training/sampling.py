"""Which items an epoch shows, and in which order, by name: all of them once, or each class equally often.

Pure functions of the targets and a generator: every process of a run, and a run that was resumed, draw alike.
Imports no torch until something is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Generator, Tensor

Sampling: TypeAlias = "Callable[[Tensor, Generator], Tensor]"
"""(encoded targets (items, …), generator) -> rows of items (items,) int64 in the order of an epoch."""


def draw_once(targets: Tensor, generator: Generator) -> Tensor:
    """Every item once."""
    import torch

    return torch.randperm(len(targets), generator=generator)


def draw_balanced(targets: Tensor, generator: Generator) -> Tensor:
    """As many rows as there are items, of each class as many as of every other, one more or less.

    targets: (items,) int64; a class without items is left out. Of a class with too few items each is drawn
    equally often, again one more or less; of one with too many, a part that differs from epoch to epoch.
    Sampling by class: Kang et al. 2020, arXiv:1910.09217, who let the counts vary by chance.
    """
    import torch

    places = [torch.nonzero(targets == label).flatten() for label in torch.unique(targets)]
    each, more = divmod(len(targets), len(places))
    larger = set(torch.randperm(len(places), generator=generator)[:more].tolist())
    drawn = []
    for number, rows in enumerate(places):
        wanted = each + (number in larger)
        passes = [torch.randperm(len(rows), generator=generator) for _ in range(-(-wanted // len(rows)))]
        drawn.append(rows[torch.cat(passes)[:wanted]])
    chosen = torch.cat(drawn)
    return chosen[torch.randperm(len(chosen), generator=generator)]


def count_before(rows: Tensor) -> Tensor:
    """How often each row stands in the ones before it.

    >>> import torch
    >>> count_before(torch.tensor([4, 2, 4, 4, 2])).tolist()
    [0, 0, 1, 2, 1]
    """
    import torch

    order = rows.argsort(stable=True)
    ranked = rows[order]
    counts = torch.unique_consecutive(ranked, return_counts=True)[1]
    firsts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    found = torch.empty_like(rows)
    found[order] = torch.arange(len(rows)) - firsts
    return found


SAMPLINGS: dict[str, Sampling] = {"once": draw_once, "balanced": draw_balanced}
