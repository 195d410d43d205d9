"""The losses at growing learning rates, drawn."""

from __future__ import annotations

from pathlib import Path

from zoo.choosing.pictures import new_figure, save_figure
from zoo.choosing.rates.finder import FoundRate, ceiling


def draw_rates(found: FoundRate, out: Path) -> None:
    """Write a picture (.png, .svg, .pdf) of the losses, smoothed and as they were, and of the suggestions.

    Raises MissingExtra where matplotlib is missing, UsageError for another ending and a file that is there.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="0.75", linewidth=1, label="loss of each step")
    axes.plot(found.rates, found.smoothed, color="black", linewidth=2, label="smoothed")
    for (rule, rate), style in zip(found.suggestions.items(), ("-", "--", ":", "-."), strict=False):
        chosen = rule == found.rule
        axes.axvline(
            rate,
            color="tab:blue" if chosen else "tab:gray",
            linestyle="-" if chosen else style,
            linewidth=1.5 if chosen else 1,
            label=f"{rule}: {rate:g}" + (" (suggested)" if chosen else ""),
        )
    axes.set_xscale("log")
    axes.set_ylim(0, ceiling(found))
    axes.set_xlabel("learning rate (log)")
    axes.set_ylabel("training loss")
    axes.set_title(f"phase {found.phase}, {found.option}", fontsize=10)
    axes.legend(fontsize=8)
    save_figure(figure, out)
