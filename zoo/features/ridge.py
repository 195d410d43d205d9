"""Ridge regression on the indicators of classes, and what it says of each item that it was made without.

Its penalty is chosen by the error that each item would have if it were left out, which costs one
decomposition for all penalties (Golub, Heath and Wahba 1979,
https://doi.org/10.1080/00401706.1979.10489751). One decomposition serves any number of classes: logistic
regression costs a fit for each penalty, each in proportion to the classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = NDArray[np.int64]

_PENALTIES = np.logspace(-4, 3, 15)  # in units of the mean eigenvalue
_NOTHING = 1e-9  # a direction with less than this share of the widest one's variance is rounding


@dataclass(frozen=True)
class Ridge:
    """A regression of the classes of some items on their features, at the penalty that suits them.

    mean, spread: of the features. rows: (items, width) standardised. wanted: (items, classes) indicators less
    their mean, the offset. rows = sides · sqrt(variances) · directions; none where all items are equal.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    offset: NDArray[np.float64]
    rows: NDArray[np.float64]
    wanted: NDArray[np.float64]
    sides: NDArray[np.float64]
    variances: NDArray[np.float64]
    penalty: float

    @property
    def weights(self) -> NDArray[np.float64]:
        """(width, classes) of standardised features."""
        if not len(self.variances):  # the frequencies of the classes are all that is known
            return np.zeros((self.rows.shape[1], self.wanted.shape[1]))
        turned = self.sides.T @ self.wanted
        return self.rows.T @ (self.sides @ (turned / (self.variances + self.penalty)[:, None]))

    def left_out(self) -> NDArray[np.float64]:
        """(items, classes) what the regression on all others says of each item, exactly, but for the mean and
        the spread of the features, which are those of all."""
        return self.wanted + self.offset - _residuals(self.penalty, self.sides, self.variances, self.wanted)


def fit_ridge(features: Floats, labels: Labels, classes: int) -> Ridge:
    """The regression of features (items, width) with labels (items,) in 0..classes."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    spread[spread < _NOTHING * max(1.0, float(spread.max()))] = 1.0
    rows = (features - mean) / spread
    wanted = np.eye(classes)[labels]
    offset = wanted.mean(axis=0)
    wanted = wanted - offset
    sides, variances = _decompose(rows)

    def error(penalty: float) -> float:
        return float(np.square(_residuals(penalty, sides, variances, wanted)).mean())

    best = min((variances.mean() * _PENALTIES).tolist(), key=error) if len(variances) else 0.0
    return Ridge(mean, spread, offset, rows, wanted, sides, variances, best)


def _decompose(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(items, rank) left singular vectors, (rank,) squared singular values; by the smaller Gram matrix."""
    items, width = rows.shape
    if items <= width:
        variances, sides = np.linalg.eigh(rows @ rows.T)
        kept = variances > _NOTHING * max(float(variances[-1]), 1e-300)
        return sides[:, kept], variances[kept]
    variances, directions = np.linalg.eigh(rows.T @ rows)
    kept = variances > _NOTHING * max(float(variances[-1]), 1e-300)
    return rows @ (directions[:, kept] / np.sqrt(variances[kept])), variances[kept]


def _residuals(
    penalty: float,
    sides: NDArray[np.float64],
    variances: NDArray[np.float64],
    wanted: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(items, classes) how far each item is from what the regression on all others says of it. The offset
    counts as one more direction with the same value for all."""
    shrunk = variances / (variances + penalty)
    own = np.square(sides) @ shrunk + 1 / len(sides)
    residuals: NDArray[np.float64] = wanted - sides @ (shrunk[:, None] * (sides.T @ wanted))
    return residuals / np.maximum(1 - own, 1e-6)[:, None]
