"""Read every feature that is kept, and hold it against its checksum. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from zoo.events import Progress, Report, silent
from zoo.features.segments import (
    SUFFIX,
    TABLE,
    Damaged,
    Segment,
    open_segment,
    rows_once,
    save_segment,
)

State = Literal["whole", "damaged", "deleted"]


@dataclass(frozen=True)
class FeatureVerdict:
    """The result of reading one file of features. state: `deleted`: what was damaged in it is gone, and is
    computed again when it is asked for. rows: that are in it; damaged: of them. detail: what is wrong."""

    path: Path
    state: State
    rows: int = 0
    damaged: int = 0
    detail: str | None = None


def verify_features(home: Path, *, fix: bool = False, report: Report = silent) -> Iterator[FeatureVerdict]:
    """A verdict for every file of features of a store. fix: take out what is damaged."""
    for table in sorted(path for path in (home / "features").glob("*") if TABLE.fullmatch(path.name)):
        for path in sorted(table.glob(f"*{SUFFIX}")):
            try:
                yield _verify(path, fix=fix, report=report)
            except FileNotFoundError:  # another process merged or pruned it
                continue
            except OSError as error:
                yield FeatureVerdict(path, "damaged", detail=f"cannot be read: {error.strerror or error}")


def _verify(path: Path, *, fix: bool, report: Report) -> FeatureVerdict:
    try:
        segment = open_segment(path, None)
    except Damaged:
        segment = None
    if segment is None or hashlib.sha256(segment.about.encode()).hexdigest() != path.parent.name:
        if segment is not None:
            segment.close()
        if fix:
            path.unlink()
        detail = "it is not a whole file of features" + ", and was deleted" * fix
        return FeatureVerdict(path, "deleted" if fix else "damaged", detail=detail)
    with closing(segment):
        damaged = _count_damaged(segment, report)
        if not damaged:
            return FeatureVerdict(path, "whole", segment.count)
        detail = f"{damaged:,} of {segment.count:,} features are not as they were written"
        if not fix:
            return FeatureVerdict(path, "damaged", segment.count, damaged, detail)
        _take_out(segment)
        detail += ", and were deleted"
        return FeatureVerdict(path, "deleted", segment.count - damaged, damaged, detail)


def _count_damaged(segment: Segment, report: Report) -> int:
    damaged = done = 0
    for which, _, whole in segment.read(np.arange(segment.count)):
        damaged += int((~whole).sum())
        done += len(which) * segment.row_bytes
        report(Progress("verify features", done, segment.count * segment.row_bytes, "bytes"))
    return damaged


def _take_out(segment: Segment) -> None:
    """Write what is whole in a segment anew, and delete the segment."""
    save_segment(
        segment.path.parent, segment.path.name.encode(), segment.about, segment.shape, rows_once([segment])
    )
    segment.path.unlink(missing_ok=True)
