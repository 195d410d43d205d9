"""The download of one URL into a verified partial file, in spite of the faults of networks.

One try is one request. A fault of the network ends the try, and the next one continues from the end of the
file; counters bound them (see Settings). Wrong bytes end the transfer after the second download.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial

from zoo.errors import DownloadFailed, Interrupted, SizeMismatch
from zoo.events import Note, Progress, Report
from zoo.store.disk.partial_files import UNKNOWN, Partial
from zoo.store.disk.space import check_room, size_text
from zoo.store.disk.writing import HELD, Writer
from zoo.store.network.answers import Reply, is_page, judge, parse_range, strong_etag
from zoo.store.network.byte_ranges import spread
from zoo.store.network.connection import Answer, TooManyRedirects, open_url
from zoo.store.network.pace import Pace, TooSlow
from zoo.store.network.tries import Effort, Passing, check_status
from zoo.store.settings import Settings
from zoo.store.trust.addresses import parse_address
from zoo.store.trust.expected import Proof
from zoo.store.trust.hashing import Block, Digests

BUFFER = 512 << 10  # bytes per block; larger ones are no longer in the CPU cache when they are hashed


class Transfer:
    """The download of one URL into one partial file.

    what: the name for messages. token: for the host of the URL only.
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
        self.effort = Effort()
        self.reported = 0.0

    def run(self) -> Digests:
        """Download or continue, then verify; returns the verified digests of the whole file.

        Raises DownloadFailed, AddressRefused, DiskFull, StorageError or Interrupted (the partial file then
        has the bytes received), HashMismatch or SizeMismatch.
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
                    self._report(writer, last=True)
                    return writer.digests()
                if again:  # twice: it is not a fault of the network
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
                hint=f"zoo fetch {self.what} continues from there.",
            ) from None

    def _forget(self, writer: Writer) -> None:
        writer.restart()
        self.partial.rename(validator=UNKNOWN)

    def _complete(self, writer: Writer) -> None:
        """Try until the whole file is on the disk."""
        while True:
            before = writer.bytes
            if self.proof.has_hash and before == self.proof.bytes:
                return  # the last process was killed after the last byte: the hash decides
            wait: float | None = None
            try:
                if self._try(writer):
                    return
                self._forget(writer)
                reason, wait = "the server does not continue where the last try ended", 0.0
            except (Passing, TooSlow) as failed:
                reason, wait = str(failed), getattr(failed, "wait", None)
            except (OSError, http.client.HTTPException) as error:
                reason = self._describe_fault(error)
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
        """The bytes from which on a try is not fruitless."""
        small = self.settings.gain if self.total is None else max(self.total // 100, 1)
        return min(self.settings.gain, small)

    def _try(self, writer: Writer) -> bool:
        """One request. True: the file is complete. False: the server does not continue the partial file."""
        offset = 0 if self.partial.validator == UNKNOWN else writer.bytes
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with open_url(self.url, headers=headers, token=self.token, settings=self.settings) as answer:
            check_status(
                answer.status, answer.headers, where=self.where, what=self.what, settings=self.settings
            )
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

    def _check_body(self, answer: Answer, reply: Reply) -> None:
        """Refuse a body that cannot be the file, before it is read and before kept bytes are discarded."""
        expected, total = self.proof.bytes, reply.total
        if is_page(answer.peek()) or ("text/html" in answer.kind and not self.proof.has_hash):
            page = "a web page" if total is None else f"a web page of {size_text(total)}"
            raise DownloadFailed(
                f"{self.where} sent {page} instead of "
                + ("the file" if expected is None else size_text(expected)),
                hint="Does the network require a sign-in? Open any page in a browser, then try again.",
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
                f"{self.where} sends the file encoded, and there is no hash to verify it",
                hint="Give its sha256 in the registry.",
            )
        if total is None and expected is None and not answer.is_chunked:
            raise DownloadFailed(
                f"{self.where} does not state the length of the file, and neither does {self.proof.origin}",
                hint="Give its bytes or sha256 in the registry: else a truncated file would go unnoticed.",
            )

    def _receive(self, answer: Answer, reply: Reply, writer: Writer) -> None:
        """Read the body into the file. Raises Passing if it ends early, TooSlow if it is too slow."""
        total = self.total = self.proof.bytes if self.proof.bytes is not None else reply.total
        if total is not None and self.proof.bytes is None and total > self.settings.largest:
            raise DownloadFailed(
                f"{self.where} claims {size_text(total)}: more than {size_text(self.settings.largest)}",
                hint="If that is right, give its bytes in the registry.",
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
                self._report(writer)
                pace.check(len(block))
        if writer.bytes < (1 if total is None else total):
            raise Passing("the server closed the connection")

    def _blocks(self, answer: Answer, offset: int) -> Generator[Block, None, None]:
        """The rest of the file: over this connection, or in parts of provably the same file.

        In parts only at the first try: after a fault one connection continues.
        """
        blocks = answer.blocks([bytearray(BUFFER) for _ in range(HELD + 1)])
        ranges = answer.status == 206 or answer.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        if self.total is None or self.effort.tries or not ranges or strong_etag(answer.headers) is None:
            return (block for block in blocks)
        return spread(blocks, partial(self._part, answer), offset, self.total, self.settings)

    @contextmanager
    def _part(self, first: Answer, begin: int, end: int) -> Iterator[Answer]:
        """Request a part of the file from the address of `first`. Raises Passing if it is another file."""
        etag = strong_etag(first.headers)
        token = self.token if parse_address(self.url).origin == first.address.origin else None
        headers = {"Range": f"bytes={begin}-{end - 1}", "If-Range": str(etag)}
        with open_url(first.address.url, headers=headers, token=token, settings=self.settings) as answer:
            same = strong_etag(answer.headers) == etag
            if not (answer.status == 206 and same and parse_range(answer.headers) == (begin, self.total)):
                raise Passing("the server does not send the file in parts")
            yield answer

    def _report(self, writer: Writer, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self.reported >= self.settings.report_every:
            self.reported = now
            total = writer.bytes if last else self.total
            self.report(Progress(f"fetch {self.what}", writer.bytes, total, "bytes"))

    def _state(self, count: int) -> str:
        return size_text(count) + ("" if self.total is None else f" of {size_text(self.total)}")

    def _given_up(self, reason: str) -> DownloadFailed:
        here = self.partial.bytes
        kept = f"; {self._state(here)} kept" if here else ""
        return DownloadFailed(
            f"{self.where}: {reason}; given up after {self.effort.tries} tries{kept}",
            hint=f"zoo fetch {self.what} {'continues from there' if here else 'tries again'}.",
        )

    def _describe_fault(self, error: OSError | http.client.HTTPException) -> str:
        """The message for a fault of the network. Raises DownloadFailed if another try cannot help."""
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
        return f"the server does not send valid HTTP ({type(error).__name__})"
