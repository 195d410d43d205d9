"""The items of a step may pass in parts: the same step, up to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe, TrainingStopped
from zoo.events import Event, Note, Report, silent
from zoo.training.batches import Batch, FeatureBatches, parts_of
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.phase_state import PhaseState, begin_phase, load_phase, state_to_save
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases

WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


class Memory(nn.Module):
    """A device on which no more than so many items fit."""

    def __init__(self, items: int, error: Exception | None = None) -> None:
        super().__init__()
        self.items = items
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and len(inputs) > self.items:
            raise self.error
        return inputs


def begin(
    fits: int = 10_000,
    *,
    norm: bool = False,
    dropout: float = 0.0,
    error: Exception | None = None,
    **options: Any,
) -> PhaseState:
    """A phase over 45 items of three classes, 8 a step (the last step has 5)."""
    generator = torch.Generator().manual_seed(0)
    items, labels = torch.randn(45, 6, generator=generator), torch.randint(3, (45,), generator=generator)
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(6, 16),
        nn.BatchNorm1d(16) if norm else nn.Tanh(),
        nn.Dropout(dropout),
        Memory(fits, error),
        nn.Linear(16, 3),
    )
    given = {"epochs": 0, "tune_epochs": 4, "unfreeze": 1, "batch_size": 8, "tune_lr": 0.05, **options}
    recipe = resolve(Recipe(**given), IMAGES)
    [phase] = phases(recipe)
    return begin_phase(
        model,
        FeatureBatches(items, labels, 8, seed=0),
        FeatureBatches(items, labels, 45),
        recipe=recipe,
        phase=phase,
        machine=Machine(torch.device("cpu")),
        class_weights=WEIGHTS,
        classes=("a", "b", "c"),
    )


def train(state: PhaseState, report: Report = silent) -> tuple[FitResult, dict[str, Tensor]]:
    result = fit(state, report=report)
    return result, result.best_state


@pytest.mark.parametrize("parts", [2, 3, 8, 20])
def test_a_step_in_parts_is_the_same_step(parts: int) -> None:
    """Classes weigh differently, parts are uneven, and the penalties count once."""
    options = {"l1": 0.01, "clip_norm": 0.5, "strategy": "l2-sp"}
    whole, expected = train(begin(**options))
    found, weights = train(begin(accumulate=parts, **options))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
    for end, other in zip(whole.history, found.history, strict=True):
        assert other.train_loss == pytest.approx(end.train_loss, rel=1e-5)
        assert (other.lr, other.epoch) == (end.lr, end.epoch)


@pytest.mark.parametrize(("fits", "parts"), [(4, 2), (3, 4), (1, 8)])
def test_out_of_memory_halves_what_passes_at_once_and_repeats_the_step(fits: int, parts: int) -> None:
    told: list[Event] = []
    state = begin(fits, dropout=0.4)
    _, weights = train(state, told.append)
    _, expected = train(begin(dropout=0.4, accumulate=parts))
    assert state.accumulate == parts
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name
    notes = [event for event in told if isinstance(event, Note)]
    assert [note.hint for note in notes] == [
        f"To begin so: --accumulate {count}" for count in (2, 4, 8) if count <= parts
    ]
    assert "pass in 2 parts from now on" in notes[0].message


def test_batch_norms_count_a_repeated_step_once() -> None:
    state = begin(4, norm=True)
    _, weights = train(state)
    _, expected = train(begin(norm=True, accumulate=2))
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


def test_what_was_learned_about_the_memory_is_resumed() -> None:
    state, saved = begin(4, dropout=0.4), []
    fit(state, after_epoch=lambda state: saved.append(state_to_save(state)))
    again = load_phase(begin(4, dropout=0.4), saved[1])
    assert again.accumulate == 2
    result = fit(again)
    for name, tensor in state.best.items():
        assert torch.equal(result.best_state[name], tensor), name


@pytest.mark.parametrize("error", [None, MemoryError(), RuntimeError("std::bad_alloc")])
def test_it_ends_where_single_items_do_not_fit(error: Exception | None) -> None:
    with pytest.raises(TrainingStopped, match="out of memory") as stopped:
        train(begin(0, error=error))
    assert stopped.value.hint == "Try a smaller model, or --precision bf16."


def test_a_batch_norm_is_not_given_single_items() -> None:
    with pytest.raises(InvalidRecipe, match="a batch of 1") as refused:
        begin(norm=True, accumulate=4)
    assert "--accumulate" in str(refused.value.hint)
    with pytest.raises(TrainingStopped, match="out of memory"):
        train(begin(1, norm=True))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_are_every_item_once_in_order(count: int) -> None:
    inputs = (torch.arange(10).reshape(5, 2), torch.arange(5))
    batch = Batch(inputs, torch.arange(5), 5)
    parts = [*parts_of(batch, count)]
    assert sum(part.count for part in parts) == 5
    assert len(parts) == min(count, 5)
    assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), inputs[0])
    assert len([*parts_of(batch, count, keep_empty=True)]) == count


def test_validation_passes_in_halves_where_memory_does_not_hold_a_batch() -> None:
    class Narrow(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) > 12:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    torch.manual_seed(0)
    narrow, items, labels = Narrow(6, 3), torch.randn(45, 6), torch.randint(3, (45,))
    plain = nn.Linear(6, 3)
    plain.load_state_dict(narrow.state_dict())
    machine = Machine(torch.device("cpu"))
    found = evaluate(narrow, FeatureBatches(items, labels, 45), machine=machine, keep_outputs=True)
    expected = evaluate(plain, FeatureBatches(items, labels, 45), machine=machine, keep_outputs=True)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.metrics == expected.metrics
    assert found.outputs is not None
    assert expected.outputs is not None
    torch.testing.assert_close(found.outputs, expected.outputs)
