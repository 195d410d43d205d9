"""Tables whose items are vectors already: a column of features beside paths and labels.

zoo.features.vectors reads them; here they are only recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.data.kinds import Kind

COLUMN = "features"


def holds_features(path: Path, kind: Kind) -> bool:
    """Whether a Parquet file, or every one of a folder, has a column `features` of lists of numbers. A table
    with a column of texts is one of texts, whatever else it has. Files that cannot be read do not count, but
    where others have features: whoever opens those says what is wrong with the rest."""
    schemas = [schema for file in parquet_files(path) if (schema := _schema_of(file)) is not None]
    vectors = bool(schemas) and all(_is_vector(schema.get(COLUMN)) for schema in schemas)
    return vectors and (kind.in_files or not any(n.lower() in kind.columns for n in schemas[0]))


def _schema_of(file: Path) -> Mapping[str, Any] | None:
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


def _is_vector(dtype: Any) -> bool:
    import polars as pl

    return isinstance(dtype, pl.Array | pl.List) and dtype.inner is not None and dtype.inner.is_numeric()
