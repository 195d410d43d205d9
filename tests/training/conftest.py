"""Real features of real photographs, computed once per test session."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import build_head
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.training.batches import BatchSource, FeatureBatches, ImageBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, Resolved, resolve
from zoo.training.strategies import phases

INPUT = ImageInput(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Features:
    """What MobileNetV2 sees in the ants and bees: (items, 1280) and labels (items,) of both parts."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor

    def batches(self, batch_size: int = 32, seed: int = 0) -> tuple[FeatureBatches, FeatureBatches]:
        """train and val as the loop wants them."""
        return (
            FeatureBatches(self.train, self.train_labels, batch_size, seed=seed),
            FeatureBatches(self.val, self.val_labels, 4096),
        )


@pytest.fixture(scope="session")
def network(data: Path) -> nn.Module:
    """The real MobileNetV2 with its 1000 classes, in eval mode. Copy it before changing it."""
    from torchvision.models import mobilenet_v2

    model = mobilenet_v2()
    weights = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


@pytest.fixture(scope="session")
def features(data: Path, network: nn.Module) -> Features:
    """Features of all hymenoptera photographs: ten seconds on two cores."""
    dataset = scan_dataset(data / "hymenoptera")
    return Features(*pooled(network, dataset.train), *pooled(network, dataset.val))


@torch.inference_mode()
def pooled(network: nn.Module, items: tuple[Item, ...]) -> tuple[Tensor, Tensor]:
    """What the classifier of a MobileNetV2 sees of some items, and their labels."""
    batches = list(ImageBatches(items, INPUT, 32).epoch(0))
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # twice as fast
    maps = [network.features(torch.as_tensor(batch.inputs)) for batch in batches]
    vectors = torch.cat([part.mean((2, 3)) for part in maps])
    return vectors.clone(), torch.cat([batch.targets for batch in batches])


def head_for(recipe: Resolved, train: Tensor) -> nn.Module:
    """A new head of a recipe for two classes, standardised on train where the recipe says so."""
    head = build_head(
        recipe.head,
        train.shape[1],
        2,
        dropout=recipe.dropout,
        hidden=recipe.hidden,
        activation=recipe.activation,
        batch_norm=recipe.batch_norm,
        standardize=recipe.standardize,
        seed=recipe.seed,
    )
    if recipe.standardize:
        head.fit_standardize(train)
    return head


@pytest.fixture
def train_on(features: Features) -> Callable[..., tuple[nn.Module, FitResult]]:
    """Train the head of a recipe on the real features, or on other batches: the head and what came out."""

    def train(
        wishes: Recipe,
        *,
        head: nn.Module | None = None,
        batches: BatchSource | None = None,
        val_batches: BatchSource | None = None,
        **options: Any,
    ) -> tuple[nn.Module, FitResult]:
        recipe = resolve(wishes, IMAGES)
        head = head or head_for(recipe, features.train)
        usual, usual_val = features.batches(recipe.batch_size, recipe.seed)
        told = {name: options.pop(name) for name in ("report", "stop_requested", "limit") if name in options}
        state = begin_phase(
            head,
            batches or usual,
            val_batches or usual_val,
            recipe=recipe,
            phase=phases(recipe)[0],
            machine=Machine(torch.device("cpu")),
            **options,
        )
        return head, fit(state, **told)

    return train
