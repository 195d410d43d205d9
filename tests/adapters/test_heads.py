"""Heads turn features into logits, start from the right place, and can learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from adapters import (
    ACTIVATIONS,
    HEADS,
    CosineLinear,
    Head,
    InvalidHead,
    Standardize,
    UnknownName,
    build_head,
)

WIDTH = 32


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_gives_logits_for_features(kind: str) -> None:
    head = build_head(kind, WIDTH, 5)
    assert head(torch.randn(7, WIDTH)).shape == (7, 5)
    assert (head.in_features, head.classes, head.out_features, head.kind) == (WIDTH, 5, 5, kind)


@pytest.mark.parametrize("kind", HEADS)
def test_every_parameter_of_a_head_learns(kind: str) -> None:
    head = build_head(kind, WIDTH, 5, hidden=(16, 8) if kind == "mlp" else (), seed=0)
    F.cross_entropy(head(torch.randn(64, WIDTH)), torch.arange(64) % 5).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_head_learns_what_can_be_learned(kind: str, activation: str) -> None:
    torch.manual_seed(0)
    labels = torch.arange(120) % 4
    features = torch.randn(4, WIDTH)[labels] + 0.3 * torch.randn(120, WIDTH)
    head = build_head(kind, WIDTH, 4, activation=activation, dropout=0.1, standardize=True)
    head.fit_standardize(features)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(head(features), labels).backward()
        optimizer.step()
    assert (head.eval()(features).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_first_loss_is_that_of_guessing(kind: str, activation: str) -> None:
    head = build_head(kind, 512, 10, activation=activation, seed=1).eval()
    loss = F.cross_entropy(head(3 * torch.randn(256, 512)), torch.arange(256) % 10)
    assert loss.item() == pytest.approx(math.log(10), rel=0.15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_layers_keep_the_size_of_what_passes_through(activation: str) -> None:
    head = build_head("mlp", 256, 10, hidden=(256, 256, 256), activation=activation, dropout=0, seed=0)
    deep = head.layers[:-2](torch.randn(100, 256))
    assert 0.1 < deep.square().mean().sqrt().item() < 3


def test_an_mlp_has_the_layers_that_were_asked_for() -> None:
    head = build_head("mlp", WIDTH, 3, hidden=(16, 8), activation="elu", batch_norm=True, dropout=0.3)
    assert [type(layer) for layer in head.layers] == [
        *(nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.ELU),
        *(nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.ELU),
        *(nn.Dropout, nn.Linear),
    ]
    assert {layer.p for layer in head.layers if isinstance(layer, nn.Dropout)} == {0.3}
    assert [layer.bias is None for layer in head.layers if isinstance(layer, nn.Linear)] == [
        True,
        True,
        False,
    ]
    assert build_head("mlp", WIDTH, 3).layers.hidden1.out_features == 256


def test_dropout_acts_in_training_only() -> None:
    head = build_head("linear", 100, 5, dropout=0.5)
    features = torch.randn(4, 100)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
    torch.testing.assert_close(head(features), head.layers.output(features))


def test_the_length_of_a_feature_vector_does_not_change_a_cosine() -> None:
    head = build_head("cosine", WIDTH, 5, seed=0).eval()
    features = torch.randn(6, WIDTH)
    torch.testing.assert_close(head(features), head(1000 * features))
    assert head(features).abs().max() <= 10.001  # cosine times scale
    assert torch.equal(head(torch.zeros(1, WIDTH)), torch.zeros(1, 5))
    own = head.layers.output.weight[2]
    assert head(own[None])[0, 2].item() == pytest.approx(10)
    assert isinstance(head.layers.output, CosineLinear)


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = 5 + 3 * torch.randn(500, WIDTH) * (0.1 + torch.rand(WIDTH))
    out = Standardize(WIDTH).fit(features)(features)
    torch.testing.assert_close(out.mean(0), torch.zeros(WIDTH), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(WIDTH), atol=1e-4, rtol=0)


def test_a_constant_feature_is_shifted_and_never_blown_up() -> None:
    features = torch.randn(50, 3)
    features[:, 1] = 0.1  # not exact in binary: its deviation is rounding noise
    features[:, 2] = 0
    out = Standardize(3).fit(features)(features)
    assert out[:, 1:].abs().max() < 1e-6
    assert out.isfinite().all()
    assert Standardize(3).fit(features[:1])(features[:1]).abs().max() == 0


def test_a_feature_that_hardly_ever_differs_does_not_outweigh_the_others() -> None:
    """As of a unit that was awake for one training item of 50, a little, and is wide awake for a new one."""
    torch.manual_seed(0)
    features = torch.randn(50, 4)
    features[:, 3] = 0
    features[7, 3] = 1e-4
    layer = Standardize(4).fit(features)
    assert layer(torch.tensor([[0.0, 0.0, 0.0, 1.0]])).abs().max() < 100  # by its own deviation: 70,000
    torch.testing.assert_close(layer.std[:3], features[:, :3].std(0, correction=0))


def test_a_small_feature_is_no_constant_one() -> None:
    features = 1e-12 * torch.randn(100, 2)
    out = Standardize(2).fit(features)(features)
    assert out.std(0, correction=0).tolist() == pytest.approx([1, 1], rel=1e-3)


def test_large_features_are_measured_without_losing_digits() -> None:
    features = 1e4 + torch.randn(1000, 2)
    layer = Standardize(2).fit(features)
    assert layer.std.tolist() == pytest.approx(features.double().std(0, correction=0).tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (torch.zeros(0, 4), "shape"),
        (torch.zeros(3, 5), "shape"),
        (torch.zeros(4), "shape"),
        (torch.full((3, 4), math.nan), "are NaN or infinite"),
        (torch.tensor([[math.inf, 0, 0, 0]]), "are NaN or infinite"),
    ],
    ids=["empty", "wide", "flat", "nan", "infinite"],
)
def test_features_that_cannot_be_standardised_are_refused(features: torch.Tensor, sentence: str) -> None:
    layer = Standardize(4)
    with pytest.raises(InvalidHead, match=sentence):
        layer.fit(features)
    assert torch.equal(layer.mean, torch.zeros(4))


def test_standardisation_travels_with_the_state_dict() -> None:
    head = build_head("linear", WIDTH, 3, standardize=True)
    features = 2 + torch.randn(40, WIDTH)
    head.fit_standardize(features)
    other = build_head("linear", WIDTH, 3, standardize=True)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.eval()(features), head.eval()(features))
    with pytest.raises(InvalidHead, match="standardize=True"):
        build_head("linear", WIDTH, 3).fit_standardize(features)


@pytest.mark.parametrize("kind", HEADS)
def test_a_seed_repeats_and_leaves_the_global_generator_alone(kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    heads = [build_head(kind, WIDTH, 4, seed=seed) for seed in (1, 1, 2)]
    by_generator = build_head(kind, WIDTH, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    first, second, third, fourth = (
        torch.cat([p.flatten() for p in head.parameters()]) for head in [*heads, by_generator]
    )
    assert torch.equal(first, second)
    assert torch.equal(first, fourth)
    assert not torch.equal(first, third)
    build_head(kind, WIDTH, 4)
    assert not torch.equal(torch.get_rng_state(), before)


def test_names_of_classes_are_kept() -> None:
    head = build_head("linear", WIDTH, ["ant", "bee"])
    assert (head.classes, head.class_names) == (2, ("ant", "bee"))
    assert build_head("linear", WIDTH, 2).class_names is None


def test_maps_are_averaged_over_their_places() -> None:
    head = build_head("linear", WIDTH, 3, maps=True).eval()
    maps = torch.randn(2, WIDTH, 5, 4)
    torch.testing.assert_close(head(maps), head(maps.mean((2, 3))))


@pytest.mark.parametrize(
    ("kind", "classes", "options", "sentence"),
    [
        ("linear", 0, {}, "0 classes"),
        ("linear", [], {}, "0 classes"),
        ("linear", "ants", {}, "neither a number of classes"),
        ("linear", True, {}, "neither a number of classes"),
        ("linear", 2.0, {}, "neither a number of classes"),
        ("linear", None, {}, "neither a number of classes"),
        ("linear", ["ant", "bee", "ant"], {}, "twice: ant"),
        ("linear", 2, {"dropout": 1.0}, "dropout 1.0"),
        ("linear", 2, {"dropout": -0.1}, "dropout -0.1"),
        ("linear", 2, {"hidden": (8,)}, "no hidden layers"),
        ("cosine", 2, {"batch_norm": True}, "no hidden layers"),
        ("mlp", 2, {"hidden": (8, 0)}, "at least 1"),
        ("mlp", 2, {"hidden": 16}, r"hidden=16 is not a list of widths\nFor one layer: hidden=\[16\]"),
        ("mlp", 2, {"hidden": (8.5,)}, "whole numbers"),
        ("mlp", 2, {"hidden": None}, "whole numbers"),
        ("mlp", 2, {"seed": 1, "generator": torch.Generator()}, "both given"),
    ],
)
def test_an_impossible_head_is_refused_with_the_reason(
    kind: str, classes: int | list[str], options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidHead, match=sentence):
        build_head(kind, WIDTH, classes, **options)


@pytest.mark.parametrize("classes", [np.int64(3), torch.tensor(3), np.array(["ant", "bee", "cat"])])
def test_numbers_and_names_of_numpy_are_taken(classes: int | Sequence[str]) -> None:
    head = build_head("mlp", WIDTH, classes, hidden=np.array([16, 8]))
    assert (type(head.classes), head.classes) == (int, 3)
    assert head(torch.zeros(2, WIDTH)).shape == (2, 3)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="linear, mlp, cosine") as caught:
        build_head("lineal", WIDTH, 2)
    assert "Did you mean linear?" in str(caught.value)
    with pytest.raises(UnknownName, match="relu, elu, tanh, logistic"):
        build_head("mlp", WIDTH, 2, activation="swish")


def test_a_head_can_be_compiled(tmp_path: object) -> None:
    head: Head = build_head("mlp", WIDTH, 3, standardize=True).eval()
    features = torch.randn(2, WIDTH)
    torch.testing.assert_close(torch.compile(head, backend="eager")(features), head(features))


@pytest.mark.parametrize("width", [1, 64, 200])
def test_statistics_have_the_bits_of_all_features_at_once(width: int) -> None:
    features = torch.randn(500, width, generator=torch.Generator().manual_seed(0)) * 3 + 1
    found = Standardize(width).fit(features)
    std, mean = torch.std_mean(features.double(), dim=0, correction=0)
    assert torch.equal(found.std, std.float())
    assert torch.equal(found.mean, mean.float())
