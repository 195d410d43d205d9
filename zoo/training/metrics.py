"""How good a network is on items that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.features.portions import is_out_of_memory
from zoo.training.batches import Batch, BatchSource, parts_of
from zoo.training.interruption import never
from zoo.training.losses import main_output
from zoo.training.machine import Machine
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Loss, Task


@dataclass(frozen=True)
class Measurement:
    """What one pass over some items found.

    loss: the mean over the items. metrics: by name; one that
    is not defined for these items is left out. items: how many.
    outputs: (items, width) float32 on the CPU, in the order of the batches, and targets (items, …); None
    unless they were asked for.
    """

    loss: float
    metrics: Mapping[str, float]
    items: int
    outputs: Tensor | None = None
    targets: Tensor | None = None


class Stopped(Exception):
    """Somebody asked to stop in the middle of a pass, or the time is up. loss: the mean of a pass of training
    up to there."""

    def __init__(self, loss: float = math.nan) -> None:
        super().__init__()
        self.loss = loss


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: BatchSource,
    *,
    machine: Machine,
    task: Task = SINGLE_LABEL,
    loss: Loss | None = None,
    keep_outputs: bool = False,
    stop_requested: Callable[[], bool] = never,
) -> Measurement:
    """Run the model in eval mode over all batches; the mode it was in is put back. loss: what is reported;
    None for that of the task, without weights.

    Sums stay on the device until the end: reading one would wait for the GPU at every batch. Of a machine of
    several processes each measures its share, and all get the figures of all items; outputs stay its own.
    Raises Stopped when stop_requested returns True between two batches.
    """
    was_training = model.training
    model.eval()
    answer = _Answers(model, machine)
    plain = loss or task.loss(None, 0.0)
    total = torch.zeros((), device=machine.device)
    sums: dict[str, Tensor] = {}
    items = 0
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for batch in batches.epoch(0):
            if machine.agree(batch.count, stop_requested).stop:
                raise Stopped
            outputs, targets = answer(batch), machine.place(batch.targets)
            if batch.count:  # the share of a small batch may be empty, and its mean is nan
                total += plain(outputs, targets) * batch.count
            for name, metric in task.metrics.items():
                part = metric.sums(outputs, targets)
                sums[name] = sums[name] + part if name in sums else part
            items += batch.count
            if keep_outputs:
                kept.append((outputs, targets))
    finally:
        model.train(was_training)
    whole_loss, whole_items, *whole = machine.sum(total, items, *sums.values())
    items = int(whole_items)
    return Measurement(
        loss=float(whole_loss) / max(1, items),
        metrics=_values(task, dict(zip(sums, whole, strict=True)), items),
        items=items,
        outputs=torch.cat([outputs for outputs, _ in kept]).cpu() if keep_outputs else None,
        targets=torch.cat([targets for _, targets in kept]).cpu() if keep_outputs else None,
    )


class _Answers:
    """The outputs (items, width) of a batch; in halves, where memory does not hold them at once, and so are
    those of the batches after it."""

    def __init__(self, model: nn.Module, machine: Machine) -> None:
        self.model = model
        self.machine = machine
        self.parts = 1

    def __call__(self, batch: Batch) -> Tensor:
        while (found := self._in_parts(batch)) is None:  # not in the handler: the error holds tensors
            self.parts *= 2
        return found

    def _in_parts(self, batch: Batch) -> Tensor | None:
        """None if there is no memory for parts of that size, and smaller ones are left to be tried."""
        parts = min(self.parts, max(1, batch.count))
        try:
            return torch.cat([self._answer(part) for part in parts_of(batch, parts)])
        except (RuntimeError, MemoryError) as error:
            if parts >= batch.count or not is_out_of_memory(error):
                raise
            return None

    def _answer(self, batch: Batch) -> Tensor:
        with self.machine.autocast():
            return main_output(self.model(self.machine.place(batch.inputs))).float()


def _values(task: Task, sums: Mapping[str, Tensor], items: int) -> dict[str, float]:
    """The figures that are defined. JSON has no nan, and nobody could compare it."""
    found = {name: task.metrics[name].value(part, items) for name, part in sums.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}
