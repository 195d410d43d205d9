"""A run learns how far to believe its answers, from labelled items that it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.names import one_line, safe_text
from zoo.data.trained import content_digests
from zoo.errors import DatasetError, UsageError
from zoo.events import Note, Report, silent
from zoo.runs.calibration import Calibration, write_calibration
from zoo.runs.modalities.table import modality_of
from zoo.runs.using.evaluation import Answered, answer_items
from zoo.training.calibration import (
    CalibrationFigures,
    calibration_figures,
    class_scores,
    cross_scaled,
    fit_temperature,
    temperature_problem,
)
from zoo.training.multi_label import MULTI_LABEL

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Item
    from zoo.data.pixels.batches import OnBad
    from zoo.runs.classifier import Classifier
    from zoo.runs.record import RunRecord
    from zoo.training.task import Task


@dataclass(frozen=True)
class Calibrated:
    """What was kept, and what it changes. before, after: how far probabilities can be believed without and
    with a temperature, after by temperatures that were fitted on other items, fold by fold; None of numbers,
    and after where no temperature is kept."""

    calibration: Calibration
    before: CalibrationFigures | None
    after: CalibrationFigures | None


def refuse_uncalibratable(task: Task, name: str) -> None:
    """Raise UsageError for a run whose items may have several classes: each has a threshold of its own."""
    if task is MULTI_LABEL:
        raise UsageError(
            f"{name} gives any number of classes, each from a threshold of its own: only runs with one class "
            "per item, and with numbers, can be calibrated"
        )


def calibrate_run(
    folder: Path,
    record: RunRecord,
    classifier: Classifier,
    items: Sequence[Item],
    data: Path,
    *,
    batch_size: int | None = None,
    device: str = "auto",
    on_bad: OnBad = "skip",
    report: Report = silent,
) -> Calibrated:
    """Ask the run about labelled items that neither training nor the choice of its epoch saw, and keep in its
    folder what that says of its answers.

    Raises DatasetError for items of one class only, UsageError as `refuse_uncalibratable` does.
    """
    refuse_uncalibratable(record.task, classifier.name)
    kind = modality_of(classifier.entry).kind
    if record.task.scale is None:
        _check_classes(items, classifier.classes, kind.noun, report)
    answered = answer_items(
        classifier, items, batch_size=batch_size, device=device, on_bad=on_bad, report=report
    )
    answered, digests = _without_copies(answered, content_digests(answered.items, kind), report)
    task, outputs = record.task, answered.outputs
    targets = task.encode([item.target for item in answered.items], task.width(classifier.classes))
    temperature, problem, before, after = 1.0, None, None, None
    if task.scale is None:
        before = calibration_figures(outputs, targets)
        if (problem := temperature_problem(outputs, targets)) is None:
            temperature = fit_temperature(outputs, targets)
            after = calibration_figures(cross_scaled(outputs, targets), targets)
            if after.log_loss >= before.log_loss:
                problem = (
                    f"the temperature {temperature:.3g} of {len(targets):,} items does not help with those "
                    f"that it was not fitted on: their log loss is {after.log_loss:.4f}, and without it "
                    f"{before.log_loss:.4f}"
                )
                temperature, after = 1.0, None
    calibration = Calibration(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        adapter_sha256=record.adapter_sha256,
        data=safe_text(data.absolute().name),
        items=len(answered.items),
        contents=tuple(sorted(digest for digest in digests if digest is not None)),
        temperature=temperature,
        problem=problem,
        scores=() if task.scale is not None else _class_scores(outputs, targets),
        errors={} if task.scale is None else _errors(outputs, targets, classifier.classes),
    )
    write_calibration(calibration, folder)
    return Calibrated(calibration, before, after)


def _check_classes(items: Sequence[Item], classes: Sequence[str], noun: str, report: Report) -> None:
    """Raise DatasetError for items of one class only; warn of classes that nothing will be known about."""
    counts = Counter(item.label for item in items)
    if len(counts) == 1:
        raise DatasetError(
            f"all {len(items):,} {noun}s are of the class {one_line(classes[next(iter(counts))])}: how sure "
            "answers may be cannot be learned from one class",
            hint="Give items of every class, about as many of each as there will be in use.",
        )
    if missing := [one_line(name) for label, name in enumerate(classes) if label not in counts]:
        named = ", ".join(missing[:8]) + (f" and {len(missing) - 8:,} more" if len(missing) > 8 else "")
        report(
            Note(
                f"no {noun} of {named}: sets and probabilities may be wrong for {noun}s of it",
                None,
                "warning",
            )
        )


def _without_copies(
    answered: Answered, digests: Sequence[str | None], report: Report
) -> tuple[Answered, list[str | None]]:
    """Each content once: a copy says nothing new."""
    first: dict[str, int] = {}
    rows = [
        row for row, digest in enumerate(digests) if digest is None or first.setdefault(digest, row) == row
    ]
    if lost := len(digests) - len(rows):
        report(Note(f"{lost:,} copies among the items count once"))
        answered = Answered(
            tuple(answered.items[row] for row in rows), answered.outputs[rows], answered.skipped
        )
    return answered, [digests[row] for row in rows]


def _class_scores(outputs: Tensor, classes: Tensor) -> tuple[float, ...]:
    """How little the true class of each item conforms, sorted."""
    own = class_scores(outputs).gather(1, classes[:, None])[:, 0]
    return tuple(own.sort().values.tolist())


def _errors(outputs: Tensor, targets: Tensor, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """How far each number of each item is from the truth, sorted."""
    found = (outputs.double() - targets.double()).abs().sort(0).values
    return {name: tuple(column.tolist()) for name, column in zip(names, found.T, strict=True)}
