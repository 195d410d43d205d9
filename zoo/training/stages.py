"""How deep a recipe unfreezes a network: the stages that it means, once there is a network to look at."""

from __future__ import annotations

from torch import nn

from adapters import UnknownName, stages
from adapters.staging import find_stage
from zoo.errors import InvalidRecipe
from zoo.training.recipe.wording import Part, Problem, Setting, listed


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


def _invalid(unfreeze: int | str, why: str, names: list[str]) -> InvalidRecipe:
    parts: tuple[Part, ...] = (Setting("unfreeze", unfreeze), f": {why}")
    return InvalidRecipe(
        [Problem(("unfreeze",), parts)],
        hint=f"The stages, the last first: {listed(reversed(names))}; or all.",
    )
