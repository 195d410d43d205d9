"""Several models at once: side by side, planned, and stopped together."""

from __future__ import annotations

import hashlib
import re
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import running, start_zoo, wait_until, write_registry
from support.loopback import (
    BODY,
    IMPATIENT,
    Connection,
    Server,
    answer,
    entry_for,
    leftovers,
    serve,
    slowly,
    unproven,
)

from zoo.errors import (
    DownloadFailed,
    UnknownName,
)
from zoo.events import Event, Progress
from zoo.store.fetching_many import fetch_models, plan_fetch
from zoo.store.store import Store

OTHER = BODY[::-1]


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_several_models_come_at_the_same_time_and_an_error_ends_only_its_own(
    server: Server, store: Store
) -> None:
    together = threading.Barrier(3)

    def meet(connection: Connection) -> None:
        together.wait(20)  # nobody is served before all three are here
        serve(connection)

    entries = [
        entry_for(server.add("/a", BODY, meet), name="a"),
        unproven(server.add("/b", OTHER, meet), name="b", bytes=len(BODY)),
        entry_for(server.add("/gone", b"", answer(404)), name="gone", md5="0" * 32),
        entry_for(server.add("/d", BODY + b"d", meet), name="d", bytes=len(BODY) + 1),
    ]
    told: list[Event] = []
    patient = Store(store.home, settings=replace(IMPATIENT, read_timeout=20.0))
    found = fetch_models(patient, entries, report=told.append)
    assert [(f.name, f.model is not None) for f in found] == [
        ("a", True),
        ("b", True),
        ("gone", False),
        ("d", True),
    ]
    assert isinstance(found[2].error, DownloadFailed)
    assert {e.task for e in told if isinstance(e, Progress)} == {"fetch", "fetch a", "fetch b", "fetch d"}
    assert [e.done for e in told if isinstance(e, Progress) and e.task == "fetch"] == [0, 1, 2, 3, 4]


def test_pins_are_checked_before_anything_is_downloaded(server: Server, store: Store) -> None:
    with pytest.raises(UnknownName):
        fetch_models(store, [entry_for(server.add("/a", BODY))], pins={})
    assert server.connections == 0


def test_a_plan_says_what_would_be_done_and_asks_nobody(server: Server, store: Store, tmp_path: Path) -> None:
    here = entry_for(server.add("/here", BODY), name="here")
    store.fetch(here)
    asked = server.connections
    local = unproven(put(tmp_path / "x").as_uri(), name="local")
    plan = plan_fetch(store, [here, local, entry_for("https://a.org/x", name="away", bytes=7)])
    assert [(p.name, p.action, p.bytes) for p in plan] == [
        ("here", "keep", 0),
        ("local", "copy", len(BODY)),
        ("away", "download", 7),
    ]
    assert server.connections == asked


@pytest.mark.thorough
@pytest.mark.fault("D23")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_of_them_and_keeps_what_came(
    server: Server, store: Store, tmp_path: Path, number: int, code: int
) -> None:
    slow = [
        entry_for(server.add(f"/{n}", body, slowly(30.0)), name=n, sha256=hashlib.sha256(body).hexdigest())
        for n, body in (("a", BODY + b"a"), ("b", BODY + b"b"))
    ]
    entries = [*slow, entry_for(server.add("/c", BODY), name="c")]
    registry = write_registry(tmp_path / "registry.yaml", *entries)

    def has_begun() -> bool:
        """Whether one is here and two are coming. Partial files are renamed when they are claimed."""
        with suppress(FileNotFoundError):
            coming = [path for path in leftovers(store.home) if path.stat().st_size]
            return len(coming) == 2 and store.find(entries[2]) is not None
        return False

    with running(start_zoo("fetch", "a", "b", "c", "--registry", registry)) as process:
        wait_until(has_begun, 30)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == ""
    first, second = err.splitlines()
    assert re.fullmatch(r"error: fetch: stopped; 1 of 3 models are here; [\d.]+ kB of the rest kept", first)
    assert second == "zoo fetch a b continues from there."
    assert len(leftovers(store.home)) == 2
    for entry in slow:
        server.plans[f"/{entry.name}"] = []
        assert store.fetch(entry).sha256 == entry.weights.sha256
        assert server.offsets(f"/{entry.name}")[-1] > 0, "it went on from what was kept"
