"""Rows D1-D12 and D22: what a network does to a transfer, and what comes out of it."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.loopback import (
    BODY,
    SHA256,
    Connection,
    Handler,
    Server,
    answer,
    cut,
    drip,
    entry_for,
    leftovers,
    reset,
    serve,
    slowly,
    stall,
    without_length,
)

from zoo.errors import DownloadFailed, HashMismatch, NetworkError, SizeMismatch
from zoo.events import Event, Note
from zoo.store.disk.partial_files import claim_partial
from zoo.store.settings import Settings
from zoo.store.store import Store

pytestmark = pytest.mark.thorough

HTML = b"<!DOCTYPE html><p>Please sign in here</p>\n"
FLIPPED = BODY[:100_000] + bytes([BODY[100_000] ^ 1]) + BODY[100_001:]


def send(body: bytes) -> Handler:
    """Another body of any kind, at once and whole."""
    return answer(200, body)


@pytest.mark.fault("D1")
@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"bytes": len(BODY)}, {"sha256_prefix": SHA256[:8]}])
def test_a_body_that_is_cut_once_is_resumed_where_it_ended(
    server: Server, store: Store, facts: dict[str, object]
) -> None:
    entry = entry_for(server.add("/net", BODY, cut(0.5), serve), **facts)
    assert store.fetch(entry).path.read_bytes() == BODY
    assert server.offsets("/net") == [0, len(BODY) // 2]
    assert leftovers(store.home) == []


@pytest.mark.fault("D2")
def test_a_body_that_is_always_cut_ends_and_the_next_fetch_goes_on(server: Server, store: Store) -> None:
    url = server.add("/net", BODY, cut(0.0001))
    with pytest.raises(DownloadFailed, match="given up after") as raised:
        store.fetch(entry_for(url))
    assert raised.value.exit_code == 4
    assert raised.value.hint == "zoo fetch net continues from there."
    assert len(server.log) == store.settings.fruitless
    (kept,) = leftovers(store.home)
    assert kept.stat().st_size > 0
    server.plans["/net"] = []
    assert store.fetch(entry_for(url)).path.read_bytes() == BODY
    assert server.offsets("/net")[-1] > 0


@pytest.mark.fault("D2")
def test_progress_does_not_reset_the_count_of_all_tries(server: Server, store: Store) -> None:
    store.settings = Settings(backoff=0.0, tries=7, read_timeout=0.5, window=0.5)
    with pytest.raises(DownloadFailed, match="after 7 tries"):
        store.fetch(entry_for(server.add("/net", BODY, cut(0.05))))


@pytest.mark.fault("D3")
def test_a_reset_connection_is_resumed(server: Server, store: Store) -> None:
    entry = entry_for(server.add("/net", BODY, reset(), serve))
    assert store.fetch(entry).path.read_bytes() == BODY


@pytest.mark.fault("D3")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_server_that_always_resets_is_given_up_and_what_came_is_kept(
    server: Server, store: Store, share: float
) -> None:
    url = server.add("/net", BODY, reset(share))
    with pytest.raises(DownloadFailed, match="closed the connection; given up after"):
        store.fetch(entry_for(url))
    assert [path.stat().st_size > 0 for path in leftovers(store.home)] == ([True] if share else [])
    server.plans["/net"] = []
    assert store.fetch(entry_for(url)).path.read_bytes() == BODY
    assert (server.offsets("/net")[-1] > 0) == bool(share)


@pytest.mark.fault("D4")
def test_a_stalled_body_ends_by_the_read_timeout_and_is_kept(server: Server, store: Store) -> None:
    with pytest.raises(DownloadFailed, match="went silent"):
        store.fetch(entry_for(server.add("/net", BODY, stall(1000))))
    assert len(server.log) == store.settings.fruitless
    assert [path.stat().st_size >= 1000 for path in leftovers(store.home)] == [True]


@pytest.mark.fault("D4")
def test_silence_ends_within_a_minute_with_the_settings_that_everybody_gets() -> None:
    assert Settings().longest_silence <= 60


@pytest.mark.fault("D5")
@pytest.mark.parametrize("head", [False, True], ids=["body", "header"])
def test_a_dripping_server_is_given_up(server: Server, store: Store, head: bool) -> None:
    with pytest.raises(DownloadFailed, match="silent" if head else "bytes per second"):
        store.fetch(entry_for(server.add("/net", BODY, drip(0.02, head=head))))  # all of it: 100 minutes
    assert len(server.log) == store.settings.fruitless


@pytest.mark.fault("D5")
def test_a_slow_but_steady_server_is_not_given_up(server: Server, store: Store) -> None:
    assert store.fetch(entry_for(server.add("/net", BODY, slowly(1.2)))).path.read_bytes() == BODY
    assert len(server.log) == 1


@pytest.mark.fault("D6")
def test_wrong_bytes_of_the_right_number_are_downloaded_twice_and_not_kept(
    server: Server, store: Store
) -> None:
    with pytest.raises(HashMismatch) as raised:
        store.fetch(entry_for(server.add("/net", BODY, send(FLIPPED)), sha256=SHA256, bytes=len(BODY)))
    assert SHA256 in raised.value.message
    assert hashlib.sha256(FLIPPED).hexdigest() in raised.value.message
    assert raised.value.exit_code == 3
    assert len(server.log) == 2
    assert list((store.home / "blobs").iterdir()) == []


@pytest.mark.fault("D6")
def test_noise_that_does_not_come_again_costs_one_more_download(server: Server, store: Store) -> None:
    told: list[Event] = []
    entry = entry_for(server.add("/net", BODY, send(FLIPPED), serve))
    assert store.fetch(entry, report=told.append).sha256 == SHA256
    assert any(isinstance(event, Note) and "once more" in event.message for event in told)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"bytes": len(BODY)}, {"sha256_prefix": SHA256[:8]}])
def test_a_sign_in_page_is_told_as_such_and_not_tried_again(
    server: Server, store: Store, facts: dict[str, object]
) -> None:
    url = server.add("/net", BODY, answer(200, HTML, Content_Type="text/html"))
    with pytest.raises(DownloadFailed, match="web page of 42 bytes") as raised:
        store.fetch(entry_for(url, **facts))
    assert "sign-in" in str(raised.value.hint)
    assert len(server.log) == 1


@pytest.mark.fault("D7")
def test_a_sign_in_page_does_not_cost_what_was_downloaded_before(server: Server, store: Store) -> None:
    url = server.add("/net", BODY, cut(0.5), answer(200, HTML, Content_Type="text/html"))
    with pytest.raises(DownloadFailed, match="web page"):
        store.fetch(entry_for(url))
    server.plans["/net"] = []
    store.fetch(entry_for(url))
    assert server.offsets("/net")[-1] == len(BODY) // 2


@pytest.mark.fault("D7")
def test_another_size_is_refused_before_the_body_is_read(server: Server, store: Store) -> None:
    def endless(connection: Connection) -> None:
        connection.head(200, Content_Length=10**12)
        connection.send(b"x" * 1000)
        time.sleep(5)

    with pytest.raises(SizeMismatch, match="300,000 bytes, got 1,000,000,000,000"):
        store.fetch(entry_for(server.add("/net", BODY, endless), bytes=len(BODY)))
    assert leftovers(store.home) == []


@pytest.mark.fault("D8")
@pytest.mark.parametrize(
    "facts", [{"sha256": SHA256}, {"bytes": len(BODY)}, {"md5": hashlib.md5(BODY).hexdigest()}]
)
def test_a_body_without_length_that_is_cut_is_never_accepted(
    server: Server, store: Store, facts: dict[str, object]
) -> None:
    with pytest.raises((HashMismatch, DownloadFailed)):
        store.fetch(entry_for(server.add("/net", BODY, without_length(0.9)), **facts))
    server.plans["/net"] = [without_length()]
    assert store.fetch(entry_for(server.url + "/net", **facts)).path.read_bytes() == BODY


@pytest.mark.fault("D8")
def test_a_body_whose_end_nobody_can_tell_is_refused(server: Server, store: Store) -> None:
    with pytest.raises(DownloadFailed, match="does not state the length"):
        store.fetch(entry_for(server.add("/net", BODY, without_length()), about_bytes=len(BODY)))


def range_ignored(connection: Connection) -> None:
    connection.head(200, Content_Length=len(BODY), ETag='"v1"')
    connection.send(BODY)


def wrong_offset(connection: Connection) -> None:
    if connection.request.offset == 0:
        return range_ignored(connection)
    connection.head(206, Content_Length=50, Content_Range=f"bytes 0-49/{len(BODY)}", ETag=connection.etag)
    connection.send(BODY[:50])
    return None


def not_satisfiable(connection: Connection) -> None:
    if connection.request.offset == 0:
        return range_ignored(connection)
    connection.head(416, Content_Length=0)
    return None


def changed(connection: Connection) -> None:
    """The file was replaced: another ETag, other bytes."""
    connection.body, connection.etag = BODY[::-1], '"v2"'
    serve(connection)


@pytest.mark.fault("D9")
@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"bytes": len(BODY)}])
@pytest.mark.parametrize("fault", [range_ignored, wrong_offset, not_satisfiable])
def test_a_server_that_cannot_resume_costs_a_restart(
    server: Server, store: Store, fault: Handler, facts: dict[str, object]
) -> None:
    entry = entry_for(server.add("/net", BODY, cut(0.5), fault), **facts)
    assert store.fetch(entry).path.read_bytes() == BODY


@pytest.mark.fault("D9")
def test_a_file_that_was_replaced_between_two_parts_is_never_mixed(server: Server, store: Store) -> None:
    entry = entry_for(server.add("/net", BODY, cut(0.5), changed), bytes=len(BODY))
    assert store.fetch(entry).path.read_bytes() == BODY[::-1]


@pytest.mark.fault("D9")
def test_a_replaced_file_is_refused_when_its_hash_is_known(server: Server, store: Store) -> None:
    with pytest.raises(HashMismatch):
        store.fetch(entry_for(server.add("/net", BODY, cut(0.5), changed)))


@pytest.mark.fault("D9")
def test_without_a_validator_nothing_is_resumed(server: Server, store: Store) -> None:
    entry = entry_for(server.add("/net", BODY, cut(0.5), serve, etag=None), bytes=len(BODY))
    assert store.fetch(entry).path.read_bytes() == BODY
    assert server.offsets("/net") == [0, 0]


@pytest.mark.fault("D10")
@pytest.mark.parametrize(
    "junk", [b"junk", b"j" * len(BODY), b"j" * (len(BODY) + 1000)], ids=["short", "same size", "oversized"]
)
@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"sha256": SHA256, "bytes": len(BODY)}])
def test_junk_in_a_partial_file_is_discarded(
    server: Server, store: Store, junk: bytes, facts: dict[str, object]
) -> None:
    url = server.add("/net", BODY, cut(0.0001))
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for(url, **facts))
    (partial,) = leftovers(store.home)
    partial.write_bytes(junk)
    server.plans["/net"] = []
    assert store.fetch(entry_for(url, **facts)).path.read_bytes() == BODY
    assert leftovers(store.home) == []


@pytest.mark.fault("D10")
def test_of_several_partial_files_the_longest_is_used_and_the_others_go(tmp_path: Path) -> None:
    for validator, size in (("a", 3), ("b", 5), ("c", 1)):
        (tmp_path / f"key.{validator}.free.partial").write_bytes(b"x" * size)
    partial = claim_partial(tmp_path, "key")
    assert (partial.validator, partial.bytes) == ("b", 5)
    assert list(tmp_path.iterdir()) == [partial.path]


@pytest.mark.fault("D11")
@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_what_is_gone_or_private_is_asked_for_once(server: Server, store: Store, status: int) -> None:
    url = server.add("/net", BODY, answer(status))
    with pytest.raises(
        DownloadFailed, match=f"net: {url} answers {status}: gone, or needs a token"
    ) as raised:
        store.fetch(entry_for(url))
    assert "HF_TOKEN" in str(raised.value.hint)
    assert len(server.log) == 1


@pytest.mark.fault("D12")
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(server: Server, store: Store, status: int) -> None:
    entry = entry_for(server.add("/net", BODY, answer(status, Retry_After="1"), serve))
    started, told = time.monotonic(), list[Event]()
    store.fetch(entry, report=told.append)
    assert time.monotonic() - started >= 1.0
    assert "next try in 1 s" in next(event.message for event in told if isinstance(event, Note))


@pytest.mark.fault("D12")
def test_a_date_to_retry_after_is_waited_for(server: Server, store: Store) -> None:
    when = datetime.now(UTC) + timedelta(seconds=2)
    date = format_datetime(when, usegmt=True)
    entry = entry_for(server.add("/net", BODY, answer(503, Retry_After=date), serve))
    store.fetch(entry)
    assert time.time() >= float(int(when.timestamp()))


@pytest.mark.fault("D12")
@pytest.mark.parametrize("value", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_day_is_not_waited_for(server: Server, store: Store, value: str) -> None:
    with pytest.raises(DownloadFailed, match="asks to wait") as raised:
        store.fetch(entry_for(server.add("/net", BODY, answer(429, Retry_After=value))))
    assert "zoo fetch net after 2" in str(raised.value.hint)
    assert len(server.log) == 1


@pytest.mark.fault("D12")
@pytest.mark.parametrize("value", ["soon", "-5", "1e9", ""])
def test_nonsense_in_retry_after_is_passed_over(server: Server, store: Store, value: str) -> None:
    entry = entry_for(server.add("/net", BODY, answer(503, Retry_After=value), serve))
    assert store.fetch(entry).sha256 == SHA256


@pytest.mark.fault("D22")
@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"../../../../tmp/evil"'},
        {"ETag": "a" * 60_000},
        {"Content_Disposition": 'attachment; filename="../../evil"'},
        {"Content_Type": "../../x", "Last_Modified": "/etc/passwd"},
    ],
)
def test_nothing_that_a_server_sends_becomes_a_path(
    server: Server, store: Store, tmp_path: Path, headers: dict[str, object]
) -> None:
    def hostile(connection: Connection) -> None:
        connection.head(200, Content_Length=len(BODY), **headers)
        connection.send(BODY[:1000])

    before = set(tmp_path.rglob("*"))
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for(server.add("/net", BODY, hostile), bytes=len(BODY)))
    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(store.home) for path in made)
    assert all(len(path.name) < 200 for path in made)


@pytest.mark.fault("D22")
@pytest.mark.parametrize(
    "head",
    [
        b"X-Big: " + b"a" * 10_000_000 + b"\r\n",
        b"X: y\r\n" * 100_000,
        b"Content-Length: -5\r\n",
        b"\0\xff\r\n",
    ],
    ids=["10 MB line", "100,000 lines", "negative length", "binary"],
)
def test_a_hostile_header_is_a_network_error(server: Server, store: Store, head: bytes) -> None:
    def hostile(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x")

    with pytest.raises((NetworkError, SizeMismatch)):
        store.fetch(entry_for(server.add("/net", BODY, hostile), bytes=len(BODY)))


def test_a_size_beyond_belief_is_refused_and_the_next_place_is_asked(server: Server, store: Store) -> None:
    def boast(connection: Connection) -> None:
        connection.head(200, Content_Length=10**15)

    boaster, good = server.add("/boast", BODY, *[boast] * 4), server.add("/good", BODY)
    with pytest.raises(DownloadFailed, match="claims 1000 TB"):
        store.fetch(entry_for(boaster))
    assert store.fetch(entry_for(boaster, good)).path.read_bytes() == BODY


@pytest.mark.fault("D1")
def test_a_chunked_body_that_is_cut_is_noticed(server: Server, store: Store) -> None:
    def chunked(connection: Connection, end: bytes = b"") -> None:
        connection.head(200, Transfer_Encoding="chunked", ETag='"v1"')
        connection.send(b"%x\r\n%s\r\n" % (len(BODY), BODY) + end)

    entry = entry_for(server.add("/net", BODY, chunked, lambda c: chunked(c, b"0\r\n\r\n")), about_bytes=1)
    assert store.fetch(entry).path.read_bytes() == BODY
    assert len(server.log) == 2


@pytest.mark.fault("D2")
def test_a_process_goes_on_where_another_one_ended(server: Server, store: Store, home: Path) -> None:
    url = server.add("/net", BODY, cut(0.5), answer(404))
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for(url))
    server.plans["/net"] = []
    another = Store(home, settings=store.settings)
    assert another.fetch(entry_for(url)).path.read_bytes() == BODY
    assert server.offsets("/net") == [0, len(BODY) // 2, len(BODY) // 2]


def test_everything_here_but_not_yet_named_is_not_downloaded_again(server: Server, store: Store) -> None:
    url = server.add("/net", BODY, cut(0.5), answer(404))
    entry = entry_for(url, sha256=SHA256, bytes=len(BODY))
    with pytest.raises(DownloadFailed):
        store.fetch(entry)
    (partial,) = leftovers(store.home)
    partial.write_bytes(BODY)
    requests = len(server.log)
    assert store.fetch(entry).sha256 == SHA256
    assert len(server.log) == requests
