"""The models that the store has, in the user's own folder or in a shared one. Reads only, without network."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.catalogue.entry import ModelEntry
from zoo.store.disk.blobs import Blobs, is_whole
from zoo.store.disk.records import Record, Records, find_file, source_key
from zoo.store.local import LocalModel


class Contents:
    """The files and records of one home folder, and of shared ones.

    home: created at the first write. shared: searched first, never written. places: the (blobs, records) of
    all of them, in search order; `blobs` and `records` are those of home.
    """

    def __init__(self, home: Path, shared: tuple[Path, ...] = ()) -> None:
        self.home = home
        self.blobs = Blobs(home / "blobs")
        self.records = Records(home / "records")
        self.places = [(Blobs(folder / "blobs"), Records(folder / "records")) for folder in shared]
        self.places.append((self.blobs, self.records))

    def find(self, entry: ModelEntry) -> LocalModel | None:
        """The model if the store has it undamaged; None if not.

        A file whose stamp changed is hashed; a damaged one counts as missing, and `fetch` replaces it.
        """
        key = source_key(entry.weights)
        for blobs, records in self.places:
            record = records.read(key)
            if record is not None and record.agrees_with(entry.weights):
                path = find_file(blobs, record)
                if path is not None:
                    return LocalModel(entry, path, record.sha256)
        return None

    def blob_path(self, sha256: str) -> Path:
        """The file of a hash, in the first folder that has it."""
        paths = [blobs.path(sha256) for blobs, _ in self.places]
        return next((path for path in paths if os.access(path, os.R_OK)), paths[-1])

    def record_of(self, local: LocalModel) -> Record:
        """The record of a stored model, from the folder that has its file."""
        for blobs, records in self.places:
            record = records.read(source_key(local.entry.weights))
            if record is not None and local.path.parent == blobs.folder:
                return record
        return Record.of(local)

    def recall(self, name: str) -> ModelEntry | None:
        """As much of an entry as its record keeps, for a stored model, whichever registry named it."""
        found = (record for _, records in self.places for _, record in records if record.name == name)
        record = next(found, None)
        return None if record is None else record.entry()

    def derived(self, local: LocalModel, kind: str) -> Path | None:
        """The derived file of this kind if the store has it undamaged."""
        return self.derivations(local).get(kind)

    def derivations(self, local: LocalModel) -> dict[str, Path]:
        """Every undamaged file that is derived from exactly these bytes, by its kind."""
        found: dict[str, Path] = {}
        for blobs, records in self.places:
            record = records.read(source_key(local.entry.weights))
            if record is not None and record.sha256 == local.sha256:
                for kind, made in record.derived.items():
                    if kind not in found and is_whole(blobs.path(made.sha256), made.sha256, made.stamp):
                        found[kind] = blobs.path(made.sha256)
        return found

    @property
    def registries(self) -> tuple[Path, ...]:
        """The registry files of bundles, shared ones first, so that their names resolve here."""
        readable = [folder for folder in self._bundled if os.access(folder, os.R_OK | os.X_OK)]
        return tuple(path for folder in readable for path in sorted(folder.glob("*.yaml")))

    def is_bundled(self, entry: ModelEntry) -> bool:
        """Whether an entry came with a bundle: such an entry may not name files of this machine."""
        return entry.registry is not None and entry.registry.parent in self._bundled

    @property
    def _bundled(self) -> list[Path]:
        return [blobs.folder.parent.absolute() / "registries" for blobs, _ in self.places]
