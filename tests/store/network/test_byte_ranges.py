"""Several connections for one file: where each is slow, in order, of one file only, and never for worse."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from support.loopback import IMPATIENT, Connection, Handler, Server, begin, entry_for, leftovers, serve

from zoo.errors import Interrupted
from zoo.events import Event, Progress
from zoo.store.fetching_many import fetch_models
from zoo.store.store import Store

pytestmark = pytest.mark.thorough

BODY = random.Random(1).randbytes(2_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
PART = 100_000
EAGER = replace(IMPATIENT, part=PART, trial=0.2, read_timeout=5.0, window=5.0)


@pytest.fixture
def eager(home: Path) -> Store:
    """A store that opens several connections as soon as one is slow."""
    return Store(home, settings=EAGER)


def capped(rate: float, part_rate: float | None = None) -> Handler:
    """A server that gives each connection so many bytes a second. part_rate: for no more than a part."""

    def handler(connection: Connection) -> None:
        body = begin(connection)
        is_part = len(body) <= PART
        for start in range(0, len(body), 10_000):
            connection.send(body[start : start + 10_000])
            time.sleep(10_000 / (part_rate if is_part and part_rate else rate))

    return handler


def parts_of(server: Server) -> list[tuple[int, int]]:
    """The parts that were asked for, with an end, in the order of the file."""
    return sorted((span[0], span[1]) for r in server.log if (span := r.span)[1] is not None)


@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"bytes": len(BODY)}])
def test_a_file_that_comes_slowly_is_asked_for_in_parts_side_by_side(
    server: Server, eager: Store, facts: dict[str, object]
) -> None:
    slow, active, most = capped(500_000), set[object](), 0
    guard = threading.Lock()

    def watched(connection: Connection) -> None:
        nonlocal most
        with guard:
            active.add(connection)
            most = max(most, len(active))
        try:
            slow(connection)
        finally:
            with guard:
                active.discard(connection)

    told: list[Event] = []
    entry = entry_for(server.add("/net", BODY, watched), **facts)
    assert eager.fetch(entry, report=told.append).path.read_bytes() == BODY
    assert most >= EAGER.connections
    parts = parts_of(server)
    assert all(stop - start <= PART for start, stop in parts)
    assert all(first[1] == second[0] for first, second in pairwise(parts))
    assert parts[-1][1] == len(BODY)
    done = [event.done for event in told if isinstance(event, Progress)]
    assert done == sorted(done)


def test_models_at_a_time_share_the_connections(server: Server, eager: Store) -> None:
    """As many models as connections: each has one, and no parts are held in memory."""
    entries = []
    for number in range(EAGER.connections):
        body = BODY[number:]
        url = server.add(f"/{number}", body, capped(4_000_000))
        entries.append(entry_for(url, name=f"n{number}", sha256=hashlib.sha256(body).hexdigest()))
    assert all(fetched.model for fetched in fetch_models(eager, entries, jobs=EAGER.connections))
    assert parts_of(server) == []


def test_parts_that_are_no_faster_are_given_up_for_one_connection(server: Server, eager: Store) -> None:
    entry = entry_for(server.add("/net", BODY, capped(1_000_000, part_rate=100_000)), sha256=SHA256)
    assert eager.fetch(entry).path.read_bytes() == BODY
    *parts, rest = parts_of(server)
    assert 0 < len(parts) <= 2 * EAGER.connections
    assert rest[1] == len(BODY)
    assert rest[1] - rest[0] > PART


@pytest.mark.parametrize(
    ("settings", "etag"),
    [
        ({"enough": 0.0}, '"v1"'),
        ({"part": len(BODY)}, '"v1"'),
        ({}, 'W/"v1"'),
        ({}, None),
    ],
    ids=["fast enough", "too small", "weak ETag", "no ETag"],
)
def test_one_connection_brings_the_rest(
    server: Server, home: Path, settings: dict[str, float], etag: str | None
) -> None:
    store = Store(home, settings=replace(EAGER, **settings))
    entry = entry_for(server.add("/net", BODY, capped(4_000_000), etag=etag), sha256=SHA256)
    assert store.fetch(entry).path.read_bytes() == BODY
    assert len(server.log) == 1


def replaced(connection: Connection) -> None:
    connection.body, connection.etag = BODY[::-1], '"v2"'
    serve(connection)


def without_ranges(connection: Connection) -> None:
    connection.head(200, Content_Length=len(BODY), ETag='"v1"')
    connection.send(BODY)


def cut_part(connection: Connection) -> None:
    connection.send(begin(connection)[:1000])


def refused(connection: Connection) -> None:
    connection.head(503, Content_Length=0)


@pytest.mark.fault("D9")
@pytest.mark.parametrize("fault", [replaced, without_ranges, cut_part, refused])
@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"bytes": len(BODY)}])
def test_a_fault_of_a_part_costs_one_more_request_and_never_mixes_two_files(
    server: Server, eager: Store, fault: Handler, facts: dict[str, object]
) -> None:
    """The first part is served, and the one after it is not."""
    url = server.add("/net", BODY, capped(500_000), capped(500_000), fault, serve)
    assert eager.fetch(entry_for(url, **facts)).path.read_bytes() == BODY
    assert leftovers(eager.home) == []
    assert sum(request.span[1] is None for request in server.log) >= 2, "one connection goes on"


@pytest.mark.fault("D9")
def test_a_file_that_is_replaced_while_its_parts_come_is_taken_as_the_new_one_whole(
    server: Server, eager: Store
) -> None:
    url = server.add("/net", BODY, capped(500_000), capped(500_000), replaced)
    assert eager.fetch(entry_for(url, bytes=len(BODY))).path.read_bytes() == BODY[::-1]


@pytest.mark.fault("D2")
def test_parts_that_are_interrupted_leave_the_beginning_of_the_file(server: Server, eager: Store) -> None:
    url = server.add("/net", BODY, capped(500_000))

    def press(event: Event) -> None:
        if isinstance(event, Progress) and event.done > 700_000:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        eager.fetch(entry_for(url, sha256=SHA256), report=press)
    (partial,) = leftovers(eager.home)
    kept = partial.read_bytes()
    assert kept == BODY[: len(kept)]
    assert len(kept) > 700_000
    server.log.clear()
    server.plans["/net"] = []
    assert eager.fetch(entry_for(url, sha256=SHA256)).path.read_bytes() == BODY
    assert [r.offset for r in server.log if r.span[1] is None] == [len(kept)], "it went on from there"
