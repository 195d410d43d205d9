"""A server on this machine that does to a client what networks do, and what is fetched from it."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zoo.catalogue.entry import ImageInput, ImageModel, Weights
from zoo.store.settings import Settings

Handler = Callable[["Connection"], None]

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
# Everything that takes minutes in life takes a second here.
IMPATIENT = Settings(
    connect_timeout=2.0,
    read_timeout=0.5,
    window=0.5,
    backoff=0.01,
    longest_backoff=0.05,
    lock_patience=20.0,
    report_every=0.0,
)


def unproven(*urls: str, name: str = "net", **facts: object) -> ImageModel:
    """An entry that states about its bytes what is given, and nothing else."""
    return ImageModel(
        name=name,
        family="resnet",
        task="image-features",
        architecture="torchvision/resnet18",
        weights=Weights(url=urls[0] if len(urls) == 1 else urls, **facts),  # type: ignore[arg-type]
        license="mit",
        input=ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3),
    )


def entry_for(*urls: str, name: str = "net", **facts: object) -> ImageModel:
    """An entry that is proven by the sha256 of BODY, or by the facts given instead."""
    return unproven(*urls, name=name, **(facts or {"sha256": SHA256}))


def leftovers(home: Path) -> list[Path]:
    """Everything in the blobs folder that is no blob."""
    return [path for path in (home / "blobs").glob("*") if len(path.name) != 64]


def find_wrong_blobs(home: Path) -> list[Path]:
    """Every file whose sha256 is not its name: there must never be one."""
    blobs = [path for path in (home / "blobs").glob("*") if len(path.name) == 64]
    return [path for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]


@dataclass(frozen=True)
class Request:
    """What a client asked. headers have small-letter names."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def offset(self) -> int:
        return self.span[0]

    @property
    def span(self) -> tuple[int, int | None]:
        """The first byte that is asked for, and where to stop; None for the end of the file."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else (0, None)


class Connection:
    """One request that is being answered. body, etag: of the file that was asked for."""

    def __init__(self, sock: socket.socket, request: Request, body: bytes, etag: str | None) -> None:
        self.sock = sock
        self.request = request
        self.body = body
        self.etag = etag

    def head(self, status: int, **headers: object) -> None:
        lines = [f"HTTP/1.1 {status} Status", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """End with a TCP reset, which throws away what was not read yet."""
        time.sleep(0.05)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def serve(connection: Connection) -> None:
    """A good server: ranges, ETag, Content-Length."""
    part = begin(connection)
    if connection.request.method != "HEAD":
        connection.send(part)


def begin(connection: Connection) -> bytes:
    """Send the right head; returns the body that belongs to it."""
    body, (offset, stop) = connection.body, connection.request.span
    validators: dict[str, object] = {} if connection.etag is None else {"ETag": connection.etag}
    if offset == 0 and stop is None:
        connection.head(200, Content_Length=len(body), Accept_Ranges="bytes", **validators)
        return body
    if offset >= len(body):
        connection.head(416, Content_Length=0, Content_Range=f"bytes */{len(body)}", **validators)
        return b""
    stop = len(body) if stop is None else min(stop, len(body))
    content_range = f"bytes {offset}-{stop - 1}/{len(body)}"
    connection.head(206, Content_Length=stop - offset, Content_Range=content_range, **validators)
    return body[offset:stop]


def cut(share: float = 0.5) -> Handler:
    """Close after a share of what is left."""

    def handler(connection: Connection) -> None:
        part = begin(connection)
        connection.send(part[: int(len(part) * share)])

    return handler


def reset(share: float = 0.5) -> Handler:
    def handler(connection: Connection) -> None:
        part = begin(connection)
        connection.send(part[: int(len(part) * share)])
        connection.reset()

    return handler


def stall(count: int = 1000, seconds: float = 30.0) -> Handler:
    """Send some bytes, then nothing."""

    def handler(connection: Connection) -> None:
        connection.send(begin(connection)[:count])
        wait_for_client(connection, seconds)

    return handler


def silent(seconds: float = 30.0) -> Handler:
    """Take the request and say nothing, not even a header."""
    return lambda connection: wait_for_client(connection, seconds)


def drip(interval: float = 0.05, head: bool = False) -> Handler:
    """Send a byte now and then; with `head`, already the header."""

    def handler(connection: Connection) -> None:
        data = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 if head else begin(connection)
        with contextlib.suppress(OSError):
            for value in data:
                connection.send(bytes([value]))
                time.sleep(interval)

    return handler


def slowly(seconds: float, blocks: int = 50) -> Handler:
    """The right bytes, spread over some seconds."""

    def handler(connection: Connection) -> None:
        part = begin(connection)
        size = len(part) // blocks + 1
        for start in range(0, len(part), size):
            connection.send(part[start : start + size])
            time.sleep(seconds / blocks)

    return handler


def answer(status: int, body: bytes = b"", **headers: object) -> Handler:
    """Any status, headers and body."""

    def handler(connection: Connection) -> None:
        connection.head(status, Content_Length=len(body), **headers)
        connection.send(body)

    return handler


def without_length(share: float = 1.0) -> Handler:
    """No Content-Length: the end of the connection is the end of the file."""

    def handler(connection: Connection) -> None:
        connection.head(200)
        connection.send(connection.body[: int(len(connection.body) * share)])

    return handler


def wait_for_client(connection: Connection, seconds: float) -> None:
    """Wait until the client hangs up."""
    connection.sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        connection.sock.recv(1)


class Server:
    """Files under paths, a plan of handlers per path, a log of requests.

    A plan's handlers are used one after the other, the last one again and again; without one, `serve`.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str | None] = {}
        self.plans: dict[str, list[Handler]] = {}
        self.log: list[Request] = []
        self.connections = 0
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._listen, daemon=True).start()

    def add(self, path: str, body: bytes, *plan: Handler, etag: str | None = '"v1"') -> str:
        """Serve `body` at `path` according to a plan; returns the URL."""
        self.files[path] = body
        self.etags[path] = etag
        self.plans[path] = list(plan)
        return self.url + path

    def close(self) -> None:
        self._listener.close()

    def offsets(self, path: str) -> list[int]:
        """The first byte that each request for a path asked for."""
        return [request.offset for request in self.log if request.path == path]

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                stack.callback(sock.close)
            request = read_request(sock)
            if request is None:
                return
            self.log.append(request)
            path = request.path.partition("?")[0]
            plan = self.plans.get(path, [answer(404)])
            handler = serve if not plan else plan[0] if len(plan) == 1 else plan.pop(0)
            handler(Connection(sock, request, self.files.get(path, b""), self.etags.get(path)))
            with contextlib.suppress(OSError):  # let the client read to the end before the close
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(2)
                sock.recv(1)


def read_request(sock: socket.socket) -> Request | None:
    """The head of a request; None if the client left."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = sock.recv(65536)
        if not block:
            return None
        data += block
    first, *lines = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return Request(method, path, headers)
