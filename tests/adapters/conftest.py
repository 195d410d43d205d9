"""Networks with random weights, each built once: of torchvision, of timm, and as people write them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# name -> side of the smallest picture that is worth it
SIZES = {
    "tv/resnet18": 64,
    "tv/googlenet": 64,
    "tv/inception_v3": 107,
    "tv/mobilenet_v2": 64,
    "tv/mobilenet_v3_small": 64,
    "tv/squeezenet1_1": 64,
    "tv/densenet121": 64,
    "tv/shufflenet_v2_x0_5": 64,
    "tv/mnasnet0_5": 64,
    "tv/efficientnet_b0": 64,
    "tv/convnext": 64,
    "tv/vit": 32,
    "tv/swin": 64,
    "timm/resnet18": 64,
    "timm/resnext26ts": 64,
    "timm/inception_v3": 107,
    "timm/mobilenetv1_100": 64,
    "timm/mobilenetv2_050": 64,
    "timm/mobilenetv3_small_050": 64,
    "timm/mobilenetv4_conv_small_050": 64,
    "timm/efficientnet_lite0": 64,
    "timm/convnextv2_atto": 64,
    "timm/dla46_c": 64,
    "timm/dpn48b": 64,
    "timm/resnetv2_18": 64,
    "timm/densenet121": 64,
    "timm/efficientvit_b0": 64,
    "timm/regnety_002": 64,
    "timm/test_vit": 160,
    "timm/test_vit3": 160,
    "timm/deit_tiny_distilled_patch16_224": 224,
    "timm/levit_128s": 224,
}

FEW = ("tv/resnet18", "tv/squeezenet1_1", "timm/mobilenetv2_050", "timm/test_vit")
"""The kinds of network that stand for all of them in `make quick`."""


@cache
def build(name: str) -> nn.Module:
    """The network of a name; never to be changed, for it is shared."""
    torch.manual_seed(0)
    model = construct(name)
    norms = [module for module in model.modules() if getattr(module, "running_mean", None) is not None]
    for norm in norms:
        norm.train().momentum = 1.0  # random weights: without statistics of their own, nothing gets through
    with torch.no_grad():
        model(torch.randn(4, 3, SIZES[name], SIZES[name]))
    for norm in norms:
        norm.eval().momentum = 0.1
    return model


def construct(name: str) -> nn.Module:
    """The network of a name, in eval mode."""
    library, _, architecture = name.partition("/")
    if library == "timm":
        import timm

        return timm.create_model(architecture, pretrained=False, num_classes=10).eval()
    import torchvision
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    if architecture == "vit":  # the published ones are large
        return torchvision.models.VisionTransformer(32, 8, 2, 2, 48, 96, num_classes=10).eval()
    if architecture == "swin":
        return torchvision.models.SwinTransformer(
            [4, 4], 24, [2, 2, 2], [2, 2, 4], [7, 7], num_classes=10
        ).eval()
    if architecture == "convnext":
        widths = ((16, 32), (32, 64), (64, 96), (96, None))
        return ConvNeXt([CNBlockConfig(*width, 2) for width in widths], num_classes=10).eval()
    kwargs = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(architecture, weights=None, num_classes=10, **kwargs).eval()


@pytest.fixture
def network() -> Callable[[str], nn.Module]:
    """A function that gives a network of one's own, in eval mode, with 10 classes and random weights."""
    return lambda name: copy.deepcopy(build(name))


@pytest.fixture(
    params=[name if name in FEW else pytest.param(name, marks=pytest.mark.thorough) for name in SIZES]
)
def example(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """Every network in turn, with two pictures for it."""
    generator = torch.Generator().manual_seed(1)
    size = SIZES[request.param]
    return copy.deepcopy(build(request.param)), torch.randn(2, 3, size, size, generator=generator)


class Plain(nn.Module):
    """A network as in PyTorch's MNIST example: functional pooling, softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(8 * 6 * 6, 16)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = self.dropout1(F.max_pool2d(self.norm(F.relu(self.conv2(x))), 2))
        x = self.dropout2(F.relu(self.fc1(x.flatten(1))))
        return F.log_softmax(self.fc2(x), dim=1)


@pytest.fixture
def plain() -> nn.Module:
    """A network of somebody's own, for (batch, 1, 16, 16)."""
    torch.manual_seed(0)
    return Plain()


def row() -> nn.Sequential:
    """A small convolutional network in a row, for (batch, 3, 16, 16)."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 10),
        nn.Softmax(dim=1),
    )


@pytest.fixture
def small() -> nn.Sequential:
    """The small network in a row, with random weights."""
    torch.manual_seed(0)
    return row()
