"""Whether files are there is asked for by the client that downloads, and without a download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hub import COMMIT, Hub
from support.loopback import (
    BODY,
    IMPATIENT,
    SHA256,
    Server,
    answer,
    entry_for,
    serve,
    unproven,
    without_length,
)

from zoo.catalogue.entry import ModelEntry
from zoo.store.upkeep.source_checks import check_places


def faults(*entries: ModelEntry, online: bool = True) -> list[str]:
    return [
        f"{name}: {finding.path[-1]}: {finding.what}"
        for name, finding in check_places(entries, settings=IMPATIENT, online=online)
    ]


def test_a_file_that_is_there_is_asked_for_one_byte(server: Server) -> None:
    asked: list[str] = []
    url = server.add("/net", BODY, lambda c: (asked.append(c.request.headers["range"]), serve(c))[1])
    assert faults(entry_for(url, sha256=SHA256, bytes=len(BODY))) == []
    assert asked == ["bytes=0-0"]


def test_nothing_is_asked_unless_one_wants_it(server: Server) -> None:
    assert faults(entry_for(server.add("/gone", b"", answer(404))), online=False) == []
    assert server.connections == 0


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (answer(404), "answers 404"),
        (answer(403), "answers 403"),
        (answer(503), "answers 503"),
        (answer(200, b"<!doctype html><p>Sign in"), "a web page, not a file"),
        (answer(206, b"x", Content_Range="bytes 0-0/7"), "the file has 7 bytes, the entry states 300,000"),
        (answer(302, Location="http://10.0.0.1/x"), "plain http"),
    ],
    ids=["404", "403", "503", "page", "size", "redirect"],
)
def test_what_is_wrong_with_a_url_is_said_of_that_url(
    server: Server, handler: Callable[..., Any], says: str
) -> None:
    good, bad = server.add("/good", BODY), server.add("/bad", b"", handler)
    (fault,) = faults(entry_for(good, bad, sha256=SHA256, bytes=len(BODY)))
    assert fault.startswith("net: 1: ")
    assert says in fault


def test_a_server_that_stumbles_once_is_asked_again(server: Server) -> None:
    assert faults(entry_for(server.add("/net", BODY, answer(503), serve))) == []


def test_a_server_that_says_no_length_is_believed(server: Server) -> None:
    assert faults(entry_for(server.add("/net", BODY, without_length()), sha256=SHA256, bytes=7)) == []


@pytest.mark.fault("D14")
def test_an_address_on_a_private_network_is_not_asked() -> None:
    (fault,) = faults(entry_for("https://10.0.0.1/net"))
    assert "an address on a private network" in fault


def test_a_file_on_this_machine_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(BODY)
    assert faults(entry_for(path.as_uri()), online=False) == []
    md5 = hashlib.md5(BODY).hexdigest()
    assert faults(unproven(path.as_uri(), md5=md5), online=False) == []
    path.write_bytes(BODY[::-1])
    assert "wrong bytes" in faults(entry_for(path.as_uri()), online=False)[0]
    path.unlink()
    assert "is missing" in faults(entry_for(path.as_uri()), online=False)[0]


def test_findings_come_in_the_order_of_the_entries(server: Server) -> None:
    entries = [
        entry_for(server.add(f"/{number}", b"", answer(404)), name=f"net{number}") for number in range(20)
    ]
    assert [fault.partition(":")[0] for fault in faults(*entries)] == [f"net{number}" for number in range(20)]


def test_the_hub_is_asked_about_its_file_and_its_hash(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    Hub(server).publish({"model.safetensors": BODY})
    url = f"hf://owner/net@{COMMIT}/model.safetensors"
    assert faults(entry_for(url, sha256=SHA256, bytes=len(BODY))) == []
    assert "the Hub states another sha256" in faults(entry_for(url, sha256="0" * 64))[0]
    assert "the Hub answers 404" in faults(entry_for(url.replace("model", "gone")))[0]
    assert not [request for request in server.log if request.path.startswith("/cdn") and request.offset]
