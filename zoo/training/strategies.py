"""The strategies by name: which phases a run has, and what each of them trains at which rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from zoo.training.recipe import COMPUTED_HEADS, LEARNED_ENCODERS, Resolved, phase_of

Opens = Literal["stages", "norms", "low rank"]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    name: for people. trains: on "features", computed once by the frozen network, only the head learns; on the
    "items" themselves, what is opened learns too. epochs: at most. lr: of the head; a stage d steps below
    it gets lr · lr_decay^d. lr_option: what sets it on the command line. unfreeze, augment, erase,
    mixup, cutmix: as in the recipe.
    precision: a head is a few thousand weights, so it always trains in fp32; the number format is for the
    backbone. opens: what learns of the backbone: the stages that `unfreeze` means, the norms and biases of
    all, or a correction of `rank` in every layer. pull: strength of the pull towards the weights that the
    phase begins with; 0 for none. accumulate: in how many parts the items of a step pass through the network.
    computed: the head is, in one epoch without a step; see `Head.fit` of adapters.
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
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    precision: str = "fp32"
    opens: Opens = "stages"
    rank: int = 0
    pull: float = 0.0
    accumulate: int = 1
    computed: bool = False

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


def phases(recipe: Resolved, depth: int | None = None) -> tuple[Phase, ...]:
    """The phases of a recipe, in order.

    depth: how many stages of the network `unfreeze` means, where a network is there to count them: `gradual`
    has a phase for each. None for one phase in their place.

    >>> from zoo.data.kinds import IMAGES
    >>> from zoo.training.recipe import Recipe, resolve
    >>> [phase.name for phase in phases(resolve(Recipe(unfreeze=1), IMAGES))]
    ['head', 'tune']
    >>> [phase.name for phase in phases(resolve(Recipe(strategy="gradual"), IMAGES), depth=2)]
    ['head', 'last stage', 'last 2 stages']
    """
    return STRATEGIES[recipe.strategy](recipe, depth)


def head_only(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """The head alone, on the features of a backbone that stays frozen (a linear probe, if it is linear)."""
    head = Phase(
        name="head",
        trains="features",
        **phase_of(recipe, "")._asdict(),
    )
    return (replace(head, epochs=1, computed=True) if recipe.head in COMPUTED_HEADS else head,)


def tune_only(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """The head and the unfrozen stages together, from the first epoch."""
    tune = Phase(
        name="tune",
        trains="items",
        **phase_of(recipe, "tune_")._asdict(),
        lr_option="--tune-lr",
        lr_decay=recipe.lr_decay,
        unfreeze=recipe.unfreeze,
        augment=recipe.augment,
        erase=recipe.erase,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        precision=recipe.precision,
        accumulate=recipe.accumulate,
    )
    return (tune,)


def head_then_tune(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """First the head alone, then deeper stages with it.

    A new head starts from noise; training it first keeps that noise out of the pretrained layers (Kumar et
    al. 2022, arXiv:2202.10054). From scratch, and below an encoder that is new itself, there is nothing to
    protect.
    """
    nothing_to_protect = recipe.from_scratch or recipe.encoder in LEARNED_ENCODERS
    first = () if nothing_to_protect or not recipe.epochs else head_only(recipe)
    return first + tune_only(recipe)


def norms(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """After the head, scales and shifts of normalisation layers, and biases: Frankle et al. 2020,
    arXiv:2003.00152; Ben Zaken et al. 2021, arXiv:2106.10199."""
    return _with_last(head_then_tune(recipe), name="norms", opens="norms")


def lora(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """After the head, a correction of low rank in every layer: Hu et al. 2021, arXiv:2106.09685."""
    return _with_last(head_then_tune(recipe), name="lora", opens="low rank", rank=recipe.rank)


def pulled(recipe: Resolved, _depth: int | None = None) -> tuple[Phase, ...]:
    """After the head, stages that are pulled towards their first weights: Li et al. 2018,
    arXiv:1802.01483."""
    return _with_last(head_then_tune(recipe), pull=recipe.pull)


def gradual(recipe: Resolved, depth: int | None = None) -> tuple[Phase, ...]:
    """After the head the last stage, then the one before it as well, and so on, each until it gets no better:
    Howard and Ruder 2018, arXiv:1801.06146."""
    *first, tune = head_then_tune(recipe)
    steps = [
        replace(tune, name="last stage" if number == 1 else f"last {number} stages", unfreeze=number)
        for number in range(1, (depth or 0) + 1)
    ]
    return (*first, *(steps or [tune]))


def _with_last(found: tuple[Phase, ...], **changes: object) -> tuple[Phase, ...]:
    """The phases with some facts of the last one changed."""
    return (*found[:-1], replace(found[-1], **changes))  # type: ignore[arg-type]


STRATEGIES: dict[str, Callable[[Resolved, int | None], tuple[Phase, ...]]] = {
    "head": head_only,
    "partial": head_then_tune,
    "full": tune_only,
    "lp-ft": head_then_tune,
    "norms": norms,
    "l2-sp": pulled,
    "lora": lora,
    "gradual": gradual,
    "auto": head_only,  # until it is chosen
}
