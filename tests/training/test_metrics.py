"""A pass of evaluation: right sums, right order, and a model left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from zoo.training.batches import FeatureBatches
from zoo.training.intervals import accuracy_interval
from zoo.training.machine import Machine
from zoo.training.metrics import Stopped, evaluate

CPU = Machine(torch.device("cpu"))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def items() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(101, 5, generator=generator), torch.randint(3, (101,), generator=generator)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 4096])
def test_batches_of_any_size_give_the_means_over_all_items(
    model: nn.Module, items: tuple[torch.Tensor, torch.Tensor], batch_size: int
) -> None:
    found = evaluate(model, FeatureBatches(*items, batch_size), machine=CPU, keep_outputs=True)
    with torch.no_grad():
        logits = model.eval()(items[0])
    assert found.items == 101
    assert found.loss == pytest.approx(cross_entropy(logits, items[1]).item(), rel=1e-5)
    assert found.metrics["accuracy"] == pytest.approx((logits.argmax(1) == items[1]).double().mean().item())
    assert found.outputs is not None
    assert torch.allclose(found.outputs, logits, atol=1e-6)
    assert found.targets is not None
    assert torch.equal(found.targets, items[1])


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_in_its_mode_with_its_statistics(
    model: nn.Module, items: tuple[torch.Tensor, torch.Tensor], mode: bool
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model.train(mode), FeatureBatches(*items, 10), machine=CPU)
    assert all(module.training == mode for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_wish_to_stop_leaves_the_model_in_its_mode_too(
    model: nn.Module, items: tuple[torch.Tensor, torch.Tensor]
) -> None:
    with pytest.raises(Stopped):
        evaluate(model.train(), FeatureBatches(*items, 10), machine=CPU, stop_requested=lambda: True)
    assert model.training


@pytest.mark.parametrize("right", [0, 1, 17, 39, 40])
def test_the_interval_of_an_accuracy_is_that_of_scipy(right: int) -> None:
    from scipy.stats import binomtest

    theirs = binomtest(right, 40).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(right / 40, 40) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
