"""The features that several processes have computed, each of its own share of the images, as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load, save
from torch import Tensor

from zoo.data.pixels.batches import BadFile
from zoo.features.extraction import FeatureTable
from zoo.training.processes import Processes


class _Part(msgspec.Struct, frozen=True):
    """What a process sends besides the features. kept: rows of the whole. bad: row -> (path, reason)."""

    kept: list[int]
    bad: dict[int, tuple[str, str]]
    traits: dict[str, int]
    from_cache: int
    features: bytes


def join_tables(table: FeatureTable, own: Sequence[int], processes: Processes) -> FeatureTable:
    """The table of all images, in every process. table: of the images of this one; own: their places."""
    if processes.world == 1:
        return table
    kept = [own[row] for row in table.kept]
    lost = sorted({*own} - {*kept})
    part = _Part(
        kept=kept,
        bad={row: (str(file.path), file.reason) for row, file in zip(lost, table.bad, strict=True)},
        traits=dict(table.traits),
        from_cache=table.from_cache,
        features=save({"views": table.views.contiguous()}) if kept else b"",
    )
    parts = [msgspec.msgpack.decode(c, type=_Part) for c in processes.gather(msgspec.msgpack.encode(part))]
    bad = {row: file for part in parts for row, file in part.bad.items()}
    views: list[Tensor] = [load(part.features)["views"] for part in parts if part.features]
    rows = [row for part in parts for row in part.kept]  # in order: shares follow each other
    return FeatureTable(
        views=torch.cat(views, dim=1) if views else table.views,
        kept=tuple(rows),
        bad=tuple(BadFile(Path(path), reason) for _, (path, reason) in sorted(bad.items())),
        seconds=table.seconds,
        from_cache=sum(part.from_cache for part in parts),
        traits=sum((Counter(part.traits) for part in parts), Counter()),
    )
