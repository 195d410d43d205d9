"""Runs whose items have several classes, or numbers: from the features to the loaded run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from zoo.data.dataset import Dataset, Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.errors import IntegrityError
from zoo.events import EpochEnd, Event
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import Plan
from zoo.runs.making.trainer import train_run
from zoo.runs.record import RunResult, read_record
from zoo.runs.run import Run, load_run
from zoo.runs.using.evaluation import Evaluation, measure
from zoo.store.names import default_registry
from zoo.store.store import Store
from zoo.training.multi_label import MULTI_LABEL
from zoo.training.recipe import Recipe, resolve
from zoo.training.regression import REGRESSION
from zoo.training.task import Task
from zoo.training.tasks import TASKS

DIGITS = {"five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
TARGETS: dict[str, Callable[[int], Any]] = {
    "regression": lambda digit: float(digit),
    "multi-label": lambda digit: (0,) * (digit % 2) + (1,) * (digit > 7),
}


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    write_digits(tmp_path / "digits")
    return scan_dataset(tmp_path / "digits")


def relabel(dataset: Dataset, task: Task, names: tuple[str, ...]) -> Dataset:
    """The same images with targets of another task, made of the digit that each shows."""

    def items(part: tuple[Item, ...]) -> tuple[Item, ...]:
        make = TARGETS[task.name]
        return tuple(Item(item.path, make(DIGITS[dataset.classes[item.label]])) for item in part)

    return replace(dataset, classes=names, train=items(dataset.train), val=items(dataset.val), task=task.name)


@pytest.mark.parametrize(
    ("task", "names", "monitor"),
    [(REGRESSION, ("digit",), "mae"), (MULTI_LABEL, ("odd", "above seven"), "f1")],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_row_trains_is_saved_loaded_and_measured(
    task: Task,
    names: tuple[str, ...],
    monitor: str,
    digits: Dataset,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = relabel(digits, task, names)
    events: list[Event] = []
    result = train(dataset, task, monitor, store, tmp_path / "run", events.append)

    assert result.task == task.name
    assert list(result.metrics) == list(task.metrics)
    ends = [event for event in events if isinstance(event, EpochEnd)]
    best = ends[result.best_epoch - 1]
    assert best.metrics == result.metrics
    assert task.is_better(best.metrics[task.headline], ends[0].metrics[task.headline])
    assert [line["metrics"] for line in lines(tmp_path / "run")] == [end.metrics for end in ends]

    run = load_run(tmp_path / "run", store=store)
    found = evaluate(run, dataset)
    assert found.metrics == pytest.approx(result.metrics, abs=1e-3)
    monkeypatch.delitem(TASKS, task.name)
    with pytest.raises(IntegrityError, match=f"task is '{task.name}', and this zoo knows single-label"):
        _ = read_record(tmp_path / "run").task


def train(
    dataset: Dataset, task: Task, monitor: str, store: Store, out: Path, report: Callable[[Event], None]
) -> RunResult:
    """A run of both phases."""
    recipe = resolve(Recipe(epochs=30, tune_epochs=2, unfreeze=1, augment="none", device="cpu"), IMAGES)
    plan = Plan(
        default_registry(store)["digits"],
        dataset,
        msgspec.structs.replace(recipe, monitor=monitor),
        out,
        time.perf_counter(),
        task=task,
    )
    return train_run(plan, store=store, report=report)


def evaluate(run: Run, dataset: Dataset) -> Evaluation:
    """The figures of the loaded run on the validation items."""
    from zoo.data.pixels.decoding import read_image
    from zoo.data.pixels.preprocessing import preprocess

    classifier = run.classifier
    pixels = torch.stack([preprocess(read_image(item.path), classifier.input) for item in dataset.val])
    with torch.inference_mode():
        outputs = classifier.network(pixels)
    targets = [item.target for item in dataset.val]
    return measure(classifier.task, outputs, targets, classifier.classes)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
