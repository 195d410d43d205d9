"""`unfreeze` of a recipe means stages of a network; one that is not there is answered with those that are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adapters import TextClassifier, TextEncoder, attach_head, freeze, stages, unfreeze
from zoo.errors import InvalidRecipe
from zoo.training.stages import count_stages


@pytest.fixture
def network() -> nn.Module:
    """A network with the stages stem, 3, 6 and its head, the classifier."""
    layers = [
        nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3)) for width in (8, 8)
    ]
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.append(nn.Linear(8, 10))
    freeze(network)
    attach_head(network, 2)
    assert [stage.name for stage in stages(network)] == ["stem", "3", "4", "7"]
    return network


@pytest.mark.parametrize(
    ("asked", "count"), [("none", 0), (0, 0), (2, 2), (3, 3), ("4", 1), ("3", 2), ("stem", 3), ("all", None)]
)
def test_a_number_counts_from_the_end_and_a_name_means_that_stage_and_all_after_it(
    network: nn.Module, asked: int | str, count: int | None
) -> None:
    assert count_stages(network, asked) == count
    if count:
        unfreeze(network, count)
        learning = [
            s.name for s in stages(network) if any(p.requires_grad for _, p in s.named_parameters(network))
        ]
        assert learning == [s.name for s in stages(network)][-count - 1 :]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (99, "unfreeze=99: the network has 3 stages before its head"),
        ("layer4", 'unfreeze="layer4": the network has no stage of that name'),
        ("7", "that is the head, which is trained in any case"),
    ],
)
def test_a_stage_that_is_not_there_is_named_with_those_that_are(
    network: nn.Module, asked: int | str, why: str
) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        count_stages(network, asked)
    assert why in caught.value.message
    assert caught.value.hint == "The stages, the last first: 4, 3, stem; or all."


def test_the_stages_of_texts_have_the_names_that_a_recipe_knows() -> None:
    model = TextClassifier(TextEncoder(torch.eye(4), encoder="cnn"), 2)
    assert [count_stages(model, name) for name in ("encoder", "new", "known")] == [1, 2, 3]
