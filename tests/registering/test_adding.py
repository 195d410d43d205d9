"""A file becomes an entry: what it says is read, what it does not say is asked for, nothing is guessed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from support.hub import COMMIT, Hub
from support.loopback import Server

from zoo.backbones.models import load_model
from zoo.catalogue.entry import ImageModel, Weights, WordModel
from zoo.catalogue.registry import load_registry, read_registry_file
from zoo.errors import LicenseRefused, Offline, StorageError, UnsafeFile, UsageError, WeightsMismatch
from zoo.events import Event, Note
from zoo.registering.adding import _name_for, add_model
from zoo.registering.sources import Place
from zoo.store.store import Store

TINY = "timm/test_resnet.r160_in1k"
CONFIG: dict[str, Any] = {
    "architecture": "test_resnet",
    "num_classes": 2,
    "label_names": ["ants", "bees"],
    "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 0.95, "mean": [0.5] * 3, "std": [0.5] * 3},
}
SAID = {"classes": ["ants", "bees"], "license": "mit"}


@pytest.fixture(scope="module")
def body() -> bytes:
    """The weights of a tiny network for two classes."""
    torch.manual_seed(0)
    return save(timm.create_model("test_resnet", num_classes=2).state_dict())


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry file with an entry and remarks of its own."""
    path = tmp_path / "registry.yaml"
    path.write_text(
        "# ours\nmodels:\n  words:\n    family: glove  # the first\n    task: word-vectors\n"
        "    architecture: words/glove-text\n    weights: {url: w.txt, sha256: "
        + "ab" * 32
        + "}\n    input: {dimension: 50}\n    license: mit\n# the end\n"
    )
    return path


def test_a_local_file_like_a_known_model_is_registered_and_loads(
    body: bytes, store: Store, registry: Path, tmp_path: Path
) -> None:
    before = registry.read_bytes()
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "ants-0123456789.safetensors").write_bytes(body)
    like = load_registry().find(TINY)
    added = add_model(
        str(tmp_path / "nets" / "ants-0123456789.safetensors"), registry, store=store, like=like, facts=SAID
    )
    assert registry.read_bytes() == before + added.text.encode()
    entry = read_registry_file(registry)["ants"]
    assert isinstance(entry, ImageModel)
    assert isinstance(like, ImageModel)
    assert entry.weights.sha256 == hashlib.sha256(body).hexdigest()
    assert (entry.weights.bytes, entry.classes, entry.license) == (len(body), ("ants", "bees"), "mit")
    assert (entry.family, entry.architecture, entry.input) == (like.family, like.architecture, like.input)
    assert added.entry.weights.url == "nets/ants-0123456789.safetensors"
    network = load_model("ants", registry=load_registry([registry]), store=store)
    assert entry.parameters == sum(p.numel() for p in network.parameters())
    assert network(torch.zeros(1, 3, 160, 160)).shape == (1, 2)


def test_a_file_elsewhere_on_this_machine_is_named_in_full(
    body: bytes, store: Store, registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("else where") / "net.safetensors"
    path.write_bytes(body)
    add_model(path.as_uri(), registry, store=store, like=load_registry().find(TINY), facts=SAID)
    assert read_registry_file(registry)["net"].weights.url == path.as_uri()


def test_timm_s_config_beside_a_file_is_read(body: bytes, store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(body)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    registry = tmp_path / "new" / "registry.yaml"
    entry = add_model(str(tmp_path / "model.safetensors"), registry, store=store, name="ants").entry
    assert isinstance(entry, ImageModel)
    assert (entry.architecture, entry.classes) == ("timm/test_resnet", ("ants", "bees"))
    assert (entry.input.size, entry.input.resize, entry.input.mean) == (160, 168, (0.5, 0.5, 0.5))
    assert entry.license == "unknown"
    assert list(read_registry_file(registry)) == ["ants"]


def test_a_pickle_that_is_only_weights_is_read_and_one_that_is_more_is_refused(
    store: Store, registry: Path, tmp_path: Path
) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    torch.save(network.state_dict(), tmp_path / "good.pth")
    like = load_registry().find(TINY)
    assert add_model(
        str(tmp_path / "good.pth"), registry, store=store, like=like, facts=SAID
    ).entry.parameters

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    before = registry.read_bytes()
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeFile, match=r"evil is refused"):
        add_model(str(tmp_path / "evil.pth"), registry, store=store, like=like, facts=SAID)
    assert not (tmp_path / "ran").exists()
    assert registry.read_bytes() == before


@pytest.mark.parametrize("local", [True, False], ids=["file", "url"])
def test_other_weights_of_a_checkpoint_are_proved_and_loaded(
    server: Server, store: Store, registry: Path, tmp_path: Path, local: bool
) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    path = tmp_path / "net.pth"
    other = {f"{key}.of.another": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": network.state_dict(), "ema": {**other, "one more": torch.ones(1)}}, path)
    source = str(path) if local else server.add("/net.pth", path.read_bytes())
    like, member = load_registry().find(TINY), {"weights": {"member": "state_dict"}}
    with pytest.raises(WeightsMismatch):
        add_model(source, registry, store=store, name="net", like=like, facts=SAID)
    add_model(source, registry, store=store, name="net", like=like, facts=SAID | member)
    loaded = load_model("net", registry=load_registry([registry]), store=store)
    assert all(torch.equal(t, network.state_dict()[key]) for key, t in loaded.state_dict().items())


def test_weights_of_another_network_are_refused_and_nothing_is_written(
    body: bytes, store: Store, registry: Path, tmp_path: Path
) -> None:
    before = registry.read_bytes()
    (tmp_path / "net.safetensors").write_bytes(body)
    for like, facts in (("resnet18", SAID), (TINY, {"classes": 3})):
        with pytest.raises(WeightsMismatch):
            add_model(
                str(tmp_path / "net.safetensors"),
                registry,
                store=store,
                like=load_registry().find(like),
                facts=facts,
            )
    assert registry.read_bytes() == before


def test_everything_that_nobody_says_is_asked_for_at_once(
    body: bytes, store: Store, registry: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.safetensors").write_bytes(body)
    with pytest.raises(UsageError, match="task, architecture, family, input, classes") as caught:
        add_model(str(tmp_path / "net.safetensors"), registry, store=store)
    assert "--like MODEL" in str(caught.value.hint)
    facts = {
        "architecture": "timm/test_resnet",
        "classes": 2,
        "input": {"size": 160, "mean": [0, 0, 0], "std": [1, 1, 1]},
    }
    with pytest.raises(UsageError, match="architecture"):
        add_model(
            str(tmp_path / "net.safetensors"), registry, store=store, facts={"task": ["x"], "classes": 2}
        )
    with pytest.raises(UsageError, match=r"input\.resize: is missing"):
        add_model(str(tmp_path / "net.safetensors"), registry, store=store, facts=facts)


def test_the_notes_of_a_safetensors_file_are_read(store: Store, registry: Path, tmp_path: Path) -> None:
    weights = timm.create_model("test_resnet", num_classes=2).state_dict()
    notes = {
        "format": "pt",
        "architecture": "timm/test_resnet",
        "modelspec.license": "cc-by-4.0",
        "modelspec.description": "Ants and bees.",
    }
    (tmp_path / "noted.safetensors").write_bytes(save(weights, metadata=notes))
    (tmp_path / "other.safetensors").write_bytes(save(weights, metadata={"architecture": "stable-diffusion"}))
    facts = {"classes": 2, "input": {"size": 160, "resize": 168, "mean": [0, 0, 0], "std": [1, 1, 1]}}
    entry = add_model(str(tmp_path / "noted.safetensors"), registry, store=store, facts=facts).entry
    assert (entry.architecture, entry.license) == ("timm/test_resnet", "cc-by-4.0")
    assert entry.description == "Ants and bees."
    with pytest.raises(UsageError, match="architecture"):
        add_model(str(tmp_path / "other.safetensors"), registry, store=store, facts=facts)


@pytest.mark.parametrize("packed", [False, True], ids=["text", "gz"])
def test_word_vectors_are_told_by_their_bytes(
    packed: bool, data: Path, store: Store, registry: Path, tmp_path: Path
) -> None:
    text = (data / "words" / "glove.6B.50d.head.txt").read_bytes()
    path = tmp_path / ("glove.txt.gz" if packed else "glove.txt")
    path.write_bytes(gzip.compress(text) if packed else text)
    told: list[Event] = []
    add_model(str(path), registry, store=store, facts={"license": "pddl"}, report=told.append)
    entry = read_registry_file(registry)["glove"]
    assert isinstance(entry, WordModel)
    assert (entry.architecture, entry.input.dimension, entry.input.lowercase) == (
        "words/glove-text",
        50,
        True,
    )
    assert any("lower case" in event.message for event in told if isinstance(event, Note))
    vectors = load_model("glove", registry=load_registry([registry]), store=store)
    assert vectors.vector_size == 50


def test_a_header_of_word_vectors_is_believed_and_an_option_more(
    store: Store, registry: Path, tmp_path: Path
) -> None:
    (tmp_path / "w.vec").write_text("3 2\nParis 0.1 0.2\nRome 0.2 0.3\ncat 0.1 0.1\n")
    entry = add_model(str(tmp_path / "w.vec"), registry, store=store, facts={"family": "fasttext"}).entry
    assert isinstance(entry, WordModel)
    assert (entry.architecture, entry.words, entry.family) == ("words/word2vec-text", 3, "fasttext")
    assert entry.input.lowercase is False
    with pytest.raises(UsageError, match="does not match --like resnet18"):
        add_model(
            str(tmp_path / "w.vec"), registry, name="x", store=store, like=load_registry().find("resnet18")
        )


def test_a_url_is_fetched_hashed_and_then_here(
    body: bytes, server: Server, store: Store, registry: Path
) -> None:
    url = server.add("/nets/ants.safetensors", body)
    like = load_registry().find(TINY)
    entry = add_model(url, registry, store=store, like=like, facts=SAID).entry
    assert (entry.name, entry.weights.url) == ("ants", url)
    assert entry.weights.sha256 == hashlib.sha256(body).hexdigest()
    requests = len(server.log)
    assert store.fetch(read_registry_file(registry)["ants"]).sha256 == entry.weights.sha256
    assert len(server.log) == requests, "adding it has fetched it"


def test_a_file_of_the_hub_is_pinned_to_its_commit_with_what_the_hub_says(
    body: bytes, server: Server, store: Store, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    Hub(server).publish({"model.safetensors": body, "config.json": json.dumps(CONFIG).encode()})
    for number, source in enumerate(("hf://owner/net/model.safetensors", "hf://owner/net@v1.0")):
        entry = add_model(source, registry, store=store, name=f"net{number}").entry
        assert isinstance(entry, ImageModel)
        assert entry.weights == Weights(
            url=f"hf://owner/net@{COMMIT}/model.safetensors",
            sha256=hashlib.sha256(body).hexdigest(),
            bytes=len(body),
        )
        assert (entry.license, entry.classes, entry.input.size) == ("mit", ("ants", "bees"), 160)
        assert entry.source == "https://huggingface.co/owner/net"
    with pytest.raises(UsageError, match=r"has no other\.bin") as caught:
        add_model("hf://owner/net/other.bin", registry, store=store)
    assert "model.safetensors" in str(caught.value.hint)
    with pytest.raises(Offline):
        add_model("hf://owner/net", registry, store=Store(store.home, offline=True))


def test_a_licence_policy_judges_before_a_download(
    body: bytes, server: Server, store: Store, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "mit")
    with pytest.raises(LicenseRefused):
        add_model(server.add("/net.safetensors", body), registry, store=store)
    assert server.connections == 0


def test_a_name_that_is_taken_costs_no_download(server: Server, store: Store, registry: Path) -> None:
    with pytest.raises(UsageError, match="has an entry 'words' already"):
        add_model(f"{server.url}/words.txt", registry, store=store)
    assert server.connections == 0


def test_a_dry_run_writes_nothing(body: bytes, store: Store, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(body)
    registry = tmp_path / "registry.yaml"
    like = load_registry().find(TINY)
    added = add_model(
        str(tmp_path / "net.safetensors"), registry, store=store, like=like, facts=SAID, write=False
    )
    assert added.text.startswith("models:\n  net:\n")
    assert not registry.exists()


def test_two_entries_at_once_are_both_there(data: Path, store: Store, registry: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"w{number}.txt").write_text(f"a 0.1 0.{number}\nb 0.2 0.3\n")
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda number: add_model(str(tmp_path / f"w{number}.txt"), registry, store=store), range(6)
            )
        )
    assert set(read_registry_file(registry)) == {"words", *(f"w{number}" for number in range(6))}


def test_a_file_that_is_not_there_is_said_so(store: Store, registry: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is missing"):
        add_model(str(tmp_path / "no.pth"), registry, store=store)


@pytest.mark.parametrize(
    ("url", "file", "name"),
    [
        ("https://example.org/resnet18-f37072fd.pth", "resnet18-f37072fd.pth", "resnet18"),
        ("hf://owner/net@main/model.safetensors", "model.safetensors", "net"),
        ("hf://owner/net@main/best.safetensors", "best.safetensors", "best"),
        ("x", "wiki 2024 (new).vec.gz", "wiki-2024-new"),
        ("x", "...", "model"),
    ],
)
def test_a_name_is_made_of_the_file_s(url: str, file: str, name: str) -> None:
    assert _name_for(Place(Weights(url=url), file)) == name
