"""A linear probe: what frozen features are worth for some labels, on items that the probe has not seen.

Ridge regression on the indicators of the classes. Its penalty is chosen on the training items alone, by the
error that each of them would have if it were left out, which costs one decomposition for all penalties
(Golub, Heath and Wahba 1979, https://doi.org/10.1080/00401706.1979.10489751). One decomposition serves any
number of classes: logistic regression costs a fit for each penalty, each in proportion to the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = NDArray[np.int64]

FOLDS = 5
_PENALTIES = np.logspace(-4, 3, 15)  # in units of the mean eigenvalue
_NOTHING = 1e-9  # a direction with less than this share of the widest one's variance is rounding


@dataclass(frozen=True)
class Probe:
    """The class of the largest of ((features - mean) / spread) @ weights + offset."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, features: Floats) -> Labels:
        """(items,) the class of each row of features (items, width)."""
        scores = (features - self.mean) / self.spread @ self.weights + self.offset
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def fit_probe(features: Floats, labels: Labels, classes: int) -> Probe:
    """The probe of features (items, width) with labels (items,) in 0..classes."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    spread[spread < _NOTHING * max(1.0, float(spread.max()))] = 1.0
    rows = (features - mean) / spread
    wanted = np.eye(classes)[labels]
    offset = wanted.mean(axis=0)
    wanted = wanted - offset
    sides, variances = _decompose(rows)  # rows = sides · sqrt(variances) · directions
    turned = sides.T @ wanted
    if not len(variances):  # all items are equal: the frequencies of the classes are all that is known
        return Probe(mean, spread, np.zeros((rows.shape[1], classes)), offset)

    def error(penalty: float) -> float:
        return _error_left_out(penalty, sides, variances, turned, wanted)

    best = min((variances.mean() * _PENALTIES).tolist(), key=error)
    weights = rows.T @ (sides @ (turned / (variances + best)[:, None]))
    return Probe(mean, spread, weights, offset)


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


def _error_left_out(
    penalty: float,
    sides: NDArray[np.float64],
    variances: NDArray[np.float64],
    turned: NDArray[np.float64],
    wanted: NDArray[np.float64],
) -> float:
    """The mean squared error of each item under the probe of all others, exactly. The offset counts as one
    more direction with the same value for all."""
    shrunk = variances / (variances + penalty)
    own = np.square(sides) @ shrunk + 1 / len(sides)
    residuals = (wanted - sides @ (shrunk[:, None] * turned)) / np.maximum(1 - own, 1e-6)[:, None]
    return float(np.square(residuals).mean())


def fold_items(labels: Labels, groups: Sequence[object], *, seed: int = 0) -> Labels:
    """(items,) the fold of each item: classes spread evenly, and equal groups (copies) in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    _, numbers = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    folds = np.zeros(len(labels), dtype=np.int64)
    count = min(FOLDS, len(np.unique(numbers)))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(splitter.split(labels, labels, numbers)):
        folds[rows] = number
    return folds


def predict_unseen(features: Floats, labels: Labels, folds: Labels, classes: int) -> Labels:
    """(items,) the class that a probe gives to each item, trained on the items of the other folds."""
    found = np.full(len(labels), -1, dtype=np.int64)
    for fold in np.unique(folds):
        held = folds == fold
        if len(np.unique(labels[~held])) > 1:
            found[held] = fit_probe(features[~held], labels[~held], classes)(features[held])
        elif not held.all():
            found[held] = labels[~held][0]
    return found
