"""A low-rank part learns while its weight stays; adding and merging it change no answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from adapters import (
    AdapterError,
    UnknownName,
    add_low_rank,
    attach_head,
    count_parameters,
    freeze,
    frozen_fingerprint,
    frozen_guard,
    load_low_rank,
    low_rank_state,
    merge_low_rank,
    parameter_groups,
    remove_low_rank,
    stages,
    unfreeze,
)

Network = Callable[[str], nn.Module]
THREE = ("tv/resnet18", "tv/mobilenet_v2", "timm/test_vit")
SIZES = {"tv/resnet18": 64, "tv/mobilenet_v2": 64, "timm/test_vit": 160}


def images(name: str) -> Tensor:
    return torch.randn(2, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def answers(model: nn.Module, batch: Tensor) -> Tensor:
    found: Tensor = model.eval()(batch)
    return found


def train(model: nn.Module, batch: Tensor, steps: int = 3) -> None:
    """A few steps on noise, as a training loop does them."""
    optimizer = torch.optim.SGD(parameter_groups(model, lr=0.05, weight_decay=0.01), momentum=0.9)
    for _ in range(steps):
        F.cross_entropy(model.train()(batch), torch.arange(len(batch))).backward()
        optimizer.step()
        optimizer.zero_grad()


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", THREE)
def test_a_step_moves_the_low_rank_parts_and_nothing_else(network: Network, name: str) -> None:
    model, batch = network(name), images(name)
    freeze(model)
    ranks = add_low_rank(model, rank=4, seed=0)
    assert len(ranks) > 5
    assert learning(model) == {
        f"{layer}.parametrizations.weight.0.{tensor}" for layer in ranks for tensor in ("down", "up")
    }
    before = state_of(model)
    with frozen_guard(model):
        train(model, batch)
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key for key in learning(model) if key.endswith("up")} <= moved <= learning(model)


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_neither_adding_nor_merging_changes_an_answer(
    network: Network, name: str, memory_format: torch.memory_format
) -> None:
    model, batch = network(name).to(memory_format=memory_format), images(name)
    freeze(model)
    classes, expected = [type(module) for module in model.modules()], answers(model, batch)
    keys, frozen = list(model.state_dict()), frozen_fingerprint(model)
    ranks = add_low_rank(model, rank=4, alpha=12, seed=0)
    assert torch.equal(answers(model, batch), expected)
    train(model, batch)
    trained = answers(model, batch)
    assert not torch.allclose(trained, expected)
    assert merge_low_rank(model) == list(ranks)
    assert torch.equal(answers(model, batch), trained)
    assert [type(module) for module in model.modules()] == classes
    assert list(model.state_dict()) == keys
    assert frozen_fingerprint(model).keys() == frozen.keys()
    assert merge_low_rank(model) == []


@pytest.mark.parametrize("name", THREE)
def test_taken_off_the_network_is_what_it_was(network: Network, name: str) -> None:
    model = network(name)
    freeze(model, until=2)
    before, modes = state_of(model), [module.training for module in model.train().modules()]
    kept = learning(model)
    ranks = add_low_rank(model, rank=4)
    train(model, images(name))
    frozen = [layer for layer in ranks if f"{layer}.weight" not in kept]
    assert remove_low_rank(model) == list(ranks)
    assert learning(model) == kept
    assert [module.training for module in model.train().modules()] == modes
    assert all(
        torch.equal(model.state_dict()[f"{layer}.weight"], before[f"{layer}.weight"]) for layer in frozen
    )
    unfreeze(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_stages_of_a_network_are_the_same_with_low_rank_parts(example: tuple[nn.Module, Tensor]) -> None:
    model, _ = example
    names = [stage.name for stage in stages(model)]
    add_low_rank(model, rank=2)
    assert [stage.name for stage in stages(model)] == names
    head = attach_head(model, 3)
    assert head.classes == 3


def test_twice_is_as_once(network: Network) -> None:
    model = network("tv/resnet18")
    first = add_low_rank(model, rank=4)
    state = state_of(model)
    assert add_low_rank(model, rank=4) == first
    assert equal(model.state_dict(), state)


def test_freezing_spares_low_rank_parts_before_and_after(network: Network) -> None:
    one, other = network("tv/resnet18"), network("tv/resnet18")
    freeze(one)
    add_low_rank(one)
    add_low_rank(other)
    freeze(other)
    assert learning(one) == learning(other)
    assert [m.training for m in one.train().modules()] == [m.training for m in other.train().modules()]
    merge_low_rank(one)
    merge_low_rank(other)
    assert learning(one) == learning(other) == set()
    assert not any(module.training for module in (*one.train().modules(), *other.train().modules()))


def test_a_head_learns_whole_and_has_no_low_rank_part(network: Network) -> None:
    model = network("tv/mobilenet_v2")
    freeze(model)
    attach_head(model, 3)
    ranks = add_low_rank(model, rank=16)
    assert not any(name.startswith("classifier") for name in ranks)
    assert any(name.startswith("classifier") for name in learning(model))
    assert ranks["features.1.conv.0.0"] == 9  # depthwise 3 × 3: 32 rows of 9
    assert ranks["features.18.0"] == 16
    assert count_parameters(model).trainable < 0.6 * count_parameters(model).frozen


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4),
        nn.Conv1d(6, 4, 3),
        nn.Conv2d(6, 6, 3, groups=6, bias=False),
        nn.Conv2d(6, 4, 3, groups=2),
        nn.Conv3d(6, 4, 3),
        nn.ConvTranspose2d(6, 4, 3),
        nn.Linear(6, 4, dtype=torch.bfloat16),
    ],
    ids=lambda layer: f"{type(layer).__name__} {getattr(layer, 'groups', '')}",
)
def test_every_kind_of_layer_gets_a_correction_of_its_rank(layer: nn.Module) -> None:
    before = layer.weight.detach().clone()
    holder = nn.ModuleDict({"layer": layer})
    assert add_low_rank(holder, rank=2, alpha=3, seed=0) == {"layer": 2}
    assert torch.equal(layer.weight, before)
    part = layer.parametrizations.weight[0]
    nn.init.ones_(part.up)
    merge_low_rank(holder)
    change = (layer.weight - before).flatten(1)
    assert (
        torch.linalg.matrix_rank(change.double(), rtol=1e-2 if layer.weight.dtype is torch.bfloat16 else 1e-4)
        <= 2
    )
    assert change.abs().max() > 0
    assert layer.weight.dtype is before.dtype


@pytest.mark.parametrize(
    ("where", "layers"),
    [
        ("layer4.1.conv2", ["layer4.1.conv2"]),
        ("layer4.1", ["layer4.1.conv1", "layer4.1.conv2"]),
        ("stem", ["conv1"]),
        ("downsample.0", ["layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"]),
        (["conv1", "fc"], ["conv1", "fc"]),
        (lambda name, layer: isinstance(layer, nn.Linear), ["fc"]),
    ],
)
def test_layers_are_chosen_by_name_or_by_a_function(network: Network, where: Any, layers: list[str]) -> None:
    assert list(add_low_rank(network("tv/resnet18"), rank=2, where=where)) == layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank 0"),
        ({"rank": -1}, "rank -1"),
        ({"rank": 2.5}, r"rank 2\.5"),
        ({"rank": True}, "rank True"),
        ({"alpha": 0}, "alpha 0"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"where": "layer7"}, "no layer 'layer7'"),
        ({"where": ""}, "no layer ''"),
        ({"where": []}, "no layer of ResNet was chosen, of 21 linear layers and convolutions"),
        ({"where": lambda *_: False}, "no layer of ResNet was chosen"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    network: Network, options: dict[str, Any], message: str
) -> None:
    model = network("tv/resnet18")
    before = state_of(model)
    with pytest.raises(AdapterError, match=message) as caught:
        add_low_rank(model, **options)
    assert caught.value.hint
    assert equal(model.state_dict(), before)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(AdapterError, match="of 0 linear layers"):
        add_low_rank(nn.Sequential(nn.ReLU()))


def test_a_layer_that_is_parametrized_otherwise_is_named(small: nn.Sequential) -> None:
    parametrizations.weight_norm(small[4])
    before = state_of(small)
    with pytest.raises(AdapterError, match="4 is parametrized already, by _WeightNorm"):
        add_low_rank(small)
    assert equal(small.state_dict(), before)
    assert list(add_low_rank(small, where=["0", "10"])) == ["0", "10"]


def test_another_rank_or_scale_is_refused_until_the_first_part_is_merged(small: nn.Sequential) -> None:
    add_low_rank(small, rank=2, where="0")
    with pytest.raises(
        AdapterError, match="0 has a low-rank part already, of rank 2 and scale 1, not 3 and 1"
    ):
        add_low_rank(small, rank=3)
    with pytest.raises(AdapterError, match="not 2 and 4"):
        add_low_rank(small, rank=2, alpha=8)
    assert list(merge_low_rank(small)) == ["0"]
    assert add_low_rank(small, rank=3) == {"0": 3, "4": 3, "10": 3}


def test_a_parametrization_on_top_of_ours_is_not_lost_by_merging(small: nn.Sequential) -> None:
    add_low_rank(small, rank=2, where="0")
    parametrizations.spectral_norm(small[0])
    with pytest.raises(AdapterError, match="parametrized besides"):
        merge_low_rank(small)


def test_a_layer_without_weights_is_refused() -> None:
    with pytest.raises(AdapterError, match="0 has no weights yet"):
        add_low_rank(nn.Sequential(nn.LazyLinear(3)))


def test_a_copy_is_independent_of_its_original(network: Network) -> None:
    model, batch = network("timm/test_vit"), images("timm/test_vit")
    freeze(model)
    add_low_rank(model, rank=2, seed=0)
    twin = copy.deepcopy(model)
    before = answers(model, batch)
    train(twin, batch)
    trained = answers(twin, batch)
    merge_low_rank(twin)
    assert torch.equal(answers(model, batch), before)
    assert torch.equal(answers(twin, batch), trained)
    assert merge_low_rank(model)


def test_the_state_dict_goes_into_a_network_that_is_made_alike(network: Network) -> None:
    model, batch = network("tv/resnet18"), images("tv/resnet18")
    add_low_rank(model, rank=2, alpha=6)
    train(model, batch)
    other = network("tv/resnet18")
    add_low_rank(other, rank=2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(answers(other, batch), answers(model, batch))


@pytest.mark.parametrize("name", THREE)
def test_the_low_rank_parts_alone_are_small_and_enough(network: Network, name: str, tmp_path: Path) -> None:
    model, batch = network(name), images(name)
    freeze(model)
    add_low_rank(model, rank=1, alpha=3)
    train(model, batch)
    save_file(low_rank_state(model), tmp_path / "part.safetensors")
    whole = sum(tensor.nbytes for tensor in network(name).state_dict().values())
    assert (tmp_path / "part.safetensors").stat().st_size < 0.06 * whole
    other = network(name)
    assert len(load_low_rank(other, load_file(tmp_path / "part.safetensors"))) > 5
    assert torch.equal(answers(other, batch), answers(model, batch))
    assert equal(low_rank_state(other), low_rank_state(model))


def test_a_saved_part_that_does_not_fit_is_refused(network: Network, small: nn.Sequential) -> None:
    add_low_rank(small, rank=2)
    state = low_rank_state(small)
    with pytest.raises(AdapterError, match="belongs to no layer of this network"):
        load_low_rank(network("tv/resnet18"), state)
    whole = {name: tensor for name, tensor in state.items() if not name.endswith("up")}
    with pytest.raises(AdapterError, match="is not whole"):
        load_low_rank(small, whole)
    wider = nn.Sequential(nn.Conv2d(3, 16, 3))
    before = state_of(wider)
    with pytest.raises(AdapterError, match="for a weight of 8 × 27, and this one has 16 × 27"):
        load_low_rank(wider, {name: tensor for name, tensor in state.items() if name.startswith("0.")})
    assert equal(wider.state_dict(), before)


def test_a_tied_layer_keeps_its_weight(small: nn.Sequential) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    add_low_rank(model, rank=2, where="0")
    nn.init.ones_(model[0].parametrizations.weight[0].up)
    before = answers(model, torch.ones(1, 4))
    merge_low_rank(model)
    assert torch.equal(answers(model, torch.ones(1, 4)), before)
    assert not torch.equal(model[0].weight, model[1].weight)


def test_merging_is_exact_under_autocast_too(small: nn.Sequential) -> None:
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    freeze(small)
    add_low_rank(small, rank=2, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        train(small, batch)
        trained = answers(small, batch)
        merge_low_rank(small)
        assert torch.equal(answers(small, batch), trained)


def test_an_unfrozen_stage_learns_its_weights_and_its_low_rank_parts(network: Network) -> None:
    model = network("tv/resnet18")
    freeze(model)
    add_low_rank(model, rank=2)
    unfreeze(model, 1)
    assert "layer4.0.conv1.parametrizations.weight.original" in learning(model)
    assert "layer3.0.conv1.parametrizations.weight.original" not in learning(model)
    groups = [group["name"] for group in parameter_groups(model, lr=0.1, decay=0.5)]
    assert groups == ["fc", "layer4", "layer3", "layer2", "layer1", "stem"]
    merge_low_rank(model)
    assert {name.split(".")[0] for name in learning(model)} == {"layer4", "fc"}


def test_the_same_seed_draws_the_same_parts(network: Network) -> None:
    states = []
    for seed in (0, 0, 1):
        model = network("timm/test_vit")
        add_low_rank(model, rank=2, seed=seed)
        states.append(low_rank_state(model))
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])


def test_an_unknown_layer_is_answered_with_a_close_one(network: Network) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean layer4\.1\.conv2\?"):
        add_low_rank(network("tv/resnet18"), where="layer4.1.conv3")
