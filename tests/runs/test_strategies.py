"""A strategy is one row: a run trains its phases in order, whatever they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from zoo.events import EpochEnd, Event
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store
from zoo.training.recipe import Resolved
from zoo.training.strategies import STRATEGIES, Phase, head_then_tune


def test_a_strategy_with_phases_of_its_own_names_trains_them_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "digits")

    def gradual(recipe: Resolved) -> tuple[Phase, ...]:
        head, tune = head_then_tune(recipe)
        return head, replace(tune, name="last stage", unfreeze=1), replace(tune, name="all stages")

    monkeypatch.setitem(STRATEGIES, "head-then-tune", gradual)
    events: list[Event] = []
    result = finetune_model(
        "digits",
        tmp_path / "digits",
        out=tmp_path / "run",
        store=store,
        report=events.append,
        epochs=2,
        unfreeze="all",
        tune_epochs=1,
        device="cpu",
    )
    assert result.frozen_changed == 0
    ends = [event for event in events if isinstance(event, EpochEnd)]
    assert [(end.phase, end.epoch) for end in ends] == [
        ("head", 1), ("head", 2), ("last stage", 1), ("all stages", 1),
    ]  # fmt: skip
    assert ends[-1].val_loss < ends[0].val_loss
