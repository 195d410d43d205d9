"""How good a network is on items that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.training.batches import BatchSource
from zoo.training.interruption import never
from zoo.training.losses import logits_of, plain_loss
from zoo.training.machine import Machine


@dataclass(frozen=True)
class Evaluation:
    """What one pass over some items came to.

    loss: plain cross-entropy, the mean over the items. accuracy: in 0..1. items: how many.
    logits: (items, classes) float32 on the CPU, in the order of the batches, and targets (items,); None
    unless they were asked for.
    """

    loss: float
    accuracy: float
    items: int
    logits: Tensor | None = None
    targets: Tensor | None = None


class Stopped(Exception):
    """Somebody asked to stop in the middle of an evaluation."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: BatchSource,
    *,
    machine: Machine,
    keep_logits: bool = False,
    stop_requested: Callable[[], bool] = never,
) -> Evaluation:
    """Run the model in eval mode over all batches; the mode it was in is put back.

    Sums stay on the device until the end: reading one would wait for the GPU at every batch.
    Raises Stopped when stop_requested says so between two batches.
    """
    was_training = model.training
    model.eval()
    loss = torch.zeros((), device=machine.device)
    right = torch.zeros((), device=machine.device, dtype=torch.long)
    items = 0
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for batch in batches.epoch(0):
            if stop_requested():
                raise Stopped
            inputs, targets = machine.place(batch.inputs), machine.place(batch.targets)
            with machine.autocast():
                logits = logits_of(model(inputs))
            loss += plain_loss(logits, targets) * batch.count
            right += (logits.argmax(1) == targets).sum()
            items += batch.count
            if keep_logits:
                kept.append((logits.float(), targets))
    finally:
        model.train(was_training)
    return Evaluation(
        loss=float(loss) / max(1, items),
        accuracy=int(right) / max(1, items),
        items=items,
        logits=torch.cat([logits for logits, _ in kept]).cpu() if keep_logits else None,
        targets=torch.cat([targets for _, targets in kept]).cpu() if keep_logits else None,
    )
