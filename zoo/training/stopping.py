"""When to stop, and which epoch was the best: values only, nothing trained here."""

from __future__ import annotations

import math

import msgspec

MONITORS = ("loss", "accuracy")


class Score(msgspec.Struct, frozen=True):
    """How good some weights are on the validation items. Losses are means per item; accuracy is in 0..1."""

    loss: float
    accuracy: float

    def rank(self, monitor: str) -> tuple[float, float]:
        """Smaller is better, and no number at all is the worst: `x < nan` is False, and would block for ever.

        Equal accuracies are frequent on a small validation set; the smaller loss then decides.
        """
        if math.isnan(self.loss):
            return (math.inf, math.inf)
        return (self.loss, 0.0) if monitor == "loss" else (-self.accuracy, self.loss)


class EarlyStopping(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the epochs so far; `after` gives the same with one epoch more.

    The *best* epoch is the strictly best one, the first of equals. *Patience* is another matter: it starts
    anew only when the monitored value got better by more than min_delta; so a long creep ends, and its best
    weights are still kept. patience 0 never stops.

    best_epoch: 0 while no epoch beat the weights that training began with.
    """

    patience: int
    min_delta: float = 0.0
    monitor: str = "loss"
    best: Score | None = None
    best_epoch: int = 0
    reference: float = math.inf
    waited: int = 0

    def after(self, epoch: int, score: Score) -> EarlyStopping:
        """What is known once `epoch` ended with `score`.

        >>> stopping = EarlyStopping(patience=2)
        >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.55], 1):
        ...     stopping = stopping.after(epoch, Score(loss, 0.8))
        >>> stopping.best_epoch, stopping.stop
        (2, True)
        """
        value, _ = rank = score.rank(self.monitor)
        better = self.best is None or rank < self.best.rank(self.monitor)
        enough = value < self.reference - self.min_delta
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
