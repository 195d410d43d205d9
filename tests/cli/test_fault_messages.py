"""What the user sees of a fault: what happened, what to do next, an exit code, and no traceback."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import re
import socket
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from support.commands import Call, write_registry
from support.loopback import (
    BODY,
    IMPATIENT,
    SHA256,
    Connection,
    Handler,
    Server,
    answer,
    cut,
    drip,
    entry_for,
    find_wrong_blobs,
    reset,
    stall,
    without_length,
)

from zoo.catalogue.registry import entry_to_mapping
from zoo.cli.main import answer as answer_error
from zoo.cli.sink import Sink
from zoo.store.disk.locks import hold
from zoo.store.fetching import lock_key

HTML = b"<!DOCTYPE html><p>Please sign in here</p>\n"


@pytest.fixture(autouse=True)
def impatient(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands that wait as short as tests do, and never leave a wrong file."""
    monkeypatch.setattr("zoo.store.settings.Settings", lambda: IMPATIENT)
    yield
    assert find_wrong_blobs(home) == []


def replaced(connection: Connection) -> None:
    """Another file than the one that was cut."""
    connection.body, connection.etag = BODY[::-1], '"v2"'
    answer(200, BODY[::-1], ETag='"v2"')(connection)


def huge_header(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * 10_000_000 + b"\r\n\r\n")


GIVEN_UP = "; given up after [0-9]+ tries; [0-9.]+ k?B?(bytes)? of 300 kB kept"
GO_ON = r"zoo fetch net continues from there\."
WRONG = f"wrong bytes: expected {SHA256}, got [0-9a-f]{{64}}"
CORRECT = r"Nothing was kept\. .* correct them in a file of your own: --registry FILE\."
# row: what the server does, the exit code, what happened, what to do
FAULTS: dict[str, tuple[list[Handler], int, str, str]] = {
    "D2": ([cut(0.0001)], 4, ": the server closed the connection" + GIVEN_UP, GO_ON),
    "D3": ([reset(0.5)], 4, ": the server closed the connection" + GIVEN_UP, GO_ON),
    "D4": ([stall(1000)], 4, ": the server went silent" + GIVEN_UP, GO_ON),
    "D5": ([drip(0.02)], 4, ": only [0-9]+ bytes per second were received" + GIVEN_UP, GO_ON),
    "D6": ([answer(200, BODY[::-1])], 3, f": {WRONG}", CORRECT),
    "D7": (
        [answer(200, HTML, Content_Type="text/html")],
        4,
        " sent a web page of 42 bytes instead of the file",
        r"Does the network require a sign-in\? Open any page in a browser, then try again\.",
    ),
    "D8": ([without_length(0.9)], 3, f": {WRONG}", CORRECT),
    "D9": ([cut(0.5), replaced], 3, f": {WRONG}", CORRECT),
    "D11": ([answer(403)], 4, " answers 403: gone, or needs a token", r"A private .* needs HF_TOKEN\. .*"),
    "D12": (
        [answer(429, Retry_After="86400")],
        4,
        " answers 429 and asks to wait 86400 s",
        r"zoo fetch net after 20\d\d-\d\d-\d\d \d\d:\d\d\.",
    ),
    "D13": ([answer(302, Location="/net")], 4, " redirects more than 10 times", r"Try another mirror\."),
    "D22": (
        [huge_header],
        4,
        r": the server does not send valid HTTP \(LineTooLong\); given up after 4 tries",
        r"zoo fetch net tries again\.",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.fault(row)) for row in FAULTS])
def test_a_fault_of_the_network_is_told_in_two_lines(
    call: Call, server: Server, tmp_path: Path, row: str
) -> None:
    plan, code, happened, to_do = FAULTS[row]
    url = server.add("/net", BODY, *plan)
    registry = write_registry(tmp_path / "r.yaml", entry_for(url))
    said = call("fetch", "net", "--quiet", "--registry", registry)
    assert (said.code, said.out) == (code, "")
    *warnings, told, hint = said.err.splitlines()
    assert re.fullmatch(f"error: net: {url}{happened}", told)
    assert re.fullmatch(to_do, hint)
    assert all(line.startswith("warning: ") for line in warnings)
    if row == "D9":
        return  # what is told of a second fetch is not about a replaced file
    server.plans["/net"] = list(plan)
    said = call("fetch", "net", "--json", "--registry", registry)
    *warned, failed = [json.loads(line) for line in said.err.splitlines()]
    assert {key for line in warned for key in line} <= {"warning"}
    assert failed.keys() == {"error"}
    assert failed["error"]["code"] == said.code == code
    assert re.fullmatch(f"net: {url}{happened}", failed["error"]["message"])
    assert re.fullmatch(to_do, failed["error"]["hint"])


@pytest.mark.fault("D14")
def test_a_refused_address_says_how_to_allow_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, url = "10.1.2.3", "https://10.1.2.3/net"
    tried: list[object] = []

    def connect(address: object, *args: object, **kwargs: object) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr("zoo.store.settings.Settings", lambda: IMPATIENT)
    monkeypatch.setenv("ZOO_ALLOW_HOST", "")
    command = ("fetch", "net", "--quiet", "--registry", write_registry(tmp_path / "r.yaml", entry_for(url)))
    said = call(*command)
    assert (said.code, tried) == (4, [])
    told, hint = said.err.splitlines()
    assert told == f"error: {url} is refused: 10.1.2.3 is 10.1.2.3, an address on a private network"
    assert f"ZOO_ALLOW_HOST={host}" in hint
    said = call(*command, "--allow-host", host)
    assert said.code == 4
    assert "the server refuses connections" in said.err
    assert {address[0] for address in tried} == {host}, "the user allowed it"


@pytest.mark.fault("D14")
@pytest.mark.parametrize("url", ["ftp://example.com/net", "file://server/share/net", "gopher://x/y"])
def test_a_registry_with_an_address_of_another_kind_is_refused_with_its_line(
    call: Call, tmp_path: Path, url: str
) -> None:
    registry = write_registry(tmp_path / "r.yaml", entry_for(url))
    said = call("fetch", "net", "--registry", registry)
    assert said.code == 2
    assert said.err.startswith(f"error: {registry}:")
    assert "models.net.weights.url" in said.err


@pytest.mark.thorough
@pytest.mark.fault("D17")
def test_a_fetch_waits_for_another_process_as_long_as_timeout_says(
    call: Call, server: Server, home: Path, tmp_path: Path
) -> None:
    entry = entry_for(server.add("/net", BODY))
    registry = write_registry(tmp_path / "r.yaml", entry)
    with hold(home / "locks" / f"{lock_key(entry)}.lock", "net"):
        said = call("fetch", "net", "--timeout", "1.2", "--registry", registry)
    assert said.code == 7
    waiting, told, hint = said.err.splitlines()
    assert re.fullmatch(rf"net: waiting for process {os.getpid()} \(since \d\d:\d\d:\d\d\)", waiting)
    assert re.fullmatch(
        rf"error: net: process {os.getpid()} \(since \S+\) has held the lock for more than 1 s", told
    )
    assert "--timeout sets how long to wait" in hint
    assert server.connections == 0


@pytest.mark.fault("D21")
@pytest.mark.parametrize("switch", ["--offline", "ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_no_verb_makes_a_connection(
    call: Call, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    here = entry_for(server.add("/here", BODY), name="here")
    away = entry_for(server.add("/away", BODY), name="away", sha256="ab" * 32)
    registry = write_registry(tmp_path / "r.yaml", here, away)
    assert call("fetch", "here", "--registry", registry).code == 0
    asked = server.connections
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("ZOO_MIRROR", f"https://github.com/={server.url}/")
    common = ("--registry", registry)
    if switch == "--offline":
        common = ("--offline", *common)
    else:
        monkeypatch.setenv(switch, "1")
    works = [["list"], ["show", "away"], ["fetch", "here"], ["path", "here"], ["verify"], ["lock", "here"]]
    works += [["cache"], ["prune", "--dry-run"], ["bundle", "here", "-o", tmp_path / "m.tar"]]
    works += [["unbundle", tmp_path / "m.tar"], ["fetch", "here", "--dry-run"], ["rm", "hf://owner/repo"]]
    for command in works:
        assert call(*command, *common).code == 0, command
    names = ["away", "hf://owner/repo", "timm/resnet18.a1_in1k", "glove-wiki-gigaword-50"]
    for name in names:
        for verb in (["fetch"], ["path"], ["lock"]):
            said = call(*verb, name, *common)
            assert (said.code, said.out) == (4, ""), (verb, name)
            assert "offline mode is on" in said.err, (verb, name)
    planned = call("fetch", "away", "--dry-run", *common)
    assert (planned.code, "offline mode is on" in planned.err) == (4, True), (
        "a plan says what the fetch would"
    )
    assert server.connections == asked


@pytest.mark.fault("S1")
def test_a_registry_that_cannot_be_read_is_told_with_line_and_field(call: Call, tmp_path: Path) -> None:
    registry = write_registry(tmp_path / "r.yaml", entry_for("https://a.org/x"))
    registry.write_text(registry.read_text().replace("license: mit", "license: !!python/name:os.system"))
    line = 1 + registry.read_text().splitlines().index("    license: !!python/name:os.system")
    for verb in (["list"], ["show", "net"], ["fetch", "net"]):
        said = call(*verb, "--registry", registry)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"error: {registry}:{line}: models.net.license: the tag !!python/name:os")


@pytest.mark.fault("S4")
def test_a_checkpoint_with_code_in_it_is_refused_by_every_verb_that_would_open_it(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{marker}'",)

    (tmp_path / "net.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    sha256 = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    entry = entry_for((tmp_path / "net.pth").as_uri(), sha256=sha256)
    registry = ("--registry", write_registry(tmp_path / "r.yaml", entry))
    assert call("fetch", "net", *registry).code == 0, "these are the published bytes"
    photo = tiny / "photos" / "four.png"
    for command in (
        ["embed", "net", photo, "-o", tmp_path / "f.npz"],
        ["finetune", "net", tiny / "images", "--out", tmp_path / "run"],
    ):
        said = call(*command, *registry)
        assert said.code == 3, said.err
        assert "error: net is refused: opening it would run" in said.err
        assert "Ask its author for safetensors." in said.err
        assert "Traceback" not in said.err
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


def write_entry(folder: Path, name: str, content: bytes, **facts: object) -> Path:
    """A registry with one model, whose file has these bytes; they are the published ones."""
    (folder / name).write_bytes(content)
    entry = entry_for((folder / name).as_uri(), sha256=hashlib.sha256(content).hexdigest())
    known = entry_to_mapping(entry) | facts
    (folder / "r.yaml").write_text(yaml.safe_dump({"models": {"net": known}}))
    return folder / "r.yaml"


WORDS = {
    "family": "glove",
    "task": "word-vectors",
    "architecture": "words/glove-text",
    "input": {"dimension": 2},
}
# row: the file's name and bytes, other facts of its entry, the verb that opens it, what it says
STRANGERS = {
    "S5": ("vectors.kv", b"the 1 2\n", WORDS, "similar", "has the name of a gensim save"),
    "S6": ("net.safetensors", struct.pack("<Q", 2**62) + b"{}", {}, "embed", "not a valid safetensors file"),
    "S7": (
        "v.gz",
        gzip.compress(b"the 1 2\n" * 50)[:-9],
        WORDS,
        "similar",
        "in the middle of its compressed",
    ),
}


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.fault(row)) for row in STRANGERS])
def test_a_strangers_file_is_refused_with_what_to_do(
    call: Call, tiny: Path, tmp_path: Path, row: str
) -> None:
    name, content, facts, verb, says = STRANGERS[row]
    registry = write_entry(tmp_path, name, content, **facts)
    rest = ["the"] if verb == "similar" else [tiny / "photos" / "four.png", "-o", tmp_path / "f.npz"]
    said = call(verb, "net", *rest, "--quiet", "--registry", registry)
    assert (said.code, said.out) == (3, "")
    told, *hint = said.err.splitlines()  # of a pickle: the lines of Python that convert it
    assert told.startswith("error: ")
    assert says in told
    assert hint
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.fault("S3")
def test_a_bundle_that_reaches_out_of_its_folder_is_refused_on_the_command_line(
    call: Call, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    said = call("unbundle", tmp_path / "evil.tar", "--runs-to", tmp_path / "runs")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith(f"error: {tmp_path / 'evil.tar'}: '../evil'")
    assert {path.name for path in tmp_path.iterdir()} == {"evil.tar"}


@pytest.mark.fault("S8")
def test_the_share_of_weights_that_were_loaded_is_printed_and_strange_ones_are_refused(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    photo = tiny / "photos" / "four.png"
    said = call("predict", "tiny_net", photo, "--registry", tiny / "registry.yaml")
    assert (said.code, said.err) == (0, "")  # it is no news each time
    options = ("--out", tmp_path / "run", "--epochs", 1, "--registry", tiny / "registry.yaml")
    assert "tiny_net: all 77 tensors loaded\n" in call("finetune", "tiny_net", tiny / "images", *options).err
    content = (tiny / "weights" / "net.safetensors").read_bytes()
    registry = write_entry(tmp_path, "net.safetensors", content, architecture="torchvision/resnet18")
    said = call("embed", "net", photo, "-o", tmp_path / "f.npz", "--quiet", "--registry", registry)
    assert (said.code, said.out) == (3, "")
    told, hint = said.err.splitlines()
    assert re.search("net: .* fit only [0-9]+ % of it", told)
    assert hint


def test_a_network_whose_classifier_cannot_be_replaced_is_refused_before_its_download(
    call: Call, server: Server, tmp_path: Path
) -> None:
    entry = replace(entry_for(server.add("/net", BODY), name="cross"), architecture="timm/crossvit_9_240")
    registry = ("--registry", write_registry(tmp_path / "r.yaml", entry))
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    for words in (
        ["finetune", "cross", tmp_path, "--out", tmp_path / "run"],
        ["embed", "cross", photo, "--out", tmp_path / "f.npz"],
    ):
        said = call(*words, *registry)
        assert said.code == 2
        assert "cross can only predict its own classes: it combines several classifiers" in said.err
    assert server.connections == 0
    assert "not possible: it combines several" in call("show", "cross", *registry).out


def test_a_refusal_of_adapters_is_worded_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    from adapters import AdapterError

    assert answer_error(AdapterError("Net combines 2 classifiers", hint="Choose another."), Sink()) == 2
    said = capsys.readouterr().err
    assert "Net combines 2 classifiers" in said
    assert "Choose another." in said
    assert "fault of zoo" not in said


@pytest.mark.parametrize(
    ("variables", "way"),
    [
        ((), "without --offline"),
        (("ZOO_OFFLINE",), "unset ZOO_OFFLINE"),
        (("ZOO_OFFLINE", "HF_HUB_OFFLINE"), "unset ZOO_OFFLINE and HF_HUB_OFFLINE"),
    ],
)
def test_offline_mode_is_left_by_the_way_that_it_was_entered(
    call: Call, monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], way: str
) -> None:
    for name in variables:
        monkeypatch.setenv(name, "1")
    for name in ("resnet18", "hf://owner/repo"):
        said = call("fetch", name, *([] if variables else ["--offline"]))
        assert said.code == 4
        assert f"({way})" in said.err
