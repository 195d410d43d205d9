"""Losses at growing learning rates, and the rates that rules read off them. No torch.

Source: L. N. Smith, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
WIDTH = 0.03
"""Standard deviation of the smoothing, as a share of all steps: 0.2 decades where a test spans seven."""
FEWEST = 10
"""Points that a rule needs."""
RISE = "rise/10"
_CLEAR = 6.0  # standard errors: the lowest of many points is three below the mean by chance


@dataclass(frozen=True)
class Curve:
    """rates: of each step, growing. losses: the mean loss of the step's items, before the step.
    steps: how many there would have been, had the loss not grown beyond bounds."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    steps: int

    @cached_property
    def smoothed(self) -> Numbers:
        """(points,) the losses, each averaged with those on both sides of it.

        A running average, as it is usual here, lags behind: it would shift every suggestion to higher rates.
        """
        losses = np.asarray(self.losses, dtype=np.float64)
        places = np.arange(len(losses))
        distances = (places[:, None] - places) / max(1.0, WIDTH * self.steps)
        weights = np.exp(-(distances**2) / 2)
        smoothed: Numbers = weights @ losses / weights.sum(1)
        return smoothed

    @property
    def lowest(self) -> int:
        """Where the smoothed loss is lowest."""
        return int(self.smoothed.argmin())

    @property
    def fall(self) -> float:
        """How far the smoothed loss falls from where it begins to its lowest point.

        It begins with the mean of the first tenth of the steps: nothing changes there.
        """
        start = np.mean(self.losses[: max(FEWEST, self.steps // 10)])
        return float(start - self.smoothed[self.lowest])

    @property
    def noise(self) -> float:
        """How far the smoothed loss may be from the truth: its standard error, from the scatter around it in
        the first third, where the rates are too small to change anything."""
        calm = slice(0, max(FEWEST, self.steps // 3))
        scatter = float(np.std(np.asarray(self.losses)[calm] - self.smoothed[calm]))
        return scatter / float(np.sqrt(max(1.0, 2 * np.sqrt(np.pi) * WIDTH * self.steps)))


def valley(curve: Curve) -> float:
    """The middle of the fall, on the axis of the logarithm: between where the smoothed loss has fallen by a
    twentieth of its whole fall for good, and where only a twentieth is left.

    The name is fastai's, which takes the longest series of falling points instead. On a smoothed curve that
    counts the flat beginning too: 1e-4 where the loss falls from 1e-4 to 1e-2.
    """
    losses = curve.smoothed[: curve.lowest + 1]
    start = np.flatnonzero(losses >= losses[-1] + 0.95 * curve.fall)[-1]
    return float(np.sqrt(curve.rates[start] * curve.rates[_end_of_fall(curve)]))


def _end_of_fall(curve: Curve) -> int:
    """Where the smoothed loss has first come down to a twentieth of its fall above the lowest."""
    bound = curve.smoothed[curve.lowest] + 0.05 * curve.fall
    return int(np.flatnonzero(curve.smoothed <= bound)[0])


def steepest(curve: Curve) -> float:
    """Where the smoothed loss falls fastest per factor of the rate, before its lowest point."""
    slopes = np.gradient(curve.smoothed, np.log(curve.rates))
    return curve.rates[int(slopes[: curve.lowest + 1].argmin())]


def minimum_by_ten(curve: Curve) -> float:
    """A tenth of the rate where the smoothed loss is all but lowest: a twentieth of its fall is left.

    The minimum itself lies anywhere in a flat bottom, and at its rate training is about to fail.
    """
    return curve.rates[_end_of_fall(curve)] / 10


def rise_by_ten(curve: Curve) -> float:
    """A tenth of the highest rate before the smoothed loss rises for good: beyond its lowest value by a tenth
    of its fall, and by more than noise."""
    bound = curve.smoothed[curve.lowest] + max(0.1 * curve.fall, 10 * curve.noise)
    return curve.rates[int(np.flatnonzero(curve.smoothed <= bound)[-1])] / 10


RULES: Mapping[str, Callable[[Curve], float]] = MappingProxyType(
    {"minimum/10": minimum_by_ten, "steepest": steepest, "valley": valley, RISE: rise_by_ten}
)
"""Each reads a rate off a curve. Only `rise/10` needs no fall."""


def suggest(curve: Curve) -> dict[str, float]:
    """The rate of every rule, to two digits.

    Where the loss does not fall by more than its noise, as where a head has learned the items already, the
    rate before its rise is all that can be read; without a rise, nothing.
    """
    falls = curve.fall > _CLEAR * curve.noise
    rises = curve.smoothed[-1] > curve.smoothed[curve.lowest] + max(curve.fall, _CLEAR * curve.noise)
    rules = RULES if falls else {RISE: rise_by_ten} if rises else {}
    return {name: float(f"{rule(curve):.1e}") for name, rule in rules.items()}
