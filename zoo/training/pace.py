"""How fast a phase trains, and its loss so far, for whoever looks on; nothing here makes a GPU wait."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.training.time_limit import UNLIMITED, TimeLimit

_SPAN = 5.0
"""Seconds that the items per second are of, about: older steps count less and less."""


@dataclass
class Pace:
    """What is measured of the steps while they are made. limit: how long training may take.

    items, seconds: of the last steps, each weighed by its age. last: when the last step ended, of
    time.perf_counter. pending: a loss on its way from a GPU.
    """

    limit: TimeLimit = UNLIMITED
    items: float = 0.0
    seconds: float = 0.0
    last: float = 0.0
    pending: tuple[Tensor, Any, int] | None = None

    def begin(self) -> None:
        """Steps follow each other from now on: what lies before the first is not training."""
        self.last, self.pending = time.perf_counter(), None

    def step(self, items: int, now: float) -> None:
        """Note that a step has ended. items: in all processes."""
        took = now - self.last
        fade = math.exp(-took / _SPAN)
        self.items = self.items * fade + items
        self.seconds = self.seconds * fade + took
        self.last = now

    @property
    def items_per_second(self) -> float | None:
        """Of the last seconds of training; None before the first step."""
        return self.items / self.seconds if self.items and self.seconds else None

    def mean(self, total: Tensor, items: int) -> float | None:
        """The mean of a sum of losses over so many items. Of a GPU that of the call before, whose value has
        come in the meantime; None before one has."""
        if total.device.type != "cuda":
            return float(total) / max(1, items)
        found = None
        if self.pending is not None:
            host, event, count = self.pending
            if not event.query():
                return None
            found = host.item() / max(1, count)
        host = torch.empty((), dtype=total.dtype, pin_memory=True)
        host.copy_(total.detach(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(total.device))
        self.pending = (host, event, items)
        return found
