"""`zoo fetch` of several models: side by side, planned, locked, and when some of them fail."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.commands import Call, Terminal, running, start_zoo, wait_until, write_registry
from support.loopback import BODY, SHA256, Server, answer, cut, entry_for, leftovers, serve, slowly

OTHER = BODY[::-1]
LONGER = BODY + b"c"


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def registry(server: Server, tmp_path: Path) -> Path:
    """Three models that come, one that is gone, and one whose bytes are wrong."""
    return write_registry(
        tmp_path / "registry.yaml",
        entry_for(server.add("/a", BODY), name="a", bytes=len(BODY), sha256=SHA256),
        entry_for(server.add("/b", OTHER), name="b", sha256=digest(OTHER)),
        entry_for(server.add("/c", LONGER), name="c", bytes=len(LONGER), sha256_prefix=digest(LONGER)[:8]),
        entry_for(server.add("/gone", b"", answer(404)), name="gone", sha256=digest(b"gone")),
        entry_for(server.add("/wrong", BODY), name="wrong", sha256=digest(b"right")),
    )


def test_several_models_come_and_each_is_answered_with_its_file(call: Call, registry: Path) -> None:
    rows = call("fetch", "a", "b", "c", "a", "--jobs", "2", "--json", "--registry", registry).json
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [Path(row["path"]).read_bytes() for row in rows] == [BODY, OTHER, LONGER]


def test_a_model_that_fails_stops_no_other_and_the_first_failure_gives_the_exit_code(
    call: Call, registry: Path
) -> None:
    said = call("fetch", "gone", "a", "wrong", "b", "--registry", registry)
    assert said.code == 4
    assert [line.split()[0] for line in said.out.splitlines()] == ["a", "b"]
    error = said.err[said.err.index("error:") :]
    assert error.startswith("error: 2 of 4 models failed:\n  - gone: http://127.0.0.1:")
    assert "/gone answers 404: gone, or needs a token\n    A private or gated model needs HF_TOKEN." in error
    assert f"wrong bytes: expected {digest(b'right')}, got {SHA256}" in error
    assert error.endswith("zoo fetch gone tries again.\n")
    assert call("fetch", "wrong", "gone", "--registry", registry).code == 3


def test_with_json_what_came_is_on_stdout_and_what_failed_in_one_document_on_stderr(
    call: Call, registry: Path
) -> None:
    said = call("fetch", "gone", "a", "--json", "--quiet", "--registry", registry)
    assert [row["name"] for row in said.json] == ["a"]
    error = json.loads(said.err)["error"]
    assert error["code"] == said.code == 4
    assert error["message"].startswith("1 of 2 models failed:")
    (failed,) = error["failures"]
    assert (failed["name"], failed["code"]) == ("gone", 4)
    assert "HF_TOKEN" in failed["hint"]
    assert call("fetch", "gone", "wrong", "--json", "--quiet", "--registry", registry).json == []


def test_one_model_that_fails_alone_says_its_own_error(call: Call, registry: Path) -> None:
    said = call("fetch", "gone", "--registry", registry)
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("error: gone: http://127.0.0.1:")


def test_a_dry_run_says_what_would_come_and_asks_nobody(
    call: Call, registry: Path, server: Server, home: Path
) -> None:
    call("fetch", "a", "--registry", registry)
    asked = server.connections
    said = call("fetch", "a", "b", "c", "--dry-run", "--registry", registry)
    table, total = said.out.split("\n\n")
    assert [line.split()[:2] for line in table.splitlines()] == [
        ["NAME", "ACTION"],
        ["a", "keep"],
        ["b", "download"],
        ["c", "download"],
    ]
    assert total.startswith("300 kB and files of unknown size to fetch; ")
    assert total.rstrip().endswith(f"free in {home}")
    plan = call("fetch", "c", "--dry-run", "--json", "--registry", registry).json
    assert plan == [
        {
            "name": "c",
            "action": "download",
            "url": f"{server.url}/c",
            "bytes": len(LONGER),
            "error": None,
        },
    ]
    assert server.connections == asked


def actions_of(rows: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["action"], row["bytes"]) for row in rows]


def test_a_dry_run_goes_on_where_the_fetch_would(
    call: Call, server: Server, home: Path, tmp_path: Path
) -> None:
    """What was cut off comes to its end, and bytes that are here under another name do not come at all."""
    net = entry_for(server.add("/net", BODY, cut(0.5), answer(404), serve), sha256=SHA256, bytes=len(BODY))
    twin = entry_for(server.add("/twin", BODY), name="twin", sha256=SHA256, bytes=len(BODY))
    registry = write_registry(tmp_path / "r.yaml", net, twin)
    assert call("fetch", "net", "--registry", registry).code == 4
    (kept,) = leftovers(home)
    plan = ("fetch", "net", "twin", "--dry-run", "--json", "--registry", registry)
    rest = len(BODY) - kept.stat().st_size
    assert actions_of(call(*plan).json) == [("resume", rest), ("resume", rest)]
    assert call("fetch", "net", "--registry", registry).code == 0
    assert actions_of(call(*plan).json) == [("keep", 0), ("keep", 0)]
    assert call("fetch", "twin", "--offline", "--registry", registry).code == 0
    assert [request.path for request in server.log] == ["/net"] * 3


def test_a_dry_run_counts_a_damaged_file_as_gone(call: Call, registry: Path, server: Server) -> None:
    (row,) = call("fetch", "a", "--json", "--registry", registry).json
    Path(row["path"]).write_bytes(BODY[::-1])
    assert actions_of(call("fetch", "a", "--dry-run", "--json", "--registry", registry).json) == [
        ("download", len(BODY))
    ]


def test_a_dry_run_shows_the_rest_when_one_model_would_fail(
    call: Call, server: Server, tmp_path: Path
) -> None:
    free, sold = (entry_for(server.add(f"/{name}", BODY), name=name) for name in ("free", "sold"))
    registry = write_registry(tmp_path / "r.yaml", free, replace(sold, license="gpl-3.0"))
    plan = ("fetch", "sold", "free", "--dry-run", "--registry", registry, "--license")
    said = call(*plan, "mit", "--json")
    assert [(row["name"], row["action"]) for row in said.json] == [("sold", "fail"), ("free", "download")]
    assert said.json[0]["error"].startswith("sold is under gpl-3.0")
    error = json.loads(said.err)["error"]
    assert error["message"].startswith("1 of 2 models would fail:\n  - sold is under gpl-3.0")
    assert (said.code, error["hint"]) == (2, None)
    refused = call(*plan, "apache-2.0")
    assert [line.split()[1] for line in refused.out.splitlines()[1:3]] == ["fail", "fail"]
    assert "2 of 2 models would fail:" in refused.err
    assert server.connections == 0


def test_two_files_of_one_name_are_told_apart_when_they_fail(call: Call, tmp_path: Path) -> None:
    """Each is named as it was typed; what is tried again is typed the same."""
    paths = [tmp_path / folder / "my words.txt" for folder in ("x", "y")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("king 1 2\nking 3 4\n")
    said = call("fetch", *paths, "--strict", "--json", "--quiet")
    assert said.json == []
    failures = json.loads(said.err)["error"]["failures"]
    assert [row["name"] for row in failures] == [str(path) for path in paths]
    assert "hint" in failures[0]
    assert f"  - {paths[0]}: " in json.loads(said.err)["error"]["message"]


def test_a_dry_run_finds_what_another_library_has(
    call: Call, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(BODY)
    registry = write_registry(tmp_path / "r.yaml", entry_for("https://models.example/net.pth"))
    (planned,) = call("fetch", "net", "--dry-run", "--json", "--registry", registry).json
    assert planned["action"] == "adopt"
    assert call("fetch", "net", "--offline", "--registry", registry).code == 0


def test_a_locked_fetch_of_several_takes_what_is_pinned_and_its_dry_run_tells_the_same(
    call: Call, registry: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "zoo.lock"
    lock.write_text(call("lock", "a", "c", "--registry", registry).out)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    locked = ("--locked", lock, "--registry", registry)
    plan = call("fetch", "a", "c", "--dry-run", "--json", *locked).json
    assert [row["bytes"] for row in plan] == [len(BODY), len(LONGER)]
    asked = server.connections
    for more in ((), ("--dry-run",)):
        refused = call("fetch", "a", "b", *more, *locked)
        assert (refused.code, refused.out) == (2, "")
        assert "no pinned model 'b'" in refused.err
    assert server.connections == asked, "pins are checked before anything is downloaded"
    assert call("fetch", "a", "c", "--jobs", "2", *locked).code == 0
    server.files["/c"] = OTHER + b"c"
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "later"))
    changed = call("fetch", "c", "a", *locked)
    assert changed.code == 3
    assert [line.split()[0] for line in changed.out.splitlines()] == ["a"]
    assert "the lock file" in changed.err


def test_what_the_hub_cannot_say_of_one_name_stops_no_other(call: Call, registry: Path) -> None:
    said = call("fetch", "hf://owner/repo", "a", "--offline", "--registry", registry)
    assert said.code == 4
    assert "hf://owner/repo" in said.err
    assert call("fetch", "a", "--registry", registry).code == 0
    said = call("fetch", "hf://owner/repo", "a", "--offline", "--registry", registry)
    assert [line.split()[0] for line in said.out.splitlines()] == ["a"]


def test_models_at_a_time_are_a_number(call: Call, registry: Path) -> None:
    for wrong in ("0", "-1", "many"):
        said = call("fetch", "a", "--jobs", wrong, "--registry", registry)
        assert said.code == 2
        assert "--jobs" in said.err


@pytest.mark.thorough
@pytest.mark.fault("D23")
def test_one_display_shows_all_bars_and_ctrl_c_wipes_it(server: Server, tmp_path: Path, home: Path) -> None:
    entries = [
        entry_for(
            server.add(f"/{n}", BODY + n.encode(), slowly(30.0)), name=n, sha256=digest(BODY + n.encode())
        )
        for n in ("left", "right")
    ]
    registry = write_registry(tmp_path / "registry.yaml", *entries)
    terminal = Terminal()
    command = ("fetch", "left", "right", "--registry", registry)
    with running(start_zoo(*command, stderr=terminal.outer, TERM="xterm")) as process:
        os.close(terminal.outer)
        wait_until(lambda: {"fetch left", "fetch right", "0 models"} <= shown(terminal), 30)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: terminal.read() and process.poll() is not None, 20)
    assert process.returncode == 130
    assert "fetch left" in terminal.text
    assert [line.split(";")[0] for line in terminal.visible] == [
        "error: fetch: stopped",
        "zoo fetch left right continues from there.",
    ]
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l"), "the cursor is back"
    assert len(leftovers(home)) == 2


def shown(terminal: Terminal) -> set[str]:
    """What the bars have told so far."""
    return set(re.findall(r"fetch left|fetch right|\d+ models", terminal.read()))
