"""What a recipe trains of a network: the stages that it means, once there is a network to look at."""

from __future__ import annotations

from torch import nn

from adapters import UnknownName, add_low_rank, stages, unfreeze, unfreeze_norms
from adapters.staging import find_stage
from zoo.errors import InvalidRecipe
from zoo.training.recipe import Resolved
from zoo.training.recipe.wording import Part, Problem, Setting, listed
from zoo.training.strategies import Phase


def count_stages(network: nn.Module, unfreeze: int | str) -> int | None:
    """How many of the last stages before the classifier `unfreeze` means; None for the whole network.

    unfreeze: of a recipe; a name means that stage and all after it, "none" no stage.
    Raises InvalidRecipe for more stages than there are, or a name that none has; it lists them.
    """
    if unfreeze == "all":
        return None
    if unfreeze == "none":
        return 0
    found = stages(network)
    before = [stage.name for stage in found if not stage.classifier]
    if isinstance(unfreeze, int):
        if unfreeze > len(before):
            raise _invalid(unfreeze, f"the network has {len(before)} stages before its head", before)
        return unfreeze
    try:
        index = find_stage(found, unfreeze)
    except UnknownName as error:
        raise _invalid(unfreeze, "the network has no stage of that name", before) from error
    if found[index].classifier:
        raise _invalid(unfreeze, "that is the head, which is trained in any case", before)
    return len(before) - index


def count_opened(network: nn.Module, recipe: Resolved) -> int:
    """How many stages before the classifier a recipe trains at most. Raises as `count_stages` does."""
    counted = count_stages(network, recipe.unfreeze)
    return sum(not stage.classifier for stage in stages(network)) if counted is None else counted


def open_phase(network: nn.Module, phase: Phase, recipe: Resolved) -> None:
    """Let learn what a phase trains on the items themselves, besides the head, in place. Idempotent.

    Pretrained batch norms keep their statistics: batches of a few dozen images measure them badly, and the
    head was fitted to features that were normalised with them.
    """
    match phase.opens:
        case "stages":
            unfreeze(network, count_stages(network, phase.unfreeze), freeze_norm=not recipe.from_scratch)
        case "norms":
            unfreeze_norms(network)
        case "low rank":
            add_low_rank(network, phase.rank, seed=recipe.seed)


def _invalid(unfreeze: int | str, why: str, names: list[str]) -> InvalidRecipe:
    parts: tuple[Part, ...] = (Setting("unfreeze", unfreeze), f": {why}")
    return InvalidRecipe(
        [Problem(("unfreeze",), parts)],
        hint=f"The stages, the last first: {listed(reversed(names))}; or all.",
    )
