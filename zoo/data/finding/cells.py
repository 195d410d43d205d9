"""A table as it was read, before its columns are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.events import Note

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Table:
    """A table with every cell as text.

    embedded: columns of pictures inside the file, which are not in the frame. class_names: of columns that
    hold numbers, where the file names the classes. places: the columns by their number in the file.
    whole: the rows are all there is of the items: no file is looked for.
    """

    path: Path
    frame: polars.DataFrame
    has_header: bool
    notes: tuple[Note, ...]
    embedded: tuple[str, ...] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    whole: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns, also of those that hold pictures."""
        return [*self.frame.columns, *self.embedded]

    def is_named(self, column: str) -> bool:
        """Whether the file gives the column a name: the index of a data frame has none."""
        plain = column.strip().lower()
        return bool(plain) and not plain.startswith(("unnamed: ", "_duplicated_", "__index_level_"))
