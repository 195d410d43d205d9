"""Figures as SVG for a page: without names of users' classes, in the colours of the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.choosing.pictures import new_figure
from zoo.events import EpochEnd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zoo.training.calibration import Bin

INK = "#0a0b0c"
"""What is drawn in it gets the colour of the page's text."""
COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#bcbd22",
    "#17becf",
    "#7f7f7f",
)
"""Of the first classes of a map; the others share the last one."""
_STYLE = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def to_svg(draw: Any, label: str, *, width: float = 6.5, height: float = 3.4) -> str:
    """What `draw(figure)` draws, as an <svg> element. label: read aloud in its place."""
    import matplotlib as mpl

    style: Any = _STYLE | {"svg.hashsalt": label}
    with mpl.rc_context(style):
        figure = new_figure(width, height)
        figure.patch.set_alpha(0.0)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0.0)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None})
    content = file.getvalue()
    content = content[content.index("<svg") :].replace(INK, "currentColor")
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.S)
    content = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", content, count=1)
    content = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", content, count=1)
    return content.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def draw_history(figure: Figure, history: Sequence[EpochEnd], best_epoch: int, metric: str) -> None:
    """Losses on the left, the metric on the right, over all epochs; the kept epoch and the phases marked."""
    epochs = np.arange(1, len(history) + 1)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [end.train_loss for end in history], label="training")
    left.plot(epochs, [end.val_loss for end in history], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    right.plot(epochs, [end.metrics.get(metric, np.nan) for end in history], color=COLOURS[1])
    right.set(xlabel="epoch", ylabel=f"validation {metric}")
    begins = [n for n in range(1, len(history)) if history[n].phase != history[n - 1].phase]
    for axes in (left, right):
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label="kept")
        for begin in begins:
            axes.axvline(begin + 0.5, color=INK, linewidth=0.5)
        axes.margins(x=0.02)
    left.legend(frameon=False)


def draw_reliability(figure: Figure, curves: Mapping[str, Sequence[Bin]]) -> None:
    """How often answers are right against how probable the network calls them. curves: by name."""
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="ideal")
    for name, bins in curves.items():
        sizes = [12 + 160 * count / max(1, sum(n for *_, n in bins)) for *_, count in bins]
        (line,) = axes.plot([sure for sure, *_ in bins], [right for _, right, _ in bins], label=name)
        axes.scatter([b[0] for b in bins], [b[1] for b in bins], s=sizes, color=line.get_color())
    axes.set(xlabel="probability of the answer", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.05))
    axes.legend(frameon=False, loc="upper left")


def draw_coverage(figure: Figure, coverage: Sequence[float], accuracy: Sequence[float]) -> None:
    """The accuracy of the surest answers against the share of items that they are."""
    axes = figure.add_subplot()
    axes.plot(coverage, accuracy)
    axes.set(xlabel="share of items that are answered, the surest first", ylabel="accuracy of these")
    axes.set_xlim(0, 1)


def draw_map(
    figure: Figure, views: dict[str, NDArray[np.float64]], labels: NDArray[np.int64], measured: Any
) -> None:
    """Items as points, a class a colour. views: by name, (items, 2). measured: (items,) those that were not
    trained on, which have a rim."""
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, (name, points) in zip(panels, views.items(), strict=True):
        _scatter(axes, points, labels, measured)
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[])


def _scatter(axes: Axes, points: NDArray[np.float64], labels: NDArray[np.int64], measured: Any) -> None:
    colours = np.array([COLOURS[min(label, len(COLOURS) - 1)] for label in labels])
    for rows, rim in ((~measured, "none"), (measured, INK)):
        if rows.any():
            across, up = points[rows].T
            axes.scatter(across, up, s=14, c=colours[rows], edgecolors=rim, linewidths=0.6, alpha=0.8)


def draw_numbers(figure: Figure, true: NDArray[np.float64], answered: NDArray[np.float64]) -> None:
    """Predicted against true numbers (items, numbers), a panel each."""
    panels = figure.subplots(1, true.shape[1], squeeze=False)[0]
    for column, axes in enumerate(panels):
        ends = [float(true[:, column].min()), float(true[:, column].max())]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle=":")
        axes.scatter(true[:, column], answered[:, column], s=10, alpha=0.6)
        axes.set(xlabel=f"true ({column + 1})" if len(panels) > 1 else "true", ylabel="predicted")
