"""Deeper training of a real network on real photographs: what is frozen stays as it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from adapters import attach_head, freeze, frozen_fingerprint, stages, unfreeze
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.events import EpochEnd, Event, Note
from zoo.training.batches import ImageBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.stages import count_stages
from zoo.training.strategies import phases

SMALL = ImageInput(size=96, resize=110, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def some(items: tuple[Item, ...], count: int) -> list[Item]:
    """The first few of each class."""
    return [item for label in (0, 1) for item in [i for i in items if i.label == label][:count]]


def tune(network: nn.Module, data: Path, wishes: Recipe, **options: Any) -> tuple[nn.Module, FitResult]:
    """A copy of the network with a new head, tuned on a few photographs as the recipe says."""
    model = copy.deepcopy(network)
    freeze(model)
    attach_head(model, ["ants", "bees"], seed=0)
    recipe = resolve(wishes, IMAGES)
    [phase] = phases(recipe)
    unfreeze(model, count_stages(model, phase.unfreeze))
    dataset = scan_dataset(data / "hymenoptera")
    train = ImageBatches(some(dataset.train, 17), SMALL, 16, augmentation=phase.augment, seed=recipe.seed)
    val = ImageBatches(some(dataset.val, 8), SMALL, 16)
    machine = Machine(torch.device("cpu"), phase.precision if phase.precision != "auto" else "fp32")
    return model, fit(begin_phase(model, train, val, recipe=recipe, phase=phase, machine=machine), **options)


@pytest.mark.fault("T10")
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(network: nn.Module, data: Path) -> None:
    recipe = Recipe(epochs=0, unfreeze=2, tune_epochs=3, tune_lr=1e-3)
    model, result = tune(network, data, recipe)
    assert result.frozen_changed == 0
    frozen = frozen_fingerprint(model)
    assert result.frozen_tensors == len(frozen) > 200
    originals = network.state_dict()
    state = model.state_dict()
    assert all(torch.equal(state[name], originals[name]) for name in frozen)
    assert set(result.best_state) == set(state) - set(frozen)
    first, last = stages(model)[0].name, stages(model)[-2].name
    assert not any(name.startswith(f"{first}.") for name in result.best_state)
    tuned = [name for name in result.best_state if name.startswith(last)]
    assert any(name.endswith("running_mean") for name in tuned)
    assert all(not torch.equal(result.best_state[name], originals[name]) for name in tuned)
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_deeper_stages_learn_at_smaller_rates(network: nn.Module, data: Path) -> None:
    def moved(decay: float) -> float:
        plain = {"optimizer": "sgd", "momentum": 0.0, "tune_weight_decay": 0.0, "augment": "none"}
        recipe = Recipe(epochs=0, unfreeze=2, tune_epochs=1, tune_lr=1e-2, lr_decay=decay, **plain)
        model, _ = tune(network, data, recipe)
        name = "features.17.conv.2.weight"  # two stages below the head
        return float((model.get_parameter(name) - network.get_parameter(name)).norm().detach())

    assert 0 < moved(0.1) < moved(1.0) / 50


def test_bf16_and_channels_last_leave_plain_weights_that_can_be_saved(
    network: nn.Module, data: Path, tmp_path: Path
) -> None:
    channels_last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    recipe = Recipe(epochs=0, unfreeze=1, tune_epochs=1, precision="bf16")
    model, result = tune(channels_last, data, recipe)
    assert {t.dtype for name, t in result.best_state.items() if "num_batches" not in name} == {torch.float32}
    save_file(result.best_state, tmp_path / "adapter.safetensors")  # refuses what is not contiguous
    save_file(model.state_dict(), tmp_path / "model.safetensors")


@pytest.mark.fault("I11")
def test_a_photograph_that_vanishes_between_epochs_does_not_stop_training(
    network: nn.Module, data: Path, tmp_path: Path
) -> None:
    dataset = scan_dataset(data / "hymenoptera")
    items = some(dataset.train, 5)
    mine = [Item(tmp_path / item.path.name, item.label) for item in items]
    for item, copied in zip(items, mine, strict=True):
        copied.path.write_bytes(item.path.read_bytes())
    notes: list[Event] = []

    def vanish(event: Event) -> None:
        notes.append(event)
        if isinstance(event, EpochEnd) and event.epoch == 1:
            mine[3].path.unlink()

    model = copy.deepcopy(network)
    freeze(model)
    attach_head(model, ["ants", "bees"], seed=0)
    train = ImageBatches(mine, SMALL, 4, seed=0, report=vanish)
    recipe = resolve(Recipe(epochs=2), IMAGES)
    state = begin_phase(
        model,
        train,
        ImageBatches(some(dataset.val, 3), SMALL, 8),
        recipe=recipe,
        phase=phases(recipe)[0],
        machine=Machine(torch.device("cpu")),
    )
    result = fit(state, report=vanish)
    assert result.epochs == 2
    [note] = [event for event in notes if isinstance(event, Note)]
    assert mine[3].path.name in note.message
