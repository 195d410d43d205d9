"""Heads that learn from features in a file, because they are more than a run may hold in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kits import Kit, on_tiny
from support.weights import assert_equal_weights

import zoo
from zoo.errors import Interrupted
from zoo.events import Event, Note
from zoo.runs.record import RunResult
from zoo.store.store import Store

Finetune = Callable[..., RunResult]
QUICK: dict[str, Any] = {"epochs": 4, "patience": 0, "batch_size": 4}
LITTLE = "1kB"


def note_in(told: list[Event]) -> Note | None:
    notes = [event for event in told if isinstance(event, Note) and "read from a file" in event.message]
    return notes[0] if notes else None


def test_the_main_job_learns_as_much(
    kit: Kit,
    trained: RunResult,
    finetune: Finetune,
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Event] = []
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "300kB" if kit.name == "real" else "2kB")
    result = finetune(out=tmp_path / "streamed", report=told.append)
    assert (note := note_in(told)) is not None
    assert "kB at a time, and shuffled in blocks" in note.message
    assert "ZOO_FEATURES_MEMORY=" in (note.hint or "")
    assert abs(result.metrics["accuracy"] - trained.metrics["accuracy"]) <= 0.02
    assert result.frozen_changed == 0
    monkeypatch.setenv("ZOO_REGISTRY", str(kit.registry_file))
    asked = zoo.load_run(tmp_path / "streamed", store=shared_store).evaluate(kit.images)
    assert asked.metrics["accuracy"] == pytest.approx(result.metrics["accuracy"], abs=1e-6)


@on_tiny
def test_what_fits_is_held_and_gives_what_it_always_gave(
    few: Path, finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(folder=few, out=tmp_path / "one", **QUICK)
    told: list[Event] = []
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1GB")
    finetune(folder=few, out=tmp_path / "two", report=told.append, **QUICK)
    assert note_in(told) is None
    assert_equal_weights(tmp_path / "one", tmp_path / "two")


@on_tiny
@pytest.mark.fault("T7")
@pytest.mark.parametrize("options", [{}, {"views": 3}, {"sampling": "balanced"}])
def test_a_run_that_stopped_goes_on_in_the_order_it_began_with(
    options: dict[str, Any],
    few: Path,
    finetune: Finetune,
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", LITTLE)
    told: list[Event] = []
    finetune(folder=few, out=tmp_path / "whole", report=told.append, **QUICK, **options)
    assert note_in(told) is not None
    wishes = itertools.chain([False] * 6, itertools.repeat(True))
    with pytest.raises(Interrupted):
        finetune(
            folder=few,
            out=tmp_path / "cut",
            stop_requested=wishes.__next__,
            checkpoint_every=1,
            **QUICK,
            **options,
        )
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1GB")  # what it began with counts
    zoo.resume(tmp_path / "cut", store=shared_store)
    assert_equal_weights(tmp_path / "whole", tmp_path / "cut")
