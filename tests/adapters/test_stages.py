"""A network falls into stages by its module tree alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adapters import Stage, freeze, stages, unfreeze
from adapters.staging import find_stage

Network = Callable[[str], nn.Module]

# Built on the meta device, where weights take neither time nor memory.
TORCHVISION = {
    "resnet18": "stem layer1 layer2 layer3 layer4 fc",
    "resnet152": "stem layer1 layer2 layer3 layer4 fc",
    "wide_resnet50_2": "stem layer1 layer2 layer3 layer4 fc",
    "resnext50_32x4d": "stem layer1 layer2 layer3 layer4 fc",
    "googlenet": "stem inception3a inception3b inception4a inception4b inception4c inception4d inception4e "
    "inception5a inception5b fc",
    "inception_v3": "stem Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a "
    "Mixed_7b Mixed_7c fc",
    "mobilenet_v2": " ".join(f"features.{i}" for i in range(19)) + " classifier",
    "mobilenet_v3_small": " ".join(f"features.{i}" for i in range(13)) + " classifier.0 classifier.3",
    "vgg11": "features.0 features.3 features.6 features.11 features.16 "
    "classifier.0 classifier.3 classifier.6",
    "vgg16_bn": "features.0 features.7 features.14 features.24 features.34 "
    "classifier.0 classifier.3 classifier.6",
    "alexnet": "features.0 features.3 features.6 classifier.1 classifier.4 classifier.6",
    "efficientnet_b0": " ".join(f"features.{i}" for i in range(9)) + " classifier",
    "convnext_tiny": "features.0 features.1 features.3 features.5 features.7 classifier",
    "vit_b_16": "stem " + " ".join(f"encoder.layers.encoder_layer_{i}" for i in range(12)) + " heads",
    "densenet121": "stem features.denseblock1 features.denseblock2 features.denseblock3 features.denseblock4 "
    "classifier",
    "swin_t": "features.0 features.1 features.3 features.5 features.7 head",
    "shufflenet_v2_x0_5": "conv1 stage2 stage3 stage4 conv5 fc",
}
TIMM = {
    "resnet50d": "stem layer1 layer2 layer3 layer4 fc",
    "inception_v4": "stem features.4 features.6 "
    + " ".join(f"features.{i}" for i in range(7, 22))
    + " last_linear",
    "inception_resnet_v2": "stem mixed_5b repeat mixed_6a repeat_1 mixed_7a repeat_2 block8 conv2d_7b "
    "classif",
    "mobilenetv1_100": "stem blocks.0 blocks.1 blocks.2 blocks.3 blocks.4 classifier",
    "mobilenetv2_100": "stem " + " ".join(f"blocks.{i}" for i in range(7)) + " conv_head classifier",
    "mobilenetv3_large_100": "stem " + " ".join(f"blocks.{i}" for i in range(7)) + " conv_head classifier",
    "mobilenetv4_conv_small": "stem " + " ".join(f"blocks.{i}" for i in range(5)) + " conv_head classifier",
    "vgg16": "features.0 features.5 features.10 features.17 features.24 pre_logits head",
    "convnext_base": "stem stages.0 stages.1 stages.2 stages.3 head",
    "vit_tiny_patch16_224": "stem " + " ".join(f"blocks.{i}" for i in range(12)) + " head",
    "deit_tiny_distilled_patch16_224": "stem " + " ".join(f"blocks.{i}" for i in range(12)) + " head",
    "densenet121": "stem features.denseblock1 features.denseblock2 features.denseblock3 features.denseblock4 "
    "classifier",
    "swin_base_patch4_window7_224": "patch_embed layers.0 layers.1 layers.2 layers.3 head",
    "fastvit_t8": "stem stages.0 stages.1 stages.2 stages.3 final_conv head",
    "crossvit_tiny_240": "stem blocks.0 blocks.1 blocks.2 head",
}
EXPECTED = {f"tv/{name}": row for name, row in TORCHVISION.items()}
EXPECTED |= {f"timm/{name}": row for name, row in TIMM.items()}


def build_empty(name: str) -> nn.Module:
    """The network as published, without weights."""
    library, _, architecture = name.partition("/")
    with torch.device("meta"):
        if library == "timm":
            import timm

            return timm.create_model(architecture, pretrained=False)
        import torchvision

        kwargs = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(architecture, weights=None, **kwargs)


def assert_every_tensor_has_one_stage(model: nn.Module) -> None:
    found = stages(model)
    names = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    for name in names:
        assert sum(stage.holds(name) for stage in found) == 1, name
    listed = [name for stage in found for name, _ in stage.named_parameters(model)]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.thorough
@pytest.mark.parametrize("name", EXPECTED)
def test_a_network_falls_into_the_stages_that_people_speak_of(name: str) -> None:
    model = build_empty(name)
    found = stages(model)
    assert " ".join(stage.name for stage in found) == EXPECTED[name]
    assert [stage.classifier for stage in found] == [False] * (len(found) - 1) + [True]
    assert_every_tensor_has_one_stage(model)


@pytest.mark.thorough
def test_stages_are_the_same_for_any_network_that_was_built(example: tuple[nn.Module, Tensor]) -> None:
    model, _ = example
    assert_every_tensor_has_one_stage(model)
    names = [stage.name for stage in stages(model)]
    assert 4 <= len(names) == len(set(names))


def test_stages_follow_one_another_as_pictures_pass_through_them(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    order: list[int] = []
    found = stages(model)
    for index, stage in enumerate(found):
        for _, module in stage.named_modules(model):
            if next(module.parameters(recurse=False), None) is not None:
                module.register_forward_hook(lambda *_, index=index: order.append(index))
    with torch.inference_mode():
        model(images)
    assert set(order) == set(range(len(found)))
    assert order == sorted(order)


def test_a_network_of_ones_own_needs_no_table(plain: nn.Module) -> None:
    assert [stage.name for stage in stages(plain)] == ["conv1", "conv2", "fc1", "fc2"]
    assert_every_tensor_has_one_stage(plain)


def test_a_row_of_layers_changes_its_stage_where_it_pools(small: nn.Sequential) -> None:
    deep = nn.Sequential(*small[:4], nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), *small[4:])
    assert [stage.name for stage in stages(deep)] == ["0", "4", "7", "13"]


def test_norm_and_dropout_before_the_classifier_are_in_its_stage_and_other_norms_are_not() -> None:
    model = build_empty("tv/convnext_tiny")
    last = stages(model)[-1]
    assert last.holds("classifier.0.weight")
    model = build_empty("timm/vit_tiny_patch16_224")
    last = stages(model)[-1]
    assert last.holds("head_drop")
    assert not last.holds("norm.weight")


def test_auxiliary_classifiers_learn_with_the_classifier() -> None:
    model = build_empty("tv/inception_v3")
    assert stages(model)[-1].holds("AuxLogits.conv0.conv.weight")
    model = build_empty("timm/deit_tiny_distilled_patch16_224")
    assert stages(model)[-1].holds("head_dist.weight")


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: nn.ModuleDict({"backbone": model})])
def test_a_wrapper_is_looked_through(network: Network, wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(network("tv/resnet18"))
    prefix = next(name for name, _ in model.named_children())
    assert [stage.name for stage in stages(model)][1:] == [
        f"{prefix}.{name}" for name in ("layer1", "layer2", "layer3", "layer4", "fc")
    ]
    assert_every_tensor_has_one_stage(model)


def test_the_stem_of_a_wrapped_network_is_the_same() -> None:
    model = nn.DataParallel(build_empty("timm/resnet50d"))
    assert " ".join(stage.name for stage in stages(model)).replace("module.", "") == TIMM["resnet50d"]


def test_shared_weights_belong_to_the_first_stage_that_has_them() -> None:
    embedding = nn.Embedding(10, 4)
    output = nn.Linear(4, 10, bias=False)
    output.weight = embedding.weight
    model = nn.Sequential(embedding, nn.Linear(4, 4), output)
    assert_every_tensor_has_one_stage(model)
    assert [name for name, _ in stages(model)[0].named_parameters(model)] == ["0.weight"]


def test_a_network_without_classifier_has_stages_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    found = stages(model)
    assert [(stage.name, stage.classifier) for stage in found] == [("0", False), ("1", False)]
    assert_every_tensor_has_one_stage(model)


def test_a_single_layer_is_one_stage_and_an_empty_network_has_none() -> None:
    assert stages(nn.Linear(3, 2)) == [Stage("linear", ("",), classifier=True)]
    assert stages(nn.BatchNorm2d(3)) == [Stage("batchnorm2d", ("",))]
    assert stages(nn.Dropout()) == [Stage("dropout", ("",))]
    assert stages(nn.Sequential()) == []


def test_a_stage_is_found_by_name_part_container_or_index(network: Network) -> None:
    found = stages(network("tv/resnet18"))
    assert [find_stage(found, wanted) for wanted in ("layer2", "conv1", "stem", 2, -1)] == [2, 0, 0, 2, 5]
    found = stages(network("timm/mobilenetv2_050"))
    assert found[find_stage(found, "blocks")].name == "blocks.0"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["tv/resnet18", "timm/resnet18"])
@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda m: nn.DataParallel(torch.compile(m))]
)
def test_a_stage_of_a_wrapped_network_is_found_by_the_name_that_it_has_inside(
    network: Callable[[str], nn.Module], name: str, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    plain = network(name)
    wrapped = wrap(plain)
    assert [stage.name.rpartition(".")[2] for stage in stages(wrapped)] == [one.name for one in stages(plain)]
    freeze(wrapped)
    assert len(unfreeze(wrapped, "layer4")) == 15
    assert all(p.requires_grad == n.startswith("layer4") for n, p in plain.named_parameters())


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resmlp_12_224", "blocks.11"),  # a norm of (1, 1, C) scales stands behind it
        ("twins_svt_small", "blocks.3"),  # position encodings
        ("coat_tiny", "parallel_blocks"),  # a gate of four numbers
        ("convnext_tiny", "stages.3"),
        ("mixer_s32_224", "blocks.7"),
    ],
)
def test_what_is_left_behind_the_last_block_belongs_to_it(name: str, last: str) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name)
    *_, deepest, head = stages(model)
    assert (deepest.name, head.classifier) == (last, True)
    backbone = sum(p.numel() for p in model.parameters()) - sum(
        p.numel() for _, p in head.named_parameters(model)
    )
    assert sum(p.numel() for _, p in deepest.named_parameters(model)) > 0.01 * backbone
    held = [n for n, _ in model.named_parameters() if sum(s.holds(n) for s in stages(model)) != 1]
    assert not held
