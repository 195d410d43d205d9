"""The fetch of one model: from the store itself, another library's cache, a mirror, or its source.

First a plan (`Fetch.plan`: the places to try, in order), then its execution (`Fetch.run`, while the lock of
the source is held): --dry-run shows what a fetch does. Wherever the bytes come from, they get their final
name in one function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

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
from zoo.store.contents import Contents
from zoo.store.disk.blobs import remove_file, stamp_of
from zoo.store.disk.copying import copy_file
from zoo.store.disk.homes import online_again
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

Action = Literal["keep", "copy", "adopt", "resume", "download"]
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True)
class Step:
    """One place to take a model's bytes from.

    action: `keep` bytes that are in the store under another name; `copy` a file of this machine or of a
    shared folder; `adopt` a file from the cache of another library, if its hash is right; `resume` or
    `download` over the network. bytes: how many are copied or downloaded, exact or approximate; None if
    unknown. path: the file to take; owner: the library that it belongs to. digests: of the bytes to keep.
    error: why the place cannot be used.
    """

    action: Action
    url: str
    bytes: int | None = None
    path: Path | None = None
    owner: str | None = None
    digests: Digests | None = None
    error: ZooError | None = None


@dataclass(frozen=True)
class FetchPlan:
    """The places that a fetch tries, in order. damaged: the store has the file, with wrong bytes."""

    steps: tuple[Step, ...]
    damaged: bool = False

    @property
    def first(self) -> Step:
        """The first step that can be used. Raises the errors of all steps, joined, if none can."""
        for step in self.steps:
            if step.error is None:
                return step
        error = _joined([step.error for step in self.steps if step.error is not None])
        if self.damaged:
            error.message = f"{error.message} (the stored file is damaged)"
        raise error


class Fetch:
    """The fetch of one model. pin: its pin in the lock file. offline: use no network."""

    def __init__(
        self,
        contents: Contents,
        entry: ModelEntry,
        pin: Pin | None,
        report: Report,
        *,
        settings: Settings,
        offline: bool,
    ) -> None:
        self.contents = contents
        self.entry = entry
        self.report = report
        self.settings = settings
        self.offline = offline
        self.key = source_key(entry.weights)
        self.proof = proof_of(entry.weights)
        self.known = contents.records.read(self.key)
        if self.known is not None and self.known.is_contradicted_by(entry.weights):
            self.known = None  # the registry was corrected since: the old hash does not count
        self.revision = None if self.known is None else self.known.revision
        if self.known is not None:
            self.proof = self.proof.strengthen(
                self.known.sha256, self.known.bytes, origin="what was first fetched"
            )
        if pin is not None:
            self.proof = self.proof.strengthen(pin.sha256, pin.bytes, origin="the lock file")
            self.revision = pin.revision

    def check(self) -> None:
        """Raise what is known without a request: AddressRefused, Offline, BrokenPlugin."""
        inside = self.contents.is_bundled(self.entry)
        for url in self.entry.weights.urls:
            if inside and find_scheme(url).local:
                raise AddressRefused(
                    f"{self.entry.name}: {url} is refused: a registry from elsewhere names a local file",
                    hint="If you trust it, copy the entry into a registry file of your own.",
                )
        if self.offline and self._same_bytes() is None:
            check_offline(self.contents, self.entry)

    def plan(self) -> FetchPlan:
        """The places that `run` tries, in order. Makes no request and writes nothing; raises as `check` does.

        A stored file of the right name is hashed here, so that a plan never keeps damaged bytes.
        """
        self.check()
        path = self._same_bytes()
        stored = None if path is None else self._plan_stored(path)
        if stored is not None and stored.action == "keep":
            return FetchPlan((stored,))
        steps = [step for url in self.entry.weights.urls for step in self._plan_place(url)]
        return FetchPlan(tuple(filter(None, [stored, *steps])), damaged=path is not None and stored is None)

    def run(self) -> LocalModel:
        """Take the bytes from the first place that has the right ones."""
        plan = self.plan()
        if self.proof.sha256 is not None:  # before the download: afterwards the bytes would have no place
            self.contents.blobs.clear_place(self.proof.sha256)
        if plan.damaged:
            text = f"{self.entry.name}: the stored file is damaged and is fetched again"
            self.report(Note(text, level="warning"))
        return _first_success(self._act, plan.steps, self.report)

    def _same_bytes(self) -> Path | None:
        """A stored file that has the right name already: of another entry, or in a shared folder."""
        path = None if self.proof.sha256 is None else self.contents.blob_path(self.proof.sha256)
        return path if path is not None and path.is_file() else None

    def _plan_stored(self, path: Path) -> Step | None:
        """The step to keep stored bytes, or to copy them from a shared folder; None if they are wrong."""
        digests = hash_file(path, hasher=Hasher(md5=self.proof.md5 is not None))
        if self.proof.find_fault(digests, self.entry.name) is not None:
            return None
        url = self.entry.weights.urls[0] if self.known is None else self.known.url
        if path.parent == self.contents.blobs.folder:
            return Step("keep", url, 0, path, digests=digests)
        return Step("copy", url, digests.bytes, path)

    def _plan_place(self, url: str) -> Iterator[Step]:
        """The steps for one URL of the entry: a local file, another library's copy, a download."""
        scheme = find_scheme(url)
        size = self.proof.bytes or self.entry.bytes
        if scheme.local:
            try:
                source = scheme.resolve(Wanted(url, self.entry, self.revision))
            except (SourceMissing, BrokenPlugin) as error:
                yield Step("copy", url, size, error=error)
                return
            if isinstance(source, Path):
                yield Step("copy", url, source.stat().st_size, source)
                return
        else:
            for owner, path in find_adoptable(url, self.proof):
                yield Step("adopt", url, size, path, owner)
        if self.offline and not scheme.local:
            refusal = Offline(f"{self.entry.name}: cannot download {url}: offline mode is on")
            yield Step("download", url, size, error=refusal)
            return
        kept = sum(part.bytes for part in find_parts(self.contents.blobs.folder, lock_key(self.entry)))
        if kept == 0:
            yield Step("download", url, size)
        else:
            yield Step("resume", url, None if size is None else max(size - kept, 0))

    def _act(self, step: Step) -> LocalModel | None:
        """Execute one step; None if another library's file is not the right one."""
        if step.error is not None:
            raise step.error
        if step.digests is not None:
            return self._keep(step.digests, step.url)
        if step.path is None:
            return self._download(step.url)
        if step.owner is not None:
            return self._adopt(step.url, step.path, step.owner, self.proof)
        return self._keep(self._take_in(copy_file, step.path, self.proof), step.url)

    def _download(self, url: str) -> LocalModel:
        """The bytes of one URL over the network: from a mirror, or from the source."""
        from zoo.store.network.download import download

        wanted = Wanted(url, self.entry, self.revision, self.settings, self.report)
        source = find_scheme(url).resolve(wanted)
        if isinstance(source, Path):  # a plugin's scheme may return a file that it made
            return self._keep(self._take_in(copy_file, source, self.proof), url)
        if source.sha256 is not None and self.proof.sha256 is None:  # now other caches can be searched
            proof = self.proof.strengthen(source.sha256, source.bytes, origin=source.origin)
            for owner, path in find_adoptable(url, proof):
                adopted = self._adopt(url, path, owner, proof)
                if adopted is not None:
                    return adopted

        def fetch(remote: Remote) -> LocalModel:
            return self._keep(self._take_in(download, remote, self.proof), remote.urls[0], remote.revision)

        return _first_success(fetch, with_mirrors(source, mirror_rules()), self.report)

    def _adopt(self, url: str, path: Path, owner: str, proof: Proof) -> LocalModel | None:
        """Copy a file from another library's cache if its hash is right; that cache is never changed."""
        try:
            digests = self._take_in(copy_file, path, proof)
        except (IntegrityError, OSError):
            return None
        size = size_text(digests.bytes)
        self.report(Note(f"{self.entry.name}: {size} taken from the cache of {owner}, hash verified"))
        return self._keep(digests, url)

    def _take_in(self, bring: _Bring[T], source: T, proof: Proof) -> Digests:
        """Let `bring` fill a partial file, and publish it. Wrong bytes are deleted, right ones kept."""
        blobs = self.contents.blobs
        partial = claim_partial(blobs.folder, lock_key(self.entry))
        try:
            digests = bring(
                source,
                partial,
                proof,
                what=self.entry.name,
                settings=self.settings,
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
        """Write the record of the new blob."""
        path = self.contents.blobs.path(digests.sha256)
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
        self.contents.records.write(self.key, record)
        return LocalModel(self.entry, path, digests.sha256)


class _Bring(Protocol[T_contra]):
    """A function that fills a partial file from a source and verifies it: `copy_file` or `download`."""

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
    """The name of the lock of a fetch: the hash of the bytes if it is known, else the source."""
    sha256 = proof_of(entry.weights).sha256
    return source_key(entry.weights) if sha256 is None else sha256


def check_offline(contents: Contents, entry: ModelEntry) -> None:
    """Raise Offline if a model can only come over the network."""
    proof = proof_of(entry.weights)
    if not any(find_scheme(url).local or any(find_adoptable(url, proof)) for url in entry.weights.urls):
        raise Offline(
            f"{entry.name} is not in the store {contents.home}, and offline mode is on",
            hint=f"Online, zoo fetch {entry.name} brings it ({online_again()}).",
        )


def _first_success(act: Callable[[T], LocalModel | None], places: Sequence[T], report: Report) -> LocalModel:
    """The result of `act` for the first place where it succeeds; a None from it is skipped silently.

    Reports each failure but the last. Raises all of them in one error if no place works.
    """
    failures: list[ZooError] = []
    for number, place in enumerate(places, 1):
        try:
            if (found := act(place)) is not None:
                return found
        except (NetworkError, IntegrityError, BrokenPlugin, SourceMissing) as error:
            failures.append(error)
            if number < len(places):
                report(Note(f"{error.message}: trying the next place", level="warning"))
    raise _joined(failures)


def _joined(failures: Sequence[ZooError]) -> ZooError:
    """The first of some errors, with the messages of the others added to its own."""
    first, *rest = failures
    first.message = "; then ".join([first.message, *(failure.message for failure in rest)])
    return first
