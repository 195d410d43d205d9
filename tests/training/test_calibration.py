"""Temperature, calibration figures and conformal prediction, held against scikit-learn and against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.training.calibration import (
    calibration_error,
    calibration_figures,
    class_scores,
    conformal_bound,
    conformal_rank,
    cross_scaled,
    fit_temperature,
    highest_level,
    items_needed,
    scaled,
    selective_accuracy,
    temperature_problem,
)
from zoo.training.intervals import FEW


def draw(items: int, classes: int = 3, sharpness: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outputs whose probabilities are exact at `sharpness` 1, and the true classes drawn from them."""
    chance = torch.Generator().manual_seed(seed)
    honest = 2 * torch.randn(items, classes, generator=chance)
    truth = torch.multinomial(honest.softmax(1), 1, generator=chance)[:, 0]
    return honest * sharpness, truth


# --- temperature


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_scikit_learn(sharpness: float, classes: int) -> None:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    outputs, truth = draw(400, classes, sharpness)

    class Network(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """Answers item i with outputs[i]."""

        classes_ = np.arange(classes)

        def fit(self, X: object, y: object) -> Network:
            self.fitted_ = True
            return self

        def decision_function(self, X: np.ndarray) -> np.ndarray:
            found = outputs.double().numpy()[X[:, 0].astype(int)]
            # Of two classes scikit-learn takes one number x for the outputs (-x, x).
            return (found[:, 1] - found[:, 0]) / 2 if classes == 2 else found

        def predict(self, X: np.ndarray) -> np.ndarray:
            return outputs.numpy()[X[:, 0].astype(int)].argmax(1)

    rows = np.arange(400.0)[:, None]
    network = FrozenEstimator(Network().fit(rows, truth))
    theirs = CalibratedClassifierCV(network, method="temperature").fit(rows, truth.numpy())
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    ours = fit_temperature(outputs, truth)
    assert ours == pytest.approx(1 / beta, rel=1e-3)
    probabilities = scaled(outputs, ours).softmax(1)
    assert np.allclose(probabilities.numpy(), theirs.predict_proba(rows), atol=1e-3)
    assert ours == pytest.approx(sharpness, rel=0.25)


def test_no_temperature_is_better_than_the_one_that_is_found() -> None:
    outputs, truth = draw(300, sharpness=2.5)
    best = fit_temperature(outputs, truth)

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scaled(outputs, temperature), truth))

    assert all(loss(best) <= loss(best * factor) for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0))


@given(
    outputs=st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=8
    ),
    temperature=st.floats(0.05, 20),
)
@settings(deadline=None)
def test_a_temperature_never_changes_an_answer(outputs: list[list[float]], temperature: float) -> None:
    plain = torch.tensor(outputs)
    assert (scaled(plain, temperature).argmax(1) == plain.argmax(1)).all()


def test_what_no_temperature_can_be_fitted_on_is_named() -> None:
    outputs, truth = draw(200, sharpness=2.0)
    assert temperature_problem(outputs, truth) is None
    assert str(FEW) in (temperature_problem(outputs[: FEW - 1], truth[: FEW - 1]) or "")
    perfect = outputs.argmax(1)
    assert "all 200 answers are right" in (temperature_problem(outputs, perfect) or "")
    worst = outputs.argmin(1)
    assert "chance" in (temperature_problem(outputs, worst) or "")
    nearly = outputs * 1e-4  # the best temperature is 1e-4 of what it was
    assert "too few" in (temperature_problem(nearly, truth) or "")


def test_items_are_scaled_by_temperatures_that_were_fitted_without_them() -> None:
    outputs, truth = draw(500, sharpness=3.0)
    found = cross_scaled(outputs, truth)
    factors = (outputs.double() / found)[:, 0]
    assert len(torch.unique((factors * 1e6).round())) == 5
    assert factors.mean() == pytest.approx(3.0, rel=0.25)


# --- figures


def test_the_figures_are_those_of_scikit_learn_and_of_the_definition() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    outputs, truth = draw(250, 4, sharpness=2.0)
    found = calibration_figures(outputs, truth)
    probabilities = outputs.double().softmax(1).numpy()
    assert found.log_loss == pytest.approx(log_loss(truth.numpy(), probabilities))
    assert found.brier == pytest.approx(
        brier_score_loss(truth.numpy(), probabilities, labels=range(4), scale_by_half=False)
    )
    sure, answers = probabilities.max(1), probabilities.argmax(1)
    total = 0.0
    for number in range(15):
        inside = (sure > number / 15) & (sure <= (number + 1) / 15)
        if inside.any():
            right = (answers[inside] == truth.numpy()[inside]).mean()
            total += inside.mean() * abs(right - sure[inside].mean())
    assert found.error == pytest.approx(total)
    assert found.error_low <= found.error <= found.error_high


def test_exact_probabilities_are_not_called_wrong_and_wrong_ones_are() -> None:
    exact = [calibration_figures(*draw(150, seed=seed)) for seed in range(40)]
    assert sum(found.error_low == 0 for found in exact) >= 34
    assert np.mean([found.error for found in exact]) == pytest.approx(
        np.mean([found.error_by_chance for found in exact]), rel=0.15
    )
    wrong = [calibration_figures(*draw(150, sharpness=4, seed=seed)) for seed in range(10)]
    assert all(found.error_low > 0 and found.error > found.error_by_chance for found in wrong)


def test_probabilities_of_exactly_one_have_a_bin() -> None:
    assert calibration_error(torch.ones(4), torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(0.25)
    figures = calibration_figures(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([0, 0]))
    assert figures.error == pytest.approx(0.5)
    assert math.isfinite(figures.log_loss)


def test_abstaining_leaves_fewer_items_and_each_row_another_number_of_them() -> None:
    outputs, truth = draw(400, sharpness=1.5)
    rows = selective_accuracy(outputs, truth)
    assert rows[0].answered == 1
    assert rows[0].accuracy == pytest.approx(float((outputs.argmax(1) == truth).double().mean()))
    counts = [row.items for row in rows]
    assert counts == sorted(set(counts), reverse=True)
    sure = outputs.double().softmax(1).max(1).values
    assert all(row.items == int((sure >= row.abstain_below).sum()) for row in rows)
    assert rows[-1].accuracy > rows[0].accuracy


# --- conformal prediction


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_one_item_less_than_are_needed_gives_no_set(level: float) -> None:
    needed = items_needed(level)
    assert conformal_rank(needed, level) == needed
    assert conformal_rank(needed - 1, level) is None
    assert highest_level(needed) >= level - 1e-9


@given(items=st.integers(1, 3000), level=st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_the_rank_is_the_least_that_keeps_the_promise(items: int, level: float) -> None:
    rank = conformal_rank(items, level)
    if rank is None:
        assert items < items_needed(level)
    else:
        assert rank / (items + 1) >= level - 1e-12
        assert (rank - 1) / (items + 1) < level


def test_new_items_keep_below_the_bound_as_often_as_promised_whatever_the_network() -> None:
    held = []
    for seed in range(400):
        outputs, truth = draw(60, sharpness=5.0, seed=seed)
        own = class_scores(outputs).gather(1, truth[:, None])[:, 0]
        bound = conformal_bound(sorted(own[:39].tolist()), 0.9)
        assert bound is not None
        held.append(float((own[39:] <= bound).double().mean()))
    assert np.mean(held) == pytest.approx(0.9, abs=0.012)  # 36 of 40 places; 8,400 items
