"""A moving average of the weights is measured and kept; training goes on from the weights themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from adapters import build_head, freeze
from zoo.data.kinds import IMAGES
from zoo.training.averaging import Average
from zoo.training.batches import FeatureBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.phase_state import PhaseState, begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases

CPU = Machine(torch.device("cpu"))


def train(features: Any, **options: Any) -> tuple[PhaseState, FitResult, list[dict[str, torch.Tensor]]]:
    """A head on real features, and its trained weights after every epoch."""
    recipe = resolve(Recipe(epochs=5, lr=0.01, patience=0, **options), IMAGES)
    train, val = features.batches()
    state = begin_phase(
        build_head("mlp", 1280, 2, batch_norm=True, hidden=(8,), seed=0),
        train,
        val,
        recipe=recipe,
        phase=phases(recipe)[0],
        machine=CPU,
    )
    seen: list[dict[str, torch.Tensor]] = []

    def keep(state: PhaseState) -> None:
        seen.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})

    return state, fit(state, after_epoch=keep), seen


def test_training_itself_does_not_change_and_what_is_kept_is_the_average(features: Any) -> None:
    _, plain, without = train(features)
    state, averaged, with_it = train(features, ema=0.9)
    for one, other in zip(without, with_it, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert [end.train_loss for end in plain.history] == [end.train_loss for end in averaged.history]
    assert [end.val_loss for end in plain.history] != [end.val_loss for end in averaged.history]
    assert averaged.best is not None
    found = evaluate(state.model, state.val, machine=CPU)  # the model has the best weights: the averaged ones
    assert found.loss == pytest.approx(averaged.best.loss, rel=1e-6)


def test_it_is_the_average_of_torch_with_a_warm_up() -> None:
    model, steps = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), 40
    average = Average(model, 0.8, ())
    expected = model[0].weight.detach().clone()
    for step in range(1, steps + 1):
        model(torch.randn(4, 3))  # moves the statistics
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    assert set(average.mean) == {
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
    }  # fmt: skip
    torch.testing.assert_close(average.mean["0.weight"], expected)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with average.in_place():
        torch.testing.assert_close(model[0].weight.detach(), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_frozen_tensors_and_second_names_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[2].weight = model[1].weight
    freeze(model[0])
    average = Average(model, 0.5, {"0.weight", "0.bias"})
    assert set(average.mean) == {"1.weight", "1.bias", "2.bias"}
    with torch.no_grad():
        model[1].weight.add_(1)
    average.update(1)
    trained = model[1].weight.detach().clone()
    with average.in_place():
        assert not torch.equal(model[1].weight, trained)
    assert torch.equal(model[2].weight, trained)


def test_a_wish_to_stop_in_the_middle_keeps_the_averaged_best(features: Any) -> None:
    recipe = resolve(Recipe(epochs=5, ema=0.9), IMAGES)
    train, val = FeatureBatches(features.train, features.train_labels, 32, seed=0), features.batches()[1]
    state = begin_phase(
        build_head("linear", 1280, 2, seed=0), train, val, recipe=recipe, phase=phases(recipe)[0], machine=CPU
    )
    asked = iter([False] * 20 + [True] * 100)
    result = fit(state, stop_requested=lambda: next(asked))
    assert result.interrupted
    assert result.best is not None
    assert evaluate(state.model, val, machine=CPU).loss == pytest.approx(result.best.loss, rel=1e-6)
