"""The classifier is found wherever a network has it, with the width that it really sees."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapters import (
    AdapterError,
    NoClassifier,
    attach_head,
    classifiers,
    feature_extractor,
    feature_width,
    features_of,
    find_classifier,
    stages,
)
from adapters.classifiers import find_site

Network = Callable[[str], nn.Module]


@pytest.mark.parametrize(
    ("name", "place", "width"),
    [
        ("tv/resnet18", "fc", 512),
        ("tv/mobilenet_v2", "classifier.1", 1280),
        ("tv/mobilenet_v3_small", "classifier.3", 1024),
        ("tv/squeezenet1_1", "classifier.1", 512),
        ("tv/inception_v3", "fc", 2048),
        ("tv/vit", "heads.head", 48),
        ("timm/resnetv2_18", "head.fc", 512),
        ("timm/mobilenetv3_small_050", "classifier", 1024),
        ("timm/efficientvit_b0", "head.classifier.4", 1280),
        ("timm/dla46_c", "fc", 256),
        ("timm/deit_tiny_distilled_patch16_224", "head", 192),
        ("timm/levit_128s", "head.linear", 384),
    ],
)
def test_the_classifier_is_found_and_so_is_its_width(
    network: Network, name: str, place: str, width: int
) -> None:
    model = network(name)
    found, layer = find_classifier(model)
    assert (found, layer) == (place, model.get_submodule(place))
    assert feature_width(model) == width


def test_timms_num_features_is_not_asked(network: Network) -> None:
    model = network("timm/mobilenetv3_small_050")
    assert model.num_features == 288
    assert feature_width(model) == 1024


@pytest.mark.parametrize(
    "name", ["tv/resnet18", "tv/mobilenet_v3_small", "tv/vit", "timm/dla46_c", "timm/resnetv2_18"]
)
def test_an_identity_in_the_classifiers_place_is_measured(network: Network, name: str) -> None:
    model = network(name)
    place, layer = find_classifier(model)
    width = feature_width(model)
    model.set_submodule(place, nn.Identity())
    assert find_classifier(model)[0] == place
    assert feature_width(model) == width
    assert type(layer) in (nn.Linear, nn.Conv2d)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "resnetv2_18", "test_vit3", "efficientvit_m0", "test_nfnet"]
)
def test_a_timm_network_without_classes_has_a_place_for_a_head(name: str) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, num_classes=0)
    images = torch.empty(2, *model.default_cfg["input_size"], device="meta")
    assert model(images).flatten(1).shape == (2, feature_width(model))
    head = attach_head(model.eval(), 3)
    assert model(images).shape == head(torch.empty(2, head.in_features, device="meta")).shape == (2, 3)


def test_a_layer_with_a_usual_name_is_found_wherever_it_is_registered() -> None:
    model = nn.ModuleDict({"fc": nn.Linear(8, 2), "body": nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())})
    assert find_classifier(model)[0] == "fc"
    assert [stage.name for stage in stages(model)] == ["body", "fc"]


def test_a_classifier_that_carries_a_parametrisation_is_one_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.utils.parametrizations.weight_norm(nn.Linear(8, 2)))
    assert find_classifier(model)[0] == "1"


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3)),
        nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)),
        nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8)),
        nn.Sequential(nn.ReLU()),
    ],
    ids=["convolution", "norm", "attention", "nothing"],
)
def test_a_network_without_classifier_is_answered_with_what_could_be_meant(model: nn.Sequential) -> None:
    with pytest.raises(NoClassifier) as caught:
        find_classifier(model)
    assert isinstance(caught.value, ValueError)
    candidates = [name for name, m in model.named_modules() if type(m) in (nn.Linear,) or name == "0"]
    assert set(caught.value.candidates) <= set(candidates)
    assert all(name in str(caught.value) for name in caught.value.candidates)


def test_a_named_layer_is_taken_and_a_misspelt_one_answered(plain: nn.Module) -> None:
    head = attach_head(plain, 3, at="fc1")
    assert plain.fc1 is head
    with pytest.raises(NoClassifier, match=r"no layer 'fc3'[\s\S]*conv|fc2"):
        attach_head(plain, 3, at="fc3")


def test_several_classifiers_of_different_features_are_refused() -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model("crossvit_tiny_240", pretrained=False)
    assert find_classifier(model)[0] == "head"
    with pytest.raises(AdapterError, match="combines 2 classifiers"):
        attach_head(model, 3)


def test_head_of_features_is_the_network(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    head = attach_head(model, 5, head="linear", standardize=True, seed=3).eval()
    features = features_of(model, images)
    head.fit_standardize(features.mean() + features.std() * torch.randn(20, head.in_features))
    with torch.inference_mode():
        expected = model(images)
    assert features.shape == (2, head.in_features)
    assert features[0].sub(features[1]).abs().max() > 1e-3
    torch.testing.assert_close(head(features), expected, rtol=1e-5, atol=1e-6)
    assert expected[0].sub(expected[1]).abs().max() > 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["mlp", "cosine"])
@pytest.mark.parametrize(
    "name", ["tv/squeezenet1_1", "tv/mobilenet_v3_small", "timm/dla46_c", "timm/test_vit"]
)
def test_head_of_features_is_the_network_for_every_kind_of_head(
    network: Network, name: str, kind: str
) -> None:
    model = network(name)
    images = torch.randn(2, 3, 160, 160)
    head = attach_head(model, 5, head=kind).eval()
    torch.testing.assert_close(head(features_of(model, images)), model(images), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_the_published_classifier_sees_the_features_too(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    layer = find_classifier(model)[1]
    if isinstance(layer, nn.Linear) and not hasattr(model, "head_dist"):
        torch.testing.assert_close(layer(features_of(model, images)), model(images), rtol=1e-4, atol=1e-5)
    else:
        assert features_of(model, images).shape == (2, feature_width(model))


@pytest.mark.slow
def test_head_of_features_is_the_network_for_vgg() -> None:
    import torchvision

    model = torchvision.models.vgg11_bn(weights=None).eval()
    images = torch.randn(2, 3, 64, 64)
    head = attach_head(model, 5).eval()
    assert (head.in_features, find_classifier(model)[0]) == (4096, "classifier.6")
    torch.testing.assert_close(head(features_of(model, images)), model(images))


def test_features_are_what_the_head_sees_whatever_comes_after_it(plain: nn.Module) -> None:
    images = torch.randn(3, 1, 16, 16)
    logits = plain.fc2(features_of(plain, images))
    torch.testing.assert_close(logits.log_softmax(1), plain.eval()(images))


def test_features_are_those_of_eval_mode_and_the_model_stays_as_it_was(small: nn.Sequential) -> None:
    before = copy.deepcopy(small.state_dict())
    small.train()
    small[1].eval()
    modes = [module.training for module in small.modules()]
    features = features_of(small, torch.randn(4, 3, 16, 16))
    assert not features.requires_grad
    assert [module.training for module in small.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["resnet50_clip", "repvit_m0_9", "volo_d1_224"])
def test_a_classifier_of_tokens_or_of_two_paths_still_gives_one_vector_per_picture(name: str) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False).eval()
    head = attach_head(model, 3)
    images = torch.empty(2, 3, 224, 224, device="meta")
    assert model(images).shape == (2, 3)
    assert feature_extractor(model)(images).shape == (2, head.in_features)


def test_a_classifier_of_tokens_is_applied_before_one_of_them_is_chosen() -> None:
    class Chosen(nn.Module):
        """Chooses the first token after the classifier, as CLIP's attention pooling does."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(4, 8)
            self.fc = nn.Linear(8, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.fc(self.embed(tokens).relu())[:, 0]

    model, tokens = Chosen(), torch.randn(2, 5, 4)
    head = attach_head(model, 3).eval()
    assert features_of(model, tokens).shape == (2, 8)
    torch.testing.assert_close(head(features_of(model, tokens)), model.eval()(tokens))


def test_transform_input_of_inception_is_part_of_its_features(network: Network) -> None:
    model = network("tv/inception_v3")
    images = torch.randn(1, 3, 107, 107)
    plainly = features_of(model, images)
    model.transform_input = True
    transformed = features_of(model, images)
    assert not transformed.allclose(plainly)
    head = attach_head(model, 4)
    torch.testing.assert_close(head.eval()(transformed), model.eval()(images))


def test_an_extractor_shares_the_weights_and_nothing_else(network: Network) -> None:
    model = network("tv/resnet18")
    extractor = feature_extractor(model)
    weight = extractor.network.get_submodule("conv1").weight
    assert weight.data_ptr() == model.conv1.weight.data_ptr()
    assert not weight.requires_grad
    extractor.to(torch.float64)
    assert model.conv1.weight.dtype == torch.float32
    assert model.conv1.weight.requires_grad
    assert type(model.fc) is nn.Linear
    assert extractor.width == 512
    assert not [name for name, _ in extractor.named_parameters() if "fc" in name]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tv/resnet18", 64),
        ("tv/mobilenet_v3_small", 64),
        ("timm/resnet18", 64),
        ("timm/mobilenetv4_conv_small_050", 64),
        ("timm/test_vit", 160),
        ("timm/deit_tiny_distilled_patch16_224", 224),
    ],
)
def test_an_extractor_can_be_exported(network: Network, name: str, size: int) -> None:
    extractor = feature_extractor(network(name))
    images = torch.randn(2, 3, size, size)
    exported = torch.export.export(extractor, (images,)).module()
    torch.testing.assert_close(exported(images), extractor(images))


def test_an_extractor_can_be_traced_by_fx(network: Network) -> None:
    extractor = feature_extractor(network("tv/resnet18"))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(torch.fx.symbolic_trace(extractor)(images), extractor(images))


def test_what_a_network_does_after_its_classifier_does_not_touch_features() -> None:
    class Probabilities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(4, 8)
            self.fc = nn.Linear(8, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.fc(self.embed(inputs)).softmax(1)

    model, inputs = Probabilities(), torch.randn(2, 4)
    torch.testing.assert_close(feature_extractor(model)(inputs), model.embed(inputs))


def test_an_extractor_can_be_compiled(small: nn.Sequential) -> None:
    images = torch.randn(2, 3, 16, 16)
    extractor = feature_extractor(small)
    expected = extractor(images)
    torch.testing.assert_close(torch.compile(extractor, backend="eager")(images), expected)


def test_a_network_that_keeps_computed_tensors_can_be_extracted_from() -> None:
    import timm

    model = timm.create_model("efficientvit_m0", pretrained=False, num_classes=4).eval()
    images = torch.randn(1, 3, 224, 224)
    expected = model(images)  # with gradients: its attention biases are kept, and deepcopy refuses them
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    torch.testing.assert_close(model.head.linear(features_of(model, images)), expected)


def test_the_features_of_real_weights_name_the_cat(data: Path) -> None:
    import torchvision
    from PIL import Image
    from torchvision.transforms import functional as T

    model = torchvision.models.mobilenet_v2(weights=None).eval()
    weights = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    pictures = [Image.open(path).convert("RGB") for path in sorted((data / "photos").glob("*.jpg"))]
    crops = [T.to_tensor(T.center_crop(T.resize(picture, 256), 224)) for picture in pictures]
    images = (torch.stack(crops) - 0.5) / 0.5
    with torch.inference_mode():
        expected = model(images)
    features = features_of(model, images)
    assert features.shape == (len(images), 1280)
    torch.testing.assert_close(model.classifier[1](features), expected)
    labels = set(expected.argmax(1).tolist())
    assert labels == {285, 88, 934}  # Egyptian cat, macaw, hotdog


def test_an_extractor_is_made_without_torchs_compiler() -> None:
    """It takes a second to import, and torch's meta device, on which other networks are tried, imports it."""
    code = (
        "import sys, adapters\n"
        "from torch import nn\n"
        "stem = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "adapters.feature_extractor(nn.Sequential(*stem, nn.Linear(4, 5)))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


class Own(nn.Module):
    """A network of somebody's own. odd: what is odd about its forward pass."""

    def __init__(self, odd: str) -> None:
        super().__init__()
        self.odd = odd
        self.stem = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)
        self.register_buffer("passes", torch.zeros(()))
        if odd == "parametrized":
            nn.utils.parametrizations.spectral_norm(self.stem)

    def forward(self, images: Tensor) -> Tensor:
        if self.odd == "counts":
            self.passes += 1
        if self.odd == "shrinks":
            self.stem.weight.data.mul_(0.9)
        out = self.fc(self.stem(images).mean((2, 3)))
        if self.odd == "in place":
            return out.sigmoid_()
        return out.softmax(1) if self.odd == "by size" and images.shape[-1] > 100 else out


@pytest.mark.parametrize("odd", ["counts", "shrinks", "parametrized"])
def test_making_an_extractor_writes_into_nothing(odd: str) -> None:
    model = Own(odd)  # in training mode, in which spectral norm estimates anew whenever the weight is read
    before = copy.deepcopy(model.state_dict())
    feature_extractor(model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("known", [False, True])
def test_an_extractor_made_in_inference_mode_ends_without_an_exception_too(
    network: Network, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "_is_known", lambda model: known)
    with torch.inference_mode():
        extractor = feature_extractor(network("tv/mobilenet_v2"))
    assert not any(isinstance(module, classifiers._Cut) for module in extractor.modules())


@pytest.mark.parametrize("odd", ["in place", "by size"])
def test_features_are_the_classifiers_input_whatever_becomes_of_its_output(odd: str) -> None:
    model, images = Own(odd).eval(), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(features_of(model, images), model.stem(images).mean((2, 3)))


def test_a_hook_or_a_forward_of_ones_own_is_code_that_is_not_known(network: Network) -> None:
    model = network("tv/resnet18")
    assert classifiers._is_known(model)
    handle = model.layer1.register_forward_hook(lambda *_: None)
    assert not classifiers._is_known(model)
    handle.remove()
    model.layer1.forward = lambda images: images
    assert not classifiers._is_known(model)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(
    "name", ["tv/mobilenet_v2", "tv/resnet18", "tv/squeezenet1_1", "tv/inception_v3", "timm/dla46_c"]
)
def test_a_small_image_says_of_a_network_what_the_meta_device_says(
    network: Network, name: str, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(network(name), nn.Softmax(1)) if changed else network(name)
    places = find_site(model).names
    assert classifiers._small_image(model) is not None
    said = classifiers._ends_with(model, places)
    monkeypatch.setattr(classifiers, "_small_image", lambda model: None)
    assert classifiers._ends_with(model, places) is said
    assert said is (not changed and name not in ("tv/squeezenet1_1", "timm/dla46_c"))
