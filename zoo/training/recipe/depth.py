"""How much of a network is trained, and how: the strategies by name."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.training.recipe.conditions import (
    AT_ONCE,
    EVERYTHING,
    LEARNED_ENCODER,
    SOME_STAGES,
    SOME_WORDS,
    asked_for,
    with_strategy,
)
from zoo.training.recipe.knob import Default, Knob

AUTO = "auto"


@dataclass(frozen=True)
class Depth:
    """what: what a strategy trains, in words. takes: which values of `unfreeze` go with it: none (0 as well),
    some (a number, a stage) or all."""

    what: str
    takes: tuple[str, ...]


DEPTHS: dict[str, Depth] = {
    "head": Depth("trains the head alone", ("none",)),
    "partial": Depth("trains the last stages", ("some",)),
    "full": Depth("trains the whole network from the first epoch", ("all",)),
    "lp-ft": Depth("trains the head, then the whole network", ("all",)),
    "norms": Depth("trains norms and biases of the whole network", ("all",)),
    "l2-sp": Depth("trains stages that are pulled towards their first weights", ("some", "all")),
    "lora": Depth("trains corrections of every layer", ("all",)),
    "gradual": Depth("trains stage after stage", ("some", "all")),
    AUTO: Depth("chooses itself what is trained", ()),
}
WHOLE = tuple(name for name, depth in DEPTHS.items() if "all" in depth.takes or name == AUTO)


def go_together(strategy: str | None, unfreeze: int | str | None) -> bool:
    """Whether a strategy and a value of `unfreeze` say the same; None is what was not given.

    >>> go_together("partial", 2), go_together("full", 2), go_together("head", 0), go_together("head", None)
    (True, False, True, True)
    """
    if unfreeze is None or strategy not in DEPTHS:
        return True
    meant = "none" if unfreeze in ("none", 0) else "all" if unfreeze == "all" else "some"
    return meant in DEPTHS[strategy].takes


KNOBS = (
    Knob(
        name="strategy",
        kind=str,
        doc="What is trained, and in which order; auto chooses by the number of items and classes and by the "
        "device.",
        heading="deeper",
        default=Default("head", ((AT_ONCE, "full"), (EVERYTHING, "lp-ft"), (SOME_STAGES, "partial"))),
        choices=tuple(DEPTHS),
    ),
    Knob(
        name="unfreeze",
        kind=int,
        doc="Then train the backbone too: its last N stages, those from the named one on, or all.",
        heading="deeper",
        default=Default(
            "none",
            (
                (asked_for(*WHOLE), "all"),
                (LEARNED_ENCODER, 2),  # the encoder, and new words with it
                (SOME_WORDS, 2),  # an encoder that is a mean has nothing to train
                (asked_for("partial"), 1),
            ),
        ),
        choices=("none", "all"),
        pattern=r"[A-Za-z_]\w*(\.\w+)*",
        pattern_example="STAGE",
        low=0,
        unset=("none", 0),
    ),
    Knob(
        name="rank",
        kind=int,
        doc="Rank of the correction that each layer learns.",
        heading="deeper",
        default=Default(8),
        low=1,
        only=(with_strategy("lora"),),
    ),
    Knob(
        name="pull",
        kind=float,
        doc="Strength of the pull towards the first weights; 0: none.",
        heading="deeper",
        default=Default(0.1),
        low=0,
        only=(with_strategy("l2-sp"),),
        off=0.0,
    ),
)
