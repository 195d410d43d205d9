"""Where the loop gets its items from: cached features, or photographs decoded on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from zoo.training.seeds import epoch_generator

Inputs: TypeAlias = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs: what the model takes, (items, …). targets: (items,) class numbers. count: how many items."""

    inputs: Inputs
    targets: Tensor
    count: int


class BatchSource(Protocol):
    """Items in batches. `epoch(n)` yields the n-th pass, n from 1; 0 is a pass for evaluation.

    A pass depends on n and the source's seed alone. `len` is the number of batches of a pass, `smallest` the
    fewest items that one of them may have.
    """

    batch_size: int

    def __len__(self) -> int: ...

    @property
    def smallest(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]: ...


def cut(items: int, batch_size: int) -> list[int]:
    """The sizes of the batches of one pass; a last batch of one joins the one before.

    Batch norm cannot learn from one item (torch refuses it), and a step on one item is mostly noise.

    >>> cut(33, 16), cut(34, 16), cut(1, 16)
    ([16, 17], [16, 16, 2], [1])
    """
    sizes = [batch_size] * (items // batch_size)
    rest = items % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


class FeatureBatches:
    """Batches of features that are all in memory, on the device already: no copy, no worker, no DataLoader.

    features: (items, width) float32. labels: (items,) int64. seed: shuffle every pass; None keeps the order.
    """

    def __init__(self, features: Tensor, labels: Tensor, batch_size: int, *, seed: int | None = None) -> None:
        self.features = features
        self.labels = labels
        self.batch_size = batch_size
        self.seed = seed
        self.sizes = cut(len(labels), batch_size)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def smallest(self) -> int:
        """The fewest items of a batch."""
        return min(self.sizes, default=0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of pass `number`, rows gathered per batch: a shuffled copy would double the memory."""
        rows = torch.arange(len(self.labels))
        if self.seed is not None and number > 0:
            rows = torch.randperm(len(self.labels), generator=epoch_generator(self.seed, number))
        for part in torch.split(rows.to(self.features.device), self.sizes):
            yield Batch(self.features.index_select(0, part), self.labels.index_select(0, part), len(part))
