"""Grad-CAM: equal to captum's, on every kind of network, and only where the answer depends on the image."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from captum.attr import LayerGradCam
from PIL import Image
from scipy.stats import spearmanr
from support.kits import real_kit
from torch import nn

from adapters import attach_head, freeze, frozen_fingerprint
from zoo.answers.explaining.explainer import Wishes, explain_items
from zoo.answers.explaining.explanations import ImageExplanation
from zoo.answers.explaining.grad_cam import NoMap, grad_cam, last_maps
from zoo.answers.run import Run
from zoo.data.pixels.memory import as_image
from zoo.runs.classifier import load_classifier
from zoo.targets import Model, accept, find_target

LAYERS = {  # network -> (image size, the layer whose map is used, its places per side)
    "resnet18": (96, "layer4", 3),
    "mobilenet_v2": (96, "features.18", 3),
    "vgg11": (64, "avgpool", 7),
    "inception_v3": (107, "Mixed_7c", 2),
    "squeezenet1_1": (96, "features.12", 5),
    "swin_t": (96, "norm", 3),
    "test_vit.r160_in1k": (160, "blocks.4", 10),
    "test_convnext": (160, "stages.3", 5),
    "test_efficientnet": (160, "bn2", 5),
    "deit_tiny_distilled_patch16_224": (224, "blocks.10", 14),
}


def build(name: str) -> nn.Module:
    """A frozen network with random weights, and a head for three classes."""
    settings = {"init_weights": False} if name == "inception_v3" else {}
    if hasattr(torchvision.models, name):
        network: nn.Module = getattr(torchvision.models, name)(weights=None, **settings)
    else:
        network = timm.create_model(name.partition(".")[0])
    freeze(network)
    attach_head(network, 3, seed=0)
    return network


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_network_has_a_map_which_depends_on_the_class(name: str) -> None:
    size, layer, side = LAYERS[name]
    network, image = build(name), torch.randn(1, 3, size, size)
    maps = grad_cam(network, image, [0, 1])
    assert maps.shape == (2, side, side)
    assert maps.isfinite().all()
    assert (maps[0] - maps[1]).abs().max() > 1e-2 * maps.abs().max() > 0
    assert torch.equal(maps, grad_cam(network, image, [0, 1], layer=layer))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "inception_v3"])
def test_the_map_is_that_of_captum(name: str) -> None:
    size, layer, _ = LAYERS[name]
    network, image = build(name).eval(), torch.randn(1, 3, size, size)
    ours = grad_cam(network, image, [2])[0]
    network.requires_grad_(True)  # captum's own hooks need a graph
    theirs = LayerGradCam(network, network.get_submodule(layer)).attribute(image, target=2)
    assert torch.allclose(ours, theirs[0, 0].detach(), rtol=1e-4, atol=1e-7)


def test_the_map_is_what_one_computes_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        network[4].weight.copy_(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))
    image = torch.tensor([[1.0, -2.0], [0.0, 4.0]])[None, None]
    # channels: relu(x), relu(-x); each weighs its weight in the head over four places
    assert grad_cam(network, image, [0, 1], layer="1").tolist() == [
        [[0.75, 0.5], [0.0, 3.0]],
        [[0.0, 1.0], [0.0, 0.0]],
    ]


def test_a_frozen_network_is_left_as_it_was() -> None:
    network = build("mobilenet_v2").train()
    network.features[3].eval()
    modes = [module.training for module in network.modules()]
    before = frozen_fingerprint(network), copy.deepcopy(network.state_dict())
    grad_cam(network, torch.randn(1, 3, 96, 96), [0])
    assert frozen_fingerprint(network) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_of_a_vit_the_places_of_the_last_block_have_no_say() -> None:
    network = build("test_vit.r160_in1k").eval()
    assert last_maps(network, torch.randn(1, 3, 160, 160))[:2] == ["norm", "blocks.5"]
    with pytest.raises(NoMap):
        grad_cam(network, torch.randn(1, 3, 160, 160), [0], layer="blocks.5")


def test_a_network_without_places_has_no_map() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(NoMap):
        grad_cam(network, torch.randn(1, 3, 4, 4), [0])


def explained(run: Run, image: object, **options: object) -> ImageExplanation:
    (found,) = run.explain([image], nearest=0, device="cpu", **options)  # type: ignore[arg-type]
    assert isinstance(found, ImageExplanation)
    return found


def likeness(one: ImageExplanation, other: ImageExplanation) -> float:
    """The rank correlation of two maps."""
    assert one.grid is not None
    assert other.grid is not None
    return float(spearmanr(one.grid.ravel(), other.grid.ravel()).statistic)


def test_random_weights_and_another_label_change_the_map(insects: Run, data: Path) -> None:
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292: a map that stays explains nothing."""
    photo = data / "photos" / "dragonfly.bmp"
    plain = explained(insects, photo, labels=["bees"])
    assert likeness(plain, explained(insects, photo, labels=["bees"])) == pytest.approx(1)
    assert likeness(plain, explained(insects, photo, labels=["ants"])) < 0
    network = insects.classifier.network
    kept = copy.deepcopy(network.state_dict())
    try:
        for module in list(network.features[14:].modules()):  # type: ignore[index, union-attr]
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        assert abs(likeness(plain, explained(insects, photo, labels=["bees"]))) < 0.5
    finally:
        network.load_state_dict(kept)


@pytest.mark.parametrize("method", ["grad-cam", "occlusion"])
def test_the_map_follows_the_object(data: Path, insects: Run, method: str) -> None:
    kit = real_kit(data)
    target = accept(find_target(kit.net, registry=kit.registry, store=insects.store), "zoo explain")
    assert isinstance(target, Model)
    classifier = load_classifier(target, store=insects.store)
    with Image.open(data / "photos" / "parrot.jpg") as photo:
        parrot = photo.convert("RGB").resize((200, 200))
    centres = []
    for left in (50, 290):
        canvas = Image.new("RGB", (540, 500), (128, 128, 128))
        canvas.paste(parrot, (left, 150))
        (found,) = explain_items(
            classifier,
            [as_image(canvas, 1)],
            Wishes(("macaw",), method, device="cpu"),  # type: ignore[arg-type]
            store=insects.store,
        )
        assert isinstance(found, ImageExplanation)
        placed = found.on_photograph()
        assert placed.shape == (500, 540)
        centres.append(float((placed.sum(0) * range(540)).sum() / placed.sum()))
    assert centres[0] < 250 < 290 < centres[1]
