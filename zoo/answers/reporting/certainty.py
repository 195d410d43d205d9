"""How far probabilities can be believed, and what is gained by answering the surest items alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """bins: (mean probability, share right, items) of those that hold any. The expected calibration error is
    the mean distance between the two, weighted by items: zoo/training/calibration measures it."""

    bins: tuple[tuple[float, float, int], ...]


def measure_reliability(sure: Floats, right: Right, bins: int = 15) -> Reliability:
    """Bins of equal width over the probabilities of the answers (Naeini 2015, Guo 2017).

    sure: (items,) in 0..1. right: (items,) whether the answer is.

    >>> import numpy as np
    >>> measure_reliability(np.array([0.9, 0.9]), np.array([True, False])).bins
    ((0.9, 0.5, 2),)
    """
    at = np.minimum((sure * bins).astype(int), bins - 1)
    found = [
        (float(sure[at == one].mean()), float(right[at == one].mean()), int((at == one).sum()))
        for one in np.unique(at)
    ]
    return Reliability(tuple(found))


def accuracy_by_coverage(sure: Floats, right: Right) -> tuple[Floats, Floats]:
    """(share answered, accuracy of these) for every number of items, the surest first.

    >>> import numpy as np
    >>> accuracy_by_coverage(np.array([0.9, 0.6]), np.array([True, False]))[1].tolist()
    [1.0, 0.5]
    """
    order = np.argsort(-sure, kind="stable")
    counts = np.arange(1, len(sure) + 1)
    return counts / len(sure), np.cumsum(right[order]) / counts
