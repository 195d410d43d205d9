"""Validation items as the layers that learn get them: they pass the frozen ones once, not in every epoch.

Nothing varies an item of validation, and nothing in front of the first layer that learns changes in a phase.
So what that layer is given is kept, batch by batch, in memory, and each later pass begins there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from adapters.splitting import NotSplit, Split, split_frozen
from zoo.features.portions import is_out_of_memory
from zoo.features.rows import most_held
from zoo.training.batches import Batch, BatchSource
from zoo.training.machine import Machine

FEW = 4
"""Items that show where a network can be cut."""


class KeptBatches:
    """Batches for evaluation by `network()`; items are images (items, channels, height, width).

    inputs of a batch are the images, or a tuple of what was kept of them. Where the network cannot be cut, or
    memory does not hold what is to be kept, ZOO_FEATURES_MEMORY at most, they are the images in every pass.
    """

    def __init__(self, source: BatchSource, model: nn.Module, machine: Machine) -> None:
        self.source = source
        self.batch_size = source.batch_size
        self.either = FromEither(model)
        self.machine = machine
        self.most = most_held()
        self.kept: list[Batch] | None = None
        self.gave_up = False

    def network(self) -> nn.Module:
        """What answers these batches, in the mode that the model is in."""
        return self.either.train(self.either.model.training)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def smallest(self) -> int:
        """Of the source."""
        return self.source.smallest

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of a pass for evaluation, which is the same every time."""
        if self.kept is not None:
            yield from self.kept
            return
        kept: list[Batch] = []
        size = 0
        for batch in self.source.epoch(number, start, taken):
            passed = None if self.gave_up else self._pass_frozen(batch)
            if passed is None:
                self.gave_up = True
                kept.clear()
                yield batch
                continue
            size += passed.nbytes
            kept.append(Batch((passed.cpu(),), batch.targets, batch.count, batch.end))
            if size > self.most:
                self.gave_up = True
                kept.clear()
            yield Batch((passed,), batch.targets, batch.count, batch.end)
        self.kept = None if self.gave_up else kept

    def _pass_frozen(self, batch: Batch) -> Tensor | None:
        """What the first layer that learns gets of a batch; None where that cannot be had."""
        images = self.machine.place(batch.inputs)
        if not (isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point()):
            return None
        split = self.either.split or self.either.cut(images[:FEW])
        if split is None:
            return None
        try:
            with torch.no_grad(), self.machine.autocast():
                found: Tensor = split.before(images)
        except NotSplit:
            return None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return found


class FromEither(nn.Module):
    """A network that takes images, or a tuple of what was kept of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.split: Split | None = None

    def cut(self, images: Tensor) -> Split | None:
        """Cut it where the first layer that learns is; None where that cannot be."""
        self.split = split_frozen(self.model, images) if len(images) else None
        return self.split

    def forward(self, inputs: Any) -> Any:
        """The outputs. What was kept is copied: a layer may write into what it is given."""
        if isinstance(inputs, Tensor):
            return self.model(inputs)
        assert self.split is not None
        after = self.split.after
        if after.training != self.training:
            after.train(self.training)
        return after(inputs[0].clone())
