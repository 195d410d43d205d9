"""What training minimises, and what it reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe
from zoo.training.batches import FeatureBatches
from zoo.training.loop import fit
from zoo.training.losses import l1_norm, main_output, objective
from zoo.training.machine import Machine
from zoo.training.multi_label import MULTI_LABEL
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.regression import REGRESSION
from zoo.training.single_label import SINGLE_LABEL, balanced_weights
from zoo.training.strategies import phases
from zoo.training.task import Task

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TARGETS = torch.tensor([0, 2])
plain = SINGLE_LABEL.loss(None, 0.0)


def test_without_wishes_the_objective_is_the_reported_loss() -> None:
    assert torch.equal(objective(plain, LOGITS, TARGETS), plain(LOGITS, TARGETS))
    assert plain(LOGITS, TARGETS).item() == pytest.approx(
        -(LOGITS.log_softmax(1)[0, 0] + LOGITS.log_softmax(1)[1, 2]).item() / 2
    )


def test_label_smoothing_puts_a_floor_under_the_objective_but_not_under_the_reported_loss() -> None:
    sure = torch.tensor([[50.0, 0.0, 0.0]])
    target = torch.tensor([0])
    assert SINGLE_LABEL.loss(None, 0.1)(sure, target) > 1
    assert plain(sure, target) < 1e-6


def test_auxiliary_outputs_of_inception_count_four_tenths() -> None:
    auxiliary = torch.zeros(2, 3)
    expected = plain(LOGITS, TARGETS) + 0.4 * plain(auxiliary, TARGETS)
    assert torch.allclose(objective(plain, (LOGITS, auxiliary), TARGETS), expected)
    assert torch.equal(objective(plain, (LOGITS, None), TARGETS), plain(LOGITS, TARGETS))
    assert main_output((LOGITS, auxiliary)) is main_output(LOGITS) is LOGITS


def test_half_precision_outputs_are_summed_in_full() -> None:
    assert objective(plain, LOGITS.bfloat16(), TARGETS).dtype == torch.float32


def test_balanced_weights_make_every_class_count_the_same() -> None:
    targets = torch.tensor([0] * 90 + [1] * 10)
    weights = balanced_weights(targets, 2)
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 20])
    assert (weights[0] * 90).item() == pytest.approx((weights[1] * 10).item())
    logits = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    per_class = [F.cross_entropy(logits[targets == label], targets[targets == label]) for label in (0, 1)]
    assert SINGLE_LABEL.loss(weights, 0.0)(logits, targets).item() == pytest.approx(
        torch.stack(per_class).mean().item(), rel=1e-5
    )


def test_a_class_without_items_has_no_weight() -> None:
    assert balanced_weights(torch.tensor([0, 2]), 3)[1] == 0


def test_l1_leaves_out_biases_and_norms() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
    assert l1_norm(model.parameters()).item() == 10


# --- focal loss


def some_logits(*shape: int) -> torch.Tensor:
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_of_two_classes_is_that_of_torchvision(gamma: float) -> None:
    logits, targets = some_logits(40, 2), torch.arange(40) % 2
    asked = logits[:, 1] - logits[:, 0]
    expected = sigmoid_focal_loss(asked, targets.float(), alpha=-1, gamma=gamma, reduction="mean")
    assert SINGLE_LABEL.loss(None, 0.0, gamma)(logits, targets).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    shares = F.one_hot(targets, 2).float()
    assert SINGLE_LABEL.loss(None, 0.0, gamma)(logits, shares).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_several_labels_is_that_of_torchvision(gamma: float) -> None:
    logits, targets = some_logits(30, 5), (some_logits(30, 5).flip(0) > 1).float()
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="mean")
    assert MULTI_LABEL.loss(None, 0.0, gamma)(logits, targets).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    alpha = 0.8  # weights of 4 to 1 are an alpha of 0.8, on another scale
    weighted = MULTI_LABEL.loss(torch.full((5,), 4.0), 0.0, gamma)(logits, targets)
    expected = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="mean")
    assert weighted.item() == pytest.approx(expected.item() / (1 - alpha), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_shares_of_one_class_each_and_no_exponent_are_the_loss_of_torch(
    weights: torch.Tensor | None, smoothing: float
) -> None:
    """So class weights and smoothing mean with focal loss what they mean without."""
    logits, targets = some_logits(20, 3), torch.arange(20) % 3
    expected = F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    loss = SINGLE_LABEL.loss(weights, smoothing)
    assert torch.equal(loss(logits, targets), expected)
    assert loss(logits, F.one_hot(targets, 3).float()).item() == pytest.approx(expected.item(), rel=1e-6)
    nearly = SINGLE_LABEL.loss(weights, smoothing, 1e-6)(logits, targets)
    assert nearly.item() == pytest.approx(expected.item(), rel=1e-4)


def test_mixed_shares_are_the_mixed_losses_whatever_the_exponent_and_the_smoothing() -> None:
    logits, one, other = some_logits(12, 4), torch.arange(12) % 4, torch.arange(12) % 3
    mixed = 0.3 * F.one_hot(one, 4).float() + 0.7 * F.one_hot(other, 4).float()
    for gamma, smoothing in ((0.0, 0.0), (2.0, 0.0), (0.0, 0.1), (2.0, 0.1)):
        loss = SINGLE_LABEL.loss(None, smoothing, gamma)
        expected = 0.3 * loss(logits, one) + 0.7 * loss(logits, other)
        assert loss(logits, mixed).item() == pytest.approx(expected.item(), rel=1e-5)
        several = MULTI_LABEL.loss(None, smoothing, gamma)
        first, second = F.one_hot(one, 4).float(), F.one_hot(other, 4).float()
        expected = 0.3 * several(logits, first) + 0.7 * several(logits, second)
        assert several(logits, mixed).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL], ids=lambda task: task.name)
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_the_gradient_of_focal_loss_is_a_number_however_sure_the_network_is(task: Task, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-1e4, 1e4]], requires_grad=True)
    targets = torch.tensor([0, 0]) if task is SINGLE_LABEL else torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = task.loss(None, 0.0, gamma)(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().max() > 0.2  # what is surely wrong is corrected in full


@pytest.mark.parametrize("parts", [1, 3])
def test_a_focal_phase_with_weights_takes_the_same_step_in_parts_and_reports_the_plain_loss(
    parts: int,
) -> None:
    inputs, targets = some_logits(32, 6), torch.arange(32) % 5 // 2
    recipe = resolve(
        Recipe(focal_gamma=2.0, balance=True, label_smoothing=0.1, unfreeze="all", epochs=0, optimizer="sgd"),
        IMAGES,
    )
    [phase] = phases(recipe)
    weights = balanced_weights(targets, 3)

    def train(count: int) -> tuple[nn.Linear, float]:
        head = nn.Linear(6, 3)
        with torch.no_grad():
            head.weight.fill_(0.1)
            head.bias.zero_()
        batches = FeatureBatches(inputs, targets, 32, seed=0)
        own = replace(phase, epochs=1, accumulate=count)
        machine = Machine(torch.device("cpu"))
        state = begin_phase(
            head, batches, batches, recipe=recipe, phase=own, machine=machine, class_weights=weights
        )
        return head, fit(state).history[0].train_loss

    head, reported = train(parts)
    whole, _ = train(1)
    assert torch.allclose(head.weight, whole.weight, atol=1e-7)
    assert not torch.equal(head.weight, torch.full_like(head.weight, 0.1))
    with torch.no_grad():
        assert reported == pytest.approx(
            F.cross_entropy(inputs @ torch.full((6, 3), 0.1), targets).item(), rel=1e-5
        )


def test_focal_loss_of_numbers_is_refused() -> None:
    recipe = resolve(Recipe(focal_gamma=2.0, monitor="mae"), IMAGES)
    assert list(REGRESSION.problems(recipe)) == ["focal_gamma needs classes, and regression has none"]
    for gamma in (-1.0, 11.0, float("nan")):
        with pytest.raises(InvalidRecipe, match="focal_gamma must be at least 0 and at most 10"):
            resolve(Recipe(focal_gamma=gamma), IMAGES)
