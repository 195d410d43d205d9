"""Occlusion: what a network answers once a part of an image is covered with grey.

Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901. As a method of its own it needs nothing but answers;
as a check it shows whether a map of another method matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.answers.explaining.explanations import Check

PATCH = 0.25
STEPS = 12
"""The side of the covered square as a share of the image, and its places per side. Zeiler covered 50 of 224
pixels."""
AT_ONCE = 32  # covered images per forward pass
SHARE = 0.2  # of the area that is covered to check a map
CLEARLY = 1.5  # times that the hot part must cost what the cold one and the controls do

Outputs = Callable[[Tensor], Tensor]
"""Images (n, channels, size, size) -> outputs (n, width) on the CPU."""
Evidence = Callable[[Tensor], Tensor]
"""Outputs (n, width) -> how much they speak for what is explained, (n,)."""


def occlusion_maps(image: Tensor, outputs: Outputs, evidence: Sequence[Evidence]) -> Tensor:
    """(evidence, STEPS, STEPS): by how much each falls, on average, where a covered square lies over a place.

    image: (channels, size, size), preprocessed: 0 is the mean colour, which covers.
    """
    size = image.shape[-1]
    side = max(1, round(size * PATCH))
    starts = torch.linspace(0, size - side, STEPS).round().int().tolist()
    places = [(top, left) for top in starts for left in starts]
    whole = outputs(image[None])
    answers = []
    for first in range(0, len(places), AT_ONCE):
        part = places[first : first + AT_ONCE]
        covered = image.repeat(len(part), 1, 1, 1)
        for row, (top, left) in enumerate(part):
            covered[row, :, top : top + side, left : left + side] = 0
        answers.append(outputs(covered))
    found = torch.cat(answers)
    falls = torch.stack([one(whole) - one(found) for one in evidence])  # (evidence, places)
    total, count = torch.zeros(len(evidence), size, size), torch.zeros(size, size)
    for place, (top, left) in enumerate(places):
        total[:, top : top + side, left : left + side] += falls[:, place, None, None]
        count[top : top + side, left : left + side] += 1
    return F.adaptive_avg_pool2d(total / count.clamp(min=1), STEPS)


def check_map(
    image: Tensor,
    heat: Tensor,
    outputs: Outputs,
    evidence: Evidence,
    score: Callable[[Tensor], list[float]],
) -> Check:
    """What covering the hottest and the coldest fifth of a map changes, in one forward pass of six images.

    heat: (size, size), the map before its ReLU. The controls are the hottest part moved by half of the
    image's width, its height, and both: as large and of the same form, elsewhere.
    """
    count = round(SHARE * heat.numel())
    order = heat.flatten().argsort(descending=True)
    hot, cold = torch.zeros(2, heat.numel(), dtype=torch.bool)
    hot[order[:count]], cold[order[-count:]] = True, True
    hot, cold = hot.view_as(heat), cold.view_as(heat)
    rows, columns = heat.shape[0] // 2, heat.shape[1] // 2
    controls = [torch.roll(hot, by, (0, 1)) for by in ((rows, 0), (0, columns), (rows, columns))]
    masks = torch.stack([torch.zeros_like(hot), hot, cold, *controls])
    found = outputs(torch.where(masks[:, None], torch.zeros(()), image[None]))
    before, *after = evidence(found).tolist()
    falls = [before - value for value in after]
    control = sum(falls[2:]) / len(controls)
    confirmed = falls[0] > 0 and falls[0] > CLEARLY * max(falls[1], control)
    scores = score(found)
    return Check(SHARE, scores[1], scores[2], falls[0], falls[1], control, confirmed)
