"""How far probabilities can be believed: temperature scaling, calibration figures, conformal prediction.

All of it is arithmetic on the outputs of a network for labelled items that neither training nor the choice of
the epoch has seen. Imports no torch until something is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from zoo.training.intervals import FEW, accuracy_interval

if TYPE_CHECKING:
    from torch import Tensor

COLDEST, HOTTEST = 0.05, 20.0
"""Between what a temperature is searched; an optimum outside says that there is none worth having."""
BINS = 15
_DRAWS = 500


def temperature_problem(outputs: Tensor, classes: Tensor) -> str | None:
    """Why no temperature can be fitted on outputs (items, width) with these true classes (items,); None if
    one can."""
    right = outputs.argmax(1) == classes
    items = len(classes)
    if items < FEW:
        return f"{items:,} items are too few to fit a temperature: {FEW} are needed"
    if bool(right.all()):
        return f"all {items:,} answers are right, so that no temperature is too low: more items are needed"
    if _slope(outputs, classes, 1 / HOTTEST) > 0:
        return f"the answers to {items:,} items are no better than chance: no temperature helps"
    if _slope(outputs, classes, 1 / COLDEST) < 0:
        return f"the best temperature lies below {COLDEST}: {items:,} items are too few to believe it"
    return None


def fit_temperature(outputs: Tensor, classes: Tensor) -> float:
    """The number that outputs (items, width) are divided by to make their log loss on these items least.

    Guo et al. 2017, arXiv:1706.04599. The log loss is convex in 1 / temperature, so that the zero of its
    slope is the only minimum. It lies between COLDEST and HOTTEST if `temperature_problem` finds nothing.
    """
    from scipy.optimize import brentq

    found = brentq(lambda cold: _slope(outputs, classes, cold), 1 / HOTTEST, 1 / COLDEST, xtol=1e-10)
    return 1 / float(found)


def _slope(outputs: Tensor, classes: Tensor, cold: float) -> float:
    """The slope of the log loss at an inverse temperature: what outputs of the answers are expected to be,
    less what they are."""
    wide = outputs.double()
    expected = ((wide * cold).softmax(1) * wide).sum(1)
    return float((expected - wide.gather(1, classes[:, None])[:, 0]).mean())


def scaled(outputs: Tensor, temperature: float) -> Tensor:
    """Outputs at a temperature, as float64: in float32 two different ones could become equal, and the most
    probable class another."""
    return outputs.double() / temperature


def cross_scaled(outputs: Tensor, classes: Tensor, folds: int = 5) -> Tensor:
    """Outputs (items, width) at temperatures that were fitted without them, fold by fold: what calibration
    does to items that it has not seen. A fold whose rest has no temperature stays as it is."""
    import torch

    found = outputs.double()
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    for fold in range(folds):
        mine = order[fold::folds]
        rest = torch.ones(len(classes), dtype=torch.bool)
        rest[mine] = False
        if temperature_problem(outputs[rest], classes[rest]) is None:
            found[mine] = scaled(outputs[mine], fit_temperature(outputs[rest], classes[rest]))
    return found


class Bin(NamedTuple):
    """Answers of about the same probability: the mean of that, in 0..1, the share that is right, how many."""

    probability: float
    right: float
    items: int


@dataclass(frozen=True)
class CalibrationFigures:
    """How well probabilities agree with how often answers are right.

    error: the expected calibration error, in 0..1: the mean difference of probability and accuracy, over 15
    bins of the probability (Naeini 2015; Guo 2017). error_low, error_high: its 95 % interval, by resampling
    the items; it begins at 0 where exact probabilities would show as much. error_by_chance: what so many
    items would show on average if the probabilities were exact. log_loss: the mean of -log probability of the
    true class, in nats. brier: the mean squared difference to the truth, summed over the classes: 0 is best,
    2 worst. bins: what a reliability diagram draws.
    """

    error: float
    error_low: float
    error_high: float
    error_by_chance: float
    log_loss: float
    brier: float
    bins: tuple[Bin, ...] = ()


def calibration_figures(outputs: Tensor, classes: Tensor) -> CalibrationFigures:
    """The figures of outputs (items, width) for items of these true classes (items,)."""
    import torch

    logs = outputs.double().log_softmax(1)
    probabilities = logs.exp()
    sure, answers = probabilities.max(1)
    right = (answers == classes).double()
    truth = torch.zeros_like(probabilities).scatter_(1, classes[:, None], 1.0)
    items = len(classes)
    chance = torch.Generator().manual_seed(0)
    error = float(_errors(sure[None], right[None]))
    resampled, exact = [], []
    for count in _portions(items):
        rows = torch.randint(items, (count, items), generator=chance)
        resampled.append(_errors(sure[rows], right[rows]))
        as_sure = torch.rand(count, items, generator=chance, dtype=torch.float64) < sure
        exact.append(_errors(sure.expand(count, -1), as_sure.double()))
    # Of few items every error is too large, and that of a resample by as much again: the basic interval,
    # which mirrors the resamples at the error, takes this out (Davison and Hinkley 1997, section 5.2).
    low, high = torch.cat(resampled).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    by_chance = torch.cat(exact)
    beyond_chance = error > float(by_chance.quantile(0.975))  # else the probabilities may be exact
    return CalibrationFigures(
        error=error,
        error_low=min(error, max(0.0, 2 * error - high)) if beyond_chance else 0.0,
        error_high=max(error, 2 * error - low),
        error_by_chance=float(by_chance.mean()),
        log_loss=float(-logs.gather(1, classes[:, None]).mean()),
        brier=float((probabilities - truth).square().sum(1).mean()),
        bins=reliability_bins(sure, right),
    )


def reliability_bins(sure: Tensor, right: Tensor) -> tuple[Bin, ...]:
    """Bins of equal width over the probabilities (items,) of the answers, those that hold any (Naeini 2015).
    right: (items,) 1 or True where the answer is.

    >>> import torch
    >>> [tuple(found) for found in reliability_bins(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))]
    [(0.75, 0.5, 2)]
    """
    places = _places(sure)
    return tuple(
        Bin(float(sure[inside].mean()), float(right[inside].double().mean()), int(inside.sum()))
        for inside in (places == place for place in sorted({*places.tolist()}))
    )


def _portions(items: int) -> Iterator[int]:
    """How many of _DRAWS are computed at once, so that they take some ten MB whatever the items."""
    at_once = max(1, 1_000_000 // items)
    for begun in range(0, _DRAWS, at_once):
        yield min(at_once, _DRAWS - begun)


def calibration_error(sure: Tensor, right: Tensor) -> float:
    """The expected calibration error of probabilities (items,) of answers that are right (1) or not (0).

    >>> import torch
    >>> found = calibration_error(torch.tensor([0.9, 0.9, 0.9, 0.9]), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    >>> round(found, 4)  # 0.9 instead of 3 of 4
    0.15
    """
    return float(_errors(sure.double()[None], right.double()[None]))


def _places(sure: Tensor) -> Tensor:
    """The bin of each probability; a bin has its upper end, as in Guo et al."""
    return (sure * BINS).ceil().long().clamp(1, BINS) - 1


def _errors(sure: Tensor, right: Tensor) -> Tensor:
    """(draws,) the errors of (draws, items) probabilities and outcomes."""
    places = _places(sure)
    gaps = sure.new_zeros(len(sure), BINS).scatter_add_(1, places, right - sure)
    return gaps.abs().sum(1) / sure.shape[1]


@dataclass(frozen=True)
class Selective:
    """What abstaining below a probability buys. answered: the share of items that still get an answer;
    accuracy: of these, with its 95 % Wilson interval. items: how many."""

    abstain_below: float
    answered: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    items: int


LEVELS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def selective_accuracy(outputs: Tensor, classes: Tensor) -> tuple[Selective, ...]:
    """Accuracy against coverage (El-Yaniv and Wiener 2010), for each of LEVELS that changes who is
    answered."""
    sure, answers = outputs.double().softmax(1).max(1)
    right = answers == classes
    found: list[Selective] = []
    for level in LEVELS:
        kept = sure >= level
        count = int(kept.sum())
        if not count or (found and found[-1].items == count):
            continue
        accuracy = float(right[kept].double().mean())
        interval = accuracy_interval(accuracy, count)
        found.append(Selective(level, count / len(classes), accuracy, *interval, count))
    return tuple(found)


# --- conformal prediction


def class_scores(outputs: Tensor) -> Tensor:
    """(items, width) how little each class conforms with an item: -log of its probability, float64.

    The least of Sadinle et al. 2019, arXiv:1609.00451, which 1 - probability orders alike; the logarithm
    keeps apart what is nearly 1.
    """
    return -outputs.double().log_softmax(1)


def conformal_rank(items: int, level: float) -> int | None:
    """Which of so many sorted calibration scores (from 1) bounds a new one with a probability of at least
    `level`; None where no number of them can: there are too few.

    The (n + 1)-quantile of split conformal prediction (Papadopoulos 2002; Vovk 2005). It holds for any
    network and any data, as long as new items come from where the calibration items came from.

    >>> conformal_rank(19, 0.95), conformal_rank(18, 0.95), conformal_rank(100, 0.9)
    (19, None, 91)
    """
    rank = math.ceil((items + 1) * Fraction(str(level)))  # 0.95 as it is written, not as it is stored
    return rank if rank <= items else None


def items_needed(level: float) -> int:
    """The fewest calibration items that can give sets of that level.

    >>> items_needed(0.95), items_needed(0.9), items_needed(0.99)
    (19, 9, 99)
    """
    exact = Fraction(str(level))
    return math.ceil(exact / (1 - exact))


def highest_level(items: int) -> float:
    """The highest level that so many items can give, rounded down to three digits.

    >>> highest_level(19), highest_level(30)
    (0.95, 0.967)
    """
    return math.floor(1000 * Fraction(items, items + 1)) / 1000


def conformal_bound(scores: Sequence[float], level: float) -> float | None:
    """The score that a new item keeps below with a probability of at least `level`; None where the sorted
    calibration scores are too few."""
    rank = conformal_rank(len(scores), level)
    return None if rank is None else scores[rank - 1]
