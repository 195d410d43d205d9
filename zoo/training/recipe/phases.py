"""The phases: the knobs that each of them has, and those that all share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from zoo.training.optimizers import OPTIMIZERS, Optimizer
from zoo.training.recipe.conditions import (
    DEEPER,
    FOR_TEXTS,
    FROM_SCRATCH,
    MOMENTUM,
    ONE_CYCLE,
    SOMETHING_TRAINS,
    STEPS_DOWN,
    TRAINED_HEAD,
    asked_for,
    lower,
    meant_for_the_only_phase,
)
from zoo.training.recipe.depth import AUTO
from zoo.training.recipe.knob import By, Default, Knob, Same, Scope
from zoo.training.sampling import SAMPLINGS
from zoo.training.schedules import SCHEDULES
from zoo.training.tasks import MONITORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.training.recipe.options import Resolved


class PhaseKnobs(NamedTuple):
    """What every phase has of its own."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int


def phase_of(recipe: Resolved, prefix: str) -> PhaseKnobs:
    """The knobs of the phase with that prefix: "" for the head's, "tune_" for the deeper one."""
    return PhaseKnobs(*(getattr(recipe, prefix + name) for name in PhaseKnobs._fields))


def _by_optimizer(value: Callable[[Optimizer], float | None]) -> By:
    """A value from each optimizer's row, where it has one."""
    values = {name: value(row) for name, row in OPTIMIZERS.items()}
    return By("optimizer", {name: number for name, number in values.items() if number is not None})


def _phase_knobs(
    prefix: str,
    when: str,
    heading: str,
    defaults: Mapping[str, Default],
    *,
    least_epochs: int,
    only: tuple[Scope, ...] = (),
) -> tuple[Knob, ...]:
    """The knobs of PhaseKnobs under a prefix. when: the phase, in words."""
    return (
        Knob(
            name=f"{prefix}epochs",
            kind=int,
            doc=f"Maximum number of epochs {when}.",
            heading=heading,
            default=defaults["epochs"],
            low=least_epochs,
            only=only,
        ),
        Knob(
            name=f"{prefix}lr",
            kind=float,
            doc=f"Learning rate of the head {when}.",
            heading=heading,
            default=defaults["lr"],
            above=0,
            only=only,
        ),
        Knob(
            name=f"{prefix}weight_decay",
            kind=float,
            doc=f"Weight decay {when} (biases and norms excluded).",
            heading=heading,
            default=defaults["weight_decay"],
            low=0,
            only=only,
        ),
        Knob(
            name=f"{prefix}patience",
            kind=int,
            doc=f"Epochs without a better monitored value before training ends, {when}; 0: never.",
            heading="stopping",
            default=defaults["patience"],
            low=0,
            only=only,
        ),
    )


_HEAD_PHASE = _phase_knobs(
    "",
    "while only the head is trained",
    "training",
    {
        "epochs": Default(100),
        "lr": Default(_by_optimizer(lambda row: row.head_lr)),
        "weight_decay": Default(0.03),
        "patience": Default(20),
    },
    least_epochs=0,
    only=(TRAINED_HEAD,),
)

_SHARED = (
    Knob(
        name="batch_size",
        kind=int,
        doc="Items per step; auto: as many as a GPU holds, up to 256 and an eighth of the items.",
        heading="training",
        default=Default(32),
        choices=(AUTO,),
        low=1,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="optimizer",
        kind=str,
        doc="Optimizer.",
        heading="training",
        default=Default("adam"),
        choices=tuple(OPTIMIZERS),
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="momentum",
        kind=float,
        doc="Momentum of the optimizer.",
        heading="training",
        default=Default(_by_optimizer(lambda row: row.momentum)),
        low=0,
        below=1,
        only=(SOMETHING_TRAINS, MOMENTUM),
        off=0.0,
    ),
    Knob(
        name="l1",
        kind=float,
        doc="Weight of the sum of absolute weights in the loss.",
        heading="training",
        default=Default(0.0),
        low=0,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="label_smoothing",
        kind=float,
        doc="Share of each target that is spread over all classes.",
        heading="training",
        default=Default(0.0),
        low=0,
        below=1,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="focal_gamma",
        kind=float,
        doc="Exponent of focal loss, such as 2: items that are answered surely count less; 0: alike.",
        heading="training",
        default=Default(0.0),
        low=0,
        high=10,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="balance",
        kind=bool,
        doc="Weight rare classes up, so that each class counts the same.",
        heading="training",
        default=Default(False),
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="sampling",
        kind=str,
        doc="Items of an epoch: each once, or balanced: as many as there are, each class equally often.",
        heading="training",
        default=Default("once"),
        choices=tuple(SAMPLINGS),
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="schedule",
        kind=str,
        doc="How the learning rate moves.",
        heading="training",
        default=Default("constant"),
        choices=tuple(SCHEDULES),
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="warmup",
        kind=float,
        doc="Share of the steps in which the learning rate rises.",
        heading="training",
        default=Default(0.0, ((ONE_CYCLE, 0.3),)),
        low=0,
        below=1,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="step_epochs",
        kind=int,
        doc="Epochs between two cuts of the learning rate.",
        heading="training",
        default=Default(None, none="a third of those of the phase"),
        low=1,
        only=(SOMETHING_TRAINS, STEPS_DOWN),
    ),
    Knob(
        name="step_factor",
        kind=float,
        doc="Factor of each cut.",
        heading="training",
        default=Default(0.1),
        above=0,
        below=1,
        only=(SOMETHING_TRAINS, STEPS_DOWN),
    ),
    Knob(
        name="ema",
        kind=float,
        doc="Measure and keep a moving average of the weights with this decay per step, such as 0.99; in the "
        "first steps it is less.",
        heading="training",
        default=Default(None),
        above=0,
        below=1,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="clip_norm",
        kind=float,
        doc="Clip gradients to this norm.",
        heading="training",
        default=Default(None),
        above=0,
        only=(SOMETHING_TRAINS,),
    ),
)

_SCRATCH = (
    Knob(
        name="from_scratch",
        kind=bool,
        doc="Begin with random weights: shows what the pretrained ones are worth.",
        heading="deeper",
        default=Default(False),
        fixed_on_resume=True,
    ),
)

_LIGHT = asked_for("norms", "lora")  # few numbers learn in each stage, so none of them learns more slowly

# From scratch there is nothing to be careful of, and more to learn.
_TUNE_PHASE = _phase_knobs(
    "tune_",
    "once stages are unfrozen",
    "deeper",
    {
        "epochs": Default(
            10, ((meant_for_the_only_phase("epochs", 7, least=1), Same("epochs")), (FROM_SCRATCH, 50))
        ),
        "lr": Default(
            _by_optimizer(lambda row: row.tune_lr),
            (
                (meant_for_the_only_phase("lr", 0.5), Same("lr")),
                (FOR_TEXTS, _by_optimizer(lambda row: 3 * row.head_lr)),
                (FROM_SCRATCH, _by_optimizer(lambda row: row.head_lr)),
            ),
        ),
        "weight_decay": Default(
            1e-4, ((meant_for_the_only_phase("weight_decay", 0.5), Same("weight_decay")),)
        ),
        "patience": Default(
            5,
            (
                (meant_for_the_only_phase("patience", 7), Same("patience")),
                (asked_for("gradual"), 2),  # of each stage
                (FROM_SCRATCH, Same("patience")),
                (lower("patience", 5), Same("patience")),
            ),
        ),
    },
    least_epochs=1,
    only=(DEEPER,),
)

_STEPS_DOWN = (
    Knob(
        name="accumulate",
        kind=int,
        doc="Parts in which the items of a step pass through the network, one after another: less memory, "
        "the same step.",
        heading="deeper",
        default=Default(1),
        low=1,
        only=(DEEPER,),
        off=1,
    ),
    Knob(
        name="lr_decay",
        kind=float,
        doc="Factor of the learning rate per stage further down.",
        heading="deeper",
        default=Default(0.7, ((FOR_TEXTS, 1.0), (FROM_SCRATCH, 1.0), (_LIGHT, 1.0))),
        above=0,
        high=1,
        only=(DEEPER,),
    ),
)

_STOPPING = (
    Knob(
        name="min_delta",
        kind=float,
        doc="Smallest improvement that counts as better.",
        heading="stopping",
        default=Default(0.0),
        low=0,
        only=(SOMETHING_TRAINS,),
    ),
    Knob(
        name="monitor",
        kind=str,
        doc="Validation value that decides which epoch is the best.",
        heading="stopping",
        default=Default("loss"),
        choices=MONITORS,
        only=(SOMETHING_TRAINS,),
    ),
)

KNOBS = (*_HEAD_PHASE, *_SHARED, *_SCRATCH, *_TUNE_PHASE, *_STEPS_DOWN, *_STOPPING)
