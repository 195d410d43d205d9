"""What is particular to images."""

from __future__ import annotations

from zoo.data.pixels.augmentations import AUGMENTATIONS
from zoo.training.recipe.conditions import (
    DEEPER,
    FOR_IMAGES,
    FROZEN,
    SEVERAL_VIEWS,
    TRAINED_HEAD,
    VARIED,
)
from zoo.training.recipe.knob import Default, Knob

KNOBS = (
    Knob(
        name="views",
        kind=int,
        doc="Views of each training image, one of them plain: their features are computed once, and the head "
        "sees one of them in each epoch, drawn anew.",
        heading="training",
        default=Default(1),
        low=1,
        only=(FOR_IMAGES, FROZEN, TRAINED_HEAD),
        off=1,
    ),
    Knob(
        name="augment",
        kind=str,
        doc="Random variation of the images while stages are trained, and of the views of a head.",
        heading="deeper",
        # what is drawn once and for all must lie further apart than what is drawn anew: benchmarks/views.py
        default=Default("light", ((SEVERAL_VIEWS, "strong"),)),
        choices=tuple(AUGMENTATIONS),
        only=(FOR_IMAGES, VARIED),
        off="none",
    ),
    Knob(
        name="erase",
        kind=float,
        doc="How probably a rectangle of an image is erased while stages are trained.",
        heading="deeper",
        default=Default(0.0),
        low=0,
        high=1,
        only=(FOR_IMAGES, DEEPER),
    ),
    Knob(
        name="mixup",
        kind=float,
        doc="Mix images of a batch, and their targets, while stages are trained, in shares from Beta(A, A), "
        "such as 0.2; 0: none.",
        heading="deeper",
        default=Default(0.0),
        low=0,
        only=(FOR_IMAGES, DEEPER),
    ),
    Knob(
        name="cutmix",
        kind=float,
        doc="The same with a rectangle of one image in another, such as 1; where mixup is given too, each "
        "batch gets one of both.",
        heading="deeper",
        default=Default(0.0),
        low=0,
        only=(FOR_IMAGES, DEEPER),
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
