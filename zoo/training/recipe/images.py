"""What is particular to images."""

from __future__ import annotations

from zoo.data.pixels.augmentations import AUGMENTATIONS
from zoo.training.recipe.conditions import DEEPER, FOR_IMAGES
from zoo.training.recipe.knob import Default, Knob

KNOBS = (
    Knob(
        name="augment",
        kind=str,
        doc="Random variation of the images while stages are trained.",
        heading="deeper",
        default=Default("light"),
        choices=tuple(AUGMENTATIONS),
        only=(FOR_IMAGES, DEEPER),
        off="none",
    ),
    Knob(
        name="workers",
        kind=int,
        doc="Threads that read images.",
        heading="data",
        default=Default(None, none="one per core"),
        low=1,
        only=(FOR_IMAGES,),
    ),
)
