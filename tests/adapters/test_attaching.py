"""A head takes the classifier's place: once, with the width, device, dtype and mode of what was there."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adapters import (
    HEADS,
    AdapterError,
    Head,
    InvalidHead,
    UnknownName,
    attach_head,
    find_classifier,
    freeze,
    stages,
)

Network = Callable[[str], nn.Module]


def test_a_network_gives_the_new_classes_in_eval_and_train(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    head = attach_head(model, ["ant", "bee", "cat"], aux=False)
    assert find_classifier(model)[1] is head
    assert model.eval()(images).shape == (2, 3)
    assert model.train()(images).shape == (2, 3)
    assert stages(model)[-1].classifier


def test_a_second_head_replaces_the_first(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    attach_head(model, 3)
    names = list(model.state_dict())
    head = attach_head(model, 4, head="linear")
    assert [module for module in model.modules() if isinstance(module, Head)] == [head]
    assert list(model.state_dict()) == names
    assert model.eval()(images).shape == (2, 4)


@pytest.mark.parametrize("kind", HEADS)
def test_every_kind_of_head_is_attached(network: Network, kind: str) -> None:
    model = network("timm/mobilenetv3_small_050")
    head = attach_head(model, 4, head=kind, standardize=True)
    assert head.in_features == 1024
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_nothing_is_changed_by_a_wish_that_cannot_be_met(network: Network) -> None:
    model = network("tv/googlenet")
    before = copy.deepcopy(model.state_dict())
    described = repr(model)
    with pytest.raises(UnknownName, match="linear, mlp, cosine"):
        attach_head(model, 3, head="conv")
    with pytest.raises(InvalidHead):
        attach_head(model, 0)
    assert repr(model) == described
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_dropout_means_what_it_says(network: Network) -> None:
    for name in ("tv/mobilenet_v3_small", "tv/googlenet", "tv/efficientnet_b0", "timm/convnextv2_atto"):
        model = network(name)
        attach_head(model, 3, dropout=0.0, aux=False)
        freeze(model)
        model.train()
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(model(images), model(images)), name


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv2_050", "test_vit", "densenet121"])
def test_timms_own_dropout_is_switched_off(architecture: str) -> None:
    import timm

    model = timm.create_model(architecture, pretrained=False, drop_rate=0.5, num_classes=5)
    attach_head(model, 3, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    freeze(model)
    model.train()
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(model(images), model(images))
    assert model.num_classes == 3


def test_dropout_between_hidden_layers_of_the_network_stays(network: Network, plain: nn.Module) -> None:
    attach_head(plain, 3)
    assert (plain.dropout1.p, plain.dropout2.p) == (0.25, 0.0)
    vgg = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 8), nn.Dropout(0.4), nn.Linear(8, 2))
    attach_head(vgg, 3)
    assert (vgg[1].p, vgg[3].p) == (0.3, 0.0)


def test_what_follows_the_classifier_in_a_row_is_taken_away(small: nn.Sequential, network: Network) -> None:
    head = attach_head(small, 3).eval()
    images = torch.randn(2, 3, 16, 16)
    logits = small.eval()(images)
    assert not torch.allclose(logits.sum(1), torch.ones(2))
    assert type(small[-1]) is nn.Identity
    squeezenet = network("tv/squeezenet1_1")
    attach_head(squeezenet, 50)
    assert (squeezenet(torch.randn(2, 3, 64, 64)) < 0).any()  # its own classifier ends with a ReLU
    assert head.training is False


def test_auxiliary_classifiers_get_the_new_classes(network: Network) -> None:
    model = network("tv/googlenet")
    attach_head(model, 3)
    model.train()
    outputs = model(torch.randn(2, 3, 64, 64))
    assert [tuple(output.shape) for output in outputs] == [(2, 3)] * 3
    inception = network("tv/inception_v3")
    attach_head(inception, 4)
    assert inception.AuxLogits.fc.out_features == 4
    attach_head(inception, 5)
    assert inception.AuxLogits.fc.out_features == 5


def test_auxiliary_classifiers_can_be_dropped(network: Network) -> None:
    for name in ("tv/googlenet", "tv/inception_v3"):
        model = network(name)
        attach_head(model, 3, aux=False)
        assert not [key for key in model.state_dict() if key.lower().startswith("aux")]
        assert model.train()(torch.randn(2, 3, 107, 107)).shape == (2, 3)
        attach_head(model, 2)


def test_a_frozen_auxiliary_classifier_stays_frozen(network: Network) -> None:
    model = network("tv/googlenet")
    freeze(model)
    attach_head(model, 3)
    model.train()
    assert not any(p.requires_grad for p in model.aux1.parameters())
    assert not model.aux1.fc2.training
    assert model.aux1.fc2.out_features == 3


def test_a_head_on_a_frozen_network_learns_and_follows_train(network: Network) -> None:
    model = network("timm/convnextv2_atto")
    freeze(model)
    model.train()
    head = attach_head(model, 3)
    assert all(p.requires_grad for p in head.parameters())
    assert head.training
    model.eval()
    assert not head.training
    model.train()
    assert head.training
    assert model.head.training
    assert not model.stages.training
    assert not model.head.norm.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_head_has_the_dtype_and_mode_of_what_it_replaces(network: Network, dtype: torch.dtype) -> None:
    model = network("tv/resnet18").to(dtype).train()
    head = attach_head(model, 3, standardize=True)
    assert {tensor.dtype for tensor in head.state_dict().values()} == {dtype}
    assert head.training
    assert not attach_head(model.eval(), 3).training


def test_a_head_is_put_on_the_device_of_the_network() -> None:
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.resnet18(weights=None)
    attach_head(model, 3, head="cosine")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_head_is_put_on_the_gpu_with_the_same_weights(network: Network) -> None:
    model = network("tv/resnet18")
    twin = copy.deepcopy(model).cuda()
    weights = attach_head(model, 3, seed=0).state_dict()
    for name, tensor in attach_head(twin, 3, seed=0).state_dict().items():
        assert tensor.is_cuda
        assert torch.equal(tensor.cpu(), weights[name])


def test_a_seed_repeats_the_head_and_the_auxiliary_ones(network: Network) -> None:
    twins = [network("tv/googlenet") for _ in range(2)]
    for model in twins:
        attach_head(model, 3, head="mlp", seed=7)
    first, second = (model.state_dict() for model in twins)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_layer_registered_twice_is_replaced_twice() -> None:
    layer = nn.Linear(4, 2)
    model = nn.ModuleDict({"fc": layer, "alias": nn.ModuleDict({"fc": layer})})
    head = attach_head(model, 3, at="fc")
    assert model["alias"]["fc"] is head


def test_a_distilled_network_takes_a_linear_head_and_no_other(network: Network) -> None:
    model = network("timm/deit_tiny_distilled_patch16_224")
    images = torch.randn(2, 3, 224, 224)
    with pytest.raises(AdapterError, match="averages two classifiers, head and head_dist"):
        attach_head(model, 3, head="cosine")
    attach_head(model, 3)
    attach_head(model, 4)
    assert model(images).shape == (2, 4)
    assert [name for name in model.state_dict() if "head" in name] == [
        "head.layers.output.weight",
        "head.layers.output.bias",
    ]
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.layers.output.bias += 1
    torch.testing.assert_close(twin(images), model(images) + 1)


def test_a_model_that_is_only_a_classifier_has_no_place_for_a_head() -> None:
    with pytest.raises(AdapterError, match="only a classifier"):
        attach_head(nn.Linear(3, 2), 4)
