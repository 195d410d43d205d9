"""Our networks say what the libraries' own pretrained paths say, and weights that do not fit are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from zoo.backbones.architectures import ARCHITECTURES, Architecture, build_network
from zoo.backbones.checkpoints import read_state_dict
from zoo.backbones.loading import fit_weights
from zoo.catalogue.entry import ImageInput, ImageModel, Weights
from zoo.errors import IntegrityError, UnknownName, UsageError, WeightsMismatch
from zoo.events import Event, Note

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def entry_of(
    architecture: str,
    *,
    size: int = 224,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
    classes: Any = "imagenet-1k",
    **arguments: Any,
) -> ImageModel:
    mean, std = statistics
    return ImageModel(
        name="net",
        family="test",
        task="image-features" if classes is None else "image-classification",
        architecture=architecture,
        weights=Weights(url="net.safetensors"),
        input=ImageInput(size=size, resize=size, mean=mean, std=std),
        classes=classes,
        arguments=arguments,
        license="unknown",
    )


def random_state(make: Callable[[], nn.Module], seed: int = 0) -> dict[str, Tensor]:
    """A seeded state of the network, batch norm statistics included, that keeps signals alive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = make().state_dict()
    state = {key: torch.empty_like(tensor, device="cpu") for key, tensor in shapes.items()}
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim > 1:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif key.endswith("weight"):
            tensor.uniform_(0.5, 1.0, generator=generator)
        else:
            tensor.uniform_(-0.1, 0.1, generator=generator)
    return state


def says(network: nn.Module, size: int) -> Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return network.eval()(images)


def of_torchvision(name: str) -> Callable[[Path], tuple[nn.Module, dict[str, Tensor]]]:
    """torchvision's network through its own `weights=` path: our file lies where it keeps its downloads."""

    def make(folder: Path) -> tuple[nn.Module, dict[str, Tensor]]:
        from torchvision import models

        weights = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
        aux = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        state = random_state(lambda: models.get_model(name, weights=None, **aux))
        folder = folder / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save(state, folder / weights.url.rpartition("/")[2])
        return models.get_model(name, weights=weights), state

    return make


def of_timm(name: str) -> Callable[[Path], tuple[nn.Module, dict[str, Tensor]]]:
    """timm's network through its own pretrained path, with our file in the place of its download."""

    def make(folder: Path) -> tuple[nn.Module, dict[str, Tensor]]:
        import timm
        from safetensors.torch import save_file

        state = random_state(lambda: timm.create_model(name))
        save_file(state, folder / "net.safetensors")
        overlay = {"file": str(folder / "net.safetensors")}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay), state

    return make


FAMILIES = [
    ("torchvision/resnet18", 224, IMAGENET),
    ("torchvision/resnet50", 224, IMAGENET),
    ("torchvision/wide_resnet50_2", 224, IMAGENET),
    ("torchvision/googlenet", 224, IMAGENET),
    ("torchvision/inception_v3", 299, IMAGENET),
    ("torchvision/mobilenet_v2", 224, IMAGENET),
    ("torchvision/mobilenet_v3_small", 224, IMAGENET),
    ("torchvision/mobilenet_v3_large", 224, IMAGENET),
    ("torchvision/vgg11", 224, IMAGENET),
    ("torchvision/vgg11_bn", 224, IMAGENET),
    ("timm/resnet50.a1_in1k", 224, IMAGENET),
    ("timm/resnet18d.ra2_in1k", 224, IMAGENET),
    ("timm/inception_v3.tf_in1k", 299, HALF),
    ("timm/inception_v3.gluon_in1k", 299, IMAGENET),
    ("timm/inception_v4.tf_in1k", 299, HALF),
    ("timm/inception_resnet_v2.tf_in1k", 299, HALF),
    ("timm/mobilenetv1_100.ra4_e3600_r224_in1k", 224, HALF),
    ("timm/mobilenetv2_100.ra_in1k", 224, IMAGENET),
    ("timm/mobilenetv3_large_100.ra_in1k", 224, IMAGENET),
    ("timm/mobilenetv4_conv_small.e2400_r224_in1k", 224, IMAGENET),
    ("timm/mobilenetv4_hybrid_medium.e500_r224_in1k", 224, IMAGENET),
    ("timm/swin_tiny_patch4_window7_224.ms_in1k", 224, IMAGENET),  # computes tables of its own
    ("timm/resnetblur50.bt_in1k", 224, IMAGENET),  # computes its blur kernels
]


@pytest.mark.thorough
@pytest.mark.parametrize(("architecture", "size", "statistics"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_the_output_is_that_of_the_librarys_own_pretrained_path(
    architecture: str, size: int, statistics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    library, _, name = architecture.partition("/")
    theirs, state = {"torchvision": of_torchvision, "timm": of_timm}[library](name)(tmp_path)
    events: list[Event] = []
    ours = fit_weights(entry_of(architecture, size=size, statistics=statistics), state, report=events.append)
    expected = says(theirs, size)
    assert expected.std() > 1e-3, "the law would hold for a dead network too"
    assert (says(ours, size) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not ours.training
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert [e.level for e in events if isinstance(e, Note)] == ["detail"]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_torchvisions_inceptions_convert_their_input_only_from_imagenets_mean(name: str) -> None:
    architecture = f"torchvision/{name}"
    assert build_network(entry_of(architecture, statistics=IMAGENET)).transform_input is True
    assert build_network(entry_of(architecture, statistics=HALF)).transform_input is False
    stated = entry_of(architecture, statistics=IMAGENET, transform_input=False)
    assert build_network(stated).transform_input is False


def test_auxiliary_heads_are_there_when_the_file_has_them() -> None:
    from torchvision import models

    network = models.inception_v3(weights=None, init_weights=False)
    state = network.state_dict()
    entry = entry_of("torchvision/inception_v3", size=299)
    assert fit_weights(entry, state).AuxLogits is not None
    bare = {key: tensor for key, tensor in state.items() if not key.startswith("AuxLogits.")}
    assert fit_weights(entry, bare).AuxLogits is None


def small_state(architecture: str = "resnet18", **arguments: Any) -> dict[str, Tensor]:
    from torchvision import models

    return random_state(lambda: models.get_model(architecture, weights=None, **arguments))


def test_half_precision_weights_become_float32() -> None:
    state = small_state()
    half = {key: t.to(torch.bfloat16) if t.is_floating_point() else t for key, t in state.items()}
    network = fit_weights(entry_of("torchvision/resnet18"), half)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv1.weight, state["conv1.weight"].bfloat16().float())


@pytest.mark.fault("S8")
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_the_wrappers_of_parallel_and_compiled_training_are_taken_off(wrapper: str) -> None:
    state = {wrapper + key: tensor for key, tensor in small_state().items()}
    events: list[Event] = []
    network = fit_weights(entry_of("torchvision/resnet18"), state, report=events.append)
    assert torch.equal(network.conv1.weight, state[f"{wrapper}conv1.weight"])
    assert events[-1] == Note("net: all 122 tensors loaded", level="detail")


def test_files_from_before_batch_norm_counted_its_batches_are_whole() -> None:
    """torchvision's first files, VGG with batch norm among them, have no num_batches_tracked."""
    state = {key: tensor for key, tensor in small_state().items() if "num_batches" not in key}
    events: list[Event] = []
    network = fit_weights(entry_of("torchvision/resnet18"), state, report=events.append)
    assert events == [Note("net: all 102 tensors loaded", level="detail")]
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    assert network.bn1.num_batches_tracked == 0


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    ("number", "says"), [(float("nan"), "NaN"), (float("inf"), "infinity")], ids=["nan", "infinity"]
)
@pytest.mark.parametrize("key", ["layer3.0.conv1.weight", "bn1.bias", "fc.bias"])
def test_nan_or_infinity_that_reaches_the_output_is_refused_by_name(
    key: str, number: float, says: str
) -> None:
    state = {name: tensor.clone() for name, tensor in small_state().items()}
    state[key].view(-1)[3] = number
    with pytest.raises(IntegrityError, match=f"net: the weights hold {says} in {key}") as raised:
        fit_weights(entry_of("torchvision/resnet18"), state)
    assert raised.value.exit_code == 3


class Masked(nn.Module):
    """A classifier with an infinite mask, as attention has it, and a parameter that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.idle = nn.Parameter(torch.ones(4))
        self.register_buffer("mask", torch.zeros(2))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean((2, 3))) + self.mask.exp()


@pytest.mark.fault("S6")
def test_odd_numbers_that_no_output_depends_on_are_no_reason_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "lab", Architecture(lambda _: Masked()))
    state = Masked().state_dict()
    state["mask"] = torch.tensor([float("-inf"), 0.0])
    events: list[Event] = []
    entry = entry_of("lab/masked", classes=2)
    fit_weights(entry, state, report=events.append)
    assert events == [Note("net: all 4 tensors loaded", level="detail")], "masks are rightly infinite"
    state["idle"][2] = float("nan")
    fit_weights(entry, state, report=events.append)
    warning = events[-1]
    assert isinstance(warning, Note)
    assert warning.level == "warning"
    assert warning.message.startswith("net: the weights hold NaN in idle")


@pytest.mark.fault("S8")
def test_weights_without_one_matching_name_are_refused_with_examples() -> None:
    state = {f"encoder_{key}": tensor for key, tensor in small_state().items()}
    with pytest.raises(
        WeightsMismatch, match=r"conv1\.weight is missing.* not of this network: encoder_conv1"
    ):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
@pytest.mark.parametrize("prefix", ["model.", "backbone.", "module.encoder.body."])
def test_a_network_inside_another_is_taken_out_and_the_rest_is_told(prefix: str) -> None:
    """As Lightning and self-supervised training save it, beside losses and projection heads."""
    state = {prefix + key: tensor for key, tensor in small_state().items()}
    state |= {"loss.weight": torch.ones(1000), "projection.0.weight": torch.ones(512, 2048)}
    events: list[Event] = []
    network = fit_weights(entry_of("torchvision/resnet18"), state, report=events.append)
    assert torch.equal(network.conv1.weight, state[f"{prefix}conv1.weight"])
    told = f"net: of the file, what is named {prefix}… is taken, the rest left out"
    assert [event.message for event in events if isinstance(event, Note)][-2:] == [
        told,
        "net: all 122 tensors loaded",
    ]


@pytest.mark.fault("S8")
def test_a_network_saved_in_parts_is_put_together(tmp_path: Path) -> None:
    parts = {
        "backbone": small_state(),
        "head": {"weight": torch.ones(5, 512)},
        "epoch": 7,
        "optimizer": {"lr": 1},
    }
    torch.save(parts, tmp_path / "x.pth")
    events: list[Event] = []
    state = read_state_dict(tmp_path / "x.pth", report=events.append)
    network = fit_weights(entry_of("torchvision/resnet18"), state, report=events.append)
    assert torch.equal(network.conv1.weight, parts["backbone"]["conv1.weight"])  # type: ignore[index]
    assert Note("x.pth: left out, not tensors: epoch, optimizer") in events
    assert events[-1] == Note("net: all 122 tensors loaded", level="detail")


@pytest.mark.fault("S8")
def test_of_two_networks_none_is_guessed() -> None:
    state = {f"{who}.{key}": t for who in ("student", "teacher") for key, t in small_state().items()}
    with pytest.raises(WeightsMismatch, match=r"holds 2 networks that fit: student\., teacher\."):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
def test_a_copy_beside_the_network_is_not_taken_for_it() -> None:
    state = small_state()
    state |= {f"teacher.{key}": torch.zeros_like(tensor) for key, tensor in small_state().items()}
    with pytest.raises(WeightsMismatch, match=r"holds 2 networks that fit: \(without a prefix\), teacher\."):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
def test_an_averaged_model_is_taken_out_of_its_wrapper() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(build_network(entry_of("torchvision/resnet18")))
    events: list[Event] = []
    network = fit_weights(entry_of("torchvision/resnet18"), averaged.state_dict(), report=events.append)
    assert torch.equal(network.conv1.weight, averaged.module.conv1.weight)
    assert events[-1] == Note("net: all 122 tensors loaded", level="detail")


@pytest.mark.fault("S8")
@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(dtype: torch.dtype) -> None:
    state = {key: tensor.to(dtype) for key, tensor in small_state().items()}
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(WeightsMismatch, match=rf"conv1\.weight is {name} instead of float32"):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
def test_a_deeper_network_does_not_pass_for_a_shallower_one() -> None:
    """Every tensor of a ResNet-50 is in a ResNet-101's file, with its shape; strict=False would load it."""
    with pytest.raises(WeightsMismatch, match=r"fit only 57 % of it .*layer3\.6"):
        fit_weights(entry_of("torchvision/resnet50"), small_state("resnet101"))


@pytest.mark.fault("S8")
def test_weights_of_other_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(
        WeightsMismatch, match=r"is \(256, 64, 1, 1\) instead of \(128, 64, 1, 1\)|instead of"
    ):
        fit_weights(entry_of("torchvision/wide_resnet50_2"), small_state("resnet50"))


@pytest.mark.fault("S8")
def test_a_network_without_its_batch_norm_statistics_is_refused() -> None:
    """They are 0.1 % of the numbers, and without them the rest is worth nothing."""
    state = {key: t for key, t in small_state().items() if "running" not in key}
    with pytest.raises(WeightsMismatch, match="running_mean is missing"):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    "missing",
    ["layer1.0.bn1.weight", "conv1.weight", "layer4.1.bn2.running_var", "layer2.0.downsample.0.weight"],
)
def test_a_tensor_that_the_file_lacks_is_refused_by_name(missing: str) -> None:
    """It would be drawn at random at every load: another answer each time, "0 frozen tensors changed"."""
    state = dict(small_state())
    del state[missing]
    with pytest.raises(
        WeightsMismatch, match=rf"lacks 1 of 102 tensors of torchvision/resnet18: {missing} is missing"
    ):
        fit_weights(entry_of("torchvision/resnet18"), state)


@pytest.mark.fault("S8")
def test_a_missing_table_of_positions_is_refused_by_name() -> None:
    import timm

    state = random_state(lambda: timm.create_model("vit_tiny_patch16_224"))
    del state["pos_embed"]
    with pytest.raises(WeightsMismatch, match="pos_embed is missing"):
        fit_weights(entry_of("timm/vit_tiny_patch16_224"), state)


@pytest.mark.thorough
def test_a_network_that_computes_tensors_of_its_own_is_the_same_at_every_load() -> None:
    import timm

    state = random_state(lambda: timm.create_model("swin_tiny_patch4_window7_224"))
    entry = entry_of("timm/swin_tiny_patch4_window7_224.ms_in1k")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = says(fit_weights(entry, state), 224)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(says(fit_weights(entry, state), 224), first)


def test_a_first_convolution_for_grey_pictures_sees_them_in_three_channels_as_in_one() -> None:
    import timm

    state = small_state()
    grey = {**state, "conv1.weight": state["conv1.weight"].sum(1, keepdim=True)}
    events: list[Event] = []
    network = fit_weights(entry_of("torchvision/resnet18"), grey, report=events.append)
    assert events[0] == Note(
        "net: conv1.weight is (64, 1, 7, 7) instead of (64, 3, 7, 7):"
        " it is repeated for 3 channels, divided by 3"
    )
    theirs = timm.create_model("resnet18", in_chans=1).eval()
    theirs.load_state_dict(grey)
    pictures = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(pictures)
        found = network(pictures.repeat(1, 3, 1, 1))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_first_convolution_for_colours_is_summed_for_a_network_of_one_channel() -> None:
    colour = fit_weights(entry_of("torchvision/resnet18"), small_state())
    entry = entry_of("timm/resnet18")
    entry = replace(entry, input=replace(entry.input, channels=1, mean=(0.5,), std=(0.5,)))
    events: list[Event] = []
    network = fit_weights(entry, small_state(), report=events.append)
    assert isinstance(events[0], Note)
    assert "(64, 3, 7, 7) instead of (64, 1, 7, 7): it is summed over its channels" in events[0].message
    pictures = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = colour(pictures.repeat(1, 3, 1, 1))
        found = network(pictures)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.fault("S8")
@pytest.mark.parametrize("channels", [2, 4, 12])
def test_a_first_convolution_of_other_channels_is_refused_by_name(channels: int) -> None:
    state = {**small_state(), "conv1.weight": torch.ones(64, channels, 7, 7)}
    with pytest.raises(
        WeightsMismatch, match=rf"lacks 1 of 102 .*conv1\.weight is \(64, {channels}, 7, 7\) instead of"
    ):
        fit_weights(entry_of("torchvision/resnet18"), state)


# --- other names for the same tensors


def under_other_names(architecture: str, scheme: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(a state under its own names, the same as fastai, a cut nn.Sequential or transformers saves it)."""
    from torchvision import models

    state = small_state(architecture)
    if scheme == "transformers":
        return state, {transformers_name(key): tensor for key, tensor in state.items()}
    network = models.get_model(architecture, weights=None)
    network.load_state_dict(state)
    body = nn.Sequential(*list(network.children())[:-2])
    if scheme == "fastai":
        head = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Dropout(), nn.Linear(1024, 2))
        return state, dict(nn.Sequential(body, head).state_dict())
    return state, dict(body.state_dict())


def transformers_name(key: str) -> str:
    """As transformers' script convert_resnet_to_pytorch.py pairs its modules with those of timm's ResNets."""
    parts = key.split(".")
    kind = {"conv": "convolution", "bn": "normalization"}
    if parts[0] in ("conv1", "bn1"):
        return f"resnet.embedder.embedder.{kind[parts[0][:-1]]}.{parts[1]}"
    if parts[0] == "fc":
        return f"classifier.1.{parts[1]}"
    place = f"resnet.encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        return f"{place}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
    return f"{place}.layer.{int(parts[2][-1]) - 1}.{kind[parts[2][:-1]]}.{parts[3]}"


@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("scheme", ["fastai", "cut", "transformers", "wrapped transformers"])
def test_a_backbone_under_the_names_of_others_is_mapped(scheme: str, architecture: str) -> None:
    state, other = under_other_names(architecture, scheme.removeprefix("wrapped "))
    if scheme.startswith("wrapped"):
        other = {f"model.{key}": tensor for key, tensor in other.items()} | {"loss.weight": torch.ones(2)}
    entry = entry_of(f"torchvision/{architecture}", classes=None)
    events: list[Event] = []
    network = fit_weights(entry, other, report=events.append)
    expected = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    assert all(torch.equal(found, expected[key]) for key, found in network.state_dict().items())
    messages = [event.message for event in events if isinstance(event, Note)]
    assert "they are mapped, the shapes fit" in messages[-2]
    assert messages[-1] == f"net: all {len(expected)} tensors loaded"


def test_transformers_classifier_is_mapped_too() -> None:
    state, other = under_other_names("resnet18", "transformers")
    network = fit_weights(entry_of("timm/resnet18.tv_in1k"), other)
    assert all(torch.equal(found, state[key]) for key, found in network.state_dict().items())


def test_a_deeper_network_does_not_pass_for_a_shallower_one_under_other_names_either() -> None:
    _, other = under_other_names("resnet101", "transformers")
    with pytest.raises(WeightsMismatch, match="fit only"):
        fit_weights(entry_of("torchvision/resnet50", classes=None), other)


def test_a_head_of_fastai_is_not_the_networks_classifier() -> None:
    _, other = under_other_names("resnet18", "fastai")
    with pytest.raises(WeightsMismatch, match=r"do not fill its classifier \(fc\.weight is missing"):
        fit_weights(entry_of("torchvision/resnet18"), other)


@pytest.mark.fault("S8")
def test_a_missing_classifier_is_refused_unless_the_entry_has_no_classes() -> None:
    state = {key: tensor for key, tensor in small_state().items() if not key.startswith("fc.")}
    with pytest.raises(WeightsMismatch, match=r"do not fill its classifier \(fc\.weight is missing"):
        fit_weights(entry_of("torchvision/resnet18"), state)
    features = fit_weights(entry_of("torchvision/resnet18", classes=None), state)
    assert says(features, 64).shape == (2, 512)


@pytest.mark.fault("S8")
def test_a_classifier_with_another_number_of_classes_is_refused() -> None:
    with pytest.raises(WeightsMismatch, match=r"fc\.weight is \(1000, 512\) instead of \(10, 512\)"):
        fit_weights(entry_of("torchvision/resnet18", classes=10), small_state())


@pytest.mark.parametrize("architecture", ["torchvision/resnet18", "timm/resnet18.tv_in1k"])
def test_a_model_without_classes_drops_the_classifier_of_its_file(architecture: str) -> None:
    events: list[Event] = []
    network = fit_weights(entry_of(architecture, classes=None), small_state(), report=events.append)
    assert says(network, 64).shape == (2, 512)
    assert [e.level for e in events if isinstance(e, Note)] == ["detail"]


@pytest.mark.thorough
def test_features_of_vgg16_without_a_classifier_are_those_of_its_convolutions() -> None:
    """As published: the file has the classifier's keys, and NaN in all of them."""
    state = small_state("vgg11")
    for key, tensor in state.items():
        if key.startswith("classifier."):
            tensor.fill_(torch.nan)
    features = says(fit_weights(entry_of("torchvision/vgg11", classes=None), state), 64)
    assert features.shape == (2, 25088)
    assert features.isfinite().all()


def test_weights_under_names_of_another_time_go_through_timms_own_filter() -> None:
    """DeiT's and older ViT files say `model`-level things that timm renames; its filter does it, not we."""
    import timm

    network = timm.create_model("convnext_atto")
    state = random_state(lambda: timm.create_model("convnext_atto"))
    renamed = {  # as Facebook published ConvNeXt
        key.replace("stages.", "stages.").replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
        .replace("conv_dw", "dwconv").replace("head.fc.", "head.").replace("head.norm.", "norm.")
        .replace("stem.0", "downsample_layers.0.0").replace("stem.1", "downsample_layers.0.1"): tensor
        for key, tensor in state.items()
    }  # fmt: skip
    renamed = {blocks_out(key): tensor for key, tensor in renamed.items()}
    ours = fit_weights(entry_of("timm/convnext_atto.d2_in1k"), renamed)
    network.load_state_dict(state)
    assert torch.equal(says(ours, 64), says(network, 64))


def blocks_out(key: str) -> str:
    """Facebook's numbering of ConvNeXt's blocks and downsampling layers."""
    import re

    key = re.sub(r"stages\.(\d)\.blocks\.", r"stages.\1.", key)
    return re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)


def test_an_unknown_architecture_names_the_close_ones() -> None:
    with pytest.raises(UnknownName, match="resnet18"):
        build_network(entry_of("torchvision/resnet81"))
    with pytest.raises(UnknownName, match=r"mobilenetv4_conv_small"):
        build_network(entry_of("timm/mobilenetv4_conv_smal"))
    with pytest.raises(UnknownName, match=r"resnet50\.a1_in1k"):
        build_network(entry_of("timm/resnet50.a1_in2k"))
    with pytest.raises(UnknownName, match=r"torchvision/…, timm/…"):
        build_network(entry_of("keras/resnet50"))


def test_an_argument_that_the_architecture_does_not_take_is_a_mistake_of_the_entry() -> None:
    with pytest.raises(UsageError, match="depth"):
        build_network(entry_of("torchvision/resnet18", depth=18))


@pytest.mark.parametrize("architecture", ["torchvision/resnet18", "timm/resnet18"])
def test_a_network_can_be_built_for_other_classes(architecture: str) -> None:
    assert says(build_network(entry_of(architecture), classes=7), 64).shape == (2, 7)


def test_loading_draws_no_random_numbers() -> None:
    """The draft on the meta device: torchvision spends 0.9 s on a VGG's random numbers, loading 0.02 s."""
    state = small_state("vgg11")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fit_weights(entry_of("torchvision/vgg11"), state)
    assert torch.equal(torch.get_rng_state(), before)
