"""Rows D15-D18, D23 and K3: many processes, killed processes, and locks that hold or do nothing."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import running, start_zoo, wait_until, write_registry
from support.forks import Forks
from support.loopback import (
    BODY,
    Connection,
    Server,
    cut,
    entry_for,
    find_wrong_blobs,
    leftovers,
    serve,
    slowly,
    unproven,
)

from zoo.errors import DownloadFailed, LockTimeout
from zoo.events import Event, Note
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import claim_partial
from zoo.store.store import Store
from zoo.store.upkeep.pruning import plan_prune

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as running:
        yield running


def has_begun(store: Store) -> bool:
    """Whether a first byte of some fetch is on the disk. Partial files are renamed while one looks."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size for path in leftovers(store.home))
    return False


def join_all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.fault("D15")
def test_eight_processes_that_fetch_one_model_make_one_request(
    server: Server, store: Store, forks: Forks
) -> None:
    url = server.add("/net", BODY, slowly(0.3))
    pids = [forks.start(home=str(store.home), url=url) for _ in range(8)]
    assert [forks.wait(pid)[:2] for pid in pids] == [("fetched", 0)] * 8
    assert len(server.log) == 1


@pytest.mark.fault("D15")
def test_two_names_of_the_same_bytes_wait_for_one_download(
    server: Server, store: Store, forks: Forks
) -> None:
    urls = [server.add(f"/{name}", BODY, slowly(0.3)) for name in "ab"]
    pids = [forks.start(home=str(store.home), url=url) for url in urls]
    assert [forks.wait(pid)[0] for pid in pids] == ["fetched"] * 2
    assert len(server.log) == 1


@pytest.mark.fault("D16")
def test_killed_at_any_moment_no_wrong_file_is_left_and_the_next_run_completes(
    server: Server, store: Store, forks: Forks
) -> None:
    moments = random.Random(16)
    for _ in range(50):
        url = server.add("/net", BODY, slowly(0.06, blocks=20))
        pids = [forks.start(home=str(store.home), url=url) for _ in range(3)]
        time.sleep(moments.uniform(0.0, 0.09))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            forks.wait(pid)
        assert find_wrong_blobs(store.home) == []
        assert len(leftovers(store.home)) <= 1
        if moments.random() < 0.3:
            for path in (store.home / "blobs").glob("*"):
                path.unlink()
    server.plans["/net"] = []
    assert store.fetch(entry_for(url)).path.read_bytes() == BODY
    assert leftovers(store.home) == []


@pytest.mark.fault("D17")
def test_a_stopped_process_is_named_and_when_it_is_killed_the_next_one_enters_at_once(
    server: Server, store: Store, forks: Forks
) -> None:
    url = server.add("/net", BODY, slowly(3.0), serve)
    pid = forks.start(home=str(store.home), url=url)
    wait_until(lambda: has_begun(store))
    os.kill(pid, signal.SIGSTOP)
    told: list[Event] = []
    store.settings = replace(store.settings, lock_patience=1.2)
    try:
        with pytest.raises(LockTimeout, match=f"process {pid}") as raised:
            store.fetch(entry_for(url), report=told.append)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert "try again" in str(raised.value.hint)
    assert raised.value.exit_code == 7
    (note,) = [event.message for event in told if isinstance(event, Note)]
    assert note.startswith(f"net: waiting for process {pid} (since ")
    forks.wait(pid)
    told.clear()
    assert store.fetch(entry_for(url), report=told.append).path.read_bytes() == BODY
    assert not any(isinstance(event, Note) for event in told), "it did not wait"
    assert server.offsets("/net")[-1] > 0, "it went on where the killed one ended"


@pytest.mark.fault("D18")
def test_where_the_file_system_has_no_locks_one_of_existing_files_is_used(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "flock is not supported here")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    entry = entry_for(server.add("/net", BODY, slowly(0.3)))
    threads = [threading.Thread(target=store.fetch, args=(entry,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    join_all(threads)
    assert store.find(entry) is not None
    assert len(server.log) == 1
    assert list((store.home / "locks").glob("*.softlock")) == []


@pytest.mark.fault("D18")
def test_where_locks_do_nothing_there_is_still_no_wrong_file(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)

    def wrong(connection: Connection) -> None:
        connection.body = connection.body[::-1]
        slowly(0.3)(connection)

    for round_ in range(3):
        url = server.add("/net", BODY, cut(0.3), wrong, slowly(0.1), wrong, slowly(0.3), serve)
        results: list[object] = []

        def fetch(url: str = url, results: list[object] = results) -> None:
            try:
                results.append(store.fetch(entry_for(url)))
            except Exception as error:
                results.append(error)

        threads = [threading.Thread(target=fetch) for _ in range(6)]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        join_all(threads)
        assert find_wrong_blobs(store.home) == []
        assert [result for result in results if isinstance(result, Exception)] == [], round_
        store.remove(entry_for(url))


@pytest.mark.fault("D18")
def test_a_partial_file_that_another_process_writes_is_never_taken(tmp_path: Path) -> None:
    first = claim_partial(tmp_path, "key")
    first.path.write_bytes(b"half")
    second = claim_partial(tmp_path, "key")
    assert second.path != first.path
    assert second.bytes == 0
    first.release()
    assert claim_partial(tmp_path, "key").path.read_bytes() == b"half"


@pytest.mark.fault("D23")
def test_ctrl_c_ends_at_once_keeps_what_came_and_clears_the_line(
    server: Server, store: Store, tmp_path: Path
) -> None:
    url = server.add("/net", BODY, slowly(20.0), serve)
    registry = write_registry(tmp_path / "registry.yaml", entry_for(url))
    with running(start_zoo("fetch", "net", "--registry", registry)) as process:
        wait_until(lambda: has_begun(store), 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 130
    assert out == ""
    told, hint = err.splitlines()
    assert re.fullmatch(
        r"error: fetch: stopped; 0 of 1 models are here; [\d.]+ (bytes|kB) of the rest kept", told
    )
    assert hint == "zoo fetch net continues from there."
    (partial,) = leftovers(store.home)
    assert 0 < partial.stat().st_size < len(BODY)
    assert store.fetch(entry_for(url)).path.read_bytes() == BODY
    assert server.offsets("/net")[-1] > 0


@pytest.mark.fault("K3")
def test_prune_does_not_touch_what_a_fetch_is_writing(server: Server, store: Store) -> None:
    entry = entry_for(server.add("/net", BODY, slowly(0.6)))
    fetching = threading.Thread(target=store.fetch, args=(entry,))
    fetching.start()
    while fetching.is_alive():
        for path in leftovers(store.home):
            with suppress(FileNotFoundError):  # whole since, and renamed
                os.utime(path, (0, 0))
        plan_prune(store).execute()
        plan_prune(store, older_than=60.0).execute()
        time.sleep(0.01)
    join_all([fetching])
    assert store.find(entry) is not None
    assert len(server.log) == 1


@pytest.mark.fault("K3")
@pytest.mark.parametrize("when", [0, 2**33], ids=["1970", "the future"])
def test_times_from_another_age_neither_crash_nor_give_negative_ages(
    server: Server, store: Store, when: int
) -> None:
    store.fetch(entry_for(server.add("/net", BODY)))
    orphan = store.home / "blobs" / hashlib.sha256(b"x").hexdigest()
    orphan.write_bytes(b"x")
    partial = store.home / "blobs" / "key.0.free.partial"
    partial.write_bytes(b"half")
    for path in (store.home / "blobs").iterdir():
        os.utime(path, (when, when))
    plan = plan_prune(store, older_than=30 * 86400)
    assert all(item.idle >= 0 for item in plan.items)
    assert {item.why for item in plan.items} == ({"partial", "orphan"} if when == 0 else set())
    assert plan.execute() == plan
    here = store.find(entry_for(server.url + "/net"))
    assert here is not None, "it was fetched just now, whatever the time of its file says"
    assert orphan.exists() == partial.exists() == (when != 0)


def test_a_plan_names_what_pruning_deletes_and_deletes_nothing_itself(server: Server, store: Store) -> None:
    entry = unproven(server.add("/net", BODY), bytes=len(BODY))
    store.fetch(entry)
    plan = plan_prune(store, older_than=0.0)
    assert [(item.name, item.why, item.bytes) for item in plan.items] == [("net", "unused", len(BODY))]
    assert plan.bytes == len(BODY)
    assert store.find(entry) is not None
    assert plan.execute() == plan
    assert store.find(entry) is None
    assert list(store.blobs) == []


def test_a_plan_deletes_nothing_that_is_in_use_when_it_is_carried_out(server: Server, store: Store) -> None:
    entry = unproven(server.add("/net", BODY), bytes=len(BODY))
    store.fetch(entry)
    plan = plan_prune(store, older_than=0.0)
    (lock,) = (store.home / "locks").glob("*.lock")
    with hold(lock, "net"):
        assert plan.execute().items == ()
    assert store.find(entry) is not None


def test_old_partial_files_are_pruned_and_young_ones_stay(server: Server, store: Store) -> None:
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for(server.add("/net", BODY, cut(0.0001))))
    assert plan_prune(store).items == ()
    (partial,) = leftovers(store.home)
    os.utime(partial, (time.time() - 90_000,) * 2)
    assert [item.why for item in plan_prune(store).execute().items] == ["partial"]
    assert leftovers(store.home) == []
