"""Accuracy against time, drawn: which model is worth its time."""

from __future__ import annotations

from pathlib import Path

from zoo.choosing.picking.choice import Choice
from zoo.choosing.pictures import new_figure, save_figure
from zoo.errors import UsageError


def draw_choice(choice: Choice, out: Path) -> None:
    """Write a picture (.png, .svg, .pdf) of the models whose time was measured; the front is a line.

    Raises UsageError where matplotlib is missing, for another ending and for a file that is there.
    """
    timed = [(row, row.milliseconds) for row in choice.ranking if row.milliseconds is not None]
    if not timed:
        raise UsageError("the time of no model was measured", hint="Give it more time: --minutes.")
    figure = new_figure()
    axes = figure.add_subplot()
    for row, milliseconds in timed:
        low, high = row.interval
        bars = [[row.accuracy - low], [high - row.accuracy]]
        colour = "tab:blue" if row.on_front else "tab:gray"
        axes.errorbar(milliseconds, row.accuracy, yerr=bars, fmt="o", color=colour, capsize=3)
        axes.annotate(
            row.name, (milliseconds, row.accuracy), xytext=(6, 4), textcoords="offset points", fontsize=8
        )
    front = sorted((milliseconds, row.accuracy) for row, milliseconds in timed if row.on_front)
    axes.plot(*zip(*front, strict=True), color="tab:blue", linewidth=1)
    axes.axhline(choice.majority, color="tab:red", linewidth=1, linestyle=":", label="most frequent class")
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_xlabel(f"milliseconds for {choice.dataset.kind.article} {choice.dataset.kind.noun} (log)")
    axes.set_ylabel("accuracy on items not seen, 95 % interval")
    axes.legend(loc="lower right", fontsize=8)
    save_figure(figure, out)
