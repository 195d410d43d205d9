"""What is done with the data."""

from __future__ import annotations

from zoo.training.recipe.knob import Default, Knob

KNOBS = (
    Knob(
        name="val_fraction",
        kind=float,
        doc="Share of the items that is held out for validation if the data have no validation part.",
        heading="data",
        default=Default(0.2),
        above=0,
        below=1,
    ),
    Knob(
        name="on_bad",
        kind=str,
        doc="What to do with unreadable files. Where more than 5 % of a class are unreadable, the run ends "
        "unless skip is given.",
        heading="data",
        default=Default("skip"),
        choices=("skip", "stop"),
    ),
)
