"""A linear probe: what frozen features are worth for some labels, on items that the probe has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.features.ridge import Floats, Labels, Ridge, fit_ridge


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
    return _probe_of(fit_ridge(features, labels, classes))


def _probe_of(ridge: Ridge) -> Probe:
    return Probe(ridge.mean, ridge.spread, ridge.weights, ridge.offset)


class Unseen(NamedTuple):
    """What probes say of items that they were not trained on.

    found: (items,) the class of each. inner: fold -> the accuracy of the probe that was trained without it,
    among the items that it was trained on, each left out in turn.
    """

    found: Labels
    inner: dict[int, float]


def predict_unseen(features: Floats, labels: Labels, folds: Labels, classes: int) -> Unseen:
    """What a probe says of each item, trained on the items of the other folds."""
    found = np.full(len(labels), -1, dtype=np.int64)
    inner: dict[int, float] = {}
    for fold in np.unique(folds).tolist():
        held = folds == fold
        if len(np.unique(labels[~held])) > 1:
            ridge = fit_ridge(features[~held], labels[~held], classes)
            inner[fold] = float((ridge.left_out().argmax(axis=1) == labels[~held]).mean())
            found[held] = _probe_of(ridge)(features[held])
        elif not held.all():
            found[held] = labels[~held][0]
    return Unseen(found, inner)
