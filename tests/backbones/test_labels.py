"""An output's name is the name that both libraries give it."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.backbones.labels import LABEL_SETS, class_names, count_classes, read_label_set, synset_ids
from zoo.catalogue.entry import ImageInput, ImageModel, Weights
from zoo.errors import UnknownName


def entry_of(classes: Any) -> ImageModel:
    return ImageModel(
        name="net",
        family="test",
        task="image-features" if classes is None else "image-classification",
        architecture="timm/resnet18",
        weights=Weights(url="net.safetensors"),
        input=ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3),
        classes=classes,
        license="unknown",
    )


def test_imagenet_names_are_those_of_torchvision_and_of_timm() -> None:
    from timm.data import ImageNetInfo
    from torchvision import models
    from torchvision.models import get_model_weights, list_models

    names = class_names(entry_of("imagenet-1k"))
    for model in list_models(module=models):
        for weights in get_model_weights(model):
            categories = weights.meta["categories"]
            assert categories is None or tuple(categories) == names, weights  # VGG16's, without a classifier
    info = ImageNetInfo("imagenet-1k")
    synonyms = [info.index_to_description(index).split(", ") for index in range(1000)]
    told_apart = {134: "crane bird", 639: "maillot tank suit"}  # timm has two of each name
    assert [n for n, name in enumerate(names) if name not in synonyms[n]] == list(told_apart)
    assert all(names[index] == name for index, name in told_apart.items())


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_label_set_names_every_output_once(name: str) -> None:
    from timm.data import ImageNetInfo

    names = read_label_set(name)
    assert len(set(names)) == len(names) == ImageNetInfo(name).num_classes()


@pytest.mark.parametrize("name", [n for n in LABEL_SETS if n != "imagenet-1k"])
def test_larger_sets_are_in_timms_order(name: str) -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo(name)
    for index in range(0, info.num_classes(), 997):
        description, synset = info.index_to_description(index), info.index_to_label_name(index)
        assert read_label_set(name)[index] in (description, f"{description} ({synset})")


def test_stated_labels_are_taken_and_unnamed_classes_are_numbers() -> None:
    assert class_names(entry_of(("ants", "bees"))) == ("ants", "bees")
    assert class_names(entry_of(3)) == ("0", "1", "2")
    assert class_names(entry_of(None)) == ()
    assert [count_classes(entry_of(c)) for c in (("ants", "bees"), 3, None, "imagenet-1k")] == [
        2,
        3,
        None,
        1000,
    ]


def test_an_unknown_label_set_names_the_close_ones() -> None:
    with pytest.raises(UnknownName, match="imagenet-1k"):
        class_names(entry_of("imagenet1k"))


def test_the_ids_of_imagenet_are_those_that_timm_gives() -> None:
    from timm.data import ImageNetInfo

    assert list(synset_ids("imagenet-1k")) == ImageNetInfo("imagenet-1k").label_names()
