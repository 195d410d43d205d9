"""How the learning rate moves through a phase: pure functions from a moment to a factor of the base rate.

A schedule keeps no state. What it needs to know is the moment: the step, and the losses of the epochs that
are over; so a resumed run takes up the same rate without anything saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Moment:
    """Where training is. step: steps done so far, of `steps` in the whole phase. warmup: share of the steps.

    losses: validation loss of every epoch that is over. patience: epochs that `plateau` waits. every: epochs
    between two cuts of `step`, each to the factor `cut`.
    """

    step: int
    steps: int
    warmup: float = 0.0
    losses: Sequence[float] = ()
    patience: int = 3
    every: int = 1
    cut: float = 0.1

    @property
    def ramp(self) -> float:
        """The factor of a linear warm-up: reaches 1 when the share `warmup` of the steps is done.

        >>> [Moment(step, 8, warmup=0.5).ramp for step in (0, 1, 3, 4)]
        [0.25, 0.5, 1.0, 1.0]
        """
        return min(1.0, (self.step + 1) / max(1.0, self.warmup * self.steps))

    @property
    def after_warmup(self) -> float:
        """The share of what follows the warm-up that is done, 0 … 1."""
        warm = self.warmup * self.steps
        return min(1.0, max(0.0, (self.step - warm) / max(1.0, self.steps - 1 - warm)))


Schedule: TypeAlias = Callable[[Moment], float]
ONE_CYCLE_START = 1 / 25  # where one-cycle starts and how low it ends, as in the paper's implementation
ONE_CYCLE_END = 1e-5
PLATEAU_CUT = 0.3


def constant(moment: Moment) -> float:
    """The same rate all the time, after the warm-up."""
    return moment.ramp


def cosine(moment: Moment) -> float:
    """Half a cosine from 1 down to 0, after the warm-up (Loshchilov and Hutter 2017, arXiv:1608.03983).

    >>> [round(cosine(Moment(step, 5)), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    return moment.ramp * (1 + math.cos(math.pi * moment.after_warmup)) / 2


def one_cycle(moment: Moment) -> float:
    """Up from 1/25 within the warm-up, then down to nearly 0 (Smith and Topin 2017, arXiv:1708.07120).

    >>> [round(one_cycle(Moment(step, 11, warmup=0.3)), 2) for step in (0, 3, 10)]
    [0.04, 0.98, 0.0]
    """
    warm = moment.warmup * moment.steps
    if moment.step < warm:
        return __between(ONE_CYCLE_START, 1.0, moment.step / warm)
    return __between(1.0, ONE_CYCLE_END, moment.after_warmup)


def plateau(moment: Moment) -> float:
    """The rate is cut to 0.3 whenever the validation loss has not fallen for `patience` epochs.

    >>> [plateau(Moment(0, 1, losses=losses, patience=2)) for losses in ([1, 0.9, 0.9], [1, 0.9, 0.9, 0.9])]
    [1.0, 0.3]
    """
    factor, best, waited = moment.ramp, math.inf, 0
    for loss in moment.losses:
        if loss < best:
            best, waited = loss, 0
        else:
            waited += 1
        if waited == moment.patience:
            factor, waited = factor * PLATEAU_CUT, 0
    return factor


def step(moment: Moment) -> float:
    """The rate is cut to a tenth, or to another factor, every so many epochs, as torch's StepLR does it.

    >>> [round(step(Moment(0, 1, losses=[1.0] * epoch, every=2)), 3) for epoch in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    cuts = len(moment.losses) // moment.every
    return float(moment.ramp * moment.cut**cuts)


def __between(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "plateau": plateau,
    "step": step,
}
