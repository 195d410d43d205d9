"""Validation items that pass the frozen stages once: the same figures and the same weights as every time."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import attach_head, freeze
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.training.batches import ImageBatches
from zoo.training.loop import FitResult, fit, validate
from zoo.training.machine import Machine
from zoo.training.metrics import Stopped
from zoo.training.phase_state import PhaseState, begin_phase, load_phase, state_to_save
from zoo.training.recipe import Recipe, resolve
from zoo.training.stages import open_phase
from zoo.training.strategies import phases

SMALL = ImageInput(size=96, resize=110, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
LIMIT = "ZOO_FEATURES_MEMORY"
QUICK: dict[str, Any] = {"epochs": 1, "tune_epochs": 3, "tune_lr": 1e-3, "augment": "light"}


class Passes:
    """How often the first layer of a network is called, by how many items it gets."""

    def __init__(self, network: nn.Module) -> None:
        self.counted: Counter[int] = Counter()
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_hook(self.count)

    def count(self, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        self.counted[len(inputs[0])] += 1


@pytest.fixture
def begin(network: nn.Module, data: Path) -> Callable[..., PhaseState]:
    """A phase that tunes the last stage of the real network on a few photographs."""
    dataset = scan_dataset(data / "hymenoptera")

    def some(items: tuple[Item, ...], count: int) -> list[Item]:
        return [item for label in (0, 1) for item in [i for i in items if i.label == label][:count]]

    def begin(precision: str = "fp32", **options: Any) -> PhaseState:
        options = options if "strategy" in options else {"unfreeze": 1, **options}
        recipe = resolve(Recipe(**{**QUICK, **options}), IMAGES)
        phase = phases(recipe)[-1]
        model = copy.deepcopy(network)
        freeze(model)
        attach_head(model, ["ants", "bees"], seed=0)
        open_phase(model, phase, recipe)
        train = ImageBatches(some(dataset.train, 8), SMALL, 8, augmentation=phase.augment, seed=recipe.seed)
        val = ImageBatches(some(dataset.val, 10), SMALL, 7)
        return begin_phase(
            model, train, val, recipe=recipe, phase=phase, machine=Machine(torch.device("cpu"), precision)
        )

    return begin


def figures(result: FitResult) -> list[tuple[Any, ...]]:
    return [(end.train_loss, end.val_loss, dict(end.metrics)) for end in result.history]


@pytest.mark.parametrize(
    ("precision", "options"),
    [("fp32", {}), ("bf16", {}), ("fp32", {"ema": 0.9}), ("fp32", {"unfreeze": 3, "optimizer": "sgd"})],
)
def test_every_figure_and_weight_is_what_the_whole_network_gives(
    precision: str,
    options: dict[str, Any],
    begin: Callable[..., PhaseState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = begin(precision, **options)
    assert state.kept is not None
    kept = fit(state)
    assert state.kept.kept is not None
    monkeypatch.setenv(LIMIT, "0")
    state = begin(precision, **options)
    plain = fit(state)
    assert state.kept is not None
    assert state.kept.kept is None
    assert figures(kept) == figures(plain)
    assert kept.best_state.keys() == plain.best_state.keys()
    assert all(torch.equal(kept.best_state[name], plain.best_state[name]) for name in kept.best_state)
    assert kept.frozen_changed == plain.frozen_changed == 0


def test_the_frozen_stages_see_each_item_once(
    begin: Callable[..., PhaseState], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin()
    passes = Passes(state.model)
    fit(state)
    assert passes.counted[7] == 2
    assert passes.counted[6] == 1
    monkeypatch.setenv(LIMIT, "0")
    state = begin()
    passes = Passes(state.model)
    fit(state)
    assert passes.counted[6] == 3


def test_what_is_more_than_may_be_kept_passes_every_time(
    begin: Callable[..., PhaseState], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin()
    fit(state)
    assert state.kept is not None
    assert state.kept.kept is not None
    size = sum(batch.inputs[0].nbytes for batch in state.kept.kept)
    monkeypatch.setenv(LIMIT, str(size))
    enough = begin()
    validate(enough)
    assert enough.kept is not None
    assert enough.kept.kept is not None
    monkeypatch.setenv(LIMIT, str(size - 1))
    less = begin()
    assert validate(less) == validate(less)
    assert less.kept is not None
    assert less.kept.kept is None


@pytest.mark.parametrize("options", [{"strategy": "norms"}, {"strategy": "lora"}, {"unfreeze": "all"}])
def test_where_nothing_in_front_is_frozen_nothing_is_kept(
    options: dict[str, Any], begin: Callable[..., PhaseState]
) -> None:
    state = begin(**options)
    fit(state)
    assert state.kept is not None
    assert state.kept.kept is None
    assert state.kept.gave_up


def test_a_pass_that_was_stopped_is_not_taken_for_a_whole_one(begin: Callable[..., PhaseState]) -> None:
    state = begin()
    expected = validate(begin())
    asked = iter([False, True])
    with pytest.raises(Stopped):
        validate(state, stop_requested=lambda: next(asked))
    assert state.kept is not None
    assert state.kept.kept is None
    assert validate(state) == expected
    assert validate(state) == expected


def test_memory_that_does_not_hold_a_batch_halves_it_as_always(
    begin: Callable[..., PhaseState],
) -> None:
    state = begin()
    expected = validate(begin())

    def lacking(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 4:
            raise torch.OutOfMemoryError("out of memory")

    state.model.get_submodule("features.0").register_forward_pre_hook(lacking)
    found = validate(state)
    assert found.items == expected.items == 20
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert validate(state).loss == pytest.approx(expected.loss, rel=1e-5)


def test_the_model_keeps_the_mode_it_is_in(begin: Callable[..., PhaseState]) -> None:
    state = begin()
    for mode in (True, False, True):
        state.model.train(mode)
        validate(state)
        modes = {name: module.training for name, module in state.model.named_modules()}
        assert modes[""] is modes["features.18"] is modes["features.18.0"] is mode
        assert modes["features.0"] is False


def test_a_phase_that_goes_on_measures_what_it_would_have(begin: Callable[..., PhaseState]) -> None:
    whole = fit(begin())
    parts: list[Any] = []
    fit(begin(), after_epoch=lambda state: parts.append(state_to_save(state)))
    again = load_phase(begin(), parts[0])
    result = fit(again)
    assert figures(result) == figures(whole)
