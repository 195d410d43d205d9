"""Runs held against each other on the same items: which is better, by how much, and more than by chance?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.answers.judged import Judged, judge_data
from zoo.choosing.picking.significance import LEVEL, compare_all
from zoo.data.dataset import Item, relative_name
from zoo.errors import DatasetError, UsageError
from zoo.events import Note, Report
from zoo.progress import usual_report
from zoo.runs.run import Run, load_run
from zoo.runs.using.evaluation import ClassEvaluation, Evaluation, measure
from zoo.training.single_label import SINGLE_LABEL

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.store.store import Store

_DRAWS = 300


@dataclass(frozen=True)
class ComparedRun:
    """A run on the items that all are measured on. score: the headline of the task; interval: of 95 %. bytes:
    of the run's own files; its backbone comes besides."""

    name: str
    run: Run
    evaluation: Evaluation
    score: float
    interval: tuple[float, float] | None
    bytes: int


@dataclass(frozen=True)
class Difference:
    """By how much `other` is above `one`, with its 95 % interval, on the same items. p: of items with one
    class each, the probability of such a difference, or a larger one, between equally good runs, corrected
    for how many pairs there are (McNemar 1947, Holm 1979); None for other tasks."""

    one: str
    other: str
    difference: float
    interval: tuple[float, float]
    p: float | None

    @property
    def is_real(self) -> bool:
        """Whether it is more than chance would bring about."""
        if self.p is not None:
            return self.p < LEVEL
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True)
class ChangedAnswer:
    """An item that the runs answer differently. label: its true class; answers: by run, with the
    probability."""

    item: Item
    path: str
    label: str
    answers: Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class Comparison:
    """Runs on the same items. metric: the figure that is compared. left_out: items that one of the runs was
    trained on, or that one could not read. changed: answers that differ, of items with one class each; those
    that one of the runs has right first."""

    metric: str
    items: int
    left_out: int
    runs: tuple[ComparedRun, ...]
    differences: tuple[Difference, ...]
    changed: tuple[ChangedAnswer, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "metric": self.metric,
            "items": self.items,
            "left_out": self.left_out,
            "runs": [
                {
                    "run": each.name,
                    "model": each.run.record.model["name"],
                    "license": each.run.record.entry.license,
                    "score": each.score,
                    "interval": each.interval,
                    "metrics": dict(each.evaluation.metrics),
                    "seconds": each.run.record.result.seconds,
                    "trained_parameters": each.run.record.result.trained_parameters,
                    "bytes": each.bytes,
                }
                for each in self.runs
            ],
            "differences": [
                {
                    "one": each.one,
                    "other": each.other,
                    "difference": each.difference,
                    "interval": each.interval,
                    "p": each.p,
                    "real": each.is_real,
                }
                for each in self.differences
            ],
            "changed": [
                {
                    "path": each.path,
                    "label": each.label,
                    "answers": {
                        name: {"label": label, "probability": chance}
                        for name, (label, chance) in each.answers.items()
                    },
                }
                for each in self.changed
            ],
        }


def compare(
    runs: Sequence[Run | str | Path],
    data: str | Path,
    *,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> Comparison:
    """Hold runs against each other on labelled items that none of them was trained on.

    Args:
        runs: Two or more runs, or their folders, with the same classes and task.
        data: The data of the runs, of which their common validation or test items are taken, or others.
        store: The store that has the weights; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        report: Called with every event; None as for `zoo.finetune_model`.

    Raises:
        UsageError: Fewer than two runs, or runs that cannot be compared: other classes, another task.
        DatasetError: The data cannot be read, or no item is left that none of the runs was trained on.
    """
    report = report or usual_report()
    opened = [run if isinstance(run, Run) else load_run(run, store=store, report=report) for run in runs]
    _check_comparable(opened)
    names = _short_names(opened)
    reading = {
        "path_column": path_column,
        "text_column": text_column,
        "label_column": label_column,
        "split_column": split_column,
    }
    judged = [
        judge_data(
            run.classifier, Path(data), store=run.store, device=device, report=_quiet(report), **reading
        )
        for run in opened
    ]
    common = _common_items(judged)
    if not common:
        raise DatasetError(
            "every item was trained on by one of the runs, or cannot be read: nothing is left to compare on",
            hint="Give items that none of them has seen.",
        )
    everything = {item.path for one in judged for item in one.items}
    classes = opened[0].classes
    aligned = {name: _aligned(one, common, classes) for name, one in zip(names, judged, strict=True)}
    task = opened[0].record.task
    items = [item for item in judged[0].items if item.path in common]
    rows = tuple(
        _measure(name, run, aligned[name], items, classes) for name, run in zip(names, opened, strict=True)
    )
    changed = _changed(aligned, items, judged[0].root, classes) if task is SINGLE_LABEL else ()
    return Comparison(
        task.headline,
        len(items),
        len(everything) - len(items),
        rows,
        _differences(aligned, items, task, classes),
        changed,
    )


def _quiet(report: Report) -> Report:
    """Without the notes that every run would repeat."""

    def pass_on(event: Any) -> None:
        if not isinstance(event, Note) or event.level == "warning":
            report(event)

    return pass_on


def _check_comparable(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise UsageError("one run has nothing to be compared with", hint="Name two or more.")
    first = runs[0]
    for run in runs[1:]:
        if run.record.result.task != first.record.result.task:
            raise UsageError(
                f"{first.path} has learned {first.record.result.task}, "
                f"and {run.path} {run.record.result.task}",
                hint="Runs of one task can be compared.",
            )
        if run.record.kind is not first.record.kind:
            raise UsageError(
                f"{first.path} takes {first.record.kind.noun}s, and {run.path} {run.record.kind.noun}s"
            )
        if sorted(run.classes) != sorted(first.classes):
            other = sorted(set(run.classes) ^ set(first.classes))
            raise UsageError(
                f"{first.path} and {run.path} do not have the same classes: {', '.join(other[:5])}",
                hint="Runs that were trained on the same classes can be compared.",
            )


def _short_names(runs: Sequence[Run]) -> list[str]:
    """What each run is called: the name of its folder, or the whole path where two are equal; a run that is
    named again has a number behind it."""
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, again, strict=True)]


def _common_items(judged: Sequence[Judged]) -> set[Path]:
    """The items that every run was asked about: none of them was trained on these."""
    return set.intersection(*({item.path for item in one.items} for one in judged))


def _aligned(judged: Judged, common: set[Path], classes: Sequence[str]) -> Tensor:
    """(items, width) the outputs for the common items, with the classes in the given order."""
    import torch

    rows = [row for row, item in enumerate(judged.items) if item.path in common]
    order = [judged.classifier.classes.index(name) for name in classes]
    return judged.outputs[torch.tensor(rows)][:, torch.tensor(order)]


def _measure(
    name: str, run: Run, outputs: Tensor, items: Sequence[Item], classes: tuple[str, ...]
) -> ComparedRun:
    """The figures of a run. outputs: (items, width), in the order of the classes."""
    task, own = run.record.task, run.record.thresholds
    thresholds = None if own is None else [own[run.classes.index(label)] for label in classes]
    found = measure(task, outputs, [item.target for item in items], classes, thresholds=thresholds)
    interval = (
        (found.accuracy_low, found.accuracy_high)
        if isinstance(found, ClassEvaluation)
        else getattr(found, "intervals", {}).get(task.headline)
    )
    size = sum(file.stat().st_size for file in run.path.iterdir() if file.is_file())
    return ComparedRun(name, run, found, found.metrics[task.headline], interval, size)


def _differences(
    aligned: Mapping[str, Tensor], items: Sequence[Item], task: Any, classes: Sequence[str]
) -> tuple[Difference, ...]:
    """Every pair, in the order given."""
    if task is SINGLE_LABEL:
        labels = np.array([item.label for item in items])
        right = {name: outputs.argmax(1).numpy() == labels for name, outputs in aligned.items()}
        p_values = compare_all(right)
        return tuple(
            Difference(one, other, *paired_difference(right[one], right[other]), p_values[one, other])
            for one, other in combinations(aligned, 2)
        )
    targets = task.encode([item.target for item in items], task.width(classes))
    metric = task.metrics[task.headline]
    return tuple(
        Difference(one, other, *_resampled(metric, aligned[one], aligned[other], targets), None)
        for one, other in combinations(aligned, 2)
    )


def paired_difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """(accuracy of `other` less that of `one`, its 95 % interval) on the same items, right or wrong (items,).

    The interval is Wald's with half an item more in each cell (Agresti and Min 2005,
    https://doi.org/10.1002/sim.1781), which holds for few items too.

    >>> import numpy as np
    >>> paired_difference(np.array([True] * 10), np.array([True] * 10))[0]
    0.0
    """
    items = len(one)
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    more, less, total = gained + 0.5, lost + 0.5, items + 2
    middle = (more - less) / total
    spread = math.sqrt(max(0.0, more + less - (more - less) ** 2 / total)) / total
    return (gained - lost) / items, (max(-1.0, middle - 1.96 * spread), min(1.0, middle + 1.96 * spread))


def _resampled(metric: Any, one: Tensor, other: Tensor, targets: Tensor) -> tuple[float, tuple[float, float]]:
    """The same for any figure, by drawing items with repetition (Efron 1979)."""
    import torch

    def value(outputs: Tensor, rows: Tensor) -> float:
        return float(metric.value(metric.sums(outputs[rows], targets[rows]).double(), len(rows)))

    whole = torch.arange(len(targets))
    chance = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(targets), (len(targets),), generator=chance) for _ in range(_DRAWS)]
    found = np.array([value(other, rows) - value(one, rows) for rows in draws])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return value(other, whole) - value(one, whole), (float(low), float(high))


def _changed(
    aligned: Mapping[str, Tensor], items: Sequence[Item], root: Path, classes: Sequence[str]
) -> tuple[ChangedAnswer, ...]:
    """The items that are not answered alike; those that some run has right first."""
    best = {name: outputs.softmax(1).max(1) for name, outputs in aligned.items()}
    found = []
    for row, item in enumerate(items):
        answers = {name: (classes[int(at[row])], float(chance[row])) for name, (chance, at) in best.items()}
        if len({label for label, _ in answers.values()}) > 1:
            path = relative_name(item.path, root)
            found.append(ChangedAnswer(item, path, classes[item.label], answers))
    return tuple(sorted(found, key=lambda one: one.label not in {label for label, _ in one.answers.values()}))
