"""The store: verified files under the names of their bytes, and the way to get them.

    home/
      blobs/SHA256          every byte verified before the file got this name; nothing else is ever read
      blobs/KEY.….partial   a download that is not whole; the next fetch goes on from there
      records/KEY.json      what a source first gave: the lock for every later fetch
      locks/KEY.lock        one process at a time
      features/             belongs to zoo/features

A fetch is: find it → lock → find it again → free space → partial file, hashed as it comes → verify → flush →
rename → record. A wrong byte never gets the right name, whatever fails in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.errors import (
    AddressRefused,
    HashMismatch,
    IntegrityError,
    NetworkError,
    Offline,
    ZooError,
)
from zoo.events import Note, Report, silent
from zoo.store.blobs import Blobs, is_whole, remove_file, stamp_of
from zoo.store.copying import copy_file
from zoo.store.disk import disk_errors
from zoo.store.hashing import Digests, hash_file
from zoo.store.home import find_homes, is_offline
from zoo.store.hub_entries import forget_hub_entry
from zoo.store.local import LocalModel
from zoo.store.locks import hold
from zoo.store.mirrors import mirror_rules, with_mirrors
from zoo.store.partials import Partial, claim_partial, find_partials, validator_of
from zoo.store.proof import Proof, proof_of
from zoo.store.records import Derived, Record, Records, source_key
from zoo.store.settings import Settings
from zoo.store.sources.remote import Remote, Wanted
from zoo.store.sources.schemes import find_scheme
from zoo.store.verification import Verdict, check_store

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Bring(Protocol[T_contra]):
    """What fills a partial file from a source and proves the bytes: `copy_file` or `download`."""

    def __call__(
        self,
        source: T_contra,
        partial: Partial,
        proof: Proof,
        /,
        *,
        what: str,
        settings: Settings,
        report: Report,
    ) -> Digests: ...


class Store:
    """The verified files of one home folder, and of shared ones that are only read.

    home: made when something is first written. shared: looked through first, never written. offline: no
    connection is made; what is not here cannot be had.
    """

    def __init__(
        self,
        home: Path,
        *,
        offline: bool = False,
        shared: tuple[Path, ...] = (),
        settings: Settings | None = None,
    ) -> None:
        self.home = home
        self.offline = offline
        self.settings = Settings() if settings is None else settings
        self.blobs = Blobs(home / "blobs")
        self.records = Records(home / "records")
        self._places = [(Blobs(folder / "blobs"), Records(folder / "records")) for folder in shared]
        self._places.append((self.blobs, self.records))

    def find(self, entry: ModelEntry) -> LocalModel | None:
        """The model if it is here and untouched; None if not. Reads only: no network, no write.

        A file whose stamp changed is hashed; a damaged one counts as not here, and `fetch` replaces it.
        """
        key = source_key(entry.weights)
        for blobs, records in self._places:
            record = records.read(key)
            if record is not None and agrees(proof_of(entry.weights), record):
                path = find_file(blobs, record)
                if path is not None:
                    return LocalModel(entry, path, record.sha256)
        return None

    def fetch(self, entry: ModelEntry, *, report: Report = silent) -> LocalModel:
        """The model, fetched if it is not here.

        Raises Offline, AddressRefused, DownloadFailed (what came is kept, the next fetch goes on from there),
        HashMismatch or SizeMismatch (nothing is kept), DiskFull, StorageError or LockTimeout.
        """
        self._check_origin(entry)
        found = self.find(entry)
        if found is None:
            self._check_offline(entry)
            with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
                found = self.find(entry) or self._bring(entry, report)
        return found

    def remove(self, entry: ModelEntry, *, patience: float | None = None) -> int:
        """Forget a model: its files, partial files and what locks its hash. Returns the bytes freed.

        Files that another model needs stay, and so does everything in shared folders.
        patience: seconds to wait for a process that is fetching it.
        """
        key = source_key(entry.weights)
        with disk_errors(self.home, f"remove {entry.name}"), self._lock(entry, silent, patience):
            freed = sum(remove_file(p.path) for p in find_partials(self.blobs.folder, lock_key(entry)))
            forget_hub_entry(self.home, entry.name)
            record = self.records.read(key)
            if record is None:
                return freed
            self.records.remove(key)
            return freed + self._drop_unneeded(record.blobs)

    def verify(
        self, entries: Iterable[ModelEntry] | None = None, *, fix: bool = False, report: Report = silent
    ) -> list[Verdict]:
        """Hash every file of the given models, or of the whole store, and say what was found.

        fix: a damaged file is deleted and fetched again.
        """
        return check_store(self, entries, fix=fix, report=report)

    def derive(
        self,
        local: LocalModel,
        kind: str,
        write: Callable[[Path], None],
        *,
        keep_source: bool = True,
        report: Report = silent,
    ) -> Path:
        """The file of another format made from a model's file: once, by one process, kept like a fetched one.

        write: gets a path to an empty file (whose name says nothing) and fills it. keep_source: False deletes
        the published file once the derived one is safe; `find` then gives the derived one.
        """
        key = source_key(local.entry.weights)
        what = f"convert {local.entry.name}"
        with disk_errors(self.home, what), self._lock(local.entry, report):
            present = self.derived(local, kind)
            if present is not None:
                return present
            partial = claim_partial(self.blobs.folder, validator_of(local.sha256, kind))
            try:
                partial.path.write_bytes(b"")  # of a process that was killed while it converted
                write(partial.path)
                digests = hash_file(partial.path)
                path = self.blobs.publish(partial.path, digests.sha256)
            finally:
                remove_file(partial.path)
            stamp = stamp_of(path)
            assert stamp is not None
            record = self.records.read(key) or bare_record(local)
            made = Derived(sha256=digests.sha256, bytes=digests.bytes, stamp=stamp)
            record = replace(record, derived=record.derived | {kind: made})
            self.records.write(key, record)
            if not keep_source and record.stamp is not None:
                self.records.write(key, replace(record, stamp=None))
                self._drop_unneeded({record.sha256})
            return path

    def derived(self, local: LocalModel, kind: str) -> Path | None:
        """The derived file of this kind if it is here and untouched."""
        key = source_key(local.entry.weights)
        for blobs, records in self._places:
            record = records.read(key)
            made = None if record is None else record.derived.get(kind)
            if made is not None and is_whole(blobs.path(made.sha256), made.sha256, made.stamp):
                return blobs.path(made.sha256)
        return None

    def prove(self, local: LocalModel) -> None:
        """Hash the model's file again, whatever its stamp says: before anything that could run code in it.

        Raises HashMismatch if it is not what was fetched.
        """
        got = hash_file(local.path).sha256
        if got != local.path.name:
            raise HashMismatch(
                f"{local.entry.name}: {local.path} was changed after it was fetched",
                expected=local.path.name,
                got=got,
                hint=f"zoo verify --fix {local.entry.name} fetches it again.",
            )

    def _lock(
        self, entry: ModelEntry, report: Report, patience: float | None = None
    ) -> AbstractContextManager[None]:
        path = self.home / "locks" / f"{lock_key(entry)}.lock"
        patience = self.settings.lock_patience if patience is None else patience
        return hold(path, entry.name, patience=patience, report=report)

    def _check_origin(self, entry: ModelEntry) -> None:
        """Raise AddressRefused if a registry that was itself fetched names files of this machine."""
        inside = entry.registry is not None and entry.registry.is_relative_to(self.home)
        for url in entry.weights.urls:
            if find_scheme(url).local and inside:
                raise AddressRefused(
                    f"{entry.name}: {url} is refused: a registry that came from elsewhere names a local file",
                    hint="Copy the entry into a registry file of your own if you mean it.",
                )

    def _check_offline(self, entry: ModelEntry) -> None:
        if self.offline and not any(find_scheme(url).local for url in entry.weights.urls):
            raise Offline(
                f"{entry.name} is not in the store {self.home}, and offline mode is on",
                hint=f"Online, zoo fetch {entry.name} brings it (unset ZOO_OFFLINE and HF_HUB_OFFLINE).",
            )

    def _bring(self, entry: ModelEntry, report: Report) -> LocalModel:
        """Get the bytes from the first URL that has them. Called with the lock held."""
        key = source_key(entry.weights)
        known = self.records.read(key)
        proof = proof_of(entry.weights)
        if known is not None:
            if known.stamp is not None and stamp_of(self.blobs.path(known.sha256)) is not None:
                report(
                    Note(f"{entry.name}: the stored file is damaged and is fetched again", level="warning")
                )
            proof = proof.strengthen(known.sha256, known.bytes, origin="what was first fetched")
        if proof.sha256 is not None and is_whole(self.blobs.path(proof.sha256), proof.sha256, None):
            size = self.blobs.path(proof.sha256).stat().st_size
            return self._keep(entry, entry.weights.urls[0], Digests(size, proof.sha256), known)
        return first_that_works(
            lambda url: self._bring_from(url, entry, proof, known, report), entry.weights.urls, report
        )

    def _bring_from(
        self, url: str, entry: ModelEntry, proof: Proof, known: Record | None, report: Report
    ) -> LocalModel:
        """Get the bytes from one URL, verified, and give them their name."""
        scheme = find_scheme(url)
        if self.offline and not scheme.local:
            raise Offline(f"{url} is not asked: offline mode is on")
        source = scheme.resolve(Wanted(url, entry, None if known is None else known.revision))
        if isinstance(source, Path):
            return self._keep(entry, url, self._take_in(copy_file, source, entry, proof, report), known)
        from zoo.store.downloading import download

        def fetch(remote: Remote) -> LocalModel:
            digests = self._take_in(download, remote, entry, proof, report)
            return self._keep(entry, remote.urls[0], digests, known, remote.revision)

        return first_that_works(fetch, with_mirrors(source, mirror_rules()), report)

    def _take_in(
        self, bring: Bring[T], source: T, entry: ModelEntry, proof: Proof, report: Report
    ) -> Digests:
        """Let `bring` fill a partial file and give it its name. Wrong bytes are deleted, right ones kept."""
        partial = claim_partial(self.blobs.folder, lock_key(entry))
        try:
            digests = bring(source, partial, proof, what=entry.name, settings=self.settings, report=report)
            self.blobs.publish(partial.path, digests.sha256)
        except IntegrityError:
            remove_file(partial.path)
            raise
        finally:
            partial.release()
        return digests

    def _keep(
        self, entry: ModelEntry, url: str, digests: Digests, known: Record | None, revision: str | None = None
    ) -> LocalModel:
        """Write down what is now in the blobs."""
        path = self.blobs.path(digests.sha256)
        record = Record(
            name=entry.name,
            weights=entry.weights,
            url=url,
            sha256=digests.sha256,
            bytes=digests.bytes,
            license=entry.license,
            revision=revision,
            fetched=time.time(),
            stamp=stamp_of(path),
            derived={} if known is None else known.derived,
        )
        self.records.write(source_key(entry.weights), record)
        return LocalModel(entry, path, digests.sha256)

    def _drop_unneeded(self, candidates: Iterable[str]) -> int:
        """Delete those blobs that no record needs; returns bytes freed."""
        needed = {sha256 for _, record in self.records for sha256 in record.blobs}
        return sum(self.blobs.remove(sha256) for sha256 in set(candidates) - needed)


def first_that_works(act: Callable[[T], LocalModel], places: Sequence[T], report: Report) -> LocalModel:
    """What `act` gives for the first place where it works. Raises what went wrong at the first one."""
    failures: list[ZooError] = []
    for place in places:
        try:
            return act(place)
        except (NetworkError, IntegrityError) as error:
            failures.append(error)
            if len(failures) < len(places):
                report(Note(f"{error.message}: trying the next place", level="warning"))
    raise failures[0]


def open_store(*, offline: bool | None = None) -> Store:
    """The store that the environment names: $ZOO_HOME; offline with $ZOO_OFFLINE or $HF_HUB_OFFLINE."""
    *shared, home = find_homes()
    return Store(home, offline=is_offline() if offline is None else offline, shared=tuple(shared))


def lock_key(entry: ModelEntry) -> str:
    """What one process at a time fetches: the bytes where they are known, else the source."""
    sha256 = proof_of(entry.weights).sha256
    return source_key(entry.weights) if sha256 is None else sha256


def agrees(proof: Proof, record: Record) -> bool:
    """Whether what was fetched is what the registry states."""
    return proof.sha256 in (None, record.sha256) and record.sha256.startswith(proof.sha256_prefix or "")


def find_file(blobs: Blobs, record: Record) -> Path | None:
    """The published file of a record if it is whole, else a derived one that is."""
    for sha256, stamp in record.blobs.items():
        if is_whole(blobs.path(sha256), sha256, stamp):
            return blobs.path(sha256)
    return None


def bare_record(local: LocalModel) -> Record:
    """A record for something that is derived here from a model in a shared folder."""
    entry = local.entry
    return Record(
        name=entry.name,
        weights=entry.weights,
        url=entry.weights.urls[0],
        sha256=local.sha256,
        bytes=local.path.stat().st_size,
        license=entry.license,
        fetched=time.time(),
    )
