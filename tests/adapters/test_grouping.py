"""Parameters fall into groups for the optimizer: each that learns once, deeper stages more slowly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adapters import (
    AdapterError,
    attach_head,
    build_head,
    count_parameters,
    freeze,
    parameter_groups,
    unfreeze,
)

Network = Callable[[str], nn.Module]


def test_every_parameter_that_learns_is_in_one_group(example: tuple[nn.Module, Tensor]) -> None:
    model, _ = example
    attach_head(model, 3)
    freeze(model)
    unfreeze(model, 2)
    listed = [
        p for group in parameter_groups(model, 0.1, decay=0.5, weight_decay=0.1) for p in group["params"]
    ]
    learning = [p for p in model.parameters() if p.requires_grad]
    assert len(listed) == len(learning) == len({id(p) for p in listed})
    assert {id(p) for p in listed} == {id(p) for p in learning}


def test_a_stage_learns_more_slowly_the_further_it_is_from_the_classifier(network: Network) -> None:
    groups = parameter_groups(network("tv/resnet18"), 0.8, decay=0.5)
    assert {group["name"]: group["lr"] for group in groups} == {
        "fc": 0.8,
        "layer4": 0.4,
        "layer3": 0.2,
        "layer2": 0.1,
        "layer1": 0.05,
        "stem": 0.025,
    }
    assert groups[0]["name"] == "fc"


def test_frozen_stages_do_not_change_the_rates_of_the_others(network: Network) -> None:
    model = network("tv/resnet18")
    freeze(model)
    unfreeze(model, ["layer3"])
    assert [(g["name"], g["lr"]) for g in parameter_groups(model, 1.0, decay=0.5)] == [("layer3", 0.25)]


def test_norms_and_biases_do_not_decay_unless_it_is_asked_for(network: Network) -> None:
    model = network("tv/resnet18")
    groups = {group["name"]: group for group in parameter_groups(model, 0.1, weight_decay=0.01)}
    assert all(p.ndim > 1 for p in groups["layer4"]["params"])
    assert all(p.ndim == 1 for p in groups["layer4 (no decay)"]["params"])
    assert (groups["layer4"]["weight_decay"], groups["layer4 (no decay)"]["weight_decay"]) == (0.01, 0.0)
    every = parameter_groups(model, 0.1, weight_decay=0.01, no_decay_on_norm_and_bias=False)
    assert {group["weight_decay"] for group in every} == {0.01}


def test_what_the_network_itself_exempts_does_not_decay(network: Network) -> None:
    model = network("timm/test_vit")
    groups = {group["name"]: group for group in parameter_groups(model, 0.1, weight_decay=0.01)}
    exempt = {id(p) for p in groups["stem (no decay)"]["params"]}
    assert {id(model.pos_embed), id(model.cls_token)} <= exempt


def test_shared_parameters_are_listed_once() -> None:
    embedding, output = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    output.weight = embedding.weight
    groups = parameter_groups(nn.Sequential(embedding, nn.Linear(4, 4), output), 0.1, decay=0.5)
    assert sum(len(group["params"]) for group in groups) == 3


def test_a_head_alone_is_one_stage() -> None:
    head = build_head("mlp", 8, 3, hidden=(4, 4))
    groups = parameter_groups(head, 0.1, decay=0.5, weight_decay=0.01)
    assert {group["lr"] for group in groups} == {0.1}
    assert [group["name"] for group in groups] == ["head", "head (no decay)"]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_torchs_optimizers_take_the_groups(
    small: nn.Sequential, optimizer: type[torch.optim.Optimizer]
) -> None:
    built = optimizer(parameter_groups(small, 0.1, decay=0.5, weight_decay=0.01), lr=9.0)
    assert [group["lr"] for group in built.param_groups] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    small(torch.randn(4, 3, 16, 16))[:, 0].sum().backward()
    built.step()


@pytest.mark.parametrize("decay", [0, -1, 1.5])
def test_an_impossible_decay_is_refused(small: nn.Sequential, decay: float) -> None:
    with pytest.raises(AdapterError, match="above 0, at most 1"):
        parameter_groups(small, 0.1, decay=decay)


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"lr": float("nan")}, {"lr": 0.1, "weight_decay": -0.1}])
def test_an_impossible_rate_is_refused(small: nn.Sequential, wrong: dict[str, float]) -> None:
    with pytest.raises(AdapterError, match="at least 0, and finite"):
        parameter_groups(small, **wrong)


def test_a_network_without_a_trainable_parameter_is_refused(small: nn.Sequential) -> None:
    small.requires_grad_(False)
    with pytest.raises(AdapterError, match=r"no parameter of Sequential is trainable\n.*unfreeze"):
        parameter_groups(small, 0.1)


def test_counts_tell_what_learns(network: Network) -> None:
    model = network("tv/resnet18")
    counts = count_parameters(model)
    assert (counts.total, counts.trainable, counts.frozen) == (11_181_642, 11_181_642, 0)
    assert counts.buffers == 9_620  # 4,800 means, as many variances, 20 counters
    attach_head(model, 3)
    freeze(model)
    counts = count_parameters(model)
    assert (counts.trainable, counts.frozen) == (3 * 512 + 3, 11_176_512)
    assert counts.total == counts.trainable + counts.frozen
    assert str(counts) == "11,178,051 parameters, 1,539 trainable, 11,176,512 frozen; 9,620 in buffers"
