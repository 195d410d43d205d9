"""The regression that leaves out each item, against regressions that were made without it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Oracle

from zoo.features.ridge import fit_ridge


@pytest.mark.parametrize(("items", "width"), [(30, 8), (12, 40)])
def test_what_is_left_out_is_what_a_regression_without_the_item_says(items: int, width: int) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(items, width)), np.arange(items) % 3
    found = fit_ridge(features, labels, 3)
    wanted = np.eye(3)[labels]
    for row in range(items):
        rest = np.arange(items) != row
        # the offset and the scale of the features are those of all
        oracle = Oracle(alpha=found.penalty).fit(found.rows[rest], wanted[rest])
        assert np.allclose(oracle.predict(found.rows[[row]])[0], found.left_out()[row], atol=1e-6)
    assert np.allclose(Oracle(alpha=found.penalty).fit(found.rows, wanted).coef_.T, found.weights, atol=1e-6)


def test_equal_items_say_how_frequent_the_classes_are() -> None:
    found = fit_ridge(np.ones((6, 4)), np.array([0, 0, 0, 0, 1, 1]), 2)
    assert (found.weights == 0).all()
    assert found.offset.tolist() == pytest.approx([4 / 6, 2 / 6])
