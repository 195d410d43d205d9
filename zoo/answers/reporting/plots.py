"""The pictures of the page, each alone in a file: PNG, SVG or PDF."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.answers.judged import Judged
from zoo.answers.reporting.certainty import accuracy_by_coverage
from zoo.answers.reporting.data_view import DataView
from zoo.answers.reporting.drawing import (
    COLOURS,
    INK,
    draw_coverage,
    draw_history,
    draw_map,
    draw_numbers,
    draw_reliability,
)
from zoo.answers.reporting.sections import reliability_curves
from zoo.choosing.pictures import check_picture, new_figure, save_figure
from zoo.data.names import shortened
from zoo.errors import UnknownName, UsageError
from zoo.events import EpochEnd
from zoo.features.projection import draw_rows, project
from zoo.runs.record import RunRecord
from zoo.runs.using.evaluation import ClassEvaluation
from zoo.training.regression import REGRESSION
from zoo.training.single_label import SINGLE_LABEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERS = 20  # classes of which the counts are written into the matrix


@dataclass(frozen=True)
class Material:
    """What pictures are drawn from: the same as the page."""

    record: RunRecord
    history: Sequence[EpochEnd]
    judged: Judged | None
    view: DataView | None


Draw = Callable[["Figure", Material], None]


def _learning(figure: Figure, material: Material) -> None:
    draw_history(figure, material.history, material.record.result.best_epoch, material.record.task.headline)


def _confusion(figure: Figure, material: Material) -> None:
    """Counts by true and predicted class; a colour for the share of the true class."""
    found = _judged(material).evaluation
    if not isinstance(found, ClassEvaluation):
        raise _needs(SINGLE_LABEL.name, material)
    counts = np.array(found.confusion)
    axes = figure.add_subplot()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name, 24) for name in found.classes]
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= _MOST_NUMBERS:
        for (true, predicted), count in np.ndenumerate(counts):
            share = count / max(1, counts[true].sum())
            axes.text(
                predicted, true, f"{count}", ha="center", va="center", color="w" if share > 0.5 else "k"
            )


def _reliability(figure: Figure, material: Material) -> None:
    _answers(material)
    draw_reliability(figure, reliability_curves(_judged(material)))


def _coverage(figure: Figure, material: Material) -> None:
    coverage, accuracy = accuracy_by_coverage(*_answers(material))
    draw_coverage(figure, coverage.tolist(), accuracy.tolist())


def _numbers(figure: Figure, material: Material) -> None:
    judged = _judged(material)
    if judged.classifier.task is not REGRESSION:
        raise _needs(REGRESSION.name, material)
    true = np.array([np.atleast_1d(item.target) for item in judged.items], dtype=np.float64)
    draw_numbers(figure, true, judged.outputs.double().numpy())


def _map(figure: Figure, material: Material) -> None:
    _answers(material)
    view = material.view
    assert view is not None
    rows = draw_rows(len(view.items))
    views = project(view.features[rows].astype(np.float64))
    draw_map(figure, views, view.labels[rows], ~view.trained[rows])
    classes = material.record.classes
    shown = classes[: len(COLOURS) - 1] if len(classes) > len(COLOURS) else classes
    for colour, name in zip(
        COLOURS, [*shown, "others"] if len(shown) < len(classes) else shown, strict=False
    ):
        figure.axes[0].scatter([], [], c=colour, label=shortened(name, 24))
    for text in figure.axes[0].legend(fontsize=7, loc="best").get_texts():
        text.set_parse_math(False)


PLOTS: Mapping[str, Draw] = {
    "learning": _learning,
    "confusion": _confusion,
    "reliability": _reliability,
    "coverage": _coverage,
    "numbers": _numbers,
    "map": _map,
}
"""What a picture shows, by the name of its file: confusion.png."""


def check_plots(files: Sequence[Path]) -> None:
    """Raise UsageError, before anything is computed, for a picture that does not exist or cannot be
    written."""
    for file in files:
        if file.stem not in PLOTS:
            raise UnknownName("picture", file.stem, [*PLOTS])
        check_picture(file)


def write_plot(file: Path, material: Material) -> None:
    """Draw the picture that the name of the file asks for. Raises UsageError for one that the run's task does
    not have."""
    import matplotlib as mpl

    style: dict[str, object] = {"axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in another script
        figure = new_figure(8.0 if file.stem in ("learning", "map", "numbers") else 5.5)
        PLOTS[file.stem](figure, material)
        for axes in figure.axes:
            for line in axes.lines:
                if line.get_color() == INK:
                    line.set_color("k")
        save_figure(figure, file)


def _judged(material: Material) -> Judged:
    if material.judged is None:
        raise UsageError("this picture needs the data", hint="Name them: zoo report RUN DATA --plot FILE")
    return material.judged


def _answers(material: Material) -> tuple[np.ndarray, np.ndarray]:
    """(how probable each answer is, whether it is right) of items with one class each."""
    judged = _judged(material)
    if judged.classifier.task is not SINGLE_LABEL:
        raise _needs(SINGLE_LABEL.name, material)
    chances = judged.probabilities
    return chances.max(axis=1), chances.argmax(axis=1) == judged.labels


def _needs(task: str, material: Material) -> UsageError:
    return UsageError(
        f"this picture is of {task} runs, and {material.record.result.run} has learned "
        f"{material.record.result.task}",
        hint=f"Pictures: {', '.join(PLOTS)}",
    )
