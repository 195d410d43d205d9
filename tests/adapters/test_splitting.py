"""A network in two halves: together they are the network, or there are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import add_low_rank, attach_head, freeze, frozen_fingerprint, unfreeze, unfreeze_norms
from adapters.splitting import NotSplit, split_frozen

SIZE = 64


def torchvision_net(name: str) -> nn.Module:
    from torchvision import models

    network: nn.Module = getattr(models, name)(weights=None)
    return network


def timm_net(name: str, **options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    network: nn.Module = timm.create_model(name, **options)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": partial(torchvision_net, "resnet18"),
    "mobilenet_v2": partial(torchvision_net, "mobilenet_v2"),
    "densenet121": partial(torchvision_net, "densenet121"),
    "timm resnet18": partial(timm_net, "resnet18"),
    "timm vit": partial(timm_net, "vit_tiny_patch16_224", img_size=SIZE),
    "timm mobilenetv3": partial(timm_net, "mobilenetv3_small_050"),
}


def opened(network: nn.Module, stages: int = 1) -> nn.Module:
    """With a new head for three classes; that and the last stages learn."""
    freeze(network)
    attach_head(network, ["a", "b", "c"], seed=0)
    unfreeze(network, stages, freeze_norm=True)
    return network.train()


def images(count: int) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_halves_are_the_network(name: str) -> None:
    network = opened(NETWORKS[name]())
    before = frozen_fingerprint(network)
    example, generator = images(2), torch.get_rng_state()
    split = split_frozen(network, example)
    assert split is not None
    assert network.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert frozen_fingerprint(network) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    inputs = images(5)
    network.eval()
    split.after.eval()
    with torch.no_grad():
        assert torch.equal(split.after(split.before(inputs)), network(inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_the_networks_own_parameters_and_are_the_same(name: str) -> None:
    network = opened(NETWORKS[name]())
    split = split_frozen(network, images(2))
    assert split is not None
    inputs = images(4)
    network.eval()  # without the chance of dropout
    split.after.eval()
    learning = {n: p for n, p in network.named_parameters() if p.requires_grad}
    network(inputs).square().sum().backward()
    expected = {n: p.grad for n, p in learning.items()}
    network.zero_grad(set_to_none=True)
    split.after(split.before(inputs)).square().sum().backward()
    for name, parameter in learning.items():
        assert parameter.grad is not None
        assert expected[name] is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-6)


def test_what_learns_later_moves_the_second_half() -> None:
    network = opened(torchvision_net("mobilenet_v2"))
    split = split_frozen(network, images(2))
    assert split is not None
    inputs = images(3)
    with torch.no_grad():
        kept = split.before(inputs)
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        network.eval()
        split.after.eval()
        assert torch.equal(split.after(kept), network(inputs))


def test_the_first_half_has_no_layer_that_learns() -> None:
    network = opened(torchvision_net("resnet18"))
    split = split_frozen(network, images(2))
    assert split is not None
    own = {id(parameter) for parameter in split.before.parameters()}
    assert own
    assert not any(id(parameter) in own for parameter in network.parameters() if parameter.requires_grad)
    frozen = [p for n, p in network.named_parameters() if not p.requires_grad]
    assert own == {id(parameter) for parameter in frozen}


def test_dropout_and_batch_norms_of_the_second_half_follow_its_mode() -> None:
    network = torchvision_net("mobilenet_v2")
    freeze(network)
    attach_head(network, ["a", "b"], dropout=0.5, seed=0)
    unfreeze(network, 1)
    split = split_frozen(network.train(), images(2))
    assert split is not None
    norm = network.get_submodule("features.18.1")
    statistics = norm.running_mean.clone()
    inputs = images(4)
    kept = split.before(inputs)
    split.after.eval()
    assert torch.equal(split.after(kept), split.after(kept))
    assert torch.equal(norm.running_mean, statistics)
    split.after.train()
    assert not torch.equal(split.after(kept), split.after(kept))
    assert not torch.equal(norm.running_mean, statistics)


def norms_alone(network: nn.Module) -> nn.Module:
    freeze(network)
    attach_head(network, ["a", "b"])
    unfreeze_norms(network)
    return network


def with_low_rank(network: nn.Module) -> nn.Module:
    freeze(network)
    attach_head(network, ["a", "b"])
    add_low_rank(network, rank=2)
    return network


@pytest.mark.parametrize(
    "learns", [norms_alone, with_low_rank, partial(opened, stages=100), lambda network: network]
)
def test_there_are_no_halves_where_hardly_a_layer_is_frozen_before_one_that_learns(
    learns: Callable[[nn.Module], nn.Module],
) -> None:
    network = learns(torchvision_net("mobilenet_v2")).train()
    assert split_frozen(network, images(2)) is None


class Stages(nn.Module):
    """Three convolutions and a classifier; subclasses connect them in their own way."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.three = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Any:
        return self.fc(self.three(self.two(self.one(inputs))).mean((2, 3)))


class OverThePlace(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = self.one(inputs)
        return self.fc((self.three(self.two(early)) + early).mean((2, 3)))


class WritesIntoAnother(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = self.one(inputs)
        late = self.three(self.two(early))
        both = torch.zeros_like(late)
        both[:, :2], both[:, 2:] = late[:, :2], early[:, 2:]
        return self.fc(both.mean((2, 3)))


class AddsInPlace(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = self.one(inputs)
        late = self.three(self.two(early))
        late += early
        return self.fc(late.mean((2, 3)))


class BranchesOnValues(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = self.two(self.one(inputs))
        scale = 2.0 if early.mean() > 0 else 3.0
        return self.fc(self.three(early).mean((2, 3)) * scale)


class NeedsMoreWhenItTrains(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = self.one(inputs)
        late = self.fc(self.three(self.two(early)).mean((2, 3)))
        return (late, self.fc(early.mean((2, 3)))) if self.training else late


class PassesTuples(Stages):
    def forward(self, inputs: Tensor) -> Any:
        class Both(nn.Module):
            def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
                return pair[0] + pair[1]

        early = self.one(inputs)
        return self.fc(self.last((early, self.two(early))).mean((2, 3)))

    def __init__(self) -> None:
        super().__init__()

        class Last(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(4, 4, 3, padding=1)

            def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
                found: Tensor = self.conv(pair[0]) + pair[1]
                return found

        self.three = nn.Identity()  # type: ignore[assignment]
        self.last = Last()


class DropsOutByItself(Stages):
    def forward(self, inputs: Tensor) -> Any:
        early = nn.functional.dropout(self.two(self.one(inputs)), training=self.training)
        return self.fc(self.three(early).mean((2, 3)))


class LearnsInBetween(Stages):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Any:
        return self.fc(self.three(self.scale * self.two(self.one(inputs))).mean((2, 3)))


UNEVEN = [
    OverThePlace, WritesIntoAnother, AddsInPlace, BranchesOnValues, NeedsMoreWhenItTrains, PassesTuples,
    DropsOutByItself, LearnsInBetween,
]  # fmt: skip


def first_two_frozen(network: Stages) -> nn.Module:
    for part in (network.one, network.two):
        part.requires_grad_(False)
        part.train = lambda mode=True: None  # type: ignore[method-assign,assignment,misc]
        part.training = False
    return network.train()


def test_a_network_of_one_path_has_halves() -> None:
    assert split_frozen(first_two_frozen(Stages()), images(2)) is not None


@pytest.mark.parametrize("kind", UNEVEN)
def test_a_network_that_needs_more_than_was_kept_has_none(kind: type[Stages]) -> None:
    assert split_frozen(first_two_frozen(kind()), images(2)) is None


def test_a_network_that_goes_another_way_later_says_so() -> None:
    class Turns(Stages):
        turned = False

        def forward(self, inputs: Tensor) -> Any:
            early = self.one(inputs)
            late = self.three(self.two(early)).mean((2, 3))
            return self.fc(late + early.mean((2, 3)) if Turns.turned else late)

    split = split_frozen(first_two_frozen(Turns()), images(2))
    assert split is not None
    kept = split.before(images(2))
    Turns.turned = True
    with pytest.raises(NotSplit):
        split.after(kept)
