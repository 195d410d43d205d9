"""The nearest class mean: a head for few examples of a class, fitted in closed form.

>>> import torch
>>> layer = NearestMean(2, 2).fit(torch.tensor([[0.0, 1.0], [0.2, 1.0], [1.0, 0.0]]), torch.tensor([0, 0, 1]))
>>> layer(torch.tensor([[0.1, 0.8], [0.9, 0.1]])).argmax(dim=1).tolist()
[0, 1]
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from adapters.errors import InvalidHead

SCALE = 1.0  # where no class has two items, nothing says how far apart items of a class are
SCALES = (1e-2, 1e4)
STEPS = 200


class NearestMean(nn.Module):
    """Minus the squared distance of the features to the mean of each class, times a scale.

    Features are centred and brought to length 1 first. Prototypes: Snell et al. 2017, arXiv:1703.05175;
    centring and length: Wang et al. 2019, "SimpleShot", arXiv:1911.04623 (CL2N), but that the centre is that
    of the training items, every class counting the same.

    The scale is the inverse of a temperature. `fit` chooses the one that makes the items' own classes most
    likely, each item measured without itself in the mean of its class. Targets are (n + 1) / (n + 2), as
    in Platt 1999, "Probabilistic Outputs for Support Vector Machines": few items that lie well apart make no
    answer certain.

    Means and scale are parameters, so they may also learn by gradient; the centre is a buffer. Before `fit`
    means are random.

    Args:
        in_features: The length of a feature vector.
        classes: Their number.
        generator: A generator on the CPU; None for torch's global one.
    """

    center: Tensor

    def __init__(self, in_features: int, classes: int, generator: Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, in_features))
        self.scale = nn.Parameter(torch.tensor(SCALE))
        self.register_buffer("center", torch.zeros(in_features))
        nn.init.normal_(self.weight, std=1 / sqrt(in_features), generator=generator)

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> NearestMean:
        """Compute centre, means and scale.

        Args:
            features: (items, features).
            labels: (items,), the index of each item's class; every class has an item.

        Returns:
            The module itself.

        Raises:
            InvalidHead: For another width, a class without an item, or values that are not finite.
        """
        classes, width = self.weight.shape
        if features.ndim != 2 or features.shape[1] != width or labels.shape != features.shape[:1]:
            raise InvalidHead(
                f"cannot compute means of features {tuple(features.shape)} with labels {tuple(labels.shape)}",
                hint=f"They must be (items, {width}) and (items,).",
            )
        if not features.isfinite().all():
            raise InvalidHead("cannot compute means: some features are NaN or infinite")
        counts = torch.bincount(labels, minlength=classes)
        if len(counts) > classes or not counts.all():
            empty = [number for number, count in enumerate(counts.tolist()) if not count]
            raise InvalidHead(
                f"cannot compute the means of {classes} classes: "
                + (f"class {empty[0]} has no item" if empty else f"labels reach {len(counts) - 1}")
            )
        self.center.copy_(_class_means(features, labels, classes).mean(0))
        placed = self._place(features)
        self.weight.copy_(_class_means(placed, labels, classes))
        self.scale.fill_(_choose_scale(*self._without_themselves(placed, labels, counts)))
        return self

    def forward(self, features: Tensor) -> Tensor:
        return -self.scale * _squared_distances(self._place(features), self.weight)

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, classes={self.weight.shape[0]}"

    def _place(self, features: Tensor) -> Tensor:
        return F.normalize(features - self.center, dim=-1)

    def _without_themselves(self, placed: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the squared distances (items, classes) of items that are not alone in their class, and their
        labels; the mean of an item's own class is that of the others."""
        nearness = -_squared_distances(placed, self.weight)
        several = counts[labels] > 1
        count = counts[labels][several, None].to(placed.dtype)
        items, own = placed[several], self.weight[labels[several]]
        others = (own * count - items) / (count - 1)
        nearness = nearness[several]
        nearness.scatter_(1, labels[several, None], -(items - others).square().sum(1, keepdim=True))
        return nearness, labels[several]


def _class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of each class, (classes, features)."""
    exact = torch.float32 if features.device.type == "mps" else torch.float64  # mps has no float64
    return torch.stack([features[labels == number].to(exact).mean(0) for number in range(classes)]).to(
        features.dtype
    )


def _squared_distances(features: Tensor, means: Tensor) -> Tensor:
    """(items, classes); by products, so that nothing of (items, classes, features) is held."""
    lengths = features.square().sum(-1, keepdim=True)
    return lengths - 2 * F.linear(features, means) + means.square().sum(-1)


def _choose_scale(nearness: Tensor, labels: Tensor) -> float:
    """The scale with the least cross-entropy against smoothed targets; nearness: (items, classes)."""
    items, classes = nearness.shape
    if not items or classes == 1:
        return SCALE
    spread = 1 / (items + 2)
    targets = torch.full_like(nearness, spread / (classes - 1))
    targets.scatter_(1, labels[:, None], 1 - spread)
    low, high = (torch.tensor(edge).log().item() for edge in SCALES)
    found = torch.linspace(low, high, STEPS).exp().tolist()
    losses = [float(-(targets * F.log_softmax(scale * nearness, 1)).sum(1).mean()) for scale in found]
    return float(found[losses.index(min(losses))])
