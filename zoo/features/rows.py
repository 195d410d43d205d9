"""Features that are too many for the memory: rows of float32 in a file that no other process sees.

They lie in the order of the items, whatever order they were computed or kept in, so that a run reads them in
blocks. The file has no name where the system allows it: what is killed leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from zoo.catalogue.search import size_setting
from zoo.errors import StorageError
from zoo.features.segments import AT_ONCE, Array, bytes_of, read_at, spans
from zoo.store.disk.space import check_room, disk_errors

HELD = 512 * 10**6
"""Bytes of features that a run holds in memory by default: of 100,000 photographs, 1,280 each. It does not
depend on the machine: a run that reads them from a file draws them in another order."""


def most_held() -> int:
    """The bytes of features that a run may hold in memory: ZOO_FEATURES_MEMORY, as 2GB, or HELD.

    Raises UsageError for what is not a size.
    """
    return size_setting("ZOO_FEATURES_MEMORY", HELD)


class StoredRows:
    """(items, …) float32 in a file. Like a tensor as far as it is read and written by rows.

    folder: where the file lies. shape: of all of them. places: where in the file each is; None where they are
    all there in order.
    """

    def __init__(
        self, file: FileIO, folder: Path, shape: tuple[int, ...], places: Array | None = None
    ) -> None:
        self.file = file
        self.folder = folder
        self.shape = shape
        self.places = places
        self.row_bytes = 4 * int(np.prod(shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return len(self) * self.row_bytes

    def __setitem__(self, places: Tensor | Array, rows: Tensor | Array) -> None:
        """Write some rows; each place once. Raises StorageError, DiskFull."""
        at = self._in_file(places)
        order = np.argsort(at, kind="stable")
        ranked, sorted_rows = at[order], np.asarray(rows, dtype=np.float32)[order]
        with disk_errors(self.folder, "the features of a run"):
            for part in spans(ranked, most=len(at), gap=1):
                self.file.seek(int(ranked[part.start]) * self.row_bytes)
                _write(self.file, bytes_of(np.ascontiguousarray(sorted_rows[part])))

    def read(self, places: Tensor | Array | Sequence[int]) -> Tensor:
        """The rows in some places, in that order; a place may come again. Raises StorageError."""
        at = self._in_file(places)
        found = np.empty((len(at), *self.shape[1:]), np.float32)
        order = np.argsort(at, kind="stable")
        ranked = at[order]
        for part in spans(ranked, most=max(1, AT_ONCE // self.row_bytes)):
            first, last = int(ranked[part.start]), int(ranked[part.stop - 1])
            block = np.empty((last - first + 1, *self.shape[1:]), np.float32)
            try:
                read_at(self.file, bytes_of(block), first * self.row_bytes)
            except OSError as error:
                raise StorageError(
                    f"the features of a run cannot be read again in {self.folder}: {error.strerror or error}",
                    hint="Run the same command again: they are put into a new file.",
                ) from error
            found[order[part]] = block[ranked[part] - first]
        return torch.from_numpy(found)

    def select(self, places: Tensor | Array | Sequence[int]) -> StoredRows:
        """These rows in this order, without reading any."""
        at = self._in_file(places)
        return StoredRows(self.file, self.folder, (len(at), *self.shape[1:]), at)

    def _in_file(self, places: Tensor | Array | Sequence[int]) -> Array:
        at = np.asarray(places, dtype=np.int64)
        return at if self.places is None else self.places[at]


def _write(file: FileIO, view: memoryview) -> None:
    """All of it, to an unbuffered file that may take less at a time."""
    while len(view):
        view = view[file.write(view) :]


class _OwnFile(FileIO):
    """A file that is closed with the last rows of it."""

    def __del__(self) -> None:
        self.close()


Rows: TypeAlias = "Tensor | StoredRows"


def new_rows(shape: tuple[int, ...], folder: Path) -> StoredRows:
    """Rows of zeros in a new file, which is gone with them. folder: where it lies; where that cannot be
    written to, with the system's temporary files. Raises DiskFull where there is no room, StorageError."""
    size = 4 * int(np.prod(shape))
    if not os.access(folder, os.W_OK):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        folder = Path(tempfile.gettempdir())
    check_room(folder, size, "the features of a run")
    with disk_errors(folder, "the features of a run"):
        with tempfile.TemporaryFile(dir=folder, buffering=0) as named:
            file = _OwnFile(os.dup(named.fileno()), "r+")
        file.truncate(size)
    return StoredRows(file, folder, shape)


def select_rows(rows: Rows, places: Sequence[int]) -> Rows:
    """Some rows, in this order: nothing is read of those in a file, and those in memory are copied, but where
    they are all rows in their order: of many, two copies would be most of what a run takes."""
    if isinstance(rows, StoredRows):
        return rows.select(places)
    at = torch.as_tensor(places, dtype=torch.long)
    return rows if torch.equal(at, torch.arange(len(rows))) else rows[at]


def part_of(rows: Rows, start: int, stop: int) -> Rows:
    """The rows from one place up to another, not copied."""
    return rows.select(np.arange(start, stop)) if isinstance(rows, StoredRows) else rows[start:stop]


def read_rows(rows: Rows, places: Tensor | Array) -> Tensor:
    """The rows in some places, in memory."""
    return rows.read(places) if isinstance(rows, StoredRows) else rows[torch.as_tensor(places)]


def blocks_of(rows: Rows) -> Iterator[Tensor]:
    """All rows in order: those in memory at once, those in a file a few MB at a time."""
    if not isinstance(rows, StoredRows):
        yield rows
        return
    step = max(1, AT_ONCE // rows.row_bytes)
    for start in range(0, len(rows), step):
        yield rows.read(np.arange(start, min(start + step, len(rows))))


def are_equal(rows: Rows) -> bool:
    """Whether all rows are the same."""
    first: Tensor | None = None
    for block in blocks_of(rows):
        first = block[0] if first is None else first
        if not bool((block == first).all()):
            return False
    return True
