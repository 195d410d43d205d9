"""The store: verified files under the names of their bytes, and the way to get them.

    home/
      blobs/SHA256          every byte verified before the file got this name; nothing else is ever read
      blobs/KEY.….partial   a download that is not whole; the next fetch goes on from there
      records/KEY.json      what a source first gave: the lock for every later fetch
      hub/KEY.json          what the Hub first said about a repository
      files/KEY.json        what a file of word vectors outside of the store was (zoo/words/own_files.py)
      registries/*.yaml     entries that came with bundles
      locks/KEY.lock        one process at a time
      features/             belongs to zoo/features

A fetch is: find it → lock → find it again → free space → partial file, hashed as it comes → verify → flush →
rename → record. A wrong byte never gets the right name, whatever fails in between.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.licenses import LicensePolicy, environment_policy
from zoo.errors import HashMismatch
from zoo.events import Report, silent
from zoo.store.disk.blobs import Blobs, is_whole, remove_file, stamp_of
from zoo.store.disk.homes import find_homes, is_offline
from zoo.store.disk.hub_records import forget_hub_entry
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import claim_partial, find_parts, validator_of
from zoo.store.disk.records import Derived, Record, Records, find_file, source_key
from zoo.store.disk.space import disk_errors
from zoo.store.fetching import Fetch, lock_key
from zoo.store.local import LocalModel
from zoo.store.settings import Settings
from zoo.store.trust.hashing import hash_file
from zoo.store.trust.lock_file import Pin, check_pin
from zoo.store.upkeep.verification import Verdict, check_store, entry_of


class Store:
    """The verified files of one home folder, and of shared ones that are only read.

    home: made when something is first written. shared: looked through first, never written. places: all of
    them, in the order to look. offline: no connection is made; what is not here cannot be had. policy: the
    licences that `fetch` gives out; $ZOO_LICENSE_POLICY holds as well, whoever made the store.
    """

    def __init__(
        self,
        home: Path,
        *,
        offline: bool = False,
        shared: tuple[Path, ...] = (),
        settings: Settings | None = None,
        policy: LicensePolicy | None = None,
    ) -> None:
        self.home = home
        self.offline = offline
        self.policy = policy
        self.settings = Settings() if settings is None else settings
        self.blobs = Blobs(home / "blobs")
        self.records = Records(home / "records")
        self.places = [(Blobs(folder / "blobs"), Records(folder / "records")) for folder in shared]
        self.places.append((self.blobs, self.records))

    def find(self, entry: ModelEntry) -> LocalModel | None:
        """The model if it is here and untouched; None if not. Reads only: no network, no write.

        A file whose stamp changed is hashed; a damaged one counts as not here, and `fetch` replaces it.
        """
        key = source_key(entry.weights)
        for blobs, records in self.places:
            record = records.read(key)
            if record is not None and record.agrees_with(entry.weights):
                path = find_file(blobs, record)
                if path is not None:
                    return LocalModel(entry, path, record.sha256)
        return None

    def fetch(self, entry: ModelEntry, *, pin: Pin | None = None, report: Report = silent) -> LocalModel:
        """The model, fetched if it is not here.

        pin: what a lock file says (see pins.find_pin): anything else is refused.
        Raises LicenseRefused, also for a model that is here; Offline, AddressRefused, DownloadFailed (what
        came is kept, the next fetch goes on from there), HashMismatch or SizeMismatch (nothing is kept),
        DiskFull, StorageError or LockTimeout.
        """
        self.check_license(entry)
        found = self.find(entry)
        if found is None:
            Fetch(self, entry, pin, report).check()
            with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
                found = self.find(entry) or Fetch(self, entry, pin, report).run()
        else:
            self._renew_stamps(source_key(entry.weights))
        check_pin(found, pin)
        return found

    def fetch_again(self, entry: ModelEntry, *, report: Report = silent) -> LocalModel:
        """The published file of a model, fetched also where something that was made of it is here.

        Raises what `fetch` raises.
        """
        self.check_license(entry)
        Fetch(self, entry, None, report).check()
        with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
            return Fetch(self, entry, None, report).run()

    @property
    def policies(self) -> tuple[LicensePolicy, ...]:
        """Every licence policy that holds: a model must keep all of them."""
        return tuple(p for p in (environment_policy(), self.policy) if p is not None)

    def check_license(self, entry: ModelEntry) -> None:
        """Raise LicenseRefused unless the model may be used."""
        for policy in self.policies:
            policy.check(entry)

    def pin(self, entry: ModelEntry, *, report: Report = silent) -> Pin:
        """What a lock file should say of a model; it is fetched if that is not known yet."""
        record = self.record_of(self.fetch(entry, report=report))
        return Pin(
            url=entry.weights.urls[0],
            sha256=record.sha256,
            bytes=record.bytes,
            license=entry.license,
            revision=record.revision,
        )

    def record_of(self, local: LocalModel) -> Record:
        """What is written down about a model that is here, in the folder that has its file."""
        for blobs, records in self.places:
            record = records.read(source_key(local.entry.weights))
            if record is not None and local.path.parent == blobs.folder:
                return record
        return bare_record(local)

    def blob_path(self, sha256: str) -> Path:
        """The file of a hash, in the first folder that has it."""
        paths = [blobs.path(sha256) for blobs, _ in self.places]
        return next((path for path in paths if os.access(path, os.R_OK)), paths[-1])

    @property
    def registries(self) -> tuple[Path, ...]:
        """The registry files that came with bundles, shared ones first, so that their names resolve here."""
        readable = [folder for folder in self._bundled if os.access(folder, os.R_OK | os.X_OK)]
        return tuple(path for folder in readable for path in sorted(folder.glob("*.yaml")))

    def recall(self, name: str) -> ModelEntry | None:
        """As much of an entry as was written down of a model that is here, whatever registry it came from."""
        found = (record for _, records in self.places for _, record in records if record.name == name)
        record = next(found, None)
        return None if record is None else entry_of(record)

    def is_bundled(self, entry: ModelEntry) -> bool:
        """Whether an entry came with a bundle: it may not name files of this machine."""
        return entry.registry is not None and entry.registry.parent in self._bundled

    @property
    def _bundled(self) -> list[Path]:
        return [blobs.folder.parent.absolute() / "registries" for blobs, _ in self.places]

    def remove(self, entry: ModelEntry, *, patience: float | None = None, report: Report = silent) -> int:
        """Forget a model: its files, partial files and what locks its hash. Returns the bytes freed.

        Files that another model needs stay, and so does everything in shared folders.
        patience: seconds to wait for a process that is fetching it.
        """
        key = source_key(entry.weights)
        with disk_errors(self.home, f"remove {entry.name}"), self._lock(entry, report, patience):
            freed = sum(remove_file(p.path) for p in find_parts(self.blobs.folder, lock_key(entry)))
            forget_hub_entry(self.home, entry.name)
            remove_file(self.home / "files" / f"{key}.json")
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
            record = self.records.read(key)
            if record is None or record.sha256 != local.sha256:  # derived from what the source gave before
                record = bare_record(local)
            made = Derived(sha256=digests.sha256, bytes=digests.bytes, stamp=stamp)
            record = replace(record, derived=record.derived | {kind: made})
            self.records.write(key, record)
            if not keep_source and record.stamp is not None:
                self.records.write(key, replace(record, stamp=None))
                self._drop_unneeded({record.sha256})
            return path

    def derived(self, local: LocalModel, kind: str) -> Path | None:
        """The derived file of this kind if it is here and untouched."""
        return self.derivations(local).get(kind)

    def derivations(self, local: LocalModel) -> dict[str, Path]:
        """Every derived file of these very bytes that is here and untouched, by its kind."""
        found: dict[str, Path] = {}
        for blobs, records in self.places:
            record = records.read(source_key(local.entry.weights))
            if record is not None and record.sha256 == local.sha256:
                for kind, made in record.derived.items():
                    if kind not in found and is_whole(blobs.path(made.sha256), made.sha256, made.stamp):
                        found[kind] = blobs.path(made.sha256)
        return found

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

    def _renew_stamps(self, key: str) -> None:
        """Write down new stamps of files that were touched or copied: else every use would hash them."""
        record = self.records.read(key)
        if record is None:
            return
        new = dict(record.blobs)
        for sha256, stamp in record.blobs.items():
            now = stamp_of(self.blobs.path(sha256))
            if now is not None and now != stamp and hash_file(self.blobs.path(sha256)).sha256 == sha256:
                new[sha256] = now
        if new != record.blobs:
            derived = {kind: replace(made, stamp=new[made.sha256]) for kind, made in record.derived.items()}
            own = None if record.stamp is None else new[record.sha256]
            with suppress(OSError):  # a folder that is only read keeps the old ones
                self.records.write(key, replace(record, stamp=own, derived=derived))

    def _drop_unneeded(self, candidates: Iterable[str]) -> int:
        """Delete those blobs that no record needs; returns bytes freed."""
        needed = {sha256 for _, record in self.records for sha256 in record.blobs}
        return sum(self.blobs.remove(sha256) for sha256 in set(candidates) - needed)


def open_store(*, offline: bool | None = None, settings: Settings | None = None) -> Store:
    """The store that the environment names: $ZOO_HOME; offline with $ZOO_OFFLINE or $HF_HUB_OFFLINE."""
    *shared, home = find_homes()
    offline = is_offline() if offline is None else offline
    return Store(home, offline=offline, shared=tuple(shared), settings=settings)


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
