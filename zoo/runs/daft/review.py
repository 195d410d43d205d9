"""Whether the files of features hold what was asked for, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.data.names import natural_key, shortened
from zoo.errors import DatasetError, TrainingStopped
from zoo.events import Note, Report
from zoo.features.provenance import KEY, Provenance
from zoo.runs.daft.photographs import NAMED

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Written:
    """What the files of features have. rows: photographs; failed: those without features among them."""

    rows: int
    failed: int
    width: int
    precision: str
    classes: tuple[str, ...]
    licenses: dict[str, str]


def review_files(
    place: str, paths: Sequence[str], width: int, licenses: dict[str, str], precision: str, report: Report
) -> Written:
    """What was written of `paths`; photographs without features are named, some of many, and a precision that
    no worker kept. Raises TrainingStopped unless the files have a row for each, and DatasetError where no
    photograph has features, and where they have two number formats."""
    import polars as pl

    table = _read_back(place)
    try:
        names = table.collect_schema().names()
        found = table.select("path").collect()["path"] if names else pl.Series([], dtype=pl.String)
    except pl.exceptions.ComputeError as error:
        raise _unfinished("a file of features is not whole") from error
    _check_whole(found, paths)
    label = "label" if "label" in names else "model"
    kinds = table.group_by(label, KEY, pl.col("error").is_null().alias("read")).agg(rows=pl.len())
    groups = kinds.collect().to_dicts()
    rows, read = sum(group["rows"] for group in groups), [group for group in groups if group["read"]]
    failed = rows - sum(group["rows"] for group in read)
    if failed:
        some = table.filter(pl.col("error").is_not_null()).select("path", "error").sort("path").head(NAMED)
        for path, why in some.collect().rows():
            report(Note(f"skipped: {shortened(path, 300)} {why}", level="warning"))
        more = f"; {NAMED} of them are named, the column error has all" if failed > NAMED else ""
        report(Note(f"{failed:,} of {rows:,} files cannot be read{more}", level="warning"))
    if not read:
        raise DatasetError(
            f"none of the {rows:,} files can be read", hint="The reasons are above, a line for each."
        )
    abouts = {group[KEY] for group in read}
    formats = sorted({msgspec.json.decode(about, type=Provenance).precision for about in abouts})
    if len(formats) > 1:
        raise DatasetError(
            f"the features are in {' and '.join(formats)}: not all workers found that these agree",
            hint="Leave out --precision.",
        )
    if formats != [precision]:
        report(Note(f"features in {formats[0]}: {precision} does not agree with it on the workers"))
    classes = {group["label"] for group in read} - {None} if label == "label" else ()
    return Written(rows, failed, width, formats[0], tuple(sorted(classes, key=natural_key)), licenses)


def _read_back(place: str) -> pl.LazyFrame:
    """The columns of the files that were written, but the features; none where there are no files.

    Those of a folder are listed here, for Daft would take its name for a pattern.
    """
    import daft
    import polars as pl

    wanted = ("path", "label", "model", KEY, "error")
    if "://" not in place:
        files = sorted(Path(place).glob("*.parquet"))
        return pl.scan_parquet(files, glob=False) if files else pl.LazyFrame()
    try:
        table = daft.read_parquet(f"{place}/*.parquet")
        rows = table.select(*(name for name in wanted if name in table.column_names)).to_arrow()
    except FileNotFoundError:
        return pl.LazyFrame()
    return pl.DataFrame(pl.from_arrow(rows)).lazy()


def _check_whole(found: pl.Series, paths: Sequence[str]) -> None:
    """Raise TrainingStopped unless the names found are those asked for, each once: Daft ends without an error
    where it is interrupted."""
    import polars as pl

    asked = pl.Series("path", paths, dtype=pl.String)
    if found.sort().equals(asked.sort()):
        return
    lacking = asked.len() - asked.is_in(found.unique().implode()).sum()
    raise _unfinished(f"{found.len():,} rows for {asked.len():,} photographs, {lacking:,} of which have none")


def _unfinished(what: str) -> TrainingStopped:
    return TrainingStopped(
        f"Daft ended before its work was done: {what}", hint="The same command begins again."
    )
