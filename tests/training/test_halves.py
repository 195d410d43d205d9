"""Frozen stages by a faster copy: what learns learns the same, and the copy is nobody else's business."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import attach_head, compare_frozen, freeze, frozen_fingerprint
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.events import Event, Note
from zoo.features.network import folded_copy, least_cosine
from zoo.training import halves
from zoo.training.batches import ImageBatches
from zoo.training.halves import FromImages, Halves
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.phase_state import PhaseState, begin_phase, load_phase, state_to_save
from zoo.training.recipe import Recipe, resolve
from zoo.training.stages import open_phase
from zoo.training.strategies import phases

SMALL = ImageInput(size=96, resize=110, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
QUICK: dict[str, Any] = {"epochs": 1, "tune_epochs": 2, "tune_lr": 1e-3, "augment": "light", "unfreeze": 1}
Begin = Callable[..., PhaseState]


@pytest.fixture
def images(data: Path) -> Tensor:
    """Photographs (32, 3, 96, 96)."""
    items = scan_dataset(data / "hymenoptera").train[:32]
    found = next(iter(ImageBatches(items, SMALL, 32).epoch(0))).inputs
    assert isinstance(found, Tensor)
    return found


def opened(network: nn.Module, **options: Any) -> tuple[nn.Module, Any, Any]:
    """A copy of the network, open for the last phase of a recipe."""
    recipe = resolve(Recipe(**{**QUICK, **options}), IMAGES)
    phase = phases(recipe)[-1]
    model = copy.deepcopy(network)
    freeze(model)
    attach_head(model, ["ants", "bees"], dropout=recipe.dropout, seed=0)
    open_phase(model, phase, recipe)
    return model.train(), recipe, phase


@pytest.fixture
def begin(network: nn.Module, data: Path) -> Begin:
    """A phase that tunes the last stage of the real network on a few photographs."""
    dataset = scan_dataset(data / "hymenoptera")

    def some(items: tuple[Item, ...], count: int) -> list[Item]:
        return [item for label in (0, 1) for item in [i for i in items if i.label == label][:count]]

    def begin(precision: str = "fp32", **options: Any) -> PhaseState:
        model, recipe, phase = opened(network, **options)
        train = ImageBatches(some(dataset.train, 12), SMALL, 8, augmentation=phase.augment, seed=recipe.seed)
        val = ImageBatches(some(dataset.val, 8), SMALL, 8)
        machine = Machine(torch.device("cpu"), precision)
        return begin_phase(model, train, val, recipe=recipe, phase=phase, machine=machine)

    return begin


def seen_by_the_first_layer(state: PhaseState) -> list[tuple[bool, int]]:
    """Filled while it trains: the mode of the network, and how many images its own first layer gets."""
    calls: list[tuple[bool, int]] = []
    first = state.model.get_submodule("features.0.0")

    def note(module: nn.Module, given: tuple[Tensor], _output: Tensor) -> None:
        if module is first:  # a copy has the same hooks
            calls.append((state.model.training, len(given[0])))

    first.register_forward_hook(note)
    return calls


def test_the_copy_makes_the_same_of_photographs(network: nn.Module, images: Tensor) -> None:
    model, _, _ = opened(network)
    split = Halves(model).cut(images)
    assert split is not None
    fast = folded_copy(split.before, images[:4])
    assert fast is not split.before
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    found, expected = fast(images), split.before(images)
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()
    assert least_cosine(found, expected) > 0.99999
    with torch.autocast("cpu", torch.bfloat16):
        half, plain = fast(images).float(), split.before(images).float()
    assert least_cosine(half, expected) > least_cosine(plain, expected) - 2e-3


@pytest.mark.parametrize(
    ("precision", "options"),
    [("fp32", {}), ("fp32", {"dropout": 0.3, "ema": 0.9}), ("fp32", {"unfreeze": 4}), ("bf16", {})],
)
def test_what_learns_learns_the_same(
    precision: str, options: dict[str, Any], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin(precision, **options)
    before = frozen_fingerprint(state.model)
    fast = fit(state)
    assert isinstance(state.forward.model, FromImages)
    assert compare_frozen(state.model, before).changed == ()
    assert fast.frozen_changed == 0
    monkeypatch.setattr(halves, "split_frozen", lambda *_: None)
    plain = fit(begin(precision, **options))
    assert fast.best_state.keys() == plain.best_state.keys()
    rough = 0.1 if precision == "bf16" else 2e-4
    for end, other in zip(fast.history, plain.history, strict=True):
        assert end.train_loss == pytest.approx(other.train_loss, rel=rough)
        assert end.val_loss == pytest.approx(other.val_loss, rel=rough)


def test_the_networks_own_frozen_stages_see_no_batch_of_training(begin: Begin) -> None:
    state = begin()
    calls = seen_by_the_first_layer(state)
    fit(state)
    assert max(size for training, size in calls if training) <= halves.FEW
    state = begin(strategy="norms", unfreeze=None)
    calls = seen_by_the_first_layer(state)
    fit(state)
    assert sum(size == 8 for training, size in calls if training) == 2 * 3


def test_a_phase_that_goes_on_is_the_same_to_the_bit(begin: Begin) -> None:
    whole = fit(begin(dropout=0.3))
    saved: list[Any] = []
    fit(begin(dropout=0.3), after_epoch=lambda state: saved.append(state_to_save(state)))
    again = fit(load_phase(begin(dropout=0.3), saved[0]))
    assert all(torch.equal(again.best_state[name], whole.best_state[name]) for name in whole.best_state)
    assert [end.train_loss for end in again.history] == [end.train_loss for end in whole.history]


@pytest.mark.parametrize("options", [{"strategy": "norms"}, {"strategy": "lora"}, {"unfreeze": "all"}])
def test_other_strategies_train_the_whole_network_as_it_is(
    options: dict[str, Any], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(result: FitResult) -> list[Tensor]:
        return [*result.best_state.values()]

    given = {"unfreeze": None, "tune_epochs": 1, **options}
    found = fit(begin(**given))
    monkeypatch.setattr(halves, "split_frozen", lambda *_: None)
    plain = fit(begin(**given))
    assert all(torch.equal(one, other) for one, other in zip(weights(found), weights(plain), strict=True))


class Turning(nn.Module):
    """Needs what its first layer says once all of them have turned."""

    turned = False

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.three = nn.Conv2d(4, 4, 3, padding=1)
        self.noise = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        early = self.one(inputs)
        late = self.noise(self.three(self.two(early)))
        found: Tensor = self.fc((late + early if self.turned else late).mean((2, 3)))
        return found


class Contrasting(nn.Module):
    """Holds each image against the others of its batch, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.three = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        early = self.one(inputs)
        self.passes = self.passes + 1
        found: Tensor = self.fc(self.three(early - early.mean(0, keepdim=True)).mean((2, 3)))
        return found


def test_a_network_of_unknown_code_is_never_cut(images: Tensor) -> None:
    model = Contrasting()
    freeze(model, until="three")
    assert Halves(model).cut(images) is None
    assert model.passes == 0  # nor asked


def test_layers_that_are_computed_again_for_the_gradients_are_never_cut(
    network: nn.Module, images: Tensor
) -> None:
    model, _, _ = opened(network)
    model.features.grad_checkpointing = True
    assert Halves(model).cut(images) is None


def test_a_network_that_turns_to_another_way_trains_as_a_whole_from_there(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout of the step that did not work has drawn by then; it draws the same again."""
    monkeypatch.setattr(halves, "is_known", lambda _: True)
    dataset = scan_dataset(data / "hymenoptera")
    start = Turning()
    recipe = resolve(Recipe(**QUICK), IMAGES)
    told: list[Event] = []

    def train() -> tuple[PhaseState, FitResult]:
        monkeypatch.setattr(Turning, "turned", False)
        model = copy.deepcopy(start)
        freeze(model, until="three")
        source = ImageBatches(dataset.train[::16], SMALL, 8, augmentation="light", seed=0)
        val = ImageBatches(dataset.val[::16], SMALL, 8)
        machine = Machine(torch.device("cpu"))
        state = begin_phase(model, source, val, recipe=recipe, phase=phases(recipe)[-1], machine=machine)

        def turn(state: PhaseState) -> None:
            assert isinstance(state.forward.model, FromImages)
            in_halves.append(state.forward.model.halves.split is not None)
            monkeypatch.setattr(Turning, "turned", True)

        return state, fit(state, report=told.append, after_epoch=turn)

    in_halves: list[bool] = []
    _, found = train()
    assert in_halves == [True, False]
    monkeypatch.setattr(halves, "split_frozen", lambda *_: None)
    _, plain = train()
    assert all(torch.equal(found.best_state[name], plain.best_state[name]) for name in plain.best_state)
    assert [end.train_loss for end in found.history] == [end.train_loss for end in plain.history]
    assert [end.val_loss for end in found.history] == [end.val_loss for end in plain.history]
    assert not [event for event in told if isinstance(event, Note)]
