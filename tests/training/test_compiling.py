"""A compiled network trains as the plain one does, under its names; where it cannot be, training goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import add_low_rank, frozen_fingerprint
from adapters.freezing import freeze
from zoo.data.kinds import IMAGES
from zoo.events import Event, Note
from zoo.training import compiling
from zoo.training.batches import FeatureBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.phase_state import PhaseState, begin_phase, load_phase, state_to_save
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases


@pytest.fixture
def _traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile as far as a graph of forward and backward, which takes no compiler and a second."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")


def begin(compiled: bool, *, low_rank: bool = False, **options: Any) -> PhaseState:
    """A phase over 21 images of three classes, 8 a step, then 5; the first layers are frozen."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(21, 3, 12, 12, generator=generator)
    labels = torch.randint(3, (21,), generator=generator)
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    freeze(model[0])
    if low_rank:
        add_low_rank(model[1], 2)
    given = {"epochs": 0, "tune_epochs": 3, "unfreeze": 1, "batch_size": 8, "tune_lr": 0.05, **options}
    recipe = resolve(Recipe(**given, compile=compiled), IMAGES)
    [phase] = phases(recipe)
    return begin_phase(
        model,
        FeatureBatches(images, labels, 8, seed=0),
        FeatureBatches(images, labels, 21),
        recipe=recipe,
        phase=phase,
        machine=Machine(torch.device("cpu")),
    )


def assert_alike(found: FitResult, expected: FitResult) -> None:
    """Equal up to rounding, and named alike."""
    assert list(found.best_state) == list(expected.best_state)
    for name, tensor in expected.best_state.items():
        torch.testing.assert_close(found.best_state[name], tensor, rtol=1e-3, atol=1e-4)
    for end, other in zip(expected.history, found.history, strict=True):
        assert other.train_loss == pytest.approx(end.train_loss, rel=1e-3)
        assert other.val_loss == pytest.approx(end.val_loss, rel=1e-3)


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.9}, {"accumulate": 2, "clip_norm": 0.5}, {"strategy": "l2-sp"}, {"low_rank": True}],
    ids=["plain", "average", "parts", "l2-sp", "low rank"],
)
def test_a_compiled_network_trains_as_the_plain_one_under_its_names(options: dict[str, Any]) -> None:
    state = begin(True, **options)
    result = fit(state)
    assert isinstance(state.forward.model, compiling.Compiled)  # it did compile to the end
    assert_alike(result, fit(begin(False, **options)))
    assert result.frozen_changed == 0
    assert result.frozen_tensors == len(frozen_fingerprint(state.model)) > 0
    assert not [name for name in state.model.state_dict() if "_orig_mod" in name]
    assert not [name for name in state_to_save(state).tensors if "_orig_mod" in name]


@pytest.mark.usefixtures("_traced")
def test_it_goes_on_bit_for_bit_from_any_epoch() -> None:
    """The last batch of an epoch is smaller: what was compiled for it must not serve the others later."""
    saved = []
    whole = fit(begin(True), after_epoch=lambda state: saved.append(state_to_save(state)))
    for kept in saved[:-1]:
        result = fit(load_phase(begin(True), kept))
        for name, tensor in whole.best_state.items():
            assert torch.equal(result.best_state[name], tensor), name
        assert [end.train_loss for end in result.history] == [end.train_loss for end in whole.history]


@pytest.mark.usefixtures("_traced")
def test_memory_that_does_not_suffice_is_not_taken_for_a_compiler() -> None:
    state, told = begin(True), list[Event]()
    compiled = state.forward.model

    def limited(images: Tensor) -> Any:
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compiled(images)

    state.forward = replace(state.forward, model=limited)
    fit(state, report=told.append)
    assert state.accumulate == 2
    assert [event.message for event in told if isinstance(event, Note)] == [
        "out of memory: the items of a step pass in 2 parts from now on"
    ]
    assert state.forward.plain is not None  # it is still the compiled one that is called


def test_where_it_cannot_be_compiled_training_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first forward has drawn random numbers and moved statistics: both are put back."""

    def broken(graph: Any, _inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            graph(*args)
            raise RuntimeError("no compiler in sight\nand more")

        return run

    monkeypatch.setattr(compiling, "BACKEND", broken)
    told: list[Event] = []
    state = begin(True)
    result, expected = fit(state, report=told.append), fit(begin(False))
    [note] = [event for event in told if isinstance(event, Note)]
    assert note.level == "warning"
    assert note.message.startswith("the network could not be compiled, training goes on without: ")
    assert "no compiler in sight" in note.message
    assert "and more" not in note.message
    for name, tensor in expected.best_state.items():
        assert torch.equal(result.best_state[name], tensor), name


def test_a_fault_of_the_network_itself_is_still_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    state, told = begin(True), list[Event]()

    def broken(_layer: nn.Module, _images: Any) -> None:
        raise LookupError("a layer of the network's own is broken")

    state.model.register_forward_pre_hook(broken)
    with pytest.raises(LookupError, match="a layer of the network's own is broken"):
        fit(state, report=told.append)
