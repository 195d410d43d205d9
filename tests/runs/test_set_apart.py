"""`--calibrate 0.2`: items that neither training nor the choice of the epoch sees calibrate the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Call
from support.kits import Kit, on_tiny

import zoo
from zoo.data.dataset import Split
from zoo.errors import Interrupted
from zoo.events import EpochEnd, Event, Note
from zoo.runs.calibration import Calibration, read_calibration
from zoo.runs.record import RunResult, read_record
from zoo.store.store import Store


def kept(run: Path) -> tuple[Split, Calibration]:
    """The split of a run, and what it was calibrated with."""
    record = read_record(run)
    found = read_calibration(run, record)
    assert found is not None
    return Split.from_facts(record.data["split"]), found


@on_tiny
def test_what_is_set_apart_is_in_no_other_part(kit: Kit, ask: Call, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = ask("finetune", kit.net, kit.images, "--calibrate", 0.4, "--epochs", 5, "--out", run)
    assert said.code == 0, said.err
    split, calibration = kept(run)
    apart = set(calibration.contents)
    assert not apart & {*split.contents, *split.val_contents}
    items = read_record(run).data["items"]
    whole = sum(1 for path in (kit.images / "train").rglob("*") if path.is_file())
    assert items["train"] + len(apart) == pytest.approx(whole, abs=2)  # copies count once
    assert len(apart) == pytest.approx(0.4 * whole, abs=2)
    assert f"{calibration.items:,} images set apart to calibrate the run with" in said.err
    assert "calibrated with" in said.err
    [row] = ask("predict", run, kit.val(kit.classes[0])[0], "--sets", 0.9, "--json").json
    assert row["prediction_set"]


@on_tiny
def test_a_copy_of_what_is_set_apart_is_set_apart_too(
    kit: Kit, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    folder = tmp_path / "twice"
    for name in kit.classes:
        (folder / name).mkdir(parents=True)
        for photo in sorted((kit.images / "train" / name).iterdir())[:20]:
            for number in range(2):
                shutil.copy(photo, folder / name / f"{number}-{photo.name}")
    run = tmp_path / "run"
    finetune(folder=folder, out=run, calibrate=0.3, epochs=2)
    split, calibration = kept(run)
    assert calibration.items == len(calibration.contents) > 5
    assert not {*calibration.contents} & {*split.contents, *split.val_contents}


@on_tiny
def test_an_interrupted_run_sets_the_same_apart(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"calibrate": 0.3, "epochs": 6, "patience": 0, "checkpoint_every": 1}
    finetune(out=tmp_path / "whole", **options)
    ended: list[Event] = []
    with pytest.raises(Interrupted):
        finetune(
            out=tmp_path / "run",
            report=ended.append,
            stop_requested=lambda: sum(isinstance(event, EpochEnd) for event in ended) >= 3,
            **options,
        )
    zoo.resume(tmp_path / "run", store=shared_store)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert (run / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()
    (expected_split, expected), (split, found) = kept(whole), kept(run)
    assert split == expected_split
    assert (found.contents, found.temperature, found.scores) == (
        expected.contents,
        expected.temperature,
        expected.scores,
    )


@on_tiny
def test_too_few_are_a_warning_with_what_they_give(
    kit: Kit, few: Path, finetune: Callable[..., RunResult]
) -> None:
    heard: list[Event] = []
    finetune(folder=few, calibrate=0.25, epochs=1, report=heard.append)
    [note] = [event for event in heard if isinstance(event, Note) and "set apart" in event.message]
    assert note.level == "warning"
    assert (
        note.message == "4 images set apart to calibrate the run with: sets of at most 0.8, for 0.95 needs 19"
    )


@on_tiny
@pytest.mark.parametrize("share", [0, 1, 20, -0.1])
def test_a_share_that_is_none_is_refused(kit: Kit, ask: Call, tmp_path: Path, share: float) -> None:
    said = ask("finetune", kit.net, kit.images, "--calibrate", share, "--out", tmp_path / "run")
    assert said.code == 2
    assert f"calibrate must lie between 0 and 1, not {share:g}" in said.err
    assert not list(tmp_path.glob("run*"))


@on_tiny
def test_several_classes_of_an_item_cannot_be_calibrated(kit: Kit, ask: Call, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    photos = kit.val("eight")[:8]
    table.write_text("path,tags\n" + "".join(f"{photo},a|b\n{photo},a\n" for photo in photos))
    options = ("--task", "multi-label", "--label-column", "tags", "--calibrate", 0.2)
    said = ask("finetune", kit.net, table, *options, "--out", tmp_path / "run")
    assert said.code == 2
    assert "can be calibrated" in said.err


@on_tiny
def test_numbers_and_texts_are_calibrated_as_well(kit: Kit, ask: Call, tmp_path: Path) -> None:
    run = tmp_path / "texts"
    said = ask("finetune", kit.words, kit.texts, "--calibrate", 0.2, "--epochs", 2, "--out", run)
    assert said.code == 0, said.err
    split, calibration = kept(run)
    assert not {*calibration.contents} & {*split.contents, *split.val_contents}
    table, photos = tmp_path / "t.csv", [*kit.val("eight"), *kit.val("five")]
    table.write_text("path,size\n" + "".join(f"{photo},{n % 7}\n" for n, photo in enumerate(photos)))
    options = ("--task", "regression", "--label-column", "size", "--calibrate", 0.4, "--epochs", 2)
    said = ask("finetune", kit.net, table, *options, "--out", tmp_path / "numbers")
    assert said.code == 0, said.err
    assert set(
        json.loads((tmp_path / "numbers" / "calibration.json").read_text())["calibration"]["errors"]
    ) == {"size"}
