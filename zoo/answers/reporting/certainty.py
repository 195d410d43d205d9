"""How far probabilities can be believed, and what is gained by answering the surest items alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Right = NDArray[np.bool_]


def accuracy_by_coverage(sure: Floats, right: Right) -> tuple[Floats, Floats]:
    """(share answered, accuracy of these) for every number of items, the surest first.

    >>> import numpy as np
    >>> accuracy_by_coverage(np.array([0.9, 0.6]), np.array([True, False]))[1].tolist()
    [1.0, 0.5]
    """
    order = np.argsort(-sure, kind="stable")
    counts = np.arange(1, len(sure) + 1)
    return counts / len(sure), np.cumsum(right[order]) / counts
