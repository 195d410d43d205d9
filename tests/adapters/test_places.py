"""A head is attached where the network answers with it, and nowhere else; a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adapters import AdapterError, attach_head


class Scores(nn.Module):
    """A classifier whose scores go through a batch norm of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.norm = nn.Conv2d(3, 8, 3), nn.Linear(8, 10), nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.fc(self.conv(x).mean((2, 3))))
        return out


class Parallel(nn.Module):
    """Two answers from one feature: the kind of an animal, and its age."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.kind, self.age = nn.Conv2d(3, 8, 3), nn.Linear(8, 10), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(x).mean((2, 3))
        return self.kind(features), self.age(features)


class Pixels(nn.Module):
    """A U-Net in small: a class for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.conv(x))
        return out


def segmentation(name: str) -> Callable[[], nn.Module]:
    from torchvision.models import segmentation

    return lambda: getattr(segmentation, name)(weights=None, weights_backbone=None)


def detection(name: str) -> Callable[[], nn.Module]:
    from torchvision.models import detection

    return lambda: getattr(detection, name)(weights=None, weights_backbone=None)


def headless() -> nn.Module:
    import timm

    return timm.create_model("repvit_m0_9", num_classes=0)


WRONG = {
    "batch norm behind": (Scores, "does not return the classes"),
    "two answers": (Parallel, "two last layers side by side, kind and age"),
    "pixels": (Pixels, "answers for every pixel"),
    "lraspp": (segmentation("lraspp_mobilenet_v3_large"), "does not return the classes"),
    "fcn": (segmentation("fcn_resnet50"), "does not return the classes"),
    "deeplab": (segmentation("deeplabv3_mobilenet_v3_large"), "does not return the classes"),
    "faster r-cnn": (detection("fasterrcnn_mobilenet_v3_large_fpn"), "cls_score and .*bbox_pred"),
    "mask r-cnn": (detection("maskrcnn_resnet50_fpn"), "is not known"),
    "ssd": (detection("ssdlite320_mobilenet_v3_large"), "is not known"),
    "headless": (headless, "does not return the classes"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_a_classifier_is_refused_and_left_as_it_was(wrong: str) -> None:
    build, message = WRONG[wrong]
    model = build()
    before = [(name, id(module)) for name, module in model.named_modules()]
    modes = [module.training for module in model.modules()]
    with pytest.raises(AdapterError, match=message) as caught:
        attach_head(model, 3)
    assert "at=" in str(caught.value)
    assert [(name, id(module)) for name, module in model.named_modules()] == before
    assert [module.training for module in model.modules()] == modes


def test_a_named_place_is_taken_without_a_trial() -> None:
    model = Parallel()
    attach_head(model, 3, at="kind")
    kind, age = model(torch.zeros(2, 3, 8, 8))
    assert (kind.shape, age.shape) == ((2, 3), (2, 1))


@pytest.mark.parametrize("name", ["volo_d1_224", "inception_v3", "deit_tiny_distilled_patch16_224"])
def test_auxiliary_and_second_classifiers_pass_the_trial(name: str) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name)
    assert attach_head(model, 3).classes == 3


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(4))
def test_the_networks_of_torchvision_are_all_taken(part: int) -> None:
    from torchvision import models

    for name in models.list_models(module=models)[part::4]:
        quickly = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        try:
            with torch.device("meta"):
                model = models.get_model(name, weights=None, **quickly)
        except NotImplementedError:  # it computes with numbers while it is built
            model = models.get_model(name, weights=None, **quickly)
        assert attach_head(model, 3).classes == 3, name
