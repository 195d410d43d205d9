"""Unpacking a bundle into a store: headers and facts are checked, then every byte; then files get names.

A bundle is refused as a whole if anything is invalid. It never replaces a file, a record or the meaning of a
name.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from zoo.catalogue.differences import compare_entries
from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.index import load_index
from zoo.catalogue.registry import Registry, load_registry
from zoo.catalogue.rules import NAME, SHA256
from zoo.catalogue.validation import entry_from, entry_to_mapping
from zoo.errors import (
    HashMismatch,
    IntegrityError,
    InvalidRegistry,
    RunExists,
    StorageError,
    UnsafeFile,
    UsageError,
)
from zoo.events import Note, Progress, Report, silent
from zoo.store.bundles.packing import LICENSES, MANIFEST, SCHEMA, SUMS, Manifest, umask
from zoo.store.bundles.tar_file import Member, read_blocks, read_members
from zoo.store.disk.blobs import remove_file, stamp_of, write_whole
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import claim_partial
from zoo.store.disk.records import Record, find_file, source_key
from zoo.store.disk.space import check_room, disk_errors
from zoo.store.trust.hashing import Hasher, hash_file

if TYPE_CHECKING:
    from zoo.store.store import Store

LARGEST_MANIFEST = 64 << 20
BLOB = re.compile(r"blobs/[0-9a-f]{64}")
RUN = re.compile(r"runs/[^/]+/.+")
UPGRADE = "Upgrade this one: pip install --upgrade transfer-zoo"
ELSEWHERE = "A package or ZOO_ALLOW_HOST may allow it where the bundle was made: install or set it here too."


@dataclass(frozen=True)
class Unbundled:
    """The result of unpacking. models: names that are now in the store. runs: their folders."""

    models: tuple[str, ...]
    runs: tuple[Path, ...]
    bytes: int


def unbundle(
    store: Store,
    archive: Path,
    *,
    runs_to: Path,
    registries: Sequence[Path] = (),
    report: Report = silent,
) -> Unbundled:
    """Unpack a bundle's models into the store and its runs into `runs_to`; all of it, or an error.

    registries: the user's own files, besides $ZOO_REGISTRY: names that they define are not replaced.
    Raises UnsafeFile, IntegrityError, HashMismatch (also if a source gave other bytes before), RunExists,
    DiskFull. Models that the store has already stay as they are.
    """
    if not archive.is_file():
        raise UsageError(f"there is no file {archive}", hint="zoo bundle NAME… -o models.tar makes one.")
    members = {member.name: member for member in read_members(archive)}
    with archive.open("rb") as file:
        manifest = _read_manifest(archive, members, file)
        entries = _check_manifest(archive, manifest, members, store)
        runs = _plan_runs(manifest, runs_to)
        known = load_registry(registries, bundled=store.registries)
        missing = {key: record for key, record in manifest.records.items() if not _is_stored(store, key)}
        with disk_errors(store.home, f"unbundle {archive}"):
            store.blobs.folder.mkdir(parents=True, exist_ok=True)
            blobs = list(dict.fromkeys(sha256 for record in missing.values() for sha256 in record.blobs))
            total = sum(member.bytes for name, member in members.items() if name.startswith("runs/"))
            total += sum(members[f"blobs/{sha256}"].bytes for sha256 in blobs)
            check_room(store.blobs.folder, total, str(archive))
            done = 0
            for sha256 in blobs:
                _take_blob(store, file, members[f"blobs/{sha256}"], sha256, archive)
                done += members[f"blobs/{sha256}"].bytes
                report(Progress(f"unbundle {archive.name}", done, total, "bytes"))
            _unpack_runs(file, manifest, members, runs, archive)
            for key, record in missing.items():
                _keep_record(store, key, record)
            converted = [record.name for record in missing.values() if record.stamp is None]
            if converted:
                note = f"{', '.join(converted)}: converted before bundling; no published hash proves it"
                report(Note(note, "Use them only if you trust the maker of the bundle.", level="warning"))
            target = store.home / "registries" / f"{hash_file(archive).sha256[:16]}.yaml"  # JSON is YAML
            _keep_entries(_leave_out_known(entries, known, target, report), target)
    report(Progress(f"unbundle {archive.name}", total, total, "bytes"))
    return Unbundled(tuple(entries), tuple(runs.values()), total)


def _read_manifest(archive: Path, members: Mapping[str, Member], file: io.BufferedReader) -> Manifest:
    member = members.get(MANIFEST)
    if member is None or member.bytes > LARGEST_MANIFEST:
        raise IntegrityError(f"{archive} has no {MANIFEST}: it is not a bundle", hint="zoo bundle makes one.")
    try:
        manifest = msgspec.json.decode(b"".join(read_blocks(file, member)), type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{archive}: {MANIFEST}: {error}", hint="Make the bundle again.") from error
    if manifest.schema != SCHEMA:
        raise UsageError(
            f"{archive} has schema {manifest.schema}, which a later version of zoo wrote", hint=UPGRADE
        )
    return manifest


def _check_manifest(
    archive: Path, manifest: Manifest, members: Mapping[str, Member], store: Store
) -> dict[str, ModelEntry]:
    """The entries of a bundle, if all its facts are consistent. Writes nothing."""
    unlisted = set(members) - set(manifest.files) - {MANIFEST, SUMS, LICENSES}
    missing = set(manifest.files) - set(members)
    if unlisted or missing:
        what = f"has {min(unlisted)!r}, which is not" if unlisted else f"lacks {min(missing)!r}, which is"
        raise UnsafeFile(f"{archive} {what} in its list", hint="Nothing was unpacked.")
    for name, sha256 in manifest.files.items():
        is_blob = BLOB.fullmatch(name) is not None and name == f"blobs/{sha256}"
        if not is_blob and not RUN.fullmatch(name):
            raise UnsafeFile(f"{archive}: {name!r} does not belong in a bundle", hint="Nothing was unpacked.")
    folders = {str(parent) for name in manifest.files for parent in PurePosixPath(name).parents}
    if inside := folders & set(manifest.files):
        raise UnsafeFile(
            f"{archive}: {min(inside)!r} is both a file and a folder", hint="Nothing was unpacked."
        )
    for key, record in manifest.records.items():
        if not _is_consistent(key, record, manifest):
            raise IntegrityError(
                f"{archive}: the record of {record.name!r} does not match its files",
                hint="Nothing was unpacked.",
            )
        known = store.records.read(key)
        if known is not None and known.sha256 != record.sha256:
            raise HashMismatch(
                f"{record.name}: this store has recorded another file from the same source",
                expected=known.sha256,
                got=record.sha256,
                hint=f"zoo rm {record.name} deletes it; then unbundle again.",
            )
    try:
        return {name: entry_from(name, mapping) for name, mapping in manifest.entries.items()}
    except InvalidRegistry as error:
        raise IntegrityError(f"{archive}: {error.message}", hint=error.hint or ELSEWHERE) from error


def _is_consistent(key: str, record: Record, manifest: Manifest) -> bool:
    """Whether `bundle` can have written a record: it has a source, all its files, published or converted."""
    return (
        len(record.weights.urls) > 0
        and key == source_key(record.weights)
        and NAME.fullmatch(record.name) is not None
        and SHA256.fullmatch(record.sha256) is not None
        and (record.stamp is None)
        == bool(record.derived)  # never both the published file and a converted one
        and all(f"blobs/{sha256}" in manifest.files for sha256 in record.blobs)
    )


def _is_stored(store: Store, key: str) -> bool:
    """Whether the store has the files of a source already."""
    record = store.records.read(key)
    return record is not None and find_file(store.blobs, record) is not None


def _leave_out_known(
    entries: Mapping[str, ModelEntry], known: Registry, target: Path, report: Report
) -> dict[str, ModelEntry]:
    """The entries whose names are new. Reports others that differ from the known entry of that name.

    target: the registry file that they are written to; its own names count as new.
    """
    new = {}
    for name, entry in entries.items():
        here = known.get(name) or load_index().find(name)
        if here is None or here.registry == target:
            new[name] = entry
        elif fields := [change.field for change in compare_entries(here, entry)]:
            note = f"{name} of the bundle is left out: it differs from {name} here ({', '.join(fields[:3])})"
            report(Note(note, _how_to_replace(here, target.parent), level="warning"))
    return new


def _how_to_replace(here: ModelEntry, bundled: Path) -> str:
    """The hint for an entry of a bundle whose name is taken."""
    if here.registry is not None and here.registry.parent == bundled:
        return f"It came with an earlier bundle. For the new one, delete {here.registry} and unbundle again."
    return "To use it, give its entry another name in a registry file of your own."


def _plan_runs(manifest: Manifest, runs_to: Path) -> dict[str, Path]:
    """The folder of each run. Raises RunExists if one exists already."""
    names = sorted({name.split("/")[1] for name in manifest.files if name.startswith("runs/")})
    for name in names:
        if (runs_to / name).exists():
            raise RunExists(
                f"{runs_to / name} exists already", hint="Choose another folder: --runs-to FOLDER"
            )
    return {name: runs_to / name for name in names}


def _take_blob(store: Store, file: io.BufferedReader, member: Member, sha256: str, archive: Path) -> None:
    """Unpack one model file into the blobs, under the lock of its hash, unless it is there already."""
    with hold(store.home / "locks" / f"{sha256}.lock", str(archive)):
        target = store.blobs.path(sha256)
        if target.is_file() and hash_file(target).sha256 == sha256:
            return
        partial = claim_partial(store.blobs.folder, sha256)
        try:
            _write_member(file, member, partial.path, sha256, archive)
            store.blobs.publish(partial.path, sha256)
        finally:
            remove_file(partial.path)


def _write_member(file: io.BufferedReader, member: Member, target: Path, sha256: str, archive: Path) -> None:
    """Write a member and raise HashMismatch unless its bytes are those of the list."""
    hasher = Hasher()
    with target.open("wb") as writer:
        for block in read_blocks(file, member):
            hasher.update(block)
            writer.write(block)
    got = hasher.digests().sha256
    if got != sha256:
        target.unlink()
        raise HashMismatch(
            f"{archive}: {member.name}",
            expected=sha256,
            got=got,
            hint="The bundle is damaged: copy it again.",
        )


def _unpack_runs(
    file: io.BufferedReader,
    manifest: Manifest,
    members: Mapping[str, Member],
    runs: Mapping[str, Path],
    archive: Path,
) -> None:
    """Unpack every run into a temporary folder; when all are complete, each is renamed."""
    written: dict[str, Path] = {}
    try:
        for name, folder in runs.items():
            folder.parent.mkdir(parents=True, exist_ok=True)
            written[name] = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
            for path, sha256 in manifest.files.items():
                if path.startswith(f"runs/{name}/"):
                    target = written[name] / path.removeprefix(f"runs/{name}/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _write_member(file, members[path], target, sha256, archive)
        for name, folder in runs.items():
            written[name].chmod(0o777 & ~umask())
            written[name].rename(folder)
    finally:
        for temporary in written.values():
            shutil.rmtree(temporary, ignore_errors=True)


def _keep_record(store: Store, key: str, record: Record) -> None:
    """Write the record of an unpacked model, with the stamps of this disk."""
    stamps = {sha256: stamp_of(store.blobs.path(sha256)) for sha256 in record.blobs}
    derived = {}
    for kind, made in record.derived.items():
        stamp = stamps[made.sha256]
        if stamp is None:
            raise StorageError(f"{record.name}: {store.blobs.path(made.sha256)} is gone")
        derived[kind] = replace(made, stamp=stamp)
    store.records.write(key, replace(record, stamp=stamps.get(record.sha256), derived=derived))


def _keep_entries(entries: Mapping[str, ModelEntry], target: Path) -> None:
    """Write a registry file in the store, so that the entries' names resolve here too."""
    if not entries:
        return
    mappings = {
        name: {k: v for k, v in entry_to_mapping(e).items() if k != "name"} for name, e in entries.items()
    }
    write_whole(target, msgspec.json.format(msgspec.json.encode({"models": mappings}), indent=2))
