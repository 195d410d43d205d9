"""From a verified file to a network that names photographs, through the real store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import save_file

import zoo
from adapters import AdapterError, attach_head, find_classifier
from zoo.backbones.labels import class_names
from zoo.backbones.loading import draft_network, load_backbone
from zoo.catalogue.classifiers import fault_of_classifier
from zoo.catalogue.entry import ImageInput, ImageModel, Weights, draft_entry
from zoo.catalogue.registry import Registry, load_registry
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess
from zoo.errors import UsageError, WeightsMismatch
from zoo.events import Event, Note
from zoo.store.store import Store
from zoo.store.upkeep.verification import verify_store


def entry_of(file: Path, **changes: object) -> ImageModel:
    facts: dict[str, object] = {
        "name": "net",
        "family": "test",
        "task": "image-classification",
        "architecture": "torchvision/resnet18",
        "weights": Weights(url=file.as_uri(), sha256=hashlib.sha256(file.read_bytes()).hexdigest()),
        "input": ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3),
        "classes": "imagenet-1k",
        "license": "unknown",
    }
    return ImageModel(**facts | changes)  # type: ignore[arg-type]


def test_the_real_network_names_all_six_photographs(data: Path, home: Path) -> None:
    entry = load_registry([data / "registry.yaml"]).find("mobilenet_v2_demo")
    assert isinstance(entry, ImageModel)
    store = Store(home)
    events: list[Event] = []
    network = load_backbone(store.fetch(entry), store, report=events.append)
    assert network.zoo_entry == entry
    assert Note("mobilenet_v2_demo: all 314 tensors loaded", level="detail") in events
    names = class_names(entry)
    said = {}
    with torch.inference_mode():
        for photo in sorted((data / "photos").iterdir()):
            image = preprocess(read_image(photo), entry.input)
            said[photo.stem] = names[int(network(image[None]).argmax())]
    assert sorted(said.values()) == ["Egyptian cat", "chickadee", "dragonfly", "hotdog", "macaw", "packet"]


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_network_is_the_same_whichever_way_its_weights_are_kept(
    suffix: str, home: Path, tmp_path: Path
) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18().eval()
    file = tmp_path / f"net.{suffix}"
    save = torch.save if suffix == "pth" else save_file
    save(theirs.state_dict(), file)
    store = Store(home)
    local = store.fetch(entry_of(file))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(load_backbone(local, store)(images), expected)
        again = Store(home, offline=True).find(entry_of(file))
        assert again is not None
        assert torch.equal(load_backbone(again, store)(images), expected)


def test_training_a_network_leaves_the_stored_weights_as_they_are(home: Path, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    save_file(resnet18().state_dict(), tmp_path / "net.safetensors")
    store = Store(home)
    local = store.fetch(entry_of(tmp_path / "net.safetensors"))
    network = load_backbone(local, store).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    fresh = load_backbone(local, store)
    assert not torch.equal(network.conv1.weight, fresh.conv1.weight)
    assert not torch.equal(network.bn1.running_mean, fresh.bn1.running_mean)
    assert [verdict.state for verdict in verify_store(store)] == ["whole"]


@pytest.mark.fault("S8")
def test_a_verified_file_of_another_architecture_is_refused(home: Path, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    save_file(resnet18().state_dict(), tmp_path / "net.safetensors")
    store = Store(home)
    local = store.fetch(entry_of(tmp_path / "net.safetensors", architecture="torchvision/mobilenet_v2"))
    with pytest.raises(WeightsMismatch, match="not of torchvision/mobilenet_v2"):
        load_backbone(local, store)


def test_word_vectors_are_no_network_for_images(data: Path, home: Path) -> None:
    store = Store(home)
    local = store.fetch(load_registry([data / "registry.yaml"]).find("glove_demo"))
    with pytest.raises(UsageError, match="word-vectors"):
        load_backbone(local, store)


@pytest.mark.slow
def test_every_curated_architecture_is_drafted_without_memory_and_with_its_classes() -> None:
    """A draft on the meta device is what makes loading fast; its classifier is what the weights must fill."""
    entries = {
        e.architecture.partition(".")[0]: e for e in load_registry().curated() if isinstance(e, ImageModel)
    }
    assert len(entries) > 40
    for entry in entries.values():
        network = draft_network(entry, {})
        assert all(parameter.is_meta for parameter in network.parameters()), entry.name
        assert find_classifier(network)[1].weight.shape[0] == len(class_names(entry)), entry.name


@pytest.mark.thorough
def test_other_weights_of_a_checkpoint_are_loaded_by_their_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=2)
    average = {key: torch.ones_like(tensor) for key, tensor in network.state_dict().items()}
    torch.save({"model": network.state_dict(), "ema": {"module": average}}, tmp_path / "net.pth")
    registry = Registry({"net": entry_of(tmp_path / "net.pth", classes=2)})
    store = Store(home)

    def load(**options: str) -> torch.nn.Module:
        return zoo.load_model("net", registry=registry, store=store, **options)

    assert (load().conv1.weight == 1).all(), "the running average, as timm takes it"
    assert torch.equal(load(member="model").conv1.weight, network.conv1.weight)
    assert (load(member="ema.module").conv1.weight == 1).all()
    with pytest.raises(UsageError, match="no weights called 'teacher'"):
        load(member="teacher")


def test_exactly_the_networks_that_are_named_combine_classifiers() -> None:
    import timm

    families = sorted(name for name in timm.list_models() if name.startswith(("crossvit", "efficientvim")))
    for name in [*families[::6], "deit_tiny_distilled_patch16_224", "levit_128s", "resnet18"]:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=3)
        entry = draft_entry(name, Weights(url="https://x.org/net"), "mit")
        fault = fault_of_classifier(replace(entry, architecture=f"timm/{name}"))
        if fault is None:
            assert attach_head(network, 3).classes == 3
        else:
            with pytest.raises(AdapterError, match="different features"):
                attach_head(network, 3)
    assert fault is None, "resnet18 is the last"
