"""Models and runs in one plain tar file, for a machine without a network.

    zoo-bundle.json     entries, records and the sha256 of every file, which `unbundle` checks
    SHA256SUMS          the same hashes for sha256sum -c SHA256SUMS
    LICENSES            the licence of each model; for each run, those of its model and of its data
    blobs/SHA256        the models' files
    runs/NAME/…         complete run folders

Unpacking reads every header first and refuses the whole file if one is invalid; every byte is hashed before
its file gets a name. A published file can be compared with its published hash; a file that was converted
before bundling is as trustworthy as the person who made the bundle, and is still read without running code.
This file defines a bundle and makes one; unpacking.py reads it.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import msgspec
from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.validation import entry_to_mapping
from zoo.errors import (
    IntegrityError,
    StorageError,
    UnsafeFile,
    UsageError,
)
from zoo.events import Progress, Report, silent
from zoo.store.bundles.tar_file import check_name
from zoo.store.disk.blobs import flush, remove_file
from zoo.store.disk.records import Record, source_key
from zoo.store.disk.space import check_room, disk_errors
from zoo.store.trust.hashing import hash_file

if TYPE_CHECKING:
    from zoo.store.store import Store

SCHEMA = 1
MANIFEST, SUMS, LICENSES = "zoo-bundle.json", "SHA256SUMS", "LICENSES"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a bundle. files: the sha256 of every other member, by name."""

    entries: dict[str, dict[str, Any]]
    records: dict[str, Record]
    files: dict[str, str]
    schema: int = SCHEMA


class _RunLicenses(msgspec.Struct, frozen=True):
    """The licences in a run.json."""

    model: dict[str, Any]
    data_license: str | None = None


def bundle(
    store: Store,
    entries: Sequence[ModelEntry],
    target: Path,
    *,
    runs: Sequence[Path] = (),
    report: Report = silent,
) -> Path:
    """Write models of the store and run folders to `target`, atomically; returns it.

    Models that the store lacks are fetched. Weights that were converted to safetensors are packed as such.
    Raises UsageError if the target exists or a run has a file name that is not portable.
    """
    if target.exists():
        raise UsageError(f"{target} exists already", hint="Choose another name, or delete it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise StorageError(
            f"{target} cannot be written: {target.parent} is not a folder that you can write to",
            hint="Choose another path, or make that folder first.",
        )
    manifest, members = _collect(store, entries, runs, report)
    total = sum(path.stat().st_size for path in members.values())
    with disk_errors(target.parent, f"bundle {target}"):
        check_room(target.parent, total, str(target))
        temporary = Path(tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)[1])
        try:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
                _add_text(
                    archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode()
                )
                _add_text(archive, SUMS, "".join(f"{s}  {name}\n" for name, s in manifest.files.items()))
                licences = {entry.name: entry.license for entry in entries}
                licences |= {f"runs/{run.resolve().name}": _run_licences(run) for run in runs}
                _add_text(
                    archive, LICENSES, "".join(f"{name}: {licence}\n" for name, licence in licences.items())
                )
                done = 0
                for name, path in members.items():
                    _add_file(archive, name, path)
                    done += path.stat().st_size
                    report(Progress(f"bundle {target.name}", done, total, "bytes"))
            flush(temporary)
            temporary.chmod(0o666 & ~umask())
            temporary.replace(target)
        finally:
            remove_file(temporary)
    return target


def umask() -> int:
    """The permissions that new files do not get; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _collect(
    store: Store, entries: Sequence[ModelEntry], runs: Sequence[Path], report: Report
) -> tuple[Manifest, dict[str, Path]]:
    """The manifest and the files of a bundle; every blob hashed again."""
    records, members, sums = {}, {}, {}
    for entry in entries:
        local = store.fetch(entry, report=report)
        record = store.record_of(local)
        kept = {
            kind: made for kind, made in record.derived.items() if kind == "safetensors"
        } or record.derived
        if kept:
            record = replace(record, stamp=None, derived=kept)
        records[source_key(entry.weights)] = record
        for sha256 in record.blobs:
            path = store.blob_path(sha256)
            if hash_file(path).sha256 != sha256:
                raise IntegrityError(
                    f"{entry.name}: {path} is damaged",
                    hint=f"zoo verify --fix {entry.name} fetches it again.",
                )
            members[f"blobs/{sha256}"], sums[f"blobs/{sha256}"] = path, sha256
    for name, path in _run_files(runs):
        members[name], sums[name] = path, hash_file(path).sha256
    manifest = Manifest(
        entries={entry.name: entry_to_mapping(entry) for entry in entries}, records=records, files=sums
    )
    return manifest, members


def _run_files(runs: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(name in the bundle, path) of every file of some runs.

    Raises UsageError for a path that is not a folder, two runs of one name, and names that are not portable.
    """
    taken: dict[str, Path] = {}
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is not a run folder", hint="zoo finetune --out makes run folders.")
        place = run.resolve()
        other = taken.setdefault(normalize("NFC", place.name).casefold(), place)
        if other != place:
            raise UsageError(
                f"two runs have the name {place.name}: {other} and {place}", hint="Rename one of the folders."
            )
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = f"runs/{place.name}/{path.relative_to(place).as_posix()}"
                try:
                    check_name(name, path)
                except UnsafeFile:
                    what = f"{name!r} is not a portable file name"
                    raise UsageError(f"{path} cannot go into a bundle: {what}", hint="Rename it.") from None
                yield name, path


def _run_licences(run: Path) -> str:
    """The licences of a run's model and of its training data."""
    try:
        found = msgspec.json.decode((run / "run.json").read_bytes(), type=_RunLicenses)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "unknown"
    return f"model {found.model.get('license', 'unknown')}, training data {found.data_license or 'unknown'}"


def _add_text(archive: tarfile.TarFile, name: str, content: str) -> None:
    body = content.encode()
    info = tarfile.TarInfo(name)
    info.size = len(body)
    archive.addfile(info, io.BytesIO(body))


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file without its owner, permissions and times."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    try:
        with path.open("rb") as file:
            archive.addfile(info, file)
    except ValueError as error:
        raise UsageError(f"{path} cannot go into a bundle: {error}") from error
