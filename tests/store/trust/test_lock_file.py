"""A lock file names one file for each name, and a locked fetch takes no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.loopback import (
    BODY,
    IMPATIENT,
    SHA256,
    Server,
    entry_for,
    unproven,
)

from zoo.errors import (
    HashMismatch,
    InvalidRegistry,
    SizeMismatch,
    UnknownName,
    UsageError,
)
from zoo.store.store import Store
from zoo.store.trust.lock_file import find_pin, read_lock_file, write_lock_file

OTHER = BODY[::-1]


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


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
