"""How sure one can be of an accuracy that was measured on some items."""

from __future__ import annotations

FEW = 30
"""Items below which an accuracy means little: the interval of 28 right of 30 is 0.79 to 0.98."""


def accuracy_interval(accuracy: float, items: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, in 0..1, that was measured on so many items.

    Wilson's (1927), which stays inside 0..1 for few items and for accuracies near 1.

    >>> [round(end, 3) for end in accuracy_interval(1.0, 2)]
    [0.342, 1.0]
    """
    from scipy.stats import binomtest

    interval = binomtest(round(accuracy * items), items).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
