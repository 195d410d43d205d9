"""The store: verified files named by their sha256, and how to fetch them.

    home/
      blobs/SHA256          every byte verified before the file got this name; nothing else is ever read
      blobs/KEY.….partial   an incomplete download; the next fetch continues it
      records/KEY.json      what was first fetched from a source: later fetches must match it
      hub/KEY.json          the facts of a repository of the Hub, as first seen
      files/KEY.json        facts about a file of word vectors outside of the store (zoo/words/own_files.py)
      registries/*.yaml     entries that came with bundles
      locks/KEY.lock        one process at a time
      features/, onnx/      belong to zoo/features

A fetch is: find it → lock → find it again → free space → partial file, hashed while it is written → verify →
flush → rename → record. Wrong bytes never get the right name, whatever fails in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.licenses import LicensePolicy, environment_policy
from zoo.errors import HashMismatch
from zoo.events import Report, silent
from zoo.store.contents import Contents
from zoo.store.disk.blobs import remove_file, stamp_of
from zoo.store.disk.homes import find_homes, is_offline
from zoo.store.disk.records import Derived, Record, companion_name, source_key
from zoo.store.disk.space import disk_errors
from zoo.store.local import LocalModel
from zoo.store.trust.hashing import hash_file

if TYPE_CHECKING:
    from zoo.store.fetching import Fetch, Step
    from zoo.store.settings import Settings
    from zoo.store.trust.lock_file import Pin

# What only fetches and changes is imported by what does: it would double the imports of `zoo list`.


class Store(Contents):
    """The verified files of one home folder and of shared ones, and how to fetch more.

    home, shared: see Contents. offline: no connection is made, only stored models can be had. policy: the
    licences that `fetch` allows; $ZOO_LICENSE_POLICY always holds as well.
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
        self._settings = settings

    @cached_property
    def settings(self) -> Settings:
        """How long and how often a fetch tries."""
        from zoo.store.settings import Settings

        return self._settings or Settings()

    def fetch(self, entry: ModelEntry, *, pin: Pin | None = None, report: Report = silent) -> LocalModel:
        """The model, fetched if the store does not have it.

        pin: of a lock file (see find_pin): anything else is refused.
        Raises LicenseRefused, also for a stored model; Offline, AddressRefused, DownloadFailed (what was
        received is kept, and the next fetch continues it), HashMismatch or SizeMismatch (nothing is kept),
        DiskFull, StorageError or LockTimeout.
        """
        from zoo.store.trust.lock_file import check_pin

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
        """The published file of a model, fetched even if the store has a file that is derived from it.

        Raises what `fetch` raises.
        """
        self.check_license(entry)
        self._fetch(entry, None, report).check()
        with disk_errors(self.home, f"fetch {entry.name}"), self._lock(entry, report):
            return self._fetch(entry, None, report).run()

    def plan(self, entry: ModelEntry, *, pin: Pin | None = None) -> Step:
        """The first step of `fetch`. Makes no request, writes nothing. Raises what makes `fetch` refuse."""
        from zoo.store.fetching import Step
        from zoo.store.trust.lock_file import check_pin

        self.check_license(entry)
        found = self.find(entry)
        if found is None:
            return self._fetch(entry, pin, silent).plan().first
        check_pin(found, pin)
        return Step("keep", entry.weights.urls[0], 0, found.path)

    @property
    def policies(self) -> tuple[LicensePolicy, ...]:
        """Every licence policy in force; a model must satisfy all of them."""
        return tuple(p for p in (environment_policy(), self.policy) if p is not None)

    def check_license(self, entry: ModelEntry) -> None:
        """Raise LicenseRefused unless the model may be used."""
        for policy in self.policies:
            policy.check(entry)

    def pin(self, entry: ModelEntry, *, report: Report = silent) -> Pin:
        """The pin of a model for a lock file; the model is fetched if the store does not have it."""
        from zoo.store.trust.lock_file import Pin

        record = self.record_of(self.fetch(entry, report=report))
        return Pin(
            url=entry.weights.urls[0],
            sha256=record.sha256,
            bytes=record.bytes,
            license=entry.license,
            revision=record.revision,
        )

    def remove(self, entry: ModelEntry, *, patience: float | None = None, report: Report = silent) -> int:
        """Delete a model: its files, partial files and record. Returns the bytes freed.

        Files that another model needs stay, and so does everything in shared folders.
        patience: seconds to wait for a process that is fetching it.
        """
        from zoo.store.disk.hub_records import forget_hub_entry
        from zoo.store.disk.partial_files import find_parts
        from zoo.store.fetching import lock_key

        key = source_key(entry.weights)
        with disk_errors(self.home, f"remove {entry.name}"), self._lock(entry, report, patience):
            freed = sum(remove_file(p.path) for p in find_parts(self.blobs.folder, lock_key(entry)))
            forget_hub_entry(self.home, entry.name)
            freed += self._remove_companions(entry.name)
            remove_file(self.home / "files" / f"{key}.json")
            record = self.records.read(key)
            if record is None:
                return freed
            self.records.remove(key)
            return freed + self._drop_unneeded(record.blobs)

    def _remove_companions(self, name: str) -> int:
        """Delete the files that a model needs beside its weights. Returns the bytes freed."""
        freed = 0
        for key, record in list(self.records):
            if record.name.startswith(companion_name(name, "")):
                self.records.remove(key)
                freed += self._drop_unneeded(record.blobs)
        return freed

    def own_files(self, entry: ModelEntry) -> tuple[Path, ...]:
        """The files of a model in the user's own folder, the published one and those derived from it."""
        record = self.records.read(source_key(entry.weights))
        paths = () if record is None else tuple(self.blobs.path(sha256) for sha256 in record.blobs)
        return tuple(path for path in paths if path.is_file())

    def derive(
        self,
        local: LocalModel,
        kind: str,
        write: Callable[[Path], None],
        *,
        keep_source: bool = True,
        report: Report = silent,
    ) -> Path:
        """A file of another format that is derived from a model's file, once, and kept like a fetched one.

        write: fills the empty file at the path that it is given (its name has no suffix). keep_source: False
        deletes the published file once the derived one is safe; `find` then returns the derived one.
        """
        from zoo.store.disk.partial_files import claim_partial, validator_of

        key = source_key(local.entry.weights)
        what = f"convert {local.entry.name}"
        with disk_errors(self.home, what), self._lock(local.entry, report):
            present = self.derived(local, kind)
            if present is not None:
                return present
            partial = claim_partial(self.blobs.folder, validator_of(local.sha256, kind))
            try:
                partial.path.write_bytes(b"")  # it may be left from a process that was killed
                write(partial.path)
                digests = hash_file(partial.path)
                path = self.blobs.publish(partial.path, digests.sha256)
            finally:
                remove_file(partial.path)
            stamp = stamp_of(path)
            assert stamp is not None
            record = self.records.read(key)
            if record is None or record.sha256 != local.sha256:  # derived from other bytes of the source
                record = Record.of(local)
            made = Derived(sha256=digests.sha256, bytes=digests.bytes, stamp=stamp)
            record = replace(record, derived=record.derived | {kind: made})
            self.records.write(key, record)
            if not keep_source and record.stamp is not None:
                self.records.write(key, replace(record, stamp=None))
                self._drop_unneeded({record.sha256})
            return path

    def prove(self, local: LocalModel) -> None:
        """Hash the model's file again, whatever its stamp: before anything that could run code in it.

        Raises HashMismatch if it was changed after it was fetched.
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
        from zoo.store.fetching import Fetch

        return Fetch(self, entry, pin, report, settings=self.settings, offline=self.offline)

    def _lock(
        self, entry: ModelEntry, report: Report, patience: float | None = None
    ) -> AbstractContextManager[None]:
        from zoo.store.disk.locks import hold
        from zoo.store.fetching import lock_key

        path = self.home / "locks" / f"{lock_key(entry)}.lock"
        patience = self.settings.lock_patience if patience is None else patience
        return hold(path, entry.name, patience=patience, report=report)

    def _renew_stamps(self, key: str) -> None:
        """Update the stamps of files that were touched or copied: else every use would hash them again."""
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
            with suppress(OSError):  # the folder may be read-only
                self.records.write(key, replace(record, stamp=own, derived=derived))

    def _drop_unneeded(self, candidates: Iterable[str]) -> int:
        """Delete the candidates that no record needs; returns the bytes freed."""
        needed = {sha256 for _, record in self.records for sha256 in record.blobs}
        return sum(self.blobs.remove(sha256) for sha256 in set(candidates) - needed)


def open_store(*, offline: bool | None = None, settings: Settings | None = None) -> Store:
    """The store at $ZOO_HOME; offline by default if $ZOO_OFFLINE or $HF_HUB_OFFLINE is set."""
    *shared, home = find_homes()
    offline = is_offline() if offline is None else offline
    return Store(home, offline=offline, shared=tuple(shared), settings=settings)
