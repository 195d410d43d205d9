"""What training minimises, and what it reports."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.training.losses import l1_norm, main_output, objective
from zoo.training.single_label import SINGLE_LABEL, balanced_weights

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
