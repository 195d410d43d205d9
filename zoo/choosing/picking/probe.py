"""A linear probe: what frozen features are worth for some labels, on items that the probe has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.features.ridge import Floats, Labels, fit_ridge

FOLDS = 5


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
    found = fit_ridge(features, labels, classes)
    return Probe(found.mean, found.spread, found.weights, found.offset)


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
