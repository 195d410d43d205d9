"""An optimizer that trains at one place and is measured at another: which weights are where."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe, MissingExtra
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store
from zoo.training.batches import FeatureBatches
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.phase_state import PhaseState, begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
TARGETS = (INPUTS[:, 0] > 0).long()


@pytest.fixture
def schedulefree() -> Any:
    return pytest.importorskip("schedulefree")


def new_head() -> nn.Linear:
    head = nn.Linear(6, 2)
    with torch.no_grad():
        head.weight.fill_(0.1)
        head.bias.zero_()
    return head


def begin(**wishes: Any) -> PhaseState:
    usual = {"optimizer": "schedule-free", "epochs": 3, "patience": 0, "lr": 0.01, "batch_size": 16}
    recipe = resolve(Recipe(**usual | wishes), IMAGES)
    [phase] = phases(recipe)
    train, val = FeatureBatches(INPUTS, TARGETS, 16, seed=0), FeatureBatches(INPUTS, TARGETS, 64)
    machine = Machine(torch.device("cpu"))
    return begin_phase(new_head(), train, val, recipe=recipe, phase=phase, machine=machine)


def by_hand(schedulefree: Any, epochs: int) -> tuple[Tensor, Tensor]:
    """The weights that train, and those that are measured, as the package's own example has it."""
    head = new_head()
    optimizer = schedulefree.AdamWScheduleFree(
        [{"params": [head.weight], "weight_decay": 0.03}, {"params": [head.bias], "weight_decay": 0.0}],
        lr=0.01,
    )
    optimizer.train()
    for epoch in range(1, epochs + 1):
        for batch in FeatureBatches(INPUTS, TARGETS, 16, seed=0).epoch(epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(batch.inputs), batch.targets).backward()
            optimizer.step()
    trained = head.weight.detach().clone()
    optimizer.eval()
    return trained, head.weight.detach().clone()


def test_what_is_measured_and_kept_is_what_the_package_gives_for_evaluation(schedulefree: Any) -> None:
    trained, measured = by_hand(schedulefree, 3)
    assert not torch.equal(trained, measured)
    state = begin()
    ends = []
    result = fit(state, after_epoch=lambda now: ends.append(now.model.weight.detach().clone()))
    assert torch.equal(ends[-1], trained)  # the loop's own place is untouched, to the bit
    assert result.best_epoch == 3
    assert torch.equal(result.best_state["weight"], measured)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(INPUTS @ measured.T + result.best_state["bias"], TARGETS)
    assert result.best is not None
    assert result.best.loss == pytest.approx(expected.item(), rel=1e-5)


def test_after_a_stop_in_the_first_epoch_the_weights_are_those_for_evaluation(schedulefree: Any) -> None:
    state = begin()
    result = fit(state, stop_requested=lambda: state.step == 2)
    assert result.interrupted
    assert not torch.equal(result.best_state["weight"], new_head().weight)
    head = new_head()
    optimizer = schedulefree.AdamWScheduleFree(
        [{"params": [head.weight], "weight_decay": 0.03}, {"params": [head.bias], "weight_decay": 0.0}],
        lr=0.01,
    )
    optimizer.train()
    for batch in list(FeatureBatches(INPUTS, TARGETS, 16, seed=0).epoch(1))[:2]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(batch.inputs), batch.targets).backward()
        optimizer.step()
    optimizer.eval()
    assert torch.equal(result.best_state["weight"], head.weight)


def test_a_run_of_it_leaves_frozen_tensors_as_they_were(
    schedulefree: Any, store: Store, tmp_path: Path
) -> None:
    assert schedulefree
    write_digits(tmp_path / "digits")
    result = finetune_model(
        "digits",
        tmp_path / "digits",
        out=tmp_path / "run",
        store=store,
        optimizer="schedule-free",
        epochs=2,
        unfreeze=1,
        tune_epochs=1,
        device="cpu",
    )
    assert result.frozen_changed == 0
    assert result.frozen_tensors > 0


def test_without_the_package_the_command_to_install_it_comes_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Store
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        finetune_model(
            "digits", tmp_path / "none", out=tmp_path / "run", store=store, optimizer="schedule-free"
        )
    assert "schedulefree, which is not installed" in str(caught.value)
    assert caught.value.hint == "Install it: pip install 'transfer-zoo[schedulefree]'"
    OPTIMIZERS["adam"].check_installed()


def test_a_batch_norm_that_learns_would_have_statistics_of_other_weights(schedulefree: Any) -> None:
    assert schedulefree
    recipe = resolve(Recipe(optimizer="schedule-free"), IMAGES)
    [phase] = phases(recipe)
    batches, machine = FeatureBatches(INPUTS, TARGETS, 16, seed=0), Machine(torch.device("cpu"))
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))
    with pytest.raises(InvalidRecipe, match="a batch norm that learns has no statistics of that"):
        begin_phase(model, batches, batches, recipe=recipe, phase=phase, machine=machine)
