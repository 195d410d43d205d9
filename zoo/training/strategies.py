"""The strategies by name: which phases a run has, and what each of them trains at which rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from zoo.training.recipe import LEARNED_ENCODERS, Resolved, phase_of


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    name: for people. trains: on "features", computed once by the frozen network, only the head learns; on the
    "items" themselves, what is unfrozen learns too. epochs: at most. lr: of the head; a stage d steps below
    it gets lr · lr_decay^d. lr_option: what sets it on the command line. unfreeze, augment: as in the recipe.
    precision: a head is a few thousand weights, so it always trains in fp32; the number format is for the
    backbone.
    """

    name: str
    trains: Literal["features", "items"]
    epochs: int
    lr: float
    weight_decay: float
    patience: int
    lr_option: str = "--lr"
    lr_decay: float = 1.0
    unfreeze: int | str = "none"
    augment: str = "none"
    precision: str = "fp32"


def phases(recipe: Resolved) -> tuple[Phase, ...]:
    """The phases of a recipe, in order.

    >>> from zoo.data.kinds import IMAGES
    >>> from zoo.training.recipe import Recipe, resolve
    >>> [phase.name for phase in phases(resolve(Recipe(unfreeze=1), IMAGES))]
    ['head', 'tune']
    """
    return STRATEGIES[choose_strategy(recipe)](recipe)


def choose_strategy(recipe: Resolved) -> str:
    """The name of the strategy that suits a resolved recipe.

    From scratch, and below an encoder that is new itself, there is nothing to protect from a new head.
    """
    if recipe.unfreeze == "none":
        return "head"
    nothing_to_protect = recipe.from_scratch or recipe.encoder in LEARNED_ENCODERS
    return "tune" if nothing_to_protect or not recipe.epochs else "head-then-tune"


def head_only(recipe: Resolved) -> tuple[Phase, ...]:
    """The head alone, on the features of a backbone that stays frozen (a linear probe, if it is linear)."""
    head = Phase(
        name="head",
        trains="features",
        **phase_of(recipe, "")._asdict(),
    )
    return (head,)


def tune_only(recipe: Resolved) -> tuple[Phase, ...]:
    """The head and the unfrozen stages together, from the first epoch."""
    tune = Phase(
        name="tune",
        trains="items",
        **phase_of(recipe, "tune_")._asdict(),
        lr_option="--tune-lr",
        lr_decay=recipe.lr_decay,
        unfreeze=recipe.unfreeze,
        augment=recipe.augment,
        precision=recipe.precision,
    )
    return (tune,)


def head_then_tune(recipe: Resolved) -> tuple[Phase, ...]:
    """First the head alone, then deeper stages with it.

    A new head starts from noise; training it first keeps that noise out of the pretrained layers (Kumar et
    al. 2022, arXiv:2202.10054).
    """
    return head_only(recipe) + tune_only(recipe)


STRATEGIES: dict[str, Callable[[Resolved], tuple[Phase, ...]]] = {
    "head": head_only,
    "head-then-tune": head_then_tune,
    "tune": tune_only,
}
