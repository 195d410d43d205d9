"""A time is read with its unit, and training ends when it is over, with the best so far."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.commands import Call

from zoo.errors import UsageError
from zoo.events import EpochEnd, Event, Note
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.making.resuming import resume
from zoo.runs.record import read_record
from zoo.store.store import Store
from zoo.training.time_limit import parse_time, time_text


@pytest.mark.parametrize("given", ["0", "0s", "-5m", "abc", "", "30", "5x", "1m2h", "1.2.3s", "nan", "inf h"])
def test_what_is_no_time_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be .*\nLike this: 90s, 30m"):
        parse_time(given)


@pytest.mark.parametrize("given", [0, -1.0, math.nan, math.inf, True, None])
def test_a_number_of_seconds_must_be_above_0(given: Any) -> None:
    with pytest.raises(UsageError):
        parse_time(given)


@pytest.mark.parametrize(("seconds", "text"), [(1, "1s"), (61, "1m1s"), (86400, "24h"), (5400, "1h30m")])
def test_a_time_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
    assert parse_time(text) == seconds
    assert parse_time(f" {text.upper()} ") == seconds


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Photographs of digits, and features that are kept."""
    write_digits(tmp_path / "digits")
    return tmp_path / "digits"


ENDLESS: dict[str, Any] = {"epochs": 100_000, "patience": 0, "device": "cpu"}


def test_training_ends_in_time_and_goes_on_bit_for_bit(digits: Path, store: Store, tmp_path: Path) -> None:
    out, told = tmp_path / "run", list[Event]()
    began = time.monotonic()
    result = finetune_model(
        "digits", digits, out=out, store=store, report=told.append, time_limit="1s", **ENDLESS
    )
    assert time.monotonic() - began < 30
    assert result.out_of_time
    assert not result.stopped_early
    assert 1 < result.epochs < 100_000
    notes = [event for event in told if isinstance(event, Note)]
    assert notes[-1].message == f"the time is up: epoch {result.best_epoch} was the best of {result.epochs}"
    assert notes[-1].hint == f"Go on: zoo finetune --resume {out}"
    assert any(note.message.startswith("training ends after 1s, at ") for note in notes)
    record = read_record(out)
    assert (record.result.time_limit, record.result.out_of_time) == (1.0, True)
    best = min(end.val_loss for end in told if isinstance(end, EpochEnd))
    assert result.val_loss == best

    with pytest.raises(UsageError, match="cannot be 'abc'"):
        resume(out, store=store, time_limit="abc")
    second = resume(out, store=store, time_limit=0.5)
    assert second.out_of_time
    assert second.epochs > result.epochs
    epochs = second.epochs + 2
    final = resume(out, store=store, force=True, epochs=epochs)  # without a limit: to its end
    assert (final.epochs, final.out_of_time, final.time_limit) == (epochs, False, None)
    assert not (tmp_path / "run.partial").exists()
    whole = tmp_path / "whole"
    finetune_model("digits", digits, out=whole, store=store, **ENDLESS | {"epochs": epochs})
    kept, straight = (load_file(folder / "adapter.safetensors") for folder in (out, whole))
    assert all(torch.equal(kept[name], straight[name]) for name in straight)


def test_a_first_epoch_that_is_not_finished_is_kept_as_it_is(
    digits: Path, store: Store, tmp_path: Path
) -> None:
    told: list[Event] = []
    result = finetune_model(
        "digits",
        digits,
        out=tmp_path / "run",
        store=store,
        report=told.append,
        time_limit=1e-9,
        batch_size=1,
        **ENDLESS,
    )
    assert (result.epochs, result.best_epoch, result.out_of_time) == (1, 1, True)
    [end] = [event for event in told if isinstance(event, EpochEnd)]
    assert math.isfinite(end.train_loss)
    assert end.val_loss == result.val_loss
    warning, last = [event for event in told if isinstance(event, Note)][-2:]
    assert "before one epoch was finished" in warning.message
    assert last.hint == f"Go on: zoo finetune --resume {tmp_path}/run"
    assert list((tmp_path / "run.partial").glob("*.safetensors"))  # after the step that was finished


def test_the_time_of_all_phases_is_one_and_the_head_is_kept(
    digits: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over in the first step of the second phase."""
    from zoo.training.time_limit import TimeLimit

    told: list[Event] = []
    monkeypatch.setattr(TimeLimit, "is_up", lambda _: sum(isinstance(e, EpochEnd) for e in told) >= 2)
    options: dict[str, Any] = {"epochs": 2, "unfreeze": 1, "device": "cpu", "time_limit": "1h"}
    result = finetune_model(
        "digits", digits, out=tmp_path / "run", store=store, report=told.append, **options
    )
    assert (result.epochs, result.out_of_time, result.frozen_changed) == (2, True, 0)
    final = resume(tmp_path / "run", store=store)
    assert final.epochs > 2
    assert not final.out_of_time


def test_who_asks_to_stop_is_interrupted_also_within_a_time(
    train_on: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.training import loop
    from zoo.training.recipe import Recipe

    _, result = train_on(Recipe(epochs=5), stop_requested=lambda: True, limit=loop.TimeLimit(3600))
    assert (result.interrupted, result.out_of_time) == (True, False)


def test_the_command_says_it_and_ends_well(call: Call, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--epochs", "100000", "--patience", "0", "--time", "0.5s", "--device", "cpu")
    said = call("finetune", "digits", digits, "--out", out, *options)
    assert said.code == 0
    assert "training ends after 0.5s, at " in said.err
    assert "the time is up: epoch " in said.err
    assert f"Go on: zoo finetune --resume {out}" in " ".join(said.err.split())
    assert ", the time was up), " in said.out
    assert call("predict", out, next(digits.rglob("*.png"))).code == 0
    said = call("finetune", "--resume", out, "--time", "0.2s", "--json")
    assert (said.code, json.loads(said.out)["out_of_time"]) == (0, True)


@pytest.mark.parametrize("given", ["0", "-5m", "abc"])
def test_a_wrong_time_is_refused_before_anything_else(call: Call, tmp_path: Path, given: str) -> None:
    said = call("finetune", "digits", tmp_path, "--out", tmp_path / "run", "--time", given)
    assert said.code == 2
    assert f"the time for training cannot be '{given}'" in said.err
    assert not (tmp_path / "run").exists()
