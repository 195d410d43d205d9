"""The Hub: what it says about a file and a repository, against a server that speaks its API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub import COMMIT, CONFIG, Hub
from support.loopback import (
    BODY,
    SHA256,
    Connection,
    Handler,
    Server,
    answer,
    cut,
    serve,
    stall,
    unproven,
    without_length,
)

from zoo.catalogue.entry import ImageModel
from zoo.catalogue.schemes import parse_hub_url
from zoo.cli.main import main
from zoo.errors import DownloadFailed, HashMismatch, Offline, UsageError
from zoo.events import Event, Note
from zoo.store.store import Store
from zoo.targets import HubModel, describe_target


def find_model(name: str, store: Store) -> ImageModel:
    """The entry of a repository."""
    entry = describe_target(HubModel(name), store)
    assert isinstance(entry, ImageModel)
    return entry


def use(place: str, store: Store) -> None:
    """What needs a place of the Hub: the fetch of a file, or of the facts of a repository."""
    if "/resolve/main/" in place:
        assert store.fetch(unproven("hf://owner/net/model.safetensors")).sha256 == SHA256
    else:
        assert find_model("hf://owner/net", store=store).classes == ("ant", "bee", "cat")


def tries_at(place: str, hub: Hub) -> int:
    """How often a place of the Hub was asked."""
    return sum(request.path.partition("?")[0] == place for request in hub.server.log)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub = Hub(server)
    hub.publish({"model.safetensors": BODY, "config.json": json.dumps(CONFIG).encode()})
    yield hub
    server.close()


def test_a_file_is_fetched_at_its_commit_and_held_against_the_hash_that_the_hub_states(
    hub: Hub, store: Store
) -> None:
    entry = unproven("hf://owner/net/model.safetensors")
    assert store.fetch(entry).sha256 == SHA256
    assert any(COMMIT in request.path for request in hub.server.log)
    requests = len(hub.server.log)
    assert store.fetch(entry).sha256 == SHA256
    assert len(hub.server.log) == requests


def test_other_bytes_than_the_hub_states_are_refused(hub: Hub, store: Store) -> None:
    hub.server.files["/cdn/model.safetensors"] = BODY[::-1]
    with pytest.raises(HashMismatch, match="the Hub") as raised:
        store.fetch(unproven("hf://owner/net/model.safetensors"))
    assert SHA256 in raised.value.message


def test_a_hash_that_the_registry_states_otherwise_is_told_before_a_download(hub: Hub, store: Store) -> None:
    with pytest.raises(HashMismatch, match="the Hub has another file now"):
        store.fetch(unproven("hf://owner/net/model.safetensors", sha256="0" * 64))
    assert not [request for request in hub.server.log if request.path.startswith("/cdn")]


def test_a_cut_download_from_the_hub_is_resumed(hub: Hub, store: Store) -> None:
    hub.server.plans["/cdn/model.safetensors"] = [cut(0.5), serve]
    store.fetch(unproven("hf://owner/net/model.safetensors"))
    assert hub.server.offsets("/cdn/model.safetensors") == [0, len(BODY) // 2]


@pytest.mark.fault("D13")
def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: Hub, store: Store) -> None:
    store.fetch(unproven("hf://owner/net/model.safetensors"))
    to_hub = [r for r in hub.server.log if "/owner/net/resolve/" in r.path]
    to_cdn = [r for r in hub.server.log if r.path.startswith("/cdn")]
    assert {request.headers.get("authorization") for request in to_hub} == {"Bearer hf_secret"}
    assert {request.headers.get("authorization") for request in to_cdn} == {None}
    assert {request.headers["host"].split(":")[0] for request in to_cdn} == {"localhost"}


def test_what_was_fetched_first_is_fetched_again_after_the_branch_moved(hub: Hub, store: Store) -> None:
    entry = unproven("hf://owner/net/model.safetensors")
    store.fetch(entry).path.unlink()
    moved = answer(302, Location=f"{hub.cdn}/cdn/new", X_Repo_Commit="f" * 40, X_Linked_Size=3)
    hub.server.plans["/owner/net/resolve/main/model.safetensors"] = [moved]
    assert store.fetch(entry).sha256 == SHA256


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("RepoNotFound", 401, "no such repository, or a private one"),
        ("GatedRepo", 403, "is gated"),
        ("EntryNotFound", 404, "no such file"),
        ("RevisionNotFound", 404, "no such revision"),
        ("", 503, "answers 503"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(
    hub: Hub, store: Store, code: str, status: int, says: str
) -> None:
    hub.server.plans["/owner/net/resolve/main/model.safetensors"] = [answer(status, X_Error_Code=code)]
    with pytest.raises(DownloadFailed, match=says) as raised:
        store.fetch(unproven("hf://owner/net/model.safetensors"))
    assert raised.value.hint
    assert "hf_secret" not in str(raised.value)


PLACES = [
    "/owner/net/resolve/main/model.safetensors",
    "/api/models/owner/net",
    f"/owner/net/resolve/{COMMIT}/config.json",
]


@pytest.mark.fault("D12")
@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("place", PLACES)
def test_the_hub_is_asked_again_after_a_temporary_error(
    hub: Hub, store: Store, place: str, status: int
) -> None:
    hub.server.plans[place] = [answer(status), *(hub.server.plans[place] or [serve])]
    use(place, store)
    assert tries_at(place, hub) == 2


@pytest.mark.thorough
@pytest.mark.fault("D12")
@pytest.mark.parametrize("headers", [{"Retry_After": "1"}, {"RateLimit": '"api";r=0;t=1'}])
def test_the_hub_is_given_the_time_that_it_asks_for(hub: Hub, store: Store, headers: dict[str, str]) -> None:
    hub.server.plans[PLACES[0]].insert(0, answer(429, **headers))
    started, told = time.monotonic(), list[Event]()
    store.fetch(unproven("hf://owner/net/model.safetensors"), report=told.append)
    assert time.monotonic() - started >= 1.0
    assert "next try in 1 s" in next(event.message for event in told if isinstance(event, Note))


@pytest.mark.fault("D12")
@pytest.mark.parametrize("place", PLACES)
def test_a_day_is_not_waited_for_at_the_hub(hub: Hub, store: Store, place: str) -> None:
    hub.server.plans[place] = [answer(429, Retry_After="86400")]
    with pytest.raises(DownloadFailed, match="asks to wait 86400 s") as raised:
        use(place, store)
    assert "after 2" in str(raised.value.hint)
    assert tries_at(place, hub) == 1


@pytest.mark.fault("D12")
@pytest.mark.parametrize("place", PLACES)
def test_a_hub_that_stays_busy_is_given_up_after_as_many_tries_as_a_server(
    hub: Hub, store: Store, place: str
) -> None:
    hub.server.plans[place] = [answer(503, X_Error_Message="Down for an hour.")]
    with pytest.raises(DownloadFailed, match=r"answers 503 \(Down for an hour\); given up after 4 tries"):
        use(place, store)
    assert tries_at(place, hub) == store.settings.fruitless


def test_a_config_that_is_cut_is_asked_for_again(hub: Hub, store: Store) -> None:
    hub.server.plans["/cdn/config.json"] = [cut(0.5), without_length(0.5), serve]
    assert find_model("hf://owner/net", store=store).architecture == "timm/resnet18"


@pytest.mark.parametrize("fault", [cut(0.5), without_length(0.5)])
def test_a_config_that_is_always_cut_is_a_fault_of_the_network(
    hub: Hub, store: Store, fault: Handler
) -> None:
    hub.server.plans["/cdn/config.json"] = [fault]
    with pytest.raises(DownloadFailed, match=r"config.json was cut after \d+ of \d+ bytes; given up"):
        find_model("hf://owner/net", store=store)


@pytest.mark.parametrize("place", ["/cdn/config.json", "/api/models/owner/net"])
def test_a_web_page_in_place_of_facts_is_named(hub: Hub, store: Store, place: str) -> None:
    hub.server.plans[place] = [answer(200, b"<!doctype html><p>Please sign in to this network" * 20)]
    with pytest.raises(DownloadFailed, match=r"web page|not JSON") as raised:
        find_model("hf://owner/net", store=store)
    assert "sign-in" in str(raised.value.hint)


def test_the_words_of_the_hub_are_passed_on(hub: Hub, store: Store) -> None:
    reason = "Access to model owner/net is restricted. You must be in the authorized list."
    refused = answer(403, X_Error_Code="GatedRepo", X_Error_Message=reason)
    hub.server.plans[PLACES[0]] = [refused]
    with pytest.raises(DownloadFailed, match="must be in the authorized list"):
        store.fetch(unproven("hf://owner/net/model.safetensors"))
    at_commit = f"/owner/net/resolve/{COMMIT}/model.safetensors"
    hub.server.plans[at_commit] = [refused]
    with pytest.raises(DownloadFailed, match="must be in the authorized list"):
        store.fetch(unproven(f"hf://owner/net@{COMMIT}/model.safetensors", sha256=SHA256))


def test_no_token_is_sent_where_the_user_forbids_implicit_ones(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    store.fetch(find_model("hf://owner/net", store=store))
    store.fetch(unproven("hf://owner/net/model.safetensors"))
    assert {request.headers.get("authorization") for request in hub.server.log} == {None}
    hub.server.plans[PLACES[0]] = [answer(401, X_Error_Code="RepoNotFound")]
    with pytest.raises(DownloadFailed) as raised:
        Store(tmp_path / "other").fetch(unproven("hf://owner/net/model.safetensors"))
    assert "unset it" in str(raised.value.hint)


def test_a_file_with_an_at_sign_in_its_name_is_fetched(hub: Hub, store: Store) -> None:
    hub.publish({"a@2x.bin": BODY})
    hub.server.plans["/owner/net/resolve/main/a%402x.bin"] = hub.server.plans[
        "/owner/net/resolve/main/a@2x.bin"
    ]
    commit = f"/owner/net/resolve/{COMMIT}/"
    hub.server.plans[f"{commit}a%402x.bin"] = hub.server.plans[f"{commit}a@2x.bin"]
    assert store.fetch(unproven("hf://owner/net/a@2x.bin")).sha256 == SHA256


def test_a_hub_that_cannot_be_reached_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        store.fetch(unproven("hf://owner/net/model.safetensors"))


@pytest.mark.parametrize(
    "url", ["hf://net", "hf://owner/net/../x", "hf://owner/net@", "hf:///x", "hf://owner/net@v1 2/x"]
)
def test_a_url_that_names_nothing_on_the_hub_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="names nothing on the Hub"):
        parse_hub_url(url)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("hf://a/b", ("a/b", None, None)),
        ("hf://a/b@v1.0", ("a/b", "v1.0", None)),
        ("hf://a/b/c@2x.bin", ("a/b", None, "c@2x.bin")),
        ("hf://a/b@v1/c/d@e.bin", ("a/b", "v1", "c/d@e.bin")),
        ("hf://a/b/c/d.bin", ("a/b", None, "c/d.bin")),
        ("hf://a/b@refs/d.bin", ("a/b", "refs", "d.bin")),
        (
            "hf://timm/resnet18.a1_in1k@main/model.safetensors",
            ("timm/resnet18.a1_in1k", "main", "model.safetensors"),
        ),
    ],
)
def test_the_parts_of_a_hub_url(url: str, parts: tuple[str, str | None, str | None]) -> None:
    found = parse_hub_url(url)
    assert (found.repo, found.revision, found.file) == parts


def test_a_repository_of_a_timm_model_becomes_an_entry(hub: Hub, store: Store) -> None:
    entry = find_model("hf://owner/net", store=store)
    assert entry.name == "hf://owner/net"
    assert entry.architecture == "timm/resnet18"
    assert entry.classes == ("ant", "bee", "cat")
    assert entry.weights.url == f"hf://owner/net@{COMMIT}/model.safetensors"
    assert (entry.weights.sha256, entry.weights.bytes) == (SHA256, len(BODY))
    assert (entry.license, entry.parameters, entry.features) == ("mit", 11689512, 512)
    picture = entry.input
    assert (picture.size, picture.resize, picture.interpolation) == (288, 303, "bicubic")
    assert (picture.mean, picture.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert store.fetch(entry).sha256 == SHA256


def test_a_mirror_stands_in_for_a_hub_where_the_entry_states_commit_and_hash(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Server()
    mirror.add(f"/owner/net/resolve/{COMMIT}/model.safetensors", BODY)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("ZOO_MIRROR", f"https://hub.invalid/={mirror.url}/")
    entry = unproven(f"hf://owner/net@{COMMIT}/model.safetensors", sha256=SHA256)
    assert store.fetch(entry).path.read_bytes() == BODY
    assert "authorization" not in mirror.log[0].headers
    mirror.close()


@pytest.mark.thorough
@pytest.mark.fault("D4")
def test_a_hub_that_says_nothing_is_given_up(hub: Hub, store: Store) -> None:
    for path in ("/api/models/owner/net", "/owner/net/resolve/main/model.safetensors"):
        hub.server.plans[path] = [stall(0)] * 9
    with pytest.raises(DownloadFailed, match="the Hub cannot be reached"):
        find_model("hf://owner/net", store=store)


def test_a_token_that_no_header_can_carry_is_named(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ü€")
    for act in (
        lambda: find_model("hf://owner/net", store=store),
        lambda: store.fetch(unproven("hf://owner/net/model.safetensors")),
    ):
        with pytest.raises(UsageError, match="HF_TOKEN has characters that a token cannot have"):
            act()


def test_a_locked_repository_is_fetched_at_its_commit_after_the_branch_moved(
    hub: Hub,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def zoo(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([*arguments])
        assert not left.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    lock = tmp_path / "zoo.lock"
    lock.write_text(zoo("lock", "hf://owner/net"))
    assert SHA256[:16] in zoo("fetch", "--locked", str(lock), "--offline")
    for path in ("/api/models/owner/net", "/api/models/owner/net/revision/main"):
        hub.server.files[path] = hub.server.files[path].replace(COMMIT.encode(), b"f" * 40)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    assert SHA256[:16] in zoo("fetch", "--locked", str(lock))
    assert SHA256[:16] in zoo("fetch", "hf://owner/net", "--locked", str(lock))


def test_the_hub_is_asked_once_about_a_repository_until_it_is_removed(hub: Hub, store: Store) -> None:
    entry = find_model("hf://owner/net@v1.0", store=store)
    store.fetch(entry)
    requests = len(hub.server.log)
    assert find_model("hf://owner/net@v1.0", store=Store(store.home, offline=True)) == entry
    assert len(hub.server.log) == requests
    store.remove(entry)
    find_model("hf://owner/net@v1.0", store=store)
    assert len(hub.server.log) > requests


def test_imagenet_labels_are_taken_where_the_repository_names_the_data_set(hub: Hub, store: Store) -> None:
    config = {"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {}}
    files = {"model.safetensors": BODY, "config.json": json.dumps(config).encode()}
    hub.publish(files, tags=("dataset:imagenet-1k",))
    assert find_model("hf://owner/net", store=store).classes == "imagenet-1k"
    hub.publish(files)
    assert find_model("hf://owner/net@main", store=store).classes == 1000


def test_a_model_without_classes_gives_features(hub: Hub, store: Store) -> None:
    config = {"architecture": "vit_base_patch16_224", "num_classes": 0, "pretrained_cfg": {}}
    hub.publish({"model.safetensors": BODY, "config.json": json.dumps(config).encode()})
    entry = find_model("hf://owner/net", store=store)
    assert (entry.task, entry.classes) == ("image-features", None)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "no config.json"),
        ({"model_type": "bert"}, "bert model of transformers"),
        ([1], "has an invalid config"),
        ({"architecture": None}, "for timm, not an image model of timm"),
        ({"architecture": 7}, "has an invalid config"),
        ({"architecture": "../x"}, "has an invalid config"),
        ({"architecture": "x", "num_classes": "many"}, "has an invalid config"),
        ({"architecture": "x", "pretrained_cfg": [1]}, "has an invalid config"),
        ({"architecture": "x", "pretrained_cfg": {"input_size": 7}}, "has an invalid config"),
        ({"architecture": "x", "pretrained_cfg": {"input_size": [3, 1, 2]}}, "only square"),
        ({"architecture": "x", "pretrained_cfg": {"crop_pct": 0}}, "has an invalid config"),
        ({"architecture": "x", "pretrained_cfg": {"mean": [0.5, 0.5]}}, "has an invalid config"),
    ],
)
def test_a_repository_of_anything_else_is_refused_with_the_reason(
    hub: Hub, store: Store, config: object, says: str
) -> None:
    files = {} if config is None else {"config.json": json.dumps(config).encode()}
    hub.publish({"model.safetensors": BODY, **files})
    with pytest.raises(UsageError, match=says):
        find_model("hf://owner/net", store=store)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": b"[" * 100_000, "model.safetensors": b"x"}, "not valid JSON|invalid config"),
        ({"config.json": b"not json", "model.safetensors": b"x"}, "not valid JSON"),
        ({"config.json": json.dumps(CONFIG).encode(), "x.onnx": b"x"}, "has none of"),
    ],
)
def test_broken_and_incomplete_repositories_are_refused(
    hub: Hub, store: Store, files: dict[str, bytes], says: str
) -> None:
    hub.publish(files)
    with pytest.raises(UsageError, match=says):
        find_model("hf://owner/net", store=store)


@pytest.mark.fault("D21")
def test_offline_a_repository_that_was_never_asked_about_says_so(hub: Hub, home: object) -> None:
    with pytest.raises(Offline, match="offline mode is on"):
        find_model("hf://owner/net", store=Store(home, offline=True))  # type: ignore[arg-type]
    assert hub.server.connections == 0


def test_a_body_that_is_too_large_for_a_config_is_not_read(hub: Hub, store: Store) -> None:
    def endless(connection: Connection) -> None:
        connection.head(200)
        for _ in range(10_000):
            connection.send(b"x" * 100_000)

    hub.server.plans["/cdn/config.json"] = [endless]
    with pytest.raises(UsageError, match="larger than"):
        find_model("hf://owner/net", store=store)
