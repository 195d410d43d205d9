"""A phase that is cut after any step, saved, loaded and continued ends bit for bit as if it had not been."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load, save
from torch import Tensor, nn

from adapters import attach_head, build_head, freeze, unfreeze
from zoo.backbones.models import load_model
from zoo.catalogue.entry import ImageInput
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.errors import WeightsMismatch
from zoo.events import MEASURED, EpochEnd, Event
from zoo.runs.demo import write_digits
from zoo.store.store import Store
from zoo.training.batches import FeatureBatches, ImageBatches
from zoo.training.device import precision_for
from zoo.training.loop import AfterSteps, FitResult, fit
from zoo.training.machine import Machine
from zoo.training.mixing import Mixing
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.phase_state import PhaseState, SavedPhase, begin_phase, load_phase, state_to_save
from zoo.training.recipe import Recipe, resolve
from zoo.training.stages import open_phase
from zoo.training.stopping import Score
from zoo.training.strategies import phases

CPU = Machine(torch.device("cpu"))
SMALL = ImageInput(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
HEADS: dict[str, dict[str, Any]] = {
    "adam": {"dropout": 0.5},
    "sgd with momentum, plateau": {"optimizer": "sgd", "schedule": "plateau", "lr": 0.3, "patience": 3},
    "mlp with batch norm": {"head": "mlp", "hidden": (16,), "batch_norm": True, "dropout": 0.3},
    "rmsprop, one-cycle": {"optimizer": "rmsprop", "schedule": "one-cycle"},
    "adamw, accuracy, smoothing": {"optimizer": "adamw", "monitor": "accuracy", "label_smoothing": 0.1},
    "nesterov, cosine, L1, clipping": {
        "optimizer": "nesterov", "schedule": "cosine", "l1": 0.001, "clip_norm": 0.5,
    },
    "average": {"ema": 0.9, "dropout": 0.5},
    "schedule-free": {"optimizer": "schedule-free", "warmup": 0.1, "dropout": 0.5},
    "schedule-free-sgd": {"optimizer": "schedule-free-sgd", "momentum": 0.8, "patience": 2},
    "step": {"schedule": "step", "step_epochs": 2, "warmup": 0.1},
    "balanced, focal": {"sampling": "balanced", "focal_gamma": 2.0},
    "balanced": {"balance": True, "dropout": 0.5},
}  # fmt: skip
TUNES: dict[str, dict[str, Any]] = {
    "adam": {"dropout": 0.5, "augment": "strong"},
    "sgd with momentum, plateau": {"optimizer": "sgd", "schedule": "plateau", "tune_lr": 0.1},
    "low rank": {"strategy": "lora", "unfreeze": None, "dropout": 0.5},
    "norms": {"strategy": "norms", "unfreeze": None},
    "pulled": {"strategy": "l2-sp"},
    "low rank, average": {"strategy": "lora", "unfreeze": None, "ema": 0.9},
    "average": {"ema": 0.9, "dropout": 0.5},
    "schedule-free": {"optimizer": "schedule-free", "strategy": "norms", "unfreeze": None},
    "mixed": {
        "mixup": 0.4, "cutmix": 1.0, "augment": "randaugment", "erase": 0.5, "dropout": 0.5,
        "label_smoothing": 0.1, "focal_gamma": 2.0, "sampling": "balanced",
    },
    "in parts": {"accumulate": 3, "dropout": 0.5, "augment": "strong"},
    "bf16": {"precision": "bf16", "dropout": 0.5, "augment": "light"},
}  # fmt: skip


def through_bytes(state: PhaseState) -> Callable[[], SavedPhase]:
    """What another process would read: safetensors and JSON."""
    saved = state_to_save(state)
    tensors, values = save(saved.tensors), json.dumps(saved.values, allow_nan=False)
    return lambda: SavedPhase(load(tensors), json.loads(values))


def train_with_copies(state: PhaseState, every: int = 1) -> tuple[FitResult, list[Callable[[], SavedPhase]]]:
    """The result of the whole phase, and what was saved after each of its epochs, and of its steps."""
    copies: list[Callable[[], SavedPhase]] = []

    def keep(event: Event) -> None:
        if isinstance(event, EpochEnd):
            copies.append(through_bytes(state))

    steps = AfterSteps(lambda state: copies.append(through_bytes(state)), every)
    return fit(state, report=keep, after_steps=steps), copies


def assert_goes_on_alike(begin: Callable[[], PhaseState]) -> None:
    """Cut after every third step, and after every epoch."""
    whole = begin()
    expected, copies = train_with_copies(whole, 3)
    assert len(copies) == expected.epochs + whole.step // 3
    assert expected.epochs > 2
    for number, copy in enumerate(copies, 1):
        torch.rand(number)  # whatever was drawn in between
        state = load_phase(begin(), copy())
        assert state.step > 0
        found = fit(state)
        assert state.step == whole.step
        assert facts(found) == facts(expected)
        for one, other in (
            (found.best_state, expected.best_state),
            (state.model.state_dict(), whole.model.state_dict()),
            (moments(state), moments(whole)),
        ):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)


def facts(result: FitResult) -> tuple[Any, ...]:
    history = [replace(end, **dict.fromkeys(MEASURED, 0)) for end in result.history]
    return (result.best_epoch, result.epochs, result.stopped_early, result.best, history)


def moments(state: PhaseState) -> dict[str, Tensor]:
    """What the optimizer knows."""
    return {
        f"{number} {key}": value
        for number, facts in state.optimizer.state_dict()["state"].items()
        for key, value in facts.items()
        if isinstance(value, Tensor)
    }


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_a_head_phase_goes_on_bit_for_bit_from_any_epoch(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, rule = torch.randn(150, 24, generator=generator), torch.randn(24, 3, generator=generator)
    targets = (inputs @ rule + 4 * torch.randn(150, 3, generator=generator)).argmax(1)
    recipe = resolve(Recipe(**{"epochs": 7, **options}), IMAGES)
    if package := OPTIMIZERS[recipe.optimizer].package:
        pytest.importorskip(package)

    def begin() -> PhaseState:
        shape = {"hidden": recipe.hidden or (), "batch_norm": recipe.batch_norm, "dropout": recipe.dropout}
        head = build_head(recipe.head, 24, 3, standardize=True, seed=0, **shape)
        head.fit_standardize(inputs[:100])
        train = FeatureBatches(inputs[:100], targets[:100], 16, seed=recipe.seed, sampling=recipe.sampling)
        val = FeatureBatches(inputs[100:], targets[100:], 64)
        weights = torch.tensor([1.0, 2.0, 0.5]) if recipe.label_smoothing or recipe.balance else None
        [phase] = phases(recipe)
        return begin_phase(head, train, val, recipe=recipe, phase=phase, machine=CPU, class_weights=weights)

    assert_goes_on_alike(begin)


@pytest.mark.thorough
@pytest.mark.parametrize("options", TUNES.values(), ids=TUNES)
def test_a_tune_phase_goes_on_bit_for_bit_from_any_epoch(
    options: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    write_digits(tmp_path / "digits")
    dataset = scan_dataset(tmp_path / "digits")
    usual = {"unfreeze": 2, "epochs": 0, "tune_epochs": 4, "tune_patience": 0, "batch_size": 8}
    recipe = resolve(Recipe(**usual | options), IMAGES)
    if package := OPTIMIZERS[recipe.optimizer].package:
        pytest.importorskip(package)
    [phase] = phases(recipe)

    def begin() -> PhaseState:
        network = load_model("digits", store=store)
        freeze(network)
        attach_head(network, dataset.classes, dropout=recipe.dropout, seed=0)
        open_phase(network, phase, recipe)
        if phase.opens == "stages":
            unfreeze(network, 2)  # their batch norms too: statistics are part of the state
        train = ImageBatches(
            dataset.train,
            SMALL,
            8,
            augmentation=phase.augment,
            erase=phase.erase,
            mixing=Mixing(phase.mixup, phase.cutmix, len(dataset.classes)) if phase.mixes else None,
            seed=recipe.seed,
            sampling=recipe.sampling,
        )
        val = ImageBatches(dataset.val[::10], SMALL, 32)
        return begin_phase(
            network,
            train,
            val,
            recipe=recipe,
            phase=phase,
            machine=Machine(CPU.device, precision_for(CPU.device, phase.precision)),
            start=Score(9.0, {"accuracy": 0.2}),
        )

    assert_goes_on_alike(begin)


def test_moments_lie_in_memory_as_their_parameters_do(store: Store) -> None:
    """The fused kernels go through both in the order of memory."""
    recipe = resolve(Recipe(unfreeze="all", epochs=0, tune_epochs=2), IMAGES)
    [phase] = phases(recipe)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batches = FeatureBatches(images, torch.arange(8) % 2, 4, seed=0)

    def begin() -> PhaseState:
        network = load_model("digits", store=store)
        attach_head(network, 2, seed=0)
        return begin_phase(network, batches, batches, recipe=recipe, phase=phase, machine=CPU)

    _, copies = train_with_copies(begin())
    state = load_phase(begin(), copies[0]())
    strides = [
        (parameter.stride(), state.optimizer.state[parameter]["exp_avg"].stride())
        for parameter in state.parameters
    ]
    assert all(own == moment for own, moment in strides)
    assert any(own[1] == 1 for own, _ in strides if len(own) == 4)  # channels last


def test_what_was_saved_of_another_head_is_refused_by_name() -> None:
    batches = FeatureBatches(torch.randn(8, 4), torch.arange(8) % 2, 4, seed=0)

    recipe = resolve(Recipe(epochs=1), IMAGES)
    [phase] = phases(recipe)

    def begin(width: int) -> PhaseState:
        return begin_phase(nn.Linear(4, width), batches, batches, recipe=recipe, phase=phase, machine=CPU)

    with pytest.raises(WeightsMismatch, match=r"another network or phase: bias, weight"):
        load_phase(begin(3), state_to_save(begin(2)))
