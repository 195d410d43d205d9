"""Parameters counted, and grouped for an optimizer with a learning rate for every stage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from adapters.errors import AdapterError
from adapters.staging import stages
from adapters.structure import join_name, unwrap


@dataclass(frozen=True)
class Counts:
    """How many numbers a network has: total = trainable + frozen; buffers (statistics, tables) come on top.

    >>> print(count_parameters(nn.Linear(4, 2)))
    10 parameters, 10 trainable, 0 frozen; 0 in buffers
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
    """How many parameters a network has and how many of them learn. Shared ones count once."""
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
    """Everything that learns, once, in groups for a torch optimizer: `SGD(parameter_groups(model, 0.01))`.

    lr: of the last stage, the classifier's. decay: factor per stage going back towards the input, so that a
    stage d before the last one gets lr · decay^d: discriminative learning rates, Howard and Ruder 2018,
    arXiv:1801.06146 (1/2.6 there); 0.65-0.75 per block is usual for vision transformers (arXiv:2106.08254).
    weight_decay: for weights. Biases, norms and scales (one dimension), and what the network itself exempts
    (timm's `no_weight_decay`), get none, unless no_decay_on_norm_and_bias is False.

    Each group has `params`, `lr`, `weight_decay` and `name`: the stage's, with " (no decay)" where it has
    two. Groups come from the classifier to the input. Raises AdapterError for an impossible decay.
    """
    if not 0 < decay <= 1:
        raise AdapterError(f"decay {decay}", hint="It is a factor per stage: above 0, at most 1.")
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
    return groups


def _exempt_names(model: nn.Module) -> frozenset[str]:
    """Names of parameters that the network itself wants no weight decay on, such as embeddings of places."""
    prefix, network = unwrap(model)
    ask = getattr(network, "no_weight_decay", None)
    names: set[str] = set()
    with suppress(Exception):  # another library's method of that name
        names = set(ask()) if callable(ask) else set()
    return frozenset(join_name(prefix, name) for name in names)
