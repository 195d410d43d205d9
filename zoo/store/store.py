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

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.licenses import LicensePolicy, environment_policy
from zoo.errors import HashMismatch
from zoo.events import Report, silent
from zoo.store.contents import Contents
from zoo.store.disk.blobs import remove_file, stamp_of
from zoo.store.disk.homes import find_homes, is_offline
from zoo.store.disk.hub_records import forget_hub_entry
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import claim_partial, find_parts, validator_of
from zoo.store.disk.records import Derived, Record, source_key
from zoo.store.disk.space import disk_errors
from zoo.store.fetching import Fetch, Step, lock_key
from zoo.store.local import LocalModel
from zoo.store.settings import Settings
from zoo.store.trust.hashing import hash_file
from zoo.store.trust.lock_file import Pin, check_pin


class Store(Contents):
    """The verified files of one home folder and of shared ones, and the way to get more of them.

    home, shared: see Contents. offline: no connection is made; what is not here cannot be had. policy: the
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
        super().__init__(home, shared)
        self.offline = offline
        self.policy = policy
        self.settings = Settings() if settings is None else settings

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
            self._fetch(entry, pin, report).check()
            with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
                found = self.find(entry) or self._fetch(entry, pin, report).run()
        else:
            self._renew_stamps(source_key(entry.weights))
        check_pin(found, pin)
        return found

    def fetch_again(self, entry: ModelEntry, *, report: Report = silent) -> LocalModel:
        """The published file of a model, fetched also where something that was made of it is here.

        Raises what `fetch` raises.
        """
        self.check_license(entry)
        self._fetch(entry, None, report).check()
        with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
            return self._fetch(entry, None, report).run()

    def plan(self, entry: ModelEntry, *, pin: Pin | None = None) -> Step:
        """What `fetch` would try first. Asks nobody, writes nothing. Raises what makes `fetch` refuse."""
        self.check_license(entry)
        found = self.find(entry)
        if found is None:
            return self._fetch(entry, pin, silent).plan().first
        check_pin(found, pin)
        return Step("keep", entry.weights.urls[0], 0, found.path)

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
                record = Record.of(local)
            made = Derived(sha256=digests.sha256, bytes=digests.bytes, stamp=stamp)
            record = replace(record, derived=record.derived | {kind: made})
            self.records.write(key, record)
            if not keep_source and record.stamp is not None:
                self.records.write(key, replace(record, stamp=None))
                self._drop_unneeded({record.sha256})
            return path

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

    def _fetch(self, entry: ModelEntry, pin: Pin | None, report: Report) -> Fetch:
        return Fetch(self, entry, pin, report, settings=self.settings, offline=self.offline)

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
