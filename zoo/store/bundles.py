"""Models and runs in one plain tar file, for a machine without a network.

    zoo-bundle.json     entries, records and the sha256 of every file: what `unbundle` believes, and checks
    SHA256SUMS          the same for people: sha256sum -c SHA256SUMS
    LICENSES            name and licence of each model; of each run, those of its model and of its data
    blobs/SHA256        the models' files
    runs/NAME/…         run folders, whole

Unpacking reads every header first and refuses the whole file if one is odd; every byte is hashed before it
gets a name. What was published can be held against the published hash; what was converted before it was
bundled is as trustworthy as whoever made the bundle, and is read without running code all the same.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.registry import Registry, load_registry
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
from zoo.store.blobs import flush, remove_file, stamp_of, write_whole
from zoo.store.disk import check_room, disk_errors
from zoo.store.hashing import Hasher, hash_file
from zoo.store.locks import hold
from zoo.store.partials import claim_partial
from zoo.store.records import Record, source_key
from zoo.store.tar_file import Member, check_name, read_blocks, read_members

if TYPE_CHECKING:
    from zoo.store.store import Store

MANIFEST, SUMS, LICENSES = "zoo-bundle.json", "SHA256SUMS", "LICENSES"
LARGEST_MANIFEST = 64 << 20
BLOB = re.compile(r"blobs/[0-9a-f]{64}")
RUN = re.compile(r"runs/[^/]+/.+")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says it holds. files: sha256 of every other member by its name."""

    entries: dict[str, dict[str, Any]]
    records: dict[str, Record]
    files: dict[str, str]
    schema: int = 1


class RunLicenses(msgspec.Struct, frozen=True):
    """What run.json says of licences."""

    model: dict[str, Any]
    data_license: str | None = None


@dataclass(frozen=True)
class Unbundled:
    """What came out. models: names that are in the store now. runs: their folders."""

    models: tuple[str, ...]
    runs: tuple[Path, ...]
    bytes: int


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
    manifest, members = collect(store, entries, runs, report)
    total = sum(path.stat().st_size for path in members.values())
    with disk_errors(target.parent, f"bundle {target}"):
        check_room(target.parent, total, str(target))
        temporary = Path(tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)[1])
        try:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
                add_text(
                    archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode()
                )
                add_text(archive, SUMS, "".join(f"{s}  {name}\n" for name, s in manifest.files.items()))
                licences = {record.name: record.license for record in manifest.records.values()}
                licences |= {f"runs/{run.resolve().name}": run_licences(run) for run in runs}
                add_text(
                    archive, LICENSES, "".join(f"{name}: {licence}\n" for name, licence in licences.items())
                )
                done = 0
                for name, path in members.items():
                    add_file(archive, name, path)
                    done += path.stat().st_size
                    report(Progress(f"bundle {target.name}", done, total, "bytes"))
            flush(temporary)
            temporary.chmod(0o666 & ~umask())
            temporary.replace(target)
        finally:
            remove_file(temporary)
    return target


def collect(
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
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is no run folder", hint="A run is what zoo finetune --out made.")
        for path in sorted(run.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = f"runs/{run.resolve().name}/{path.relative_to(run).as_posix()}"
                members[name], sums[name] = path, hash_file(path).sha256
    manifest = Manifest(
        entries={entry.name: entry_to_mapping(entry) for entry in entries}, records=records, files=sums
    )
    return manifest, members


def run_licences(run: Path) -> str:
    """The licences of a run's model and of the data that it was trained on."""
    try:
        said = msgspec.json.decode((run / "run.json").read_bytes(), type=RunLicenses)
    except (OSError, msgspec.MsgspecError):
        return "unknown"
    return f"model {said.model.get('license', 'unknown')}, training data {said.data_license or 'unknown'}"


def add_text(archive: tarfile.TarFile, name: str, content: str) -> None:
    body = content.encode()
    info = tarfile.TarInfo(name)
    info.size = len(body)
    archive.addfile(info, io.BytesIO(body))


def add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add bytes under a name; owner, rights and times stay here."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    check_name(name, path)
    try:
        with path.open("rb") as file:
            archive.addfile(info, file)
    except ValueError as error:
        raise UsageError(f"{path} cannot go into a bundle: {error}") from error


def unbundle(
    store: Store,
    archive: Path,
    *,
    runs_to: Path,
    registries: Sequence[Path] = (),
    report: Report = silent,
) -> Unbundled:
    """Take a bundle into the store, its runs into `runs_to`. Refused as a whole if anything is odd.

    registries: files of the user's own, beside $ZOO_REGISTRY: no name that means something here is replaced.
    Raises UnsafeFile, IntegrityError, HashMismatch (also where a source gave other bytes before), RunExists,
    DiskFull. Models that are here already stay as they are.
    """
    if not archive.is_file():
        raise UsageError(f"there is no file {archive}", hint="zoo bundle NAME… -o models.tar makes one.")
    members = {member.name: member for member in read_members(archive)}
    with archive.open("rb") as file:
        manifest = read_manifest(archive, members, file)
        entries = check_manifest(archive, manifest, members, store)
        runs = plan_runs(manifest, runs_to)
        with disk_errors(store.home, f"unbundle {archive}"):
            store.blobs.folder.mkdir(parents=True, exist_ok=True)
            total = sum(members[name].bytes for name in manifest.files)
            check_room(store.blobs.folder, total, str(archive))
            done = 0
            for name, sha256 in manifest.files.items():
                if name.startswith("blobs/"):
                    take_blob(store, file, members[name], sha256, archive)
                    done += members[name].bytes
                    report(Progress(f"unbundle {archive.name}", done, total, "bytes"))
            unpack_runs(file, manifest, members, runs, archive)
            for key, record in manifest.records.items():
                keep_record(store, key, record)
            converted = [record.name for record in manifest.records.values() if record.stamp is None]
            if converted:
                told = f"{', '.join(converted)}: converted before bundling; no published hash proves it"
                report(Note(told, "Trust them as you trust whoever made the bundle."))
            known = load_registry(registries, bundled=store.registries)
            keep_entries(store, leave_out_known(entries, known, store, report), archive)
    report(Progress(f"unbundle {archive.name}", total, total, "bytes"))
    return Unbundled(tuple(entries), tuple(runs.values()), total)


def read_manifest(archive: Path, members: Mapping[str, Member], file: io.BufferedReader) -> Manifest:
    member = members.get(MANIFEST)
    if member is None or member.bytes > LARGEST_MANIFEST:
        raise IntegrityError(f"{archive} holds no {MANIFEST}: it is no bundle", hint="zoo bundle makes one.")
    try:
        return msgspec.json.decode(b"".join(read_blocks(file, member)), type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{archive}: {MANIFEST}: {error}", hint="Make the bundle again.") from error


def check_manifest(
    archive: Path, manifest: Manifest, members: Mapping[str, Member], store: Store
) -> dict[str, ModelEntry]:
    """The entries of a bundle, once everything that it says fits together. Writes nothing."""
    beside = set(members) - set(manifest.files) - {MANIFEST, SUMS, LICENSES}
    missing = set(manifest.files) - set(members)
    if beside or missing:
        what = f"holds {min(beside)!r}, which" if beside else f"lacks {min(missing)!r}, which"
        raise UnsafeFile(f"{archive} {what} its list says otherwise about", hint="Nothing was unpacked.")
    for name, sha256 in manifest.files.items():
        is_blob = BLOB.fullmatch(name) is not None and name == f"blobs/{sha256}"
        if not is_blob and not RUN.fullmatch(name):
            raise UnsafeFile(f"{archive}: {name!r} has no place in a bundle", hint="Nothing was unpacked.")
    for key, record in manifest.records.items():
        known = store.records.read(source_key(record.weights))
        if key != source_key(record.weights) or any(f"blobs/{s}" not in manifest.files for s in record.blobs):
            raise IntegrityError(f"{archive}: the record of {record.name} does not fit its files")
        if known is not None and known.sha256 != record.sha256:
            raise HashMismatch(
                f"{record.name}: this store knows another file from the same source",
                expected=known.sha256,
                got=record.sha256,
                hint=f"zoo rm {record.name} forgets it; then unbundle again.",
            )
    try:
        return {name: entry_from(name, mapping) for name, mapping in manifest.entries.items()}
    except InvalidRegistry as error:
        raise IntegrityError(f"{archive}: {error.message}", hint="Make the bundle again.") from error


def leave_out_known(
    entries: Mapping[str, ModelEntry], known: Registry, store: Store, report: Report
) -> dict[str, ModelEntry]:
    """The entries whose names mean no other file here; the others are told: a bundle replaces nothing."""
    new = {}
    for name, entry in entries.items():
        if name not in known or known[name].weights == entry.weights:
            new[name] = entry
            continue
        hint, file = (
            "To use it, give its entry another name in a registry file of your own.",
            known[name].registry,
        )
        if file in store.registries:
            hint = (
                f"An earlier bundle brought that name. To use the new one, delete {file} and unbundle again."
            )
        told = f"{name} of the bundle is another file than {name} here, and does not replace it"
        report(Note(told, hint, level="warning"))
    return new


def plan_runs(manifest: Manifest, runs_to: Path) -> dict[str, Path]:
    """The folder of each run. Raises RunExists if one is there already."""
    names = sorted({name.split("/")[1] for name in manifest.files if name.startswith("runs/")})
    for name in names:
        if (runs_to / name).exists():
            raise RunExists(f"{runs_to / name} is there already", hint="Unbundle into another folder.")
    return {name: runs_to / name for name in names}


def take_blob(store: Store, file: io.BufferedReader, member: Member, sha256: str, archive: Path) -> None:
    """One model file into the blobs, under the lock of its hash, if it is not there already."""
    with hold(store.home / "locks" / f"{sha256}.lock", str(archive)):
        target = store.blobs.path(sha256)
        if target.is_file() and hash_file(target).sha256 == sha256:
            return
        partial = claim_partial(store.blobs.folder, sha256)
        try:
            write_member(file, member, partial.path, sha256, archive)
            store.blobs.publish(partial.path, sha256)
        finally:
            remove_file(partial.path)


def write_member(file: io.BufferedReader, member: Member, target: Path, sha256: str, archive: Path) -> None:
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
            hint="Bring the bundle again: it was damaged.",
        )


def unpack_runs(
    file: io.BufferedReader,
    manifest: Manifest,
    members: Mapping[str, Member],
    runs: Mapping[str, Path],
    archive: Path,
) -> None:
    """Every run into a folder beside its place; when all are whole, each gets its name."""
    written: dict[str, Path] = {}
    try:
        for name, folder in runs.items():
            folder.parent.mkdir(parents=True, exist_ok=True)
            written[name] = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
            for path, sha256 in manifest.files.items():
                if path.startswith(f"runs/{name}/"):
                    target = written[name] / path.removeprefix(f"runs/{name}/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_member(file, members[path], target, sha256, archive)
        for name, folder in runs.items():
            written[name].chmod(0o777 & ~umask())
            written[name].rename(folder)
    finally:
        for temporary in written.values():
            shutil.rmtree(temporary, ignore_errors=True)


def keep_record(store: Store, key: str, record: Record) -> None:
    """Write down what came, with the stamps of this disk; what is known of the source already is kept."""
    known = store.records.read(key)
    derived = dict(record.derived) | ({} if known is None else dict(known.derived))
    for kind, made in derived.items():
        stamp = stamp_of(store.blobs.path(made.sha256))
        if stamp is None:
            raise StorageError(f"{record.name}: {store.blobs.path(made.sha256)} has gone")
        derived[kind] = replace(made, stamp=stamp)
    stamp = stamp_of(store.blobs.path(record.sha256))
    store.records.write(key, replace(record, stamp=stamp, derived=derived))


def keep_entries(store: Store, entries: Mapping[str, ModelEntry], archive: Path) -> None:
    """A registry file in the store, so that names of other registries resolve here too."""
    if not entries:
        return
    mappings = {
        name: {k: v for k, v in entry_to_mapping(e).items() if k != "name"} for name, e in entries.items()
    }
    target = store.home / "registries" / f"{hash_file(archive).sha256[:16]}.yaml"  # JSON is YAML
    write_whole(target, msgspec.json.format(msgspec.json.encode({"models": mappings}), indent=2))


def umask() -> int:
    """The rights that new files do not get; reading it sets it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
