"""Tables whose items are vectors already: a column of features beside paths and labels.

zoo.features.vectors reads them; here they are only recognised.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.data.finding.walking import is_junk
from zoo.data.kinds import Kind

COLUMN = "features"
ABOUT = "zoo_features"
"""The column, or the name in the metadata of a file, that says what features depend on."""
_TEXTS = (".csv", ".tsv", ".tab", ".psv", ".txt", ".json", ".jsonl", ".ndjson")
_START = 1 << 20  # bytes: more than the names of the columns, and than a row, take


def holds_features(path: Path, kind: Kind) -> bool:
    """Whether a Parquet file, or every one of a folder, has a column `features`, and at least one of them
    lists of numbers in it, or ABOUT beside it. A table with a column of texts is one of texts, whatever else
    it has, and a folder with photographs in or below it is one of photographs. Files that cannot be read are
    passed over here: whoever opens the others says what is wrong with them, and with features of another
    type."""
    known = [(file, schema) for file in parquet_files(path) if (schema := schema_of(file)) is not None]
    if not known or not all(COLUMN in schema for _, schema in known):
        return False
    if not kind.in_files and any(name.lower() in kind.columns for name in known[0][1]):
        return False
    if not any(is_vector(schema[COLUMN]) or _says_whose(file, schema) for file, schema in known):
        return False
    return not (kind.in_files and path.is_dir() and _has_items(path, kind))


def _has_items(folder: Path, kind: Kind) -> bool:
    """Whether items themselves lie in or below a folder, or below a link in it."""
    links = [entry for entry in folder.iterdir() if entry.is_symlink() and entry.is_dir()]
    for start in (folder, *links):
        for _, folders, files in os.walk(start):
            folders[:] = [name for name in folders if not is_junk(name)]
            if any(kind.matches(name) and not is_junk(name) for name in files):
                return True
    return False


def _says_whose(file: Path, schema: Mapping[str, Any]) -> bool:
    """Whether a Parquet file says what its features depend on."""
    import polars as pl

    return ABOUT in schema or ABOUT in pl.read_parquet_metadata(file)


def schema_of(file: Path) -> Mapping[str, Any] | None:
    """The columns of a Parquet file and their types; None for one that cannot be read."""
    import polars as pl

    try:
        return dict(pl.read_parquet_schema(file))
    except (OSError, pl.exceptions.PolarsError):
        return None


def parquet_files(path: Path) -> list[Path]:
    """A Parquet file, or those of a folder, by name."""
    if path.is_dir():
        return sorted(file for file in path.glob("*.parquet") if file.is_file())
    return [path] if path.suffix.lower() == ".parquet" and path.is_file() else []


def is_vector(dtype: Any) -> bool:
    """Whether the cells of a column are lists of numbers."""
    import polars as pl

    return isinstance(dtype, pl.Array | pl.List) and dtype.inner is not None and dtype.inner.is_numeric()


def written_as_text(path: Path) -> bool:
    """Whether a table that is a text file (CSV, JSON) has features, and says what they depend on."""
    ending = path.suffix.lower()
    if ending not in _TEXTS or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_START) if "j" in ending else file.readline(_START)
    except OSError:
        return False
    return all(re.search(rb"(?<!\w)%s(?!\w)" % name.encode(), start) for name in (COLUMN, ABOUT))
