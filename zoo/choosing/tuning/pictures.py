"""Importances and slices, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.choosing.pictures import new_figure, replace_figure
from zoo.choosing.tuning.answer import TrialFacts

_LOG = ("lr", "weight_decay", "tune_lr")
_COLUMNS = 3


def draw_importances(importances: Mapping[str, float], out: Path) -> None:
    """A bar for each parameter: its share of what the scores differ by."""
    figure = new_figure(6.0, 0.6 + 0.35 * len(importances))
    axes = figure.add_subplot()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color="tab:blue")
    axes.set_xlabel("share of what the scores differ by")
    replace_figure(figure, out)


def draw_slices(trials: list[TrialFacts], names: list[str], headline: str, out: Path) -> None:
    """For each parameter a picture of its values and the validation figure of each trial that has a score."""
    done = [trial for trial in trials if trial.score is not None]
    rows = -(-len(names) // _COLUMNS)
    figure = new_figure(3.2 * _COLUMNS, 2.6 * rows)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place)
        there = [trial for trial in done if name in trial.values]
        values: list[Any] = [trial.values[name] for trial in there]
        if not all(isinstance(value, float) for value in values):
            values = [str(value) for value in values]
            order = sorted(set(values), key=lambda text: (text.isdigit(), len(text), text))
            axes.set_xticks(range(len(order)), order, rotation=30)
            values = [order.index(value) for value in values]
        elif name in _LOG:
            axes.set_xscale("log")
        figures = [trial.metrics[headline] for trial in there]
        colours = [trial.number for trial in there]
        axes.scatter(values, figures, c=colours, cmap="viridis", s=14, alpha=0.8)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.margins(0.08)
    figure.supylabel(f"validation {headline}; later trials are lighter", fontsize=9)
    replace_figure(figure, out)
