"""Which differences are real, and what the best of several is worth on new items."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from zoo.training.intervals import accuracy_interval

Right = NDArray[np.bool_]
"""(items,) whether each item was answered rightly."""

LEVEL = 0.05
_DRAWS = 1000


def paired_p(one: Right, other: Right) -> float:
    """The probability of a difference as large as this, or larger, between equally good answers to the same
    items: the exact test of McNemar 1947, two-sided.

    >>> import numpy as np
    >>> paired_p(np.array([True] * 8), np.array([False] * 8))
    0.0078125
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    differ = only_one + only_other
    return 1.0 if differ == 0 else float(binomtest(only_one, differ).pvalue)


def correct_for_many(p_values: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Each probability, corrected for how many there are (Holm 1979).

    >>> correct_for_many({("a", "b"): 0.01, ("a", "c"): 0.04, ("b", "c"): 0.03})
    {('a', 'b'): 0.03, ('b', 'c'): 0.06, ('a', 'c'): 0.06}
    """
    corrected, least = {}, 0.0
    for rank, (pair, p) in enumerate(sorted(p_values.items(), key=lambda row: row[1])):
        least = max(least, min(1.0, p * (len(p_values) - rank)))
        corrected[pair] = least
    return corrected


def compare_all(right: Mapping[str, Right]) -> dict[tuple[str, str], float]:
    """The corrected probability of every pair of models, by their names in the order given."""
    return correct_for_many({(a, b): paired_p(right[a], right[b]) for a, b in combinations(right, 2)})


def expect_of_the_best(right: Mapping[str, Right], *, seed: int = 0) -> tuple[float, float, float]:
    """(accuracy, low, high) to be expected of whichever of these is best, on new items; 95 % interval.

    The best of many on some items owes a part of its lead to them. Items are drawn with repetition, the best
    on them is chosen, and measured on those that were not drawn (Tsamardinos, Greasidou and Borboudakis
    2018, https://doi.org/10.1007/s10994-018-5714-4). Equally good ones are drawn among.
    """
    table = np.stack(list(right.values()), axis=1).astype(np.float64)  # (items, models)
    items, models = table.shape
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(_DRAWS):
        counts = np.bincount(chance.integers(items, size=items), minlength=items)
        scores = counts @ table / items
        best = int(np.argmax(scores + 1e-9 * chance.random(models)))
        if (left := counts == 0).any():
            found.append(table[left, best].mean())
    expected = float(np.mean(found))
    return expected, *accuracy_interval(expected, items)
