"""Wrong labels and unusual items, from features whose truth is known; cleanlab is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from zoo.features.suspects import confident_errors, cross_validate, doubt_labels, find_unusual, judge_labels


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Six hundred digits (64 pixels each) and what they are."""
    data = load_digits()
    return data.data[:600].astype(np.float32), data.target[:600].astype(np.int64)


def swapped(labels: NDArray[np.int64], count: int, seed: int) -> tuple[NDArray[np.int64], set[int]]:
    """Labels of which `count` are moved to another class, and which."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), count, replace=False)
    given = labels.copy()
    given[rows] = (given[rows] + rng.integers(1, 10, count)) % 10
    return given, set(rows.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_swapped_labels_are_found_and_hardly_any_other(
    digits: tuple[NDArray[np.float32], NDArray[np.int64]], seed: int
) -> None:
    features, labels = digits
    given, wrong = swapped(labels, 20, seed)
    judged = judge_labels(features, given)
    found = {one.row for one in judged.wrong}
    assert judged.trusted
    assert len(found & wrong) >= 12
    assert len(found - wrong) <= 3
    suggested = {one.row: one.suggested for one in judged.wrong if one.row in wrong}
    assert np.mean([labels[row] == label for row, label in suggested.items()]) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_moment_finds_many_of_the_swapped_labels_and_hardly_any_other(
    digits: tuple[NDArray[np.float32], NDArray[np.int64]], seed: int
) -> None:
    features, labels = digits
    given, wrong = swapped(labels, 20, seed)
    doubts = doubt_labels(features, given + 5)  # labels are any integers
    found = {one.row for one in doubts}
    assert len(found & wrong) >= 8
    assert len(found - wrong) <= 3
    assert np.mean([labels[one.row] == one.suggested - 5 for one in doubts if one.row in wrong]) > 0.9
    assert all(one.probability < one.suggested_probability for one in doubts)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_accused_is_right_as_often_as_what_cleanlab_accuses(
    digits: tuple[NDArray[np.float32], NDArray[np.int64]], seed: int
) -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    features, labels = digits
    given, wrong = swapped(labels, 20, seed)
    probabilities = cross_validate(features, given)
    ours = set(confident_errors(probabilities, given))
    theirs = set(
        cleanlab.find_label_issues(
            given, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence"
        ).tolist()
    )
    assert len(ours & wrong) / len(ours) >= len(theirs & wrong) / len(theirs)
    assert len(ours & wrong) >= len(theirs & wrong) - 2


def test_labels_of_noise_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    judged = judge_labels(rng.normal(size=(300, 20)), rng.integers(0, 3, 300))
    assert judged.agreement is not None
    assert judged.agreement < 0.6
    assert doubt_labels(rng.normal(size=(300, 20)), rng.integers(0, 3, 300)) == []
    assert not judged.trusted
    assert judged.wrong == ()


def test_classes_with_few_items_are_neither_judged_nor_suggested(
    digits: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    features, labels = digits
    kept = np.concatenate([np.flatnonzero(labels == 9)[:4], np.flatnonzero(labels < 9)])
    judged = judge_labels(features[kept], labels[kept])
    assert all(one.row >= 4 and one.suggested != 9 for one in judged.wrong)
    alone = judge_labels(features[:4], np.arange(4))
    assert (alone.agreement, alone.wrong) == (None, ())


def test_an_item_far_from_all_others_is_unusual_and_its_copies_are_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 32)) + 4
    features[7] = rng.normal(size=32) * 5
    assert next(row for row, _ in find_unusual(features)) == 7
    many = np.concatenate([features, np.repeat(features[7:8], 6, axis=0)])
    assert 7 not in {row for row, _ in find_unusual(many)}  # a cluster of its own
    assert find_unusual(features[:15]) == []
