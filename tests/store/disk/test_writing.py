"""Blocks in memory that is used again: hashed before it is, whoever is faster, in whatever form they come."""

from __future__ import annotations

import hashlib
import threading
import time
from itertools import cycle
from pathlib import Path

import pytest
from support.commands import wait_until
from support.loopback import BODY, IMPATIENT, Connection, Handler, Server, entry_for, serve, without_length

from zoo.store.disk import writing
from zoo.store.disk.writing import HELD, Writer
from zoo.store.network import transfer
from zoo.store.store import Store
from zoo.store.trust.hashing import Block, Hasher


@pytest.fixture
def slow_hash(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """A hash that takes a block for each release."""
    allowed, update = threading.Semaphore(0), Hasher.update

    def wait_and_update(self: Hasher, block: Block) -> None:
        assert allowed.acquire(timeout=20)
        update(self, block)

    monkeypatch.setattr(Hasher, "update", wait_and_update)
    return allowed


def write_over_and_over(writer: Writer, written: list[int]) -> None:
    for number, buffer in zip(range(50), cycle([bytearray(1000) for _ in range(HELD + 1)]), strict=False):
        buffer[:] = bytes([number]) * 1000
        writer.write(buffer)
        written.append(number)


def test_memory_is_hashed_before_it_is_used_again(tmp_path: Path, slow_hash: threading.Semaphore) -> None:
    path, written = tmp_path / "file", list[int]()
    path.touch()
    with Writer(path, what="net", md5=False) as writer:
        thread = threading.Thread(target=write_over_and_over, args=(writer, written))
        thread.start()
        wait_until(lambda: len(written) == HELD)
        time.sleep(0.1)
        assert len(written) == HELD  # the next one waits until the hash took the first
        slow_hash.release(50)
        thread.join(20)
        digests = writer.digests()
    assert digests.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_bytes() == b"".join(bytes([number]) * 1000 for number in range(50))


def chunked(connection: Connection) -> None:
    connection.head(200, Transfer_Encoding="chunked")
    for start in range(0, len(BODY), 1111):
        part = BODY[start : start + 1111]
        connection.send(b"%x\r\n%s\r\n" % (len(part), part))
    connection.send(b"0\r\n\r\n")


@pytest.mark.parametrize("handler", [serve, chunked, without_length()])
def test_a_body_in_many_blocks_is_stored_whole(
    server: Server, home: Path, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BUFFER", 10_000)
    monkeypatch.setattr(writing, "STRIDE", 25_000)
    url = server.add("/net", BODY, handler)
    model = Store(home, settings=IMPATIENT).fetch(entry_for(url))
    assert model.path.read_bytes() == BODY


def test_a_file_goes_on_after_a_fresh_start(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"what was here ")
    with Writer(path, what="net", md5=True) as writer:
        writer.write(b"before")
        assert writer.digests().md5 == hashlib.md5(b"what was here before").hexdigest()
        writer.restart()
        writer.write(bytearray(b"anew"))
        assert writer.digests().bytes == writer.bytes == 4
    assert path.read_bytes() == b"anew"
