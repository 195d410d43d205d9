"""Re-saved copies of a photograph in train and val: features propose pairs, pixels decide.

Features are available already, so the search costs little; only the few pairs with nearly equal features are
decoded again. Features alone would confuse two photographs of one ant; pixels alone would require decoding
everything twice. The products grow with the square of the number of photographs: from about 37,000 on, with a
fifth of them held out, only as many of these are compared as the products allow.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.leaks import find_lookalikes, thumbnails
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.preprocessing import preprocess
from zoo.features.rows import Rows, blocks_of, read_rows

NEAR = 0.8  # cosine of the features from which on two files may be one photograph
MOST = 256  # pairs that are compared, the nearest first
PRODUCTS = 220_000_000  # of two rows of features: 6 s on two cores with 1,280 each
_BLOCK = 4_000_000  # products at a time: 16 MB


def find_resaved(
    train: Sequence[Item],
    train_features: Rows,
    held_out: Sequence[Item],
    held_out_features: Rows,
    input: ImageInput,  # noqa: A002
) -> list[tuple[Path, Path]]:
    """(in train, held out) for every held-out file that is a re-saved copy of a training file, of those that
    `choose_compared` names.

    Files with equal bytes are left out: the scan has reported those. *_features: (items, width), in the order
    of the items.
    """
    if not train or not held_out:
        return []
    compared = choose_compared(len(train), len(held_out))
    cosines, nearest = _nearest(train_features, read_rows(held_out_features, compared))
    rows = cosines.argsort(descending=True)[:MOST]
    pairs = [(int(nearest[row]), int(compared[row])) for row in rows if cosines[row] > NEAR]
    if not pairs:
        return []
    shrunk: dict[Path, Tensor] = {}
    paths = list({train[a].path for a, _ in pairs} | {held_out[b].path for _, b in pairs})
    with load_batches(paths, partial(preprocess, input=input), 32) as batches:
        for batch in batches:
            rows_of = thumbnails(batch.images)
            shrunk |= {paths[i]: row for i, row in zip(batch.indices.tolist(), rows_of, strict=True)}
    named = [(train[a].path, held_out[b].path) for a, b in pairs]
    return [
        (first, second)
        for first, second in named
        if first in shrunk and second in shrunk and find_lookalikes(shrunk[first][None], shrunk[second][None])
        if not filecmp.cmp(first, second, shallow=False)
    ]


def choose_compared(train: int, held_out: int) -> Tensor:
    """The positions of the held-out items that are compared with all of so many training items: all of them,
    or as many as PRODUCTS allows, drawn evenly.

    >>> len(choose_compared(8_000, 2_000)), len(choose_compared(800_000, 200_000))
    (2000, 275)
    """
    count = min(held_out, max(1, PRODUCTS // max(1, train)))
    return torch.arange(count) * held_out // count


def _nearest(train: Rows, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine (held out,) of each held-out row with any training row, and which row that is."""
    cosines, nearest = torch.full((len(held_out),), -2.0), torch.zeros(len(held_out), dtype=torch.long)
    first, products = 0, torch.empty(0)
    for some in blocks_of(train):
        unit, block = F.normalize(some, dim=1), max(1, _BLOCK // len(some))
        for start in range(0, len(held_out), block):
            part = F.normalize(held_out[start : start + block], dim=1)
            # one memory for all: freed, and asked for anew after small results, it grew by 16 MB each time
            products = torch.mm(part, unit.T, out=products.resize_(len(part), len(unit)))
            best, which = products.max(dim=1)
            nearer = best > cosines[start : start + block]
            cosines[start : start + block][nearer] = best[nearer]
            nearest[start : start + block][nearer] = first + which[nearer]
        first += len(some)
    return cosines, nearest
