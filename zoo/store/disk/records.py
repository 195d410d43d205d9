"""Records of what was first fetched from each source: a small JSON file each.

If only a prefix of a hash was published, or nothing, the full sha256 of the first fetch is recorded here, and
later fetches from the same source must match it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zoo.catalogue.entry import ModelEntry, Weights, draft_entry
from zoo.store.disk.blobs import Blobs, Stamp, is_whole, remove_file, write_whole
from zoo.store.local import LocalModel


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """A file derived from the published one, in another format."""

    sha256: str
    bytes: int
    stamp: Stamp


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was fetched from one source.

    name, weights, license: of the entry that was fetched first. url: the one that the bytes came from.
    revision: the commit on the Hub. stamp: of the published file in the blobs; None after the published file
    was deleted and only converted files remain. fetched: seconds since 1970.
    """

    name: str
    weights: Weights
    url: str
    sha256: str
    bytes: int
    license: str = "unknown"
    revision: str | None = None
    fetched: float = 0.0
    stamp: Stamp | None = None
    derived: dict[str, Derived] = msgspec.field(default_factory=dict)
    schema: int = 1

    @classmethod
    def of(cls, local: LocalModel) -> Record:
        """A new record for a model of a shared folder, to record files that are derived from it here."""
        return cls(
            name=local.entry.name,
            weights=local.entry.weights,
            url=local.entry.weights.urls[0],
            sha256=local.sha256,
            bytes=local.path.stat().st_size,
            license=local.entry.license,
            fetched=time.time(),
        )

    def entry(self) -> ModelEntry:
        """As much of the entry as a fetch needs."""
        return draft_entry(self.name, self.weights, self.license)

    @property
    def blobs(self) -> dict[str, Stamp]:
        """Every blob that this record needs, with its stamp."""
        kept = {} if self.stamp is None else {self.sha256: self.stamp}
        return kept | {d.sha256: d.stamp for d in self.derived.values()}

    def agrees_with(self, weights: Weights) -> bool:
        """Whether the fetched bytes are proven to be those that the registry states now."""
        return not self.is_contradicted_by(weights) and (
            weights.md5 in (None, self.weights.md5) or weights.sha256 is not None
        )

    def is_contradicted_by(self, weights: Weights) -> bool:
        """Whether the registry now states other bytes than the fetched ones."""
        return (
            (weights.sha256 or self.sha256).lower() != self.sha256
            or not self.sha256.startswith((weights.sha256_prefix or "").lower())
            or (None not in (weights.md5, self.weights.md5) and weights.md5 != self.weights.md5)
            or (weights.bytes or self.bytes) != self.bytes
        )


def companion_name(name: str, file: str) -> str:
    """The name of the record of a file that a model needs beside its weights."""
    return f"{name}:{file}"


def source_key(weights: Weights) -> str:
    """The identity of a source: its first URL."""
    return hashlib.sha256(weights.urls[0].encode()).hexdigest()


class Records:
    """The folder of records. File names are hashes: a name or URL never becomes a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def read(self, key: str) -> Record | None:
        """The record of a source; None if there is none, or if it cannot be read."""
        return _read_record(self.path(key))

    def write(self, key: str, record: Record) -> None:
        """Store a record, atomically."""
        write_whole(self.path(key), msgspec.json.format(msgspec.json.encode(record), indent=2))

    def remove(self, key: str) -> int:
        return remove_file(self.path(key))

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Every (key, record)."""
        for path in sorted(self.folder.glob("*.json")):
            record = _read_record(path)
            if record is not None:
                yield path.stem, record


def find_file(blobs: Blobs, record: Record) -> Path | None:
    """The published file of a record if it is undamaged, else an undamaged derived one; None if none is."""
    for sha256, stamp in record.blobs.items():
        if is_whole(blobs.path(sha256), sha256, stamp):
            return blobs.path(sha256)
    return None


def _read_record(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # a damaged record costs a fetch, never a wrong byte
