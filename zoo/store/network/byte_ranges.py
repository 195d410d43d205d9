"""The rest of a file over several connections, where one is slow: some servers limit each connection.

The bytes are delivered in the order of the file: so a partial file always holds its first bytes, the hash is
computed on the way, and a later fetch can continue.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue

from zoo.store.network.connection import Answer
from zoo.store.settings import Settings
from zoo.store.trust.hashing import BLOCK, Block

GAIN = 1.2  # how many times as fast as one connection several must be
Ask = Callable[[int, int], AbstractContextManager[Answer]]


def spread(
    first: Iterator[Block], ask: Ask, begin: int, end: int, settings: Settings
) -> Generator[Block, None, None]:
    """The bytes `begin` to `end` of a file, in order, at most `connections` parts of them in memory.

    first: the blocks of the open connection. If it is slower than `enough` over the first `trial` seconds and
    much is left, parts are requested in parallel; if that is not faster, one connection downloads the rest.
    ask: opens the answer with the bytes between two positions. Raises what it raises, and ConnectionError if
    a part ends early.
    """
    place, started = begin, time.monotonic()
    for block in first:
        yield block
        place += len(block)
        if (seconds := time.monotonic() - started) >= settings.trial:
            break
    else:
        return
    alone = (place - begin) / seconds
    worthwhile = settings.connections > 1 and end - place >= 2 * settings.connections * settings.part
    if worthwhile and alone < settings.enough:
        for block in _in_parallel(ask, place, end, alone, settings):
            yield block
            place += len(block)
        if place < end:
            with ask(place, end) as answer:
                yield from _blocks_of(answer, end - place)
    else:
        yield from first


class _Part:
    """The bytes between two positions, read in a thread of their own. received: how many so far."""

    def __init__(self, ask: Ask, begin: int, end: int, stop: threading.Event) -> None:
        self.received = 0
        self._blocks: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        threading.Thread(target=self._read, args=(ask, begin, end, stop), daemon=True).start()

    def _read(self, ask: Ask, begin: int, end: int, stop: threading.Event) -> None:
        try:
            if stop.is_set():
                return
            with ask(begin, end) as answer:
                for block in _blocks_of(answer, end - begin):
                    if stop.is_set():
                        return
                    self.received += len(block)
                    self._blocks.put(block)
            self._blocks.put(None)
        except Exception as error:  # raised by the reader of the part
            self._blocks.put(error)

    def __iter__(self) -> Iterator[bytes]:
        while (block := self._blocks.get()) is not None:
            if isinstance(block, Exception):
                raise block
            yield block


def _in_parallel(ask: Ask, begin: int, end: int, alone: float, settings: Settings) -> Iterator[bytes]:
    """The bytes of several parts in parallel, in order; ends early if that is not faster than `alone`."""
    place, ahead, started = begin, begin, time.monotonic()
    stop = threading.Event()
    parts: deque[_Part] = deque()
    worthwhile = True
    try:
        while place < end and (parts or worthwhile):
            while worthwhile and ahead < end and len(parts) < settings.connections:
                parts.append(_Part(ask, ahead, min(ahead + settings.part, end), stop))
                ahead += settings.part
            for block in parts.popleft():
                yield block
                place += len(block)
            seconds = time.monotonic() - started
            if seconds >= settings.trial and worthwhile:
                received = place - begin + sum(part.received for part in parts)
                worthwhile = received / seconds >= GAIN * alone
    finally:
        stop.set()


def _blocks_of(answer: Answer, count: int) -> Iterator[bytes]:
    """The next `count` bytes of a body. Raises ConnectionError if it ends earlier."""
    while count > 0:
        block = answer.read(min(BLOCK, count))
        if not block:
            raise ConnectionError("the body ends early")
        yield block
        count -= len(block)
