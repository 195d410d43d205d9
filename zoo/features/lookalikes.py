"""Re-saved copies of a photograph in train and val: features propose pairs, pixels decide.

Features are available already, so the search is free; only the few pairs with nearly equal features are
decoded again. Features alone would confuse two photographs of one ant; pixels alone would require decoding
everything twice.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.leaks import find_lookalikes, thumbnails
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.preprocessing import preprocess

NEAR = 0.8  # cosine of the features from which on two files may be one photograph
MOST = 256  # pairs that are compared, the nearest first


def find_resaved(
    train: Sequence[Item],
    train_features: Tensor,
    held_out: Sequence[Item],
    held_out_features: Tensor,
    input: ImageInput,  # noqa: A002
) -> list[tuple[Path, Path]]:
    """(in train, held out) for every held-out file that is a re-saved copy of a training file.

    Files with equal bytes are left out: the scan has reported those. *_features: (items, width), in the order
    of the items.
    """
    if not train or not held_out:
        return []
    near = F.normalize(held_out_features, dim=1) @ F.normalize(train_features, dim=1).T
    cosines, nearest = near.max(dim=1)
    rows = cosines.argsort(descending=True)[:MOST]
    pairs = [(int(nearest[row]), int(row)) for row in rows if cosines[row] > NEAR]
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
