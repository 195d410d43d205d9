"""Checks that the files of entries exist and match the entries, without a download.

A file on this machine is hashed. Of a remote file one byte is requested, with the client that downloads, so
that the same rules apply: which addresses may be opened, who gets the token, how redirects are followed.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from msgspec.structs import replace

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.problems import Finding, Step
from zoo.errors import DownloadFailed, ZooError
from zoo.store.network.answers import PASSING, is_page, parse_range
from zoo.store.remote import Remote, Wanted
from zoo.store.settings import Settings
from zoo.store.sources.schemes import find_scheme
from zoo.store.trust.expected import Proof, proof_of
from zoo.store.trust.hashing import Hasher, hash_file

AT_ONCE = 8
TRIES = 3


def check_places(
    entries: Sequence[ModelEntry], *, settings: Settings, online: bool
) -> Iterator[tuple[str, Finding]]:
    """(name, what is wrong) for every URL whose file is missing or does not match its entry.

    online: check remote files as well; else only those on this machine.
    """
    places = [
        (entry, url, ("weights", "url") if isinstance(entry.weights.url, str) else ("weights", "url", number))
        for entry in entries
        for number, url in enumerate(entry.weights.urls)
    ]
    asked = [(Future[list[Finding]](), place) for place in places]
    waiting: SimpleQueue[tuple[Future[list[Finding]], tuple[ModelEntry, str, tuple[Step, ...]]]] = (
        SimpleQueue()
    )
    for job in asked:
        waiting.put(job)

    def work() -> None:
        with suppress(Empty):
            while True:
                future, place = waiting.get_nowait()
                try:
                    future.set_result(_probe(*place, settings=settings, online=online))
                except BaseException as error:  # raised where the result is read
                    future.set_exception(error)

    for _ in range(min(AT_ONCE, len(places))):  # with an executor, Ctrl-C would wait for a silent server
        threading.Thread(target=work, daemon=True).start()
    for future, (entry, _, _) in asked:
        yield from ((entry.name, finding) for finding in future.result())


def _probe(
    entry: ModelEntry, url: str, path: tuple[Step, ...], *, settings: Settings, online: bool
) -> list[Finding]:
    """The findings about the file of one URL."""
    try:
        scheme = find_scheme(url)
        if not (scheme.local or online):
            return []
        unproven = replace(
            entry, weights=replace(entry.weights, sha256=None)
        )  # so that the source is asked for it
        source = scheme.resolve(Wanted(url, unproven, settings=settings))
        found = (
            _check_file(entry, source) if isinstance(source, Path) else _check_remote(entry, source, settings)
        )
    except ZooError as error:
        return [Finding(path, error.message.removeprefix(f"{entry.name}: "), error.hint)]
    return [Finding(path, what) for what in found]


def _check_file(entry: ModelEntry, path: Path) -> list[str]:
    """What is wrong with a file on this machine, which is read as a whole."""
    proof = proof_of(entry.weights)
    fault = proof.find_fault(hash_file(path, hasher=Hasher(md5=proof.md5 is not None)), str(path))
    return [] if fault is None else [fault.message]


def _check_remote(entry: ModelEntry, remote: Remote, settings: Settings) -> list[str]:
    """What is wrong with a remote file, as far as it can be known without its bytes."""
    proof = proof_of(entry.weights)
    sizes = [_ask_size(url, remote.token, settings) for url in remote.urls]
    size = remote.bytes if None in sizes else sum(filter(None, sizes))
    return [*_compare_hash(proof, remote), *_compare_size(proof, size)]


def _compare_hash(proof: Proof, remote: Remote) -> Iterator[str]:
    """Whether the source states another hash than the entry."""
    stated, expected = remote.sha256, proof.sha256 or proof.sha256_prefix
    if stated is not None and expected is not None and not stated.startswith(expected):
        yield f"{remote.origin} states another sha256 than the entry: {stated}"


def _compare_size(proof: Proof, size: int | None) -> Iterator[str]:
    """Whether the file has another length than the entry states."""
    if size is not None and proof.bytes not in (None, size):
        yield f"the file has {size:,} bytes, the entry states {proof.bytes:,}"


def _ask_size(url: str, token: str | None, settings: Settings) -> int | None:
    """The length of a remote file; None if the server does not state it.

    Raises AddressRefused for an address that may not be opened, DownloadFailed if there is no such file.
    """
    from zoo.store.network.connection import open_url

    reason = ""
    for number in range(1, TRIES + 1):
        try:
            with open_url(url, headers={"Range": "bytes=0-0"}, token=token, settings=settings) as answer:
                if answer.status == 206:
                    return parse_range(answer.headers)[1]
                if answer.status == 416:  # there is no first byte
                    return 0
                if answer.status == 200:
                    if is_page(answer.peek()):
                        raise DownloadFailed(f"{answer.address} is a web page, not a file")
                    return answer.length
                reason = f"{answer.address} answers {answer.status}"
                if answer.status not in PASSING:
                    raise DownloadFailed(reason)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{url.partition('?')[0]} cannot be reached: {str(error) or type(error).__name__}"
        if number < TRIES:
            time.sleep(settings.pause(number))
    raise DownloadFailed(reason)
