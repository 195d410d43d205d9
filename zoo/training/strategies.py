"""What a recipe comes to: which phases there are, and what each of them trains at which rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from zoo.training.recipe import LEARNED_ENCODERS, Recipe, frozen_throughout, resolve

T = TypeVar("T")


@dataclass(frozen=True)
class Phase:
    """One stretch of training. name: "head" on cached features, "tune" on the items.

    epochs: at most. lr: of the head; a stage d steps below it gets lr · lr_decay^d. unfreeze, augment: as in
    the recipe. precision: a head is a few thousand weights, so it always trains in fp32; the number format
    is for the backbone.
    """

    name: Literal["head", "tune"]
    epochs: int
    lr: float
    weight_decay: float
    patience: int
    lr_decay: float = 1.0
    unfreeze: int | str = "none"
    augment: str = "none"
    precision: str = "fp32"


def phases(recipe: Recipe) -> tuple[Phase, ...]:
    """The phases of a recipe, in order: first the head alone, then, if so wished, deeper stages with it.

    A new head starts from noise; training it first keeps that noise out of the pretrained layers (Kumar et
    al. 2022, arXiv:2202.10054). From scratch, and below an encoder that is new itself, there is nothing to
    protect: everything trains at once.

    >>> [phase.name for phase in phases(Recipe(unfreeze=1))]
    ['head', 'tune']
    """
    r = resolve(recipe)
    head = Phase("head", r.epochs, given(r.lr), r.weight_decay, r.patience)
    if frozen_throughout(r):
        return (head,)
    tune = Phase(
        name="tune",
        epochs=given(r.tune_epochs),
        lr=given(r.tune_lr),
        weight_decay=given(r.tune_weight_decay),
        patience=given(r.tune_patience),
        lr_decay=given(r.lr_decay),
        unfreeze=r.unfreeze,
        augment=given(r.augment),
        precision=r.precision,
    )
    fresh = r.from_scratch or r.encoder in LEARNED_ENCODERS
    return (head, tune) if r.epochs and not fresh else (tune,)


def given(value: T | None) -> T:
    """A value that `resolve` has filled in."""
    assert value is not None
    return value
