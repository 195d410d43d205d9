"""How sure one can be of an accuracy that was measured on some items."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

FEW = 30
"""Items below which an accuracy means little: the interval of 28 right of 30 is 0.79 to 0.98."""


def accuracy_interval(accuracy: float, items: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, in 0..1, that was measured on so many items.

    Wilson's (1927), which stays inside 0..1 for few items and for accuracies near 1. scipy.stats has it too,
    and takes a second to be imported.

    >>> [round(end, 3) for end in accuracy_interval(1.0, 2)]
    [0.342, 1.0]
    """
    right, square = round(accuracy * items), NormalDist().inv_cdf(0.975) ** 2
    share = right / items
    centre = share + square / (2 * items)
    reach = sqrt(square * (share * (1 - share) / items + square / (4 * items**2)))
    low, high = ((centre + sign * reach) / (1 + square / items) for sign in (-1, 1))
    return (low if right else 0.0), (high if right < items else 1.0)
