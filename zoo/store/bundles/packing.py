"""Models and runs in one plain tar file, for a machine without a network.

    zoo-bundle.json     entries, records and the sha256 of every file: what `unbundle` believes, and checks
    SHA256SUMS          the same for people: sha256sum -c SHA256SUMS
    LICENSES            name and licence of each model; of each run, those of its model and of its data
    blobs/SHA256        the models' files
    runs/NAME/…         run folders, whole

Unpacking reads every header first and refuses the whole file if one is odd; every byte is hashed before it
gets a name. What was published can be held against the published hash; what was converted before it was
bundled is as trustworthy as whoever made the bundle, and is read without running code all the same.
Here is what a bundle is and how one is made; how it is read, in unbundling.py.
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
    """What a bundle says it holds. files: sha256 of every other member by its name."""

    entries: dict[str, dict[str, Any]]
    records: dict[str, Record]
    files: dict[str, str]
    schema: int = SCHEMA


class _RunLicenses(msgspec.Struct, frozen=True):
    """What run.json says of licences."""

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
    """Write models of the store and run folders into `target`, whole or not at all; returns it.

    Models that are not here are fetched. Where weights were converted to safetensors, those go in.
    Raises UsageError if the target exists or a run's file cannot be named portably.
    """
    if target.exists():
        raise UsageError(f"{target} is there already", hint="Give another name, or delete it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise StorageError(
            f"{target} cannot be written: {target.parent} is no folder, or not yours to write to",
            hint="Give another path, or make that folder first.",
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
    """The rights that new files do not get; reading it sets it."""
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
                    f"{entry.name}: {path} is damaged", hint=f"zoo verify --fix {entry.name} mends it."
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

    Raises UsageError for a folder that is no run, two of one name, and files that cannot be named portably.
    """
    taken: dict[str, Path] = {}
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is no run folder", hint="A run is what zoo finetune --out made.")
        place = run.resolve()
        other = taken.setdefault(normalize("NFC", place.name).casefold(), place)
        if other != place:
            raise UsageError(
                f"two runs are called {place.name}: {other} and {place}", hint="Rename the folder of one."
            )
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = f"runs/{place.name}/{path.relative_to(place).as_posix()}"
                try:
                    check_name(name, path)
                except UnsafeFile:
                    what = f"{name!r} is a name that other systems cannot store"
                    raise UsageError(f"{path} cannot go into a bundle: {what}", hint="Rename it.") from None
                yield name, path


def _run_licences(run: Path) -> str:
    """The licences of a run's model and of the data that it was trained on."""
    try:
        said = msgspec.json.decode((run / "run.json").read_bytes(), type=_RunLicenses)
    except (OSError, msgspec.MsgspecError):
        return "unknown"
    return f"model {said.model.get('license', 'unknown')}, training data {said.data_license or 'unknown'}"


def _add_text(archive: tarfile.TarFile, name: str, content: str) -> None:
    body = content.encode()
    info = tarfile.TarInfo(name)
    info.size = len(body)
    archive.addfile(info, io.BytesIO(body))


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add bytes under a name; owner, rights and times stay here."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    try:
        with path.open("rb") as file:
            archive.addfile(info, file)
    except ValueError as error:
        raise UsageError(f"{path} cannot go into a bundle: {error}") from error
