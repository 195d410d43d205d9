"""Runs held against each other on the same items, and the table of runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.commands import Call
from support.kits import Kit, on_tiny

from zoo.answers.comparing import compare, paired_difference
from zoo.errors import DatasetError, UsageError
from zoo.events import silent
from zoo.runs.listing import list_run_summaries
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store

Finetune = Callable[..., RunResult]


def test_the_difference_is_that_of_the_accuracies_and_its_interval_covers_it() -> None:
    chance = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        one = chance.random(80) < 0.8
        other = np.where(chance.random(80) < 0.3, chance.random(80) < 0.9, one)
        true = 0.3 * (0.9 - 0.8)
        difference, (low, high) = paired_difference(one, other)
        assert difference == pytest.approx(other.mean() - one.mean())
        covered += low <= true <= high
    assert covered >= 0.92 * 400


@on_tiny
def test_two_runs_are_measured_on_what_neither_was_trained_on(
    kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path, call: Call
) -> None:
    whole = tmp_path / "whole"  # without parts: each seed draws other validation items
    for part in ("train", "val"):
        for name in kit.classes:
            (whole / name).mkdir(parents=True, exist_ok=True)
            for photo in sorted((kit.images / part / name).iterdir()):
                shutil.copy(photo, whole / name / f"{part}-{photo.name}")
    runs = [
        finetune(folder=whole, out=tmp_path / f"run-{seed}", seed=seed, val_fraction=0.5, epochs=epochs).run
        for seed, epochs in ((0, 1), (1, 20))
    ]
    found = compare(runs, whole, store=shared_store, report=silent)
    val = [set(load_run(run).record.data["split"]["val"]) for run in runs]
    assert found.items == len(val[0] & val[1])
    assert found.items < len(val[0])
    one, other = found.runs
    assert found.differences[0].difference == pytest.approx(other.score - one.score)
    wrong = {run.name: 1 - run.score for run in found.runs}
    assert len(found.changed) <= round(sum(wrong.values()) * found.items)
    for change in found.changed:
        assert len({label for label, _ in change.answers.values()}) == 2
    page = tmp_path / "page.html"
    done = call("compare", *runs, whole, "--page", page, "--registry", kit.registry_file)
    assert done.code == 0
    assert f"{found.items} items that none of the runs was trained on" in done.out
    assert "<script" not in page.read_text("utf-8")
    assert page.read_text("utf-8").count("<figure") == len(found.changed)
    gone = tmp_path / "gone"
    for name in val[0] ^ val[1]:
        (gone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / name, gone / name)
    with pytest.raises(DatasetError, match="nothing is left"):
        compare(runs, gone, store=shared_store, report=silent)


@on_tiny
def test_a_run_equals_itself(kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(trained.run, twin)
    found = compare([trained.run, twin], kit.images, store=shared_store, report=silent)
    assert found.differences[0].difference == 0
    assert found.differences[0].p == 1
    assert not found.differences[0].is_real
    assert not found.changed
    assert found.runs[0].score == pytest.approx(trained.metrics["accuracy"])


@on_tiny
def test_numbers_are_compared_by_resampling(
    kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    rows = ["path,label,split"]
    for part in ("train", "val"):
        for number, name in enumerate(kit.classes):
            rows += [
                f"{photo},{number + 0.5},{part}" for photo in sorted((kit.images / part / name).iterdir())
            ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n", "utf-8")
    runs = [
        finetune(folder=table, out=tmp_path / f"run-{epochs}", task="regression", epochs=epochs).run
        for epochs in (1, 40)
    ]
    (difference,) = compare(runs, table, store=shared_store, report=silent).differences
    assert difference.p is None
    assert difference.is_real
    assert difference.interval[0] <= difference.difference <= difference.interval[1]


@on_tiny
def test_what_cannot_be_compared_is_refused(
    kit: Kit, trained: RunResult, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="nothing to be compared with"):
        compare([trained.run], kit.images, store=shared_store, report=silent)
    other = tmp_path / "other"
    shutil.copytree(kit.images, other)
    for part in ("train", "val"):
        (other / part / kit.classes[0]).rename(other / part / "wasps")
    run = finetune(folder=other, epochs=1).run
    with pytest.raises(UsageError, match="same classes"):
        compare([trained.run, run], kit.images, store=shared_store, report=silent)


@on_tiny
def test_runs_are_listed_with_those_that_are_damaged(
    kit: Kit, trained: RunResult, call: Call, tmp_path: Path
) -> None:
    shutil.copytree(trained.run, tmp_path / "runs" / "good")
    shutil.copytree(trained.run, tmp_path / "runs" / "deep" / "damaged")
    (tmp_path / "runs" / "deep" / "damaged" / "run.json").write_text("{")
    (tmp_path / "runs" / "new.partial").mkdir()
    (tmp_path / "runs" / "new.partial" / "plan.json").write_text("{}")
    found = {row.path.name: row for row in list_run_summaries(tmp_path / "runs", "score")}
    assert next(iter(found)) == "good"
    assert found["good"].score == trained.metrics["accuracy"]
    assert found["damaged"].error
    assert found["new"].unfinished
    done = call("runs", tmp_path / "runs")
    assert done.code == 0
    assert "unfinished" in done.out
    assert "damaged" in done.out
    facts = call("runs", tmp_path / "runs", "--json").json
    assert {row["state"] for row in facts} == {"finished", "damaged", "unfinished"}
    assert call("runs", tmp_path / "nowhere").code == 2
    (tmp_path / "empty").mkdir()
    assert "no runs in" in call("runs", tmp_path / "empty").out
