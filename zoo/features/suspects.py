"""Which labels are likely wrong, and which items are unlike all others, from features.

Wrong labels by confident learning: Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.features.ridge import Floats, Labels, fit_ridge

FOLDS = 5
FEWEST = 5
"""Items that a class must have for its labels to be judged: fewer cannot be learned from a part of them."""

AGREEMENT = 0.9
"""Share of the labels that models must agree with which have not seen them, if their doubts are to count. Of
10,662 film reviews, where they agree with 76 %, a fifth would be accused, the surest of them wrongly."""

_STRENGTH = 3.0
"""Inverse of the penalty times the width. Measured with labels swapped at random: at 1, 56 % of 6 among 398
photographs are found and 69 % of 40 among 1,797 digits, and 0 and 4 others accused; at 3, 58 and 75 %, 0 and
4 others; at 30, 75 and 79 %, and 1 and 7 others."""

_MOST_WIDE = 3_000
"""Items above which features are first projected on their 256 widest directions: the time is that of a
product of items by width by classes, and what is lost is less than what the folds differ by."""
_WIDTH = 256
_NEIGHBOURS = 5
_BLOCK = 12_500_000  # cosines computed at a time, 50 MB
_UNLIKE = 3.5
"""Robust standard deviations above the median distance, as Iglewicz and Hoaglin 1993 advise. Measured on
hymenoptera with MobileNetV2: six of 398 photographs are above, among them a larva, a nest, a tin of ant bait,
a wall, and the placeholder "this image could not be found"."""
_MOST_UNLIKE = 10  # items, or one in a hundred: what is more frequent is not unlike all others


@dataclass(frozen=True)
class WrongLabel:
    """row: of the item. suggested: the class that it more likely is. The probabilities, of the given label
    and of the suggested one, are those of a model that has not seen the item."""

    row: int
    suggested: int
    probability: float
    suggested_probability: float


@dataclass(frozen=True)
class JudgedLabels:
    """wrong: labels that are likely so, the surest first; empty where `agreement`, the share of labels that
    models agree with which have not seen them, is below AGREEMENT, or None: too few items. doubted: every
    label that such a model does not agree with, the surest doubts first: most of those that are wrong, and
    many that are right. Of 10 labels swapped among 398 photographs the first 18 hold 9 or 10 (8 draws)."""

    wrong: tuple[WrongLabel, ...] = ()
    agreement: float | None = None
    doubted: tuple[WrongLabel, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether the models know enough for their doubts to mean anything."""
        return self.agreement is not None and self.agreement >= AGREEMENT


def judge_labels(features: Floats, labels: Labels, *, seed: int = 0) -> JudgedLabels:
    """Items that a model trained on the others takes for another class, surer than it usually is of that one.

    features: (items, width). labels: (items,) of any integers. Of labels that are swapped at random it
    finds six to eight in ten, and accuses few others: see _STRENGTH.
    """
    judged = np.flatnonzero(np.isin(labels, _large_classes(labels)))
    classes, given = np.unique(labels[judged], return_inverse=True)
    if len(classes) < 2:
        return JudgedLabels()
    probabilities = cross_validate(features[judged], given, seed=seed)
    agreement = float((probabilities.argmax(axis=1) == given).mean())
    if agreement < AGREEMENT:
        return JudgedLabels((), agreement)

    def rank(found: dict[int, int]) -> tuple[WrongLabel, ...]:
        ranked = sorted(
            found, key=lambda row: probabilities[row, given[row]] - probabilities[row, found[row]]
        )
        return tuple(
            WrongLabel(
                int(judged[row]),
                int(classes[found[row]]),
                float(probabilities[row, given[row]]),
                float(probabilities[row, found[row]]),
            )
            for row in ranked
        )

    likely = probabilities.argmax(axis=1)
    disagreed = {int(row): int(likely[row]) for row in np.flatnonzero(likely != given)}
    return JudgedLabels(rank(confident_errors(probabilities, given)), agreement, rank(disagreed))


def doubt_labels(features: Floats, labels: Labels) -> list[WrongLabel]:
    """As `judge_labels`, in a moment: by a ridge regression that leaves out each item in turn.

    It finds five in ten where `judge_labels` finds six (of 6 swapped labels among 398 photographs; 7 and 8 of
    10 where 20 are), accuses as few others, and takes 25 ms for these. features: (items, width). labels:
    (items,) of any integers.
    """
    judged = np.flatnonzero(np.isin(labels, _large_classes(labels)))
    classes, given = np.unique(labels[judged], return_inverse=True)
    if len(classes) < 2:
        return []
    scores = fit_ridge(features[judged], given, len(classes)).left_out()
    if (scores.argmax(axis=1) == given).mean() < AGREEMENT:
        return []
    likely = np.clip(scores, 1e-6, None)
    likely /= likely.sum(axis=1, keepdims=True)
    found = confident_errors(likely, given)
    return [
        WrongLabel(
            int(judged[row]),
            int(classes[suggested]),
            float(likely[row, given[row]]),
            float(likely[row, suggested]),
        )
        for row, suggested in sorted(found.items(), key=lambda each: likely[each[0], given[each[0]]])
    ]


def confident_errors(probabilities: Floats, given: Labels) -> dict[int, int]:
    """Row -> the class that it is counted in off the diagonal of the confident joint.

    A row is counted in a class whose probability reaches the mean of those that were given that class.
    probabilities: (items, classes), of models that did not see the item. given: (items,) in 0..classes.

    >>> import numpy as np
    >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.05, 0.95]])
    >>> confident_errors(sure, np.array([0, 0, 1, 1, 0]))
    {4: 1}
    """
    classes = range(probabilities.shape[1])
    usual = np.array([probabilities[given == label, label].mean() for label in classes])
    reached = np.where(probabilities >= usual, probabilities, -1.0)
    likely = reached.argmax(axis=1)
    wrong = (reached.max(axis=1) > 0) & (likely != given)
    return {int(row): int(likely[row]) for row in np.flatnonzero(wrong)}


def cross_validate(features: Floats, given: Labels, *, seed: int = 0) -> NDArray[np.float64]:
    """(items, classes): what a linear model says of each item that was trained without it.

    Logistic regression on standardised features. Its penalty is strong and is not tuned: a model that fits
    wrong labels hides them.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler()]
    width = features.shape[1]
    if len(features) > _MOST_WIDE and width > _WIDTH:
        steps.append(PCA(_WIDTH, svd_solver="randomized", random_state=seed))
    steps.append(LogisticRegression(C=_STRENGTH / width, max_iter=500))
    folds = StratifiedKFold(min(FOLDS, int(np.bincount(given).min())), shuffle=True, random_state=seed)
    found: NDArray[np.float64] = cross_val_predict(
        make_pipeline(*steps), features, given, cv=folds, method="predict_proba"
    )
    return found


def find_unusual(features: Floats) -> list[tuple[int, float]]:
    """(row, how far) of the items that are unlike all others, the farthest first.

    How far: robust standard deviations of the mean distance (1 - cosine) to the five nearest items.
    """
    if len(features) <= 4 * _NEIGHBOURS:
        return []
    distance = _neighbour_distances(features)
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle))
    far = (distance - middle) / max(float(spread), 1e-6)
    most = max(_MOST_UNLIKE, len(far) // 100)
    rows = [int(row) for row in np.argsort(-far)[:most] if far[row] > _UNLIKE]
    return [(row, float(far[row])) for row in rows]


def _neighbour_distances(features: Floats) -> NDArray[np.float64]:
    """(items,) the mean distance to the nearest neighbours, an item's own copies included."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = (features / np.maximum(length, 1e-12)).astype(np.float32)
    found = np.empty(len(unit))
    block = max(1, _BLOCK // len(unit))
    for start in range(0, len(unit), block):
        cosines = unit[start : start + block] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf  # itself
        near = np.partition(cosines, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
        found[start : start + block] = 1 - near.mean(axis=1)
    return found


def _large_classes(labels: Labels) -> NDArray[np.int64]:
    names, counts = np.unique(labels, return_counts=True)
    return names[counts >= FEWEST]
