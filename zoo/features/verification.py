"""Read every feature that is kept, and hold it against its checksum. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
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

State = Literal["whole", "damaged", "deleted", "set aside"]
ASIDE = ".aside"
UNREADABLE = "cannot be read: {}. Make it readable, or delete it: what was in it is computed again"


@dataclass(frozen=True)
class FeatureVerdict:
    """The result of reading one file of features. state: `deleted`: what was damaged in it is gone, and is
    computed again when it is asked for; `set aside`: what is not ours lay in its place, and has another name
    now. rows: that are in it; damaged: of them. detail: what is wrong."""

    path: Path
    state: State
    rows: int = 0
    damaged: int = 0
    detail: str | None = None


def verify_features(home: Path, *, fix: bool = False, report: Report = silent) -> Iterator[FeatureVerdict]:
    """A verdict for every file of features of a store. fix: take out what is damaged.

    All of them are one task for `report`, however many they are.
    """
    tables = sorted(path for path in (home / "features").glob("*") if TABLE.fullmatch(path.name))
    paths = [path for table in tables for path in sorted(table.glob(f"*{SUFFIX}"))]
    sizes = [_size(path) for path in paths]
    before, total = 0, sum(sizes)

    def reading(done: int) -> None:
        if total:
            report(Progress("verify features", min(before + done, total), total, "bytes"))

    for path, size in zip(paths, sizes, strict=True):
        verdict = _verdict(path, fix=fix, reading=reading)
        reading(size)
        before += size
        if verdict is not None:
            yield verdict


def _size(path: Path) -> int:
    """Bytes of a file; 0 of anything else."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _verdict(path: Path, *, fix: bool, reading: Callable[[int], None]) -> FeatureVerdict | None:
    """What is wrong with a file; None for one that is gone: another process merged or pruned it."""
    try:
        return _set_aside(path, fix=fix) if path.is_dir() else _verify(path, fix=fix, reading=reading)
    except FileNotFoundError:
        return None
    except OSError as error:
        return FeatureVerdict(path, "damaged", detail=UNREADABLE.format(error.strerror or error))


def _set_aside(path: Path, *, fix: bool) -> FeatureVerdict:
    """A folder in the place of a file: whoever put it there may want what is in it. Raises OSError."""
    detail = "it is a folder, and a file of features belongs in its place"
    if not fix:
        return FeatureVerdict(path, "damaged", detail=detail)
    aside = path.with_name(path.name + ASIDE)
    path.rename(aside)
    return FeatureVerdict(path, "set aside", detail=f"{detail}: renamed to {aside.name}")


def _verify(path: Path, *, fix: bool, reading: Callable[[int], None]) -> FeatureVerdict:
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
        damaged = _count_damaged(segment, reading)
        if not damaged:
            return FeatureVerdict(path, "whole", segment.count)
        detail = f"{damaged:,} of {segment.count:,} features are not as they were written"
        if not fix:
            return FeatureVerdict(path, "damaged", segment.count, damaged, detail)
        _take_out(segment)
        detail += ", and were deleted"
        return FeatureVerdict(path, "deleted", segment.count - damaged, damaged, detail)


def _count_damaged(segment: Segment, reading: Callable[[int], None]) -> int:
    damaged = done = 0
    for which, _, whole in segment.read(np.arange(segment.count)):
        damaged += int((~whole).sum())
        done += len(which) * segment.row_bytes
        reading(done)
    return damaged


def _take_out(segment: Segment) -> None:
    """Write what is whole in a segment anew, and delete the segment."""
    save_segment(
        segment.path.parent, segment.path.name.encode(), segment.about, segment.shape, rows_once([segment])
    )
    segment.path.unlink(missing_ok=True)
