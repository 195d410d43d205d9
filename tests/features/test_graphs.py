"""A network on a GPU for a few images: recorded once, with the answers that it gives unrecorded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from zoo.features.graphs import AFTER, HELD, MOST, Graphs
from zoo.features.network import freeze_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"),
]
GPU = torch.device("cuda")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return models.resnet18(weights=None).eval()


def test_answers_are_those_of_the_network(network: nn.Module) -> None:
    images = torch.rand(8, 3, 64, 64)
    frozen = freeze_network(network, images[:4], device=GPU)
    assert frozen.graphs is not None
    first = frozen(images[:5])
    for round_ in range(AFTER + 2):
        assert torch.equal(frozen(images[:5]), first)
        assert torch.allclose(frozen(images[3:8]), frozen.network(images[3:8].to(GPU)).cpu(), atol=1e-5), (
            round_
        )
    assert [*frozen.graphs._recorded] == [torch.Size((5, 3, 64, 64))]


def test_few_shapes_are_kept_and_large_batches_pass(network: nn.Module) -> None:
    graphs = Graphs(network.to(GPU))
    with torch.inference_mode():
        for _ in range(AFTER + 1):
            for count in range(1, HELD + 4):
                assert graphs(torch.rand(count, 3, 32, 32, device=GPU)).shape == (count, 1000)
            assert len(graphs(torch.rand(MOST + 1, 3, 32, 32, device=GPU))) == MOST + 1
    assert len(graphs._recorded) == HELD


def test_a_network_that_looks_at_its_numbers_is_called_as_it_is() -> None:
    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1) * (2 if images.sum().item() > 0 else 3)

    graphs = Graphs(Looks())
    ones = torch.ones(2, 3, 4, 4, device=GPU)
    with torch.inference_mode():
        for _ in range(AFTER + 1):
            assert graphs(ones).tolist() == [96, 96]
            assert graphs(-ones).tolist() == [-144, -144]
    assert not graphs._recorded
