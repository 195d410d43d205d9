"""A URL becomes a verified partial file, through every fault that a network has.

One try is one request. A fault of the network ends the try and the next one goes on from where the file ends;
counters bound them (see Settings). Wrong bytes end everything after the second download.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from zoo.errors import DownloadFailed, Interrupted, SizeMismatch
from zoo.events import Note, Progress, Report
from zoo.store.disk.partial_files import UNKNOWN, Partial
from zoo.store.disk.space import check_room, size_text
from zoo.store.disk.writing import HELD, Writer
from zoo.store.network.answers import (
    GONE,
    PASSING,
    Reply,
    is_page,
    judge,
    parse_range,
    parse_retry_after,
    strong_etag,
)
from zoo.store.network.byte_ranges import spread
from zoo.store.network.connection import Answer, TooManyRedirects, open_url
from zoo.store.network.pace import Pace, TooSlow
from zoo.store.settings import Settings
from zoo.store.trust.addresses import parse_address
from zoo.store.trust.expected import Proof
from zoo.store.trust.hashing import Block, Digests

SLACK = 64 << 20
BUFFER = 512 << 10  # bytes to take at once; of larger ones less is still in the cache when they are hashed


class _Passing(Exception):
    """This try failed; another may not. wait: seconds that the server asked for."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class _Effort:
    """What a transfer has cost so far."""

    tries: int = 0
    fruitless: int = 0
    received: int = 0

    def is_spent(self, settings: Settings, total: int | None) -> bool:
        """Whether to give up: too many tries that brought nothing, or too many tries or bytes at all."""
        return (
            self.fruitless >= settings.fruitless
            or self.tries >= settings.tries
            or (total is not None and self.received > settings.surplus * total + SLACK)
        )


class Transfer:
    """The download of one URL into one partial file.

    what: the name that messages use. token: for the host of the URL alone.
    """

    def __init__(
        self,
        url: str,
        partial: Partial,
        proof: Proof,
        *,
        what: str,
        token: str | None,
        settings: Settings,
        report: Report,
    ) -> None:
        self.url = url
        self.where = f"{what}: {parse_address(url)}"
        self.partial = partial
        self.proof = proof
        self.what = what
        self.token = token
        self.settings = settings
        self.report = report
        self.total = proof.bytes
        self.effort = _Effort()
        self.told = 0.0

    def run(self) -> Digests:
        """Download, go on, verify; returns the digests of the whole file, which are proven right.

        Raises DownloadFailed, AddressRefused, DiskFull, StorageError or Interrupted (the partial file then
        holds what came), HashMismatch or SizeMismatch.
        """
        expected = self.proof.bytes
        if expected is not None and self.partial.bytes > expected:
            self.partial.path.write_bytes(b"")
        if expected is not None:
            check_room(self.partial.folder, expected - self.partial.bytes, self.what)
        with self._writer() as writer:
            again = False
            while True:
                self._complete(writer)
                fault = self.proof.find_fault(writer.digests(), self.where)
                if fault is None:
                    self._tell(writer, last=True)
                    return writer.digests()
                if again:  # twice: nothing on the way is to blame
                    raise fault
                again = True
                self.report(Note(f"{fault.message}: downloading it once more", level="warning"))
                self._forget(writer)

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        try:
            with Writer(self.partial.path, what=self.what, md5=self.proof.md5 is not None) as writer:
                yield writer
        except KeyboardInterrupt:
            raise Interrupted(
                f"fetch {self.what}: stopped; {self._state(self.partial.bytes)} kept",
                hint=f"zoo fetch {self.what} goes on from there.",
            ) from None

    def _forget(self, writer: Writer) -> None:
        writer.restart()
        self.partial.rename(validator=UNKNOWN)

    def _complete(self, writer: Writer) -> None:
        """Try until the whole file is on the disk."""
        while True:
            before = writer.bytes
            if self.proof.has_hash and before == self.proof.bytes:
                return  # the last process was killed when it had everything: the hash will tell
            wait: float | None = None
            try:
                if self._try(writer):
                    return
                self._forget(writer)
                reason, wait = "the server does not go on where the last try ended", 0.0
            except (_Passing, TooSlow) as failed:
                reason, wait = str(failed), getattr(failed, "wait", None)
            except (OSError, http.client.HTTPException) as error:
                reason = self._name_fault(error)
            self.effort.tries += 1
            gained = writer.bytes - before >= self._worthwhile()
            self.effort.fruitless = 0 if gained else self.effort.fruitless + 1
            if self.effort.is_spent(self.settings, self.total):
                raise self._given_up(reason)
            pause = self.settings.pause(self.effort.fruitless) if wait is None else wait
            self.report(
                Note(f"{self.what}: {reason}; next try in {pause:.3g} s ({self._state(writer.bytes)} here)")
            )
            time.sleep(pause)

    def _worthwhile(self) -> int:
        """Bytes that make a try more than fruitless."""
        small = self.settings.gain if self.total is None else max(self.total // 100, 1)
        return min(self.settings.gain, small)

    def _try(self, writer: Writer) -> bool:
        """One request. True: the whole file is here. False: it does not go on where the partial file ends."""
        offset = 0 if self.partial.validator == UNKNOWN else writer.bytes
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with open_url(self.url, headers=headers, token=self.token, settings=self.settings) as answer:
            self._check_status(answer)
            reply = judge(
                answer.status,
                answer.headers,
                answer.length,
                offset=offset,
                validator=self.partial.validator,
                proof=self.proof,
            )
            if reply.action == "again":
                return False
            if reply.action == "restart":
                self._check_body(answer, reply)
                if writer.bytes:
                    writer.restart()
                self.partial.rename(validator=reply.validator)
            if reply.action != "done":
                self._receive(answer, reply, writer)
        return True

    def _check_status(self, answer: Answer) -> None:
        """Raise unless the answer is about the file: DownloadFailed for good, _Passing for now."""
        status = answer.status
        if status in (200, 206, 416):
            return
        if status in GONE:
            raise DownloadFailed(
                f"{self.where} answers {status}: gone, or needs a token",
                hint="A private or gated model needs HF_TOKEN. zoo show tells where the address comes from.",
            )
        if status not in PASSING:
            raise DownloadFailed(f"{self.where} answers {status}", hint="Try later, or another mirror.")
        wait = parse_retry_after(answer.headers.get("Retry-After"))
        if wait is not None and wait > self.settings.longest_wait:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(time.time() + wait, 4e9)))
            raise DownloadFailed(
                f"{self.where} answers {status} and asks to wait {wait:.0f} s",
                hint=f"zoo fetch {self.what} after {when}.",
            )
        raise _Passing(f"the server answers {status}", wait=wait)

    def _check_body(self, answer: Answer, reply: Reply) -> None:
        """Refuse a body that cannot be the file, before it is read and before anything is given up for it."""
        expected, total = self.proof.bytes, reply.total
        if is_page(answer.peek()) or ("text/html" in answer.kind and not self.proof.has_hash):
            page = "a web page" if total is None else f"a web page of {size_text(total)}"
            raise DownloadFailed(
                f"{self.where} sent {page} instead of "
                + ("the file" if expected is None else size_text(expected)),
                hint="Does the network want you to sign in? Open any page in a browser, then try again.",
            )
        if expected is not None and total is not None and total != expected:
            raise SizeMismatch(
                self.where,
                expected=expected,
                got=total,
                hint=f"The file was replaced, or {self.proof.origin} is wrong.",
            )
        if self.proof.has_hash:
            return
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadFailed(
                f"{self.where} sends the file encoded, and no hash tells what is right",
                hint="Give its sha256 in the registry.",
            )
        if total is None and expected is None and not answer.is_chunked:
            raise DownloadFailed(
                f"{self.where} does not say how long the file is, and neither does {self.proof.origin}",
                hint="Give its bytes or sha256 in the registry: nobody could tell whether it came whole.",
            )

    def _receive(self, answer: Answer, reply: Reply, writer: Writer) -> None:
        """Read the body into the file. Raises _Passing if it ends early, TooSlow if it drips."""
        total = self.total = self.proof.bytes if self.proof.bytes is not None else reply.total
        if total is not None and self.proof.bytes is None and total > self.settings.largest:
            raise DownloadFailed(
                f"{self.where} claims {size_text(total)}: more than {size_text(self.settings.largest)}",
                hint="Give its bytes in the registry if that is right.",
            )
        if total is not None:
            check_room(self.partial.folder, total - writer.bytes, self.what)
        most = self.settings.largest if total is None else total
        pace = Pace(self.settings)
        with closing(self._blocks(answer, writer.bytes)) as blocks:
            for block in blocks:
                if writer.bytes + len(block) > most:
                    raise SizeMismatch(self.where, expected=most, got=writer.bytes + len(block))
                writer.write(block)
                self.effort.received += len(block)
                self._tell(writer)
                pace.check(len(block))
        if writer.bytes < (1 if total is None else total):
            raise _Passing("the server closed the connection")

    def _blocks(self, answer: Answer, offset: int) -> Generator[Block, None, None]:
        """The rest of the file: over this connection, or in parts that are provably of the same file.

        Only at the first try: after any fault one connection goes on.
        """
        blocks = answer.blocks([bytearray(BUFFER) for _ in range(HELD + 1)])
        ranges = answer.status == 206 or answer.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        if self.total is None or self.effort.tries or not ranges or strong_etag(answer.headers) is None:
            return (block for block in blocks)
        return spread(blocks, partial(self._part, answer), offset, self.total, self.settings)

    @contextmanager
    def _part(self, first: Answer, begin: int, end: int) -> Iterator[Answer]:
        """Ask, where `first` came from, for a part of the file. Raises _Passing if it is not of the same."""
        etag = strong_etag(first.headers)
        token = self.token if parse_address(self.url).origin == first.address.origin else None
        headers = {"Range": f"bytes={begin}-{end - 1}", "If-Range": str(etag)}
        with open_url(first.address.url, headers=headers, token=token, settings=self.settings) as answer:
            same = strong_etag(answer.headers) == etag
            if not (answer.status == 206 and same and parse_range(answer.headers) == (begin, self.total)):
                raise _Passing("the server does not give the file in parts")
            yield answer

    def _tell(self, writer: Writer, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self.told >= self.settings.report_every:
            self.told = now
            total = writer.bytes if last else self.total
            self.report(Progress(f"fetch {self.what}", writer.bytes, total, "bytes"))

    def _state(self, count: int) -> str:
        return size_text(count) + ("" if self.total is None else f" of {size_text(self.total)}")

    def _given_up(self, reason: str) -> DownloadFailed:
        here = self.partial.bytes
        kept = f"; {self._state(here)} kept" if here else ""
        return DownloadFailed(
            f"{self.where}: {reason}; given up after {self.effort.tries} tries{kept}",
            hint=f"zoo fetch {self.what} {'goes on from there' if here else 'tries again'}.",
        )

    def _name_fault(self, error: OSError | http.client.HTTPException) -> str:
        """What the network did, in words. Raises DownloadFailed for what no other try can mend."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise DownloadFailed(
                f"{self.where}: the certificate is not trusted: {error.verify_message}",
                hint="If your network has an authority of its own: SSL_CERT_FILE=/path/to/its.pem.",
            ) from error
        if isinstance(error, TooManyRedirects):
            raise DownloadFailed(f"{self.what}: {error}", hint="Try another mirror.") from error
        if isinstance(error, TimeoutError):
            return "the server went silent"
        if isinstance(error, ConnectionRefusedError):
            return "the server refuses connections"
        if isinstance(error, ConnectionError | http.client.IncompleteRead):
            return "the server closed the connection"
        if isinstance(error, OSError):
            return f"no connection: {error.strerror or error}"
        return f"the server speaks no proper HTTP ({type(error).__name__})"
