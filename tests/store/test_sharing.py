"""Lock files, other libraries' caches, several models at once, and what is on the disk."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from commands import running, start_zoo, wait_until, write_registry
from loopback import (
    BODY,
    IMPATIENT,
    SHA256,
    Connection,
    Server,
    answer,
    cut,
    entry_for,
    leftovers,
    serve,
    slowly,
    unproven,
)

from zoo.errors import (
    DownloadFailed,
    HashMismatch,
    InvalidRegistry,
    Offline,
    SizeMismatch,
    UnknownName,
    UsageError,
)
from zoo.events import Event, Note, Progress
from zoo.store.fetching_many import fetch_models, plan_fetch
from zoo.store.store import Store
from zoo.store.trust.lock_file import find_pin, read_lock_file, write_lock_file
from zoo.store.upkeep.inventory import report_cache

OTHER = BODY[::-1]


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    for name in ("TORCH_HOME", "HF_HOME", "GENSIM_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return Store(home, settings=IMPATIENT)


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


# --- lock files


def test_a_lock_file_names_one_file_for_each_name_and_a_locked_fetch_takes_no_other(
    server: Server, store: Store, tmp_path: Path
) -> None:
    entry = unproven(server.add("/net", BODY), bytes=len(BODY))
    text = write_lock_file({"net": store.pin(entry)})
    assert json.loads(text)["models"]["net"] == {
        "url": entry.weights.url,
        "sha256": SHA256,
        "bytes": len(BODY),
        "license": "mit",
    } | {"revision": None}
    put(tmp_path / "zoo.lock", text.encode())
    pins = read_lock_file(tmp_path / "zoo.lock")
    elsewhere = Store(tmp_path / "elsewhere", settings=IMPATIENT)
    assert elsewhere.fetch(entry, pin=find_pin(entry, pins)).sha256 == SHA256
    server.files["/net"] = OTHER
    changed = Store(tmp_path / "changed", settings=IMPATIENT)
    with pytest.raises(HashMismatch, match=SHA256) as raised:
        changed.fetch(entry, pin=find_pin(entry, pins))
    assert "the lock file" in str(raised.value)
    assert changed.fetch(entry).sha256 != SHA256, "without the lock file anything goes that comes first"
    with pytest.raises(HashMismatch, match="the store holds another file than the lock file names"):
        changed.fetch(entry, pin=find_pin(entry, pins))


def test_a_lock_file_that_differs_from_the_registry_is_refused(server: Server, store: Store) -> None:
    entry = unproven(server.add("/net", BODY), bytes=len(BODY))
    pins = {"net": store.pin(entry)}
    with pytest.raises(UnknownName, match="no pinned model 'other'"):
        find_pin(unproven("https://a.org/x", name="other"), pins)
    with pytest.raises(UsageError, match="the url is"):
        find_pin(unproven("https://a.org/x"), pins)
    with pytest.raises(HashMismatch, match="name different files"):
        find_pin(entry_for(server.url + "/net", sha256="0" * 64), pins)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"models": {"a": {}}}',
        '{"models": {"a": {"url": "x", "sha256": "../x", "bytes": 1, "license": "mit"}}}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_lock_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRegistry):
        read_lock_file(put(tmp_path / "zoo.lock", text.encode()))


def test_a_lock_file_of_a_later_zoo_and_one_of_another_size_are_refused(
    server: Server, store: Store, tmp_path: Path
) -> None:
    entry = entry_for(server.add("/net", BODY), sha256=SHA256, bytes=len(BODY))
    path = tmp_path / "zoo.lock"
    path.write_text(write_lock_file({"net": store.pin(entry)}).replace(f": {len(BODY)}", ": 7"))
    with pytest.raises(SizeMismatch, match="expected 300,000 bytes, got 7"):
        find_pin(entry, read_lock_file(path))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 9'))
    with pytest.raises(UsageError, match="schema 9"):
        read_lock_file(path)


def test_a_lock_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no lock file") as raised:
        read_lock_file(tmp_path / "zoo.lock")
    assert "zoo lock" in str(raised.value.hint)


# --- other libraries' caches


@pytest.mark.parametrize(
    ("url", "place", "facts"),
    [
        ("https://a.example/net.pth", "TORCH_HOME/hub/checkpoints/net.pth", {"sha256": SHA256}),
        ("https://a.example/net.pth", "TORCH_HOME/hub/checkpoints/net.pth", {"sha256_prefix": SHA256[:8]}),
        ("hf://a/net/model.bin", f"HF_HOME/hub/models--a--net/blobs/{SHA256}", {"sha256": SHA256}),
        ("hf://a/net@v1/x.bin", "HF_HOME/hub/models--a--net/snapshots/v1/x.bin", {"sha256": SHA256}),
        ("gensim://glove", "GENSIM_DATA_DIR/glove/glove.gz", {"md5": hashlib.md5(BODY).hexdigest()}),
    ],
)
def test_a_file_that_another_library_has_is_taken_over_even_offline(
    store: Store, tmp_path: Path, url: str, place: str, facts: dict[str, object]
) -> None:
    path = put(tmp_path / place)
    before = path.stat().st_mtime_ns
    told: list[Event] = []
    offline = Store(store.home, offline=True)
    assert offline.fetch(entry_for(url, **facts), report=told.append).sha256 == SHA256
    assert any(isinstance(event, Note) and "taken from the cache of" in event.message for event in told)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == (before, BODY), "the other cache is never touched"


def test_a_file_of_another_cache_that_is_not_provably_right_is_left_alone(
    store: Store, tmp_path: Path, server: Server
) -> None:
    url = "https://models.example/net.pth"
    put(tmp_path / "TORCH_HOME/hub/checkpoints/net.pth", OTHER)
    with pytest.raises(DownloadFailed):  # it goes on to the network, where there is no such host
        store.fetch(entry_for(url))
    put(tmp_path / "TORCH_HOME/hub/checkpoints/net.pth")
    with pytest.raises(Offline):
        Store(store.home, offline=True).fetch(unproven(url, bytes=len(BODY)))
    assert list(store.blobs) == []


def test_the_report_tells_models_leftovers_and_other_caches(
    store: Store, server: Server, tmp_path: Path
) -> None:
    store.fetch(entry_for(server.add("/net", BODY)))
    with pytest.raises(DownloadFailed):
        store.fetch(unproven(server.add("/cut", BODY, cut(0.0001)), bytes=len(BODY)))
    put(store.home / "blobs" / hashlib.sha256(b"x").hexdigest(), b"x")
    put(store.home / "features" / "table", b"four")
    put(tmp_path / "TORCH_HOME/hub/checkpoints/net.pth", b"torch")
    put(tmp_path / "HF_HOME/hub/models--a--b/blobs/1234", b"hub")
    found = report_cache(store)
    (model,) = found.models
    assert (model.name, model.license, model.bytes, model.kinds) == ("net", "mit", len(BODY), ("published",))
    assert (found.bytes, found.orphan_bytes, found.feature_bytes) == (len(BODY), 1, 4)
    assert found.partial_bytes > 0
    assert found.free > 0
    assert [(file.library, file.bytes) for file in found.foreign] == [
        ("torch.hub", 5),
        ("huggingface_hub", 3),
    ]


def test_the_report_of_a_store_that_was_never_used_is_empty(store: Store) -> None:
    found = report_cache(store)
    assert (found.models, found.bytes) == ((), 0)
    assert not store.home.exists()


# --- several models at once


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
    assert second == "zoo fetch a b goes on from there."
    assert len(leftovers(store.home)) == 2
    for entry in slow:
        server.plans[f"/{entry.name}"] = []
        assert store.fetch(entry).sha256 == entry.weights.sha256
        assert server.offsets(f"/{entry.name}")[-1] > 0, "it went on from what was kept"
