"""Counts of parameters, and groups for an optimizer with a learning rate per stage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

from torch import nn

from adapters.errors import AdapterError
from adapters.staging import stages
from adapters.structure import join_name, unwrap


@dataclass(frozen=True)
class Counts:
    """The number of parameters and buffer elements of a network.

    >>> print(count_parameters(nn.Linear(4, 2)))
    10 parameters, 10 trainable, 0 frozen; 0 in buffers

    Attributes:
        total: All parameters, trainable + frozen.
        trainable: Parameters with a gradient.
        frozen: Parameters without.
        buffers: Elements of buffers (statistics, tables), not part of the total.
    """

    total: int
    trainable: int
    frozen: int
    buffers: int

    def __str__(self) -> str:
        return (
            f"{self.total:,} parameters, {self.trainable:,} trainable, {self.frozen:,} frozen; "
            f"{self.buffers:,} in buffers"
        )


def count_parameters(model: nn.Module) -> Counts:
    """The number of parameters of a network, and how many are trainable. Shared ones count once.

    Args:
        model: Any network.

    Returns:
        The counts; printed as one line.
    """
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    total = sum(size for size, _ in sizes)
    trainable = sum(size for size, learns in sizes if learns)
    buffers = sum(buffer.numel() for buffer in model.buffers())
    return Counts(total, trainable, total - trainable, buffers)


def parameter_groups(
    model: nn.Module,
    lr: float,
    *,
    decay: float = 1.0,
    weight_decay: float = 0.0,
    no_decay_on_norm_and_bias: bool = True,
) -> list[dict[str, Any]]:
    """Every trainable parameter, in groups for a torch optimizer: `SGD(parameter_groups(model, 0.01))`.

    Args:
        model: Any network.
        lr: The learning rate of the last stage, the classifier's.
        decay: Factor per stage towards the input: a stage d before the last one gets lr · decay^d.
            Discriminative learning rates, Howard and Ruder 2018, arXiv:1801.06146 (1/2.6 there); 0.65-0.75
            per block is usual for vision transformers (arXiv:2106.08254).
        weight_decay: For weights.
        no_decay_on_norm_and_bias: Whether biases, norms and scales (one dimension), and parameters that the
            network itself exempts (timm's `no_weight_decay`), get no weight decay.

    Returns:
        Groups from the classifier to the input, each with `params`, `lr`, `weight_decay` and `name`: the
        stage's, with " (no decay)" for the second group of a stage.

    Raises:
        AdapterError: If a value is impossible, or if every parameter is frozen.
    """
    if not 0 < decay <= 1:
        raise AdapterError(f"decay {decay}", hint="It is a factor per stage: above 0, at most 1.")
    for name, value in (("lr", lr), ("weight_decay", weight_decay)):
        if not 0 <= value < inf:
            raise AdapterError(f"{name} {value}", hint="It must be at least 0, and finite.")
    exempt = _exempt_names(model) if no_decay_on_norm_and_bias else frozenset()
    groups = []
    for depth, stage in enumerate(reversed(stages(model))):
        learns = [(name, p) for name, p in stage.named_parameters(model) if p.requires_grad]
        bare = [p for name, p in learns if no_decay_on_norm_and_bias and (p.ndim < 2 or name in exempt)]
        bare_ids = {id(p) for p in bare}
        weights = [p for _, p in learns if id(p) not in bare_ids]
        rows = [(stage.name, weights, weight_decay), (f"{stage.name} (no decay)", bare, 0.0)]
        if not weight_decay:
            rows = [(stage.name, [p for _, p in learns], 0.0)]
        groups += [
            {"params": params, "lr": lr * decay**depth, "weight_decay": factor, "name": name}
            for name, params, factor in rows
            if params
        ]
    if not groups:
        raise AdapterError(
            f"no parameter of {type(model).__name__} is trainable",
            hint="Let a stage learn, adapters.unfreeze(model, 1), or attach a head: adapters.attach_head.",
        )
    return groups


def _exempt_names(model: nn.Module) -> frozenset[str]:
    """Names of parameters that the network itself exempts from weight decay, such as position embeddings."""
    prefix, network = unwrap(model)
    ask = getattr(network, "no_weight_decay", None)
    names: set[str] = set()
    with suppress(Exception):  # another library may have a method of that name
        names = set(ask()) if callable(ask) else set()
    return frozenset(join_name(prefix, name) for name in names)
