"""The head: what turns features into logits."""

from __future__ import annotations

from adapters import ACTIVATIONS, HEADS
from zoo.training.recipe.conditions import COMPUTED_HEAD, HIDDEN_LAYERS, TEXTS_LEARN, TRAINED_HEAD
from zoo.training.recipe.depth import AUTO
from zoo.training.recipe.knob import Default, Knob

KNOBS = (
    Knob(
        name="head",
        kind=str,
        doc="Kind of head; nearest-mean, for few items of a class, is computed and not trained; auto chooses "
        "between it and linear.",
        heading="head",
        default=Default("linear"),
        choices=(*HEADS, AUTO),
        fixed_on_resume=True,
    ),
    Knob(
        name="hidden",
        kind=tuple,
        doc="Widths of the hidden layers.",
        heading="head",
        default=Default((256,)),
        low=1,
        only=(HIDDEN_LAYERS,),
        off=(),
        fixed_on_resume=True,
    ),
    Knob(
        name="activation",
        kind=str,
        doc="Activation after each hidden layer.",
        heading="head",
        default=Default("relu"),
        choices=tuple(ACTIVATIONS),
        only=(HIDDEN_LAYERS,),
        fixed_on_resume=True,
    ),
    Knob(
        name="dropout",
        kind=float,
        doc="Share of the head's inputs that is dropped in training.",
        heading="head",
        # 0.5 as Kim 2014, https://aclanthology.org/D14-1181: words have far more numbers to fit than a head
        default=Default(0.2, ((TEXTS_LEARN, 0.5),)),
        low=0,
        below=1,
        only=(TRAINED_HEAD,),
        off=0.0,
    ),
    Knob(
        name="batch_norm",
        kind=bool,
        doc="Normalise each hidden layer over the batch.",
        heading="head",
        default=Default(False),
        only=(HIDDEN_LAYERS,),
        off=False,
        fixed_on_resume=True,
    ),
    Knob(
        name="standardize",
        kind=bool,
        doc="Give the head features of mean 0 and standard deviation 1, as measured on the training items.",
        heading="head",
        # the deviations of a handful of items are noise, and what is computed does not get over them
        default=Default(True, ((COMPUTED_HEAD, False),)),
        fixed_on_resume=True,
    ),
)
