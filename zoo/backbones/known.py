"""Networks whose code is known: those that shortcuts can be taken with."""

from __future__ import annotations

from torch import nn

from adapters.structure import packages_of

LIBRARIES = frozenset(("torch", "torchvision", "timm", "adapters", "zoo"))


def is_known(network: nn.Module) -> bool:
    """Whether all modules of a network are of libraries whose forward passes were looked through: what they
    make of an image depends on nothing else in the batch, they do not turn on its values, and keep nothing
    but the statistics of batch norms. A module of somebody else may do any of that, and a few images do not
    show it. Nor is it known of layers that are computed again for the gradients (checkpointing).
    """
    return packages_of(network) <= LIBRARIES and not any(
        getattr(module, "grad_checkpointing", False) for module in network.modules()
    )
