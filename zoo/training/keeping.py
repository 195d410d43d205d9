"""Validation items as the layers that learn get them: they pass the frozen ones once, not in every epoch.

Nothing varies an item of validation, and nothing in front of the first layer that learns changes in a phase.
So what that layer is given is kept, batch by batch, in memory, and each later pass begins there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adapters.splitting import NotSplit
from zoo.features.portions import is_out_of_memory
from zoo.features.rows import most_held
from zoo.training.batches import Batch, BatchSource
from zoo.training.halves import FromEither, Halves
from zoo.training.machine import Machine


class KeptBatches:
    """Batches for evaluation by `network()`; items are images (items, channels, height, width).

    inputs of a batch are the images, or a tuple of what was kept of them. Where the network cannot be cut, or
    memory does not hold what is to be kept, ZOO_FEATURES_MEMORY at most, they are the images in every pass.
    """

    def __init__(self, source: BatchSource, halves: Halves, machine: Machine) -> None:
        self.source = source
        self.batch_size = source.batch_size
        self.halves = halves
        self.either = FromEither(halves)
        self.machine = machine
        self.most = most_held()
        self.kept: list[Batch] | None = None
        self.gave_up = False

    def give_up(self) -> None:
        """Keep nothing, from here on."""
        self.gave_up, self.kept = True, None

    @property
    def works(self) -> bool:
        """Whether something is kept, or may be: not where the network was found to be one whole later."""
        return not self.gave_up and (self.kept is None or self.halves.split is not None)

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
        split = self.halves.cut(images)
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
