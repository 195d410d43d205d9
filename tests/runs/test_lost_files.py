"""Photographs that are gone while a run trains: it ends with what it has, and says what is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.kits import on_tiny

import zoo
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item, Split
from zoo.errors import TrainingStopped
from zoo.events import EpochEnd, Event, Note
from zoo.runs.record import RunResult, read_record
from zoo.store.store import Store
from zoo.training.batches import ImageBatches
from zoo.training.faults import check_read

Finetune = Callable[..., RunResult]
TUNED: dict[str, Any] = {
    "unfreeze": 1,
    "epochs": 1,
    "tune_epochs": 3,
    "tune_patience": 0,
    "batch_size": 4,
}


def away(folder: Path, part: str, count: int, told: list[Event]) -> Callable[[Event], None]:
    """Takes so many photographs of a part away once an epoch of tuning is over; notes what is told."""

    def report(event: Event) -> None:
        told.append(event)
        if isinstance(event, EpochEnd) and event.phase == "tune" and event.epoch == 1:
            for photo in sorted((folder / part).rglob("*.*"))[:count]:
                photo.rename(photo.with_suffix(".away"))

    return report


def bring_back(folder: Path, suffix: str) -> None:
    """The photographs at their places again."""
    for photo in folder.rglob("*.away"):
        photo.rename(photo.with_suffix(suffix))


@on_tiny
@pytest.mark.parametrize("count", [2, 16])
def test_training_does_not_go_on_without_its_photographs(
    count: int,
    few: Path,
    finetune: Finetune,
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "0")
    [suffix] = {photo.suffix for photo in (few / "train").rglob("*.*")}
    whole = finetune(folder=few, out=tmp_path / "whole", **TUNED)
    told: list[Event] = []
    with pytest.raises(
        TrainingStopped, match=rf"{count} of 16 training images can no longer be read: "
    ) as stop:
        finetune(folder=few, report=away(few, "train", count, told), **TUNED)
    assert stop.value.hint is not None
    assert stop.value.hint.startswith("Are they still where they were? Epoch ")
    assert [event.epoch for event in told if isinstance(event, EpochEnd) and event.phase == "tune"] == [1]
    named = [event.message for event in told if isinstance(event, Note) and "passed over" in event.message]
    assert len(named) == min(count, 6)
    bring_back(few, suffix)
    again = zoo.resume(tmp_path / "run", store=shared_store)
    assert again.val_loss == whole.val_loss


@on_tiny
def test_a_single_one_is_passed_over_and_named(few: Path, finetune: Finetune) -> None:
    told: list[Event] = []
    result = finetune(folder=few, report=away(few, "train", 1, told), **TUNED)
    assert result.epochs == 4
    [named] = [event.message for event in told if isinstance(event, Note) and "passed over" in event.message]
    assert named.endswith("does not exist")


@on_tiny
@pytest.mark.parametrize("added", [b"\0", b""])
def test_what_took_the_place_of_a_photograph_is_named_and_counts_as_seen(
    few: Path, finetune: Finetune, tmp_path: Path, added: bytes
) -> None:
    told: list[Event] = []
    place = sorted((few / "train").rglob("*.*"))[0]
    before = place.read_bytes()

    def report(event: Event) -> None:
        told.append(event)
        if isinstance(event, EpochEnd) and event.phase == "tune" and event.epoch == 1:
            place.unlink()
            place.write_bytes(before + added)

    finetune(folder=few, report=report, **TUNED)
    warned = [event.message for event in told if isinstance(event, Note) and event.level == "warning"]
    named = [message for message in warned if "hold something else" in message]
    assert [place.name in message for message in named] == [True] * bool(added)
    contents = Split.from_facts(read_record(tmp_path / "run").data["split"]).contents
    for seen in (before, before + added):
        assert hashlib.sha256(seen).hexdigest()[:16] in contents


@on_tiny
def test_no_epoch_is_measured_without_its_photographs(
    few: Path, finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1kB")  # nothing of them is kept
    with pytest.raises(TrainingStopped, match=r"12 of 12 validation images can no longer be read: "):
        finetune(folder=few, report=away(few, "val", 12, []), **TUNED)


def test_a_class_that_is_gone_ends_training_however_small_it_is(tmp_path: Path) -> None:
    items = [Item(tmp_path / f"{at}.png", int(at >= 58)) for at in range(60)]
    for item in items:
        Image.new("RGB", (12, 12), (item.label * 90, 40, 60)).save(item.path)
    look = ImageInput(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    source = ImageBatches(items, look, 16, seed=0)
    check_read(source, "training", sum(batch.count for batch in source.epoch(1)))
    items[58].path.unlink()
    check_read(source, "training", sum(batch.count for batch in source.epoch(2)))
    items[59].path.unlink()
    passed = sum(batch.count for batch in source.epoch(3))
    with pytest.raises(
        TrainingStopped, match="none of the 2 training images of one class can be read any more"
    ):
        check_read(source, "training", passed)
