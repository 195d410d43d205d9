"""Folding batch norm changes the time a network takes, not what it says."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from zoo.features.fusion import fold_batch_norm


def settle(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with batch norm statistics that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(0, 0.2, generator=generator)
    return network.eval()


def images(size: int = 64, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


NETWORKS = {  # architecture -> batch norms that can be folded, of all
    "torchvision/resnet18": (20, 20),
    "torchvision/vgg11_bn": (8, 8),
    "torchvision/mobilenet_v2": (52, 52),
    "torchvision/densenet121": (59, 121),  # the others come before their convolution
    "timm/resnet18d": (22, 22),
    "timm/mobilenetv3_small_100": (34, 34),
    "timm/mobilenetv4_conv_small": (46, 46),
    "timm/tf_mobilenetv3_small_100": (34, 34),  # pads as TensorFlow does
    "timm/inception_v4": (149, 149),
    "timm/vit_tiny_patch16_224": (0, 0),
    "timm/resnetv2_50d_frn": (0, 0),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_folded_network_says_the_same(name: str) -> None:
    import timm
    from torchvision import models

    library, _, architecture = name.partition("/")
    torch.manual_seed(0)
    make = models.get_model if library == "torchvision" else timm.create_model
    network = settle(make(architecture))
    size = 224 if "vit" in name else 96
    expected = network(images(size))
    folded = copy.deepcopy(network)
    count, before = fold_batch_norm(folded, images(size))
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert (count, len(norms)) == NETWORKS[name]
    assert (folded(images(size)) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(before, expected)
    assert torch.equal(network(images(size)), expected)


class Shared(nn.Module):
    """One convolution and batch norm, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.norm(self.conv(x))))


class TwoReaders(nn.Module):
    """A convolution whose output goes to two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.one(y) + self.two(y)


class OwnStatistics(nn.Sequential):
    """Batch norm that normalises each batch by itself, in eval mode too."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))


class Standardised(nn.Sequential):
    """A convolution that does not use its weight as it is."""

    def __init__(self) -> None:
        from timm.layers import StdConv2d

        super().__init__(StdConv2d(3, 4, 1), nn.BatchNorm2d(4))


class Parametrised(nn.Sequential):
    """A convolution whose weight is computed from another tensor."""

    def __init__(self) -> None:
        super().__init__(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))


@pytest.mark.parametrize("kind", [Shared, TwoReaders, OwnStatistics, Standardised, Parametrised])
@torch.inference_mode()
def test_what_cannot_be_folded_is_left_alone(kind: type[nn.Module]) -> None:
    network = settle(kind())
    expected = network(images(8))
    assert fold_batch_norm(network, images(8)).folded == 0
    assert torch.equal(network(images(8)), expected)


@torch.inference_mode()
def test_no_hook_stays_behind() -> None:
    network = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    fold_batch_norm(network, images(8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
