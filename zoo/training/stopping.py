"""When to stop, and which epoch was the best: values only, nothing trained here."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from zoo.training.task import LOSS, Better


class Score(msgspec.Struct, frozen=True):
    """How good some weights are on the validation items: the mean loss per item, and metrics by name."""

    loss: float
    metrics: Mapping[str, float] = {}

    def rank(self, monitor: str, better: Better) -> tuple[float, float]:
        """Smaller is better, and nan is the worst: `x < nan` is False, and would block for ever.

        Equal accuracies are frequent on a small validation set; the smaller loss then decides.
        """
        if math.isnan(self.loss):
            return (math.inf, math.inf)
        if monitor == LOSS:
            return (self.loss, 0.0)
        value = self.metrics.get(monitor, math.nan)
        if math.isnan(value):
            return (math.inf, self.loss)
        return (-value if better == "higher" else value, self.loss)


class EarlyStopping(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the epochs so far; `after` gives the same with one epoch more.

    The *best* epoch is the strictly best one, the first of equals. *Patience* is another matter: it starts
    anew only when the monitored value got better by more than min_delta; so a long creep ends, and its best
    weights are still kept. patience 0 never stops.

    monitor: "loss" or the name of a metric; better: its better direction. best_epoch: 0 while no epoch beat
    the weights that training began with. reference: the value that the next one must beat; None before the
    first.
    """

    patience: int
    min_delta: float = 0.0
    monitor: str = LOSS
    better: Better = "lower"
    best: Score | None = None
    best_epoch: int = 0
    reference: float | None = None
    waited: int = 0

    def after(self, epoch: int, score: Score) -> EarlyStopping:
        """What is known once `epoch` ended with `score`.

        >>> stopping = EarlyStopping(patience=2)
        >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.55], 1):
        ...     stopping = stopping.after(epoch, Score(loss))
        >>> stopping.best_epoch, stopping.stop
        (2, True)
        """
        value, _ = rank = score.rank(self.monitor, self.better)
        better = self.best is None or rank < self.best.rank(self.monitor, self.better)
        reference = math.inf if self.reference is None else self.reference
        enough = value < reference - self.min_delta
        return msgspec.structs.replace(
            self,
            best=score if better else self.best,
            best_epoch=epoch if better else self.best_epoch,
            reference=value if enough else self.reference,
            waited=0 if enough else self.waited + 1,
        )

    @property
    def stop(self) -> bool:
        """Whether the patience is used up."""
        return 0 < self.patience <= self.waited
