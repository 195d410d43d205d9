"""Items in folds: each is asked about by a model that was trained on the other folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.data.contents import number_contents, read_contents
from zoo.data.dataset import Item
from zoo.data.grouping import join_groups
from zoo.features.ridge import Labels

FOLDS = 5


def fold_items(labels: Labels, groups: Sequence[object], *, folds: int = FOLDS, seed: int = 0) -> Labels:
    """(items,) the fold of each item: classes spread evenly, and equal groups (copies) in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    _, numbers = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    found = np.zeros(len(labels), dtype=np.int64)
    count = min(folds, len(np.unique(numbers)))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(splitter.split(labels, labels, numbers)):
        found[rows] = number
    return found


def keep_together(items: Sequence[Item]) -> list[str]:
    """What items share that must lie in one fold: copies, or a model is asked about what it has seen, and
    what the user keeps together."""
    if items[0].text is not None:
        return join_groups(items, [item.content for item in items])
    return join_groups(items, number_contents(read_contents([item.path for item in items]))[0])
