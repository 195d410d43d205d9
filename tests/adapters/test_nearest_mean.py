"""The nearest class mean is what its papers say, in closed form, and is no surer than it is right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from adapters import (
    HEADS,
    InvalidHead,
    NearestMean,
    attach_head,
    build_head,
    features_of,
    freeze,
    frozen_guard,
)
from adapters.nearest_mean import SCALE

WIDTH = 16


def clouds(items: int, spread: float, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Items around a place of their class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(items * classes) % classes
    return places[labels] + spread * torch.randn(len(labels), WIDTH, generator=generator) + 5, labels


def test_the_class_is_that_of_the_nearest_mean_of_centred_features_of_length_1() -> None:
    features, labels = clouds(8, 1.0)
    layer = NearestMean(WIDTH, 3).fit(features, labels)
    seen, _ = clouds(20, 1.5, seed=1)
    center = torch.stack([features[labels == c].mean(0) for c in range(3)]).mean(0)
    means = torch.stack([F.normalize(features[labels == c] - center, dim=1).mean(0) for c in range(3)])
    distances = torch.cdist(F.normalize(seen - center, dim=1), means)
    torch.testing.assert_close(layer(seen), -layer.scale * distances.square(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer(3 * (seen - center) + center), layer(seen), atol=1e-4, rtol=1e-4)


def test_every_class_counts_the_same_in_the_centre() -> None:
    features, labels = clouds(30, 0.5, classes=2)
    rare = torch.cat([(labels == 0).nonzero()[:, 0], (labels == 1).nonzero()[:1, 0]])
    layer = NearestMean(WIDTH, 2).fit(features[rare], labels[rare])
    expected = (features[labels == 0].mean(0) + features[rare[-1]]) / 2
    torch.testing.assert_close(layer.center, expected)


def test_answers_are_surer_the_further_apart_the_classes_lie() -> None:
    def sureness(spread: float) -> float:
        layer = NearestMean(WIDTH, 3).fit(*clouds(20, spread))
        return layer(clouds(50, spread, seed=3)[0]).softmax(1).amax(1).mean().item()

    found = [sureness(spread) for spread in (0.2, 1.0, 2.0, 4.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.95
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    features, labels = clouds(20, 1.0)
    assert NearestMean(WIDTH, 3).fit(features, labels[order])(features).softmax(1).max() < 0.8


@pytest.mark.parametrize("spread", [0.5, 1.5, 3.0])
def test_probabilities_are_as_sure_as_they_are_right(spread: float) -> None:
    layer = NearestMean(WIDTH, 3).fit(*clouds(10, spread))
    seen, labels = clouds(400, spread, seed=2)
    sure, chosen = layer(seen).softmax(1).max(1)
    right = (chosen == labels).float().mean()
    assert sure.mean().item() == pytest.approx(right.item(), abs=0.1)


def test_one_item_of_each_class_gives_careful_answers() -> None:
    features, labels = clouds(1, 0.1)
    layer = NearestMean(WIDTH, 3).fit(features, labels)
    assert layer.scale == SCALE
    assert layer(features).argmax(1).tolist() == labels.tolist()
    assert layer(features).softmax(1).max() < 0.95


def test_features_that_are_all_equal_say_nothing() -> None:
    layer = NearestMean(WIDTH, 2).fit(torch.ones(6, WIDTH), torch.arange(6) % 2)
    torch.testing.assert_close(layer(torch.ones(1, WIDTH)).softmax(1), torch.full((1, 2), 0.5))


@pytest.mark.parametrize(
    ("features", "labels", "sentence"),
    [
        (torch.zeros(4, WIDTH), torch.tensor([0, 1, 1, 0]), "class 2 has no item"),
        (torch.zeros(4, WIDTH), torch.tensor([0, 1, 2, 3]), "labels reach 3"),
        (torch.zeros(4, 3), torch.arange(4), "cannot compute means of features"),
        (torch.zeros(4, WIDTH), torch.arange(3), "with labels"),
        (torch.full((3, WIDTH), math.nan), torch.arange(3), "NaN or infinite"),
    ],
    ids=["empty class", "unknown class", "width", "items", "nan"],
)
def test_what_has_no_means_is_refused_and_nothing_changes(
    features: Tensor, labels: Tensor, sentence: str
) -> None:
    layer = NearestMean(WIDTH, 3)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with pytest.raises(InvalidHead, match=sentence):
        layer.fit(features, labels)
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize("kind", [name for name, row in HEADS.items() if not row.closed_form])
def test_a_head_that_is_trained_cannot_be_computed(kind: str) -> None:
    with pytest.raises(InvalidHead, match=f"kind {kind} is trained, not computed\nThese are computed: near"):
        build_head(kind, WIDTH, 3).fit(*clouds(3, 1.0))


def test_it_is_fitted_on_any_network_and_saved_as_other_heads_are(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    freeze(network)
    head = attach_head(network, ["a", "b", "c"], head="nearest-mean", standardize=True)
    features, labels = clouds(5, 0.3)
    with frozen_guard(network[:3]):
        seen = features_of(network, features)
        head.fit_standardize(seen)
        head.fit(seen, labels)
    assert (network.eval()(features).argmax(1) == labels).float().mean() > 0.9
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    other = build_head("nearest-mean", 8, 3, standardize=True)
    other.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert torch.equal(other.eval()(seen), head.eval()(seen))


def test_maps_are_averaged_before_the_means_are_computed() -> None:
    features, labels = clouds(4, 0.5)
    maps = features[:, :, None, None].expand(-1, -1, 2, 3)
    heads = [build_head("nearest-mean", WIDTH, 3, maps=maps) for maps in (True, False)]
    heads[0].fit(maps, labels)
    heads[1].fit(features, labels)
    torch.testing.assert_close(heads[0](maps), heads[1](features))
