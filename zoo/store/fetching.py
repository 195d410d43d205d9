"""How a model's bytes come into the store: from the store itself, another cache, a mirror, or their source.

Called with the lock of the source held. Whatever brings the bytes, they get their name in one place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from zoo.catalogue.entry import ModelEntry
from zoo.errors import (
    AddressRefused,
    BrokenPlugin,
    IntegrityError,
    NetworkError,
    Offline,
    SourceMissing,
    ZooError,
)
from zoo.events import Note, Report
from zoo.store.disk.blobs import remove_file, stamp_of
from zoo.store.disk.copying import copy_file
from zoo.store.disk.partial_files import Partial, claim_partial, find_parts
from zoo.store.disk.records import Record, source_key
from zoo.store.disk.space import size_text
from zoo.store.local import LocalModel
from zoo.store.remote import Remote, Wanted
from zoo.store.settings import Settings
from zoo.store.sources.mirrors import mirror_rules, with_mirrors
from zoo.store.sources.other_caches import find_adoptable
from zoo.store.sources.schemes import find_scheme
from zoo.store.trust.expected import Proof, proof_of
from zoo.store.trust.hashing import Digests, Hasher, hash_file
from zoo.store.trust.lock_file import Pin

if TYPE_CHECKING:
    from zoo.store.store import Store

Action = Literal["keep", "copy", "adopt", "resume", "download"]
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


def lock_key(entry: ModelEntry) -> str:
    """What one process at a time fetches: the bytes where they are known, else the source."""
    sha256 = proof_of(entry.weights).sha256
    return source_key(entry.weights) if sha256 is None else sha256


def check_offline(store: Store, entry: ModelEntry) -> None:
    """Raise Offline if a model can only come over the network, and the network is forbidden."""
    proof = proof_of(entry.weights)
    if store.offline and not any(
        find_scheme(url).local or any(find_adoptable(url, proof)) for url in entry.weights.urls
    ):
        raise Offline(
            f"{entry.name} is not in the store {store.home}, and offline mode is on",
            hint=f"Online, zoo fetch {entry.name} brings it (unset ZOO_OFFLINE and HF_HUB_OFFLINE).",
        )


class Fetch:
    """One model on its way into a store. pin: what a lock file says of it."""

    def __init__(self, store: Store, entry: ModelEntry, pin: Pin | None, report: Report) -> None:
        self.store = store
        self.entry = entry
        self.report = report
        self.key = source_key(entry.weights)
        self.proof = proof_of(entry.weights)
        self.known = store.records.read(self.key)
        if self.known is not None and self.known.is_contradicted_by(entry.weights):
            self.known = None  # the registry was corrected since: it is not held to what came before
        self.revision = None if self.known is None else self.known.revision
        if self.known is not None:
            self.proof = self.proof.strengthen(
                self.known.sha256, self.known.bytes, origin="what was first fetched"
            )
        if pin is not None:
            self.proof = self.proof.strengthen(pin.sha256, pin.bytes, origin="the lock file")
            self.revision = pin.revision

    def check(self) -> None:
        """Raise what is known before anybody is asked: AddressRefused, Offline, BrokenPlugin."""
        inside = self.store.is_bundled(self.entry)
        for url in self.entry.weights.urls:
            if inside and find_scheme(url).local:
                raise AddressRefused(
                    f"{self.entry.name}: {url} is refused: a registry that came from elsewhere names a local "
                    "file",
                    hint="Copy the entry into a registry file of your own if you mean it.",
                )
        if self._same_bytes() is None:
            check_offline(self.store, self.entry)

    def plan(self) -> tuple[Action, int | None]:
        """What `run` would do first, and the bytes that it would bring, exact or about; None: nobody knows.

        adopt: from the cache of another library, if the hash of what is there is right. Raises what `check`
        raises; asks nobody.
        """
        self.check()
        size = self.proof.bytes or self.entry.bytes
        path = self._same_bytes()
        if path is not None and hash_file(path).sha256 == path.name:
            return ("keep", 0) if self._is_own(path) else ("copy", path.stat().st_size)
        gone: list[SourceMissing] = []
        for url in self.entry.weights.urls:
            scheme = find_scheme(url)
            if scheme.local:
                try:
                    source = scheme.resolve(Wanted(url, self.entry, self.revision))
                except SourceMissing as error:
                    gone.append(error)
                    continue
                return "copy", source.stat().st_size if isinstance(source, Path) else size
            if any(find_adoptable(url, self.proof)):
                return "adopt", size
            if not self.store.offline:
                return self._plan_download(size)
        if gone:
            raise gone[0]
        raise Offline(f"{self.entry.name}: the stored file is damaged, and offline mode is on")

    def _plan_download(self, size: int | None) -> tuple[Action, int | None]:
        kept = sum(part.bytes for part in find_parts(self.store.blobs.folder, lock_key(self.entry)))
        if kept == 0:
            return "download", size
        return "resume", None if size is None else max(size - kept, 0)

    def run(self) -> LocalModel:
        """Bring the bytes from the first place that has the right ones."""
        return self._from_store() or self._from_places()

    def _same_bytes(self) -> Path | None:
        """The file that has the right name already: of another entry, or of a shared folder."""
        path = None if self.proof.sha256 is None else self.store.blob_path(self.proof.sha256)
        return path if path is not None and path.is_file() else None

    def _is_own(self, path: Path) -> bool:
        return path.parent == self.store.blobs.folder

    def _from_store(self) -> LocalModel | None:
        """Bytes that are here under another name, or that were fetched when less was known of them."""
        path = self._same_bytes()
        if path is None:
            return None
        try:
            if self._is_own(path):
                digests = hash_file(path, hasher=Hasher(md5=self.proof.md5 is not None))
                fault = self.proof.find_fault(digests, self.entry.name)
                if fault is not None:
                    raise fault
            else:
                digests = self._take_in(copy_file, path, self.proof)
        except IntegrityError:
            told = f"{self.entry.name}: the stored file is damaged and is fetched again"
            self.report(Note(told, level="warning"))
            return None
        return self._keep(digests, self.entry.weights.urls[0] if self.known is None else self.known.url)

    def _from_places(self) -> LocalModel:
        return first_that_works(self._from_place, self.entry.weights.urls, self.report)

    def _from_place(self, url: str) -> LocalModel:
        """The bytes of one URL: from another library's cache, from this machine, or over the network."""
        scheme = find_scheme(url)
        adopted = None if scheme.local else self._adopt(url, self.proof)
        if adopted is not None:
            return adopted
        if self.store.offline and not scheme.local:
            raise Offline(f"{self.entry.name}: {url} is not asked: offline mode is on")
        source = scheme.resolve(Wanted(url, self.entry, self.revision))
        if isinstance(source, Path):
            return self._keep(self._take_in(copy_file, source, self.proof), url)
        if source.sha256 is not None and self.proof.sha256 is None:
            proof = self.proof.strengthen(source.sha256, source.bytes, origin=source.origin)
            adopted = self._adopt(url, proof)
            if adopted is not None:
                return adopted
        from zoo.store.network.download import download

        def fetch(remote: Remote) -> LocalModel:
            return self._keep(self._take_in(download, remote, self.proof), remote.urls[0], remote.revision)

        return first_that_works(fetch, with_mirrors(source, mirror_rules()), self.report)

    def _adopt(self, url: str, proof: Proof) -> LocalModel | None:
        """Take a file of another library's cache if it is provably the right one; never change that cache."""
        for place, path in find_adoptable(url, proof):
            try:
                digests = self._take_in(copy_file, path, proof)
            except (IntegrityError, OSError):
                continue
            size = size_text(digests.bytes)
            self.report(Note(f"{self.entry.name}: {size} taken from the cache of {place}, hash verified"))
            return self._keep(digests, url)
        return None

    def _take_in(self, bring: Bring[T], source: T, proof: Proof) -> Digests:
        """Let `bring` fill a partial file and give it its name. Wrong bytes are deleted, right ones kept."""
        blobs = self.store.blobs
        partial = claim_partial(blobs.folder, lock_key(self.entry))
        try:
            digests = bring(
                source,
                partial,
                proof,
                what=self.entry.name,
                settings=self.store.settings,
                report=self.report,
            )
            blobs.publish(partial.path, digests.sha256)
        except IntegrityError:
            remove_file(partial.path)
            raise
        finally:
            partial.release()
        return digests

    def _keep(self, digests: Digests, url: str, revision: str | None = None) -> LocalModel:
        """Write down what is now in the blobs."""
        path = self.store.blobs.path(digests.sha256)
        same = self.known is not None and self.known.sha256 == digests.sha256
        record = Record(
            name=self.entry.name,
            weights=self.entry.weights,
            url=url,
            sha256=digests.sha256,
            bytes=digests.bytes,
            license=self.entry.license,
            revision=revision or self.revision,
            fetched=time.time(),
            stamp=stamp_of(path),
            derived=self.known.derived if same and self.known is not None else {},
        )
        self.store.records.write(self.key, record)
        return LocalModel(self.entry, path, digests.sha256)


def first_that_works(act: Callable[[T], LocalModel], places: Sequence[T], report: Report) -> LocalModel:
    """What `act` gives for the first place where it works. Raises what went wrong at the first one, and tells
    the rest.
    """
    failures: list[ZooError] = []
    for place in places:
        try:
            return act(place)
        except (NetworkError, IntegrityError, BrokenPlugin, SourceMissing) as error:
            failures.append(error)
            if len(failures) < len(places):
                report(Note(f"{error.message}: trying the next place", level="warning"))
    first, *rest = failures
    first.message = "; then ".join([first.message, *(failure.message for failure in rest)])
    raise first
