"""The tensor that a model sees: equal to what its own library makes, augmented the same way every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.augmentations import AUGMENTATIONS
from zoo.data.pixels.chance import drawing_from
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import (
    Draws,
    augment,
    center_crop,
    draw_crop,
    preprocess,
    rand_augment,
    random_erasing,
)
from zoo.errors import UnknownName

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def photos(data: Path) -> list[Path]:
    """Photographs of many sizes and shapes."""
    return [*sorted((data / "photos").iterdir()), *sorted((data / "hymenoptera/val/bees").iterdir())[:12]]


def wanted(size: int = 224, resize: int = 256, **facts: object) -> ImageInput:
    return ImageInput(size=size, resize=resize, mean=MEAN, std=STD, **facts)  # type: ignore[arg-type]


def differ_in_grey_levels(
    photos: list[Path], settings: ImageInput, reference: Callable[[Image.Image], torch.Tensor]
) -> tuple[float, float]:
    """Largest and mean difference to a reference transform of PIL images, in levels of 255."""
    errors = []
    for path in photos:
        ours, theirs = preprocess(read_image(path), settings), reference(Image.open(path).convert("RGB"))
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == torch.float32
        errors.append((ours - theirs).abs() * torch.tensor(settings.std).view(-1, 1, 1) * 255)
    return max(e.max().item() for e in errors), float(np.mean([e.mean().item() for e in errors]))


@pytest.mark.parametrize(
    ("size", "resize", "interpolation", "most"),
    [
        (224, 256, "bilinear", 1),
        (224, 232, "bilinear", 1),
        (299, 342, "bilinear", 1),
        (64, 64, "bilinear", 1),
        (384, 384, "bicubic", 4),
        (600, 640, "lanczos", 4),  # larger than most of the photographs
    ],
)
def test_images_are_prepared_as_torchvision_does(
    photos: list[Path], size: int, resize: int, interpolation: str, most: int
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    reference = ImageClassification(
        crop_size=size, resize_size=resize, interpolation=InterpolationMode(interpolation)
    )
    largest, mean = differ_in_grey_levels(
        photos, wanted(size, resize, interpolation=interpolation), reference
    )
    assert largest <= most + 1e-3
    assert mean < 0.01


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("share", [0.875, 0.95, 1.0])
@pytest.mark.parametrize(("interpolation", "most"), [("bilinear", 1), ("bicubic", 4)])
def test_images_are_prepared_as_timm_does(
    photos: list[Path], crop: str, share: float, interpolation: str, most: int
) -> None:
    from timm.data import create_transform

    reference = create_transform(
        (3, 224, 224), interpolation=interpolation, mean=MEAN, std=STD, crop_pct=share, crop_mode=crop
    )
    settings = wanted(224, math.floor(224 / share), interpolation=interpolation, crop=crop)
    largest, mean = differ_in_grey_levels(photos, settings, reference)
    assert largest <= most + 1e-3
    assert mean < 0.05


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 100), (100, 1), (7, 300), (31, 17), (2000, 21)])
def test_any_shape_becomes_the_input_size(shape: tuple[int, ...], crop: str) -> None:
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = wanted(64, 72, crop=crop)
    assert preprocess(image, settings).shape == (3, 64, 64)
    assert augment(image, settings, torch.Generator().manual_seed(1), strength="strong").shape == (3, 64, 64)


def test_a_crop_larger_than_the_image_is_padded_as_torchvision_pads() -> None:
    from torchvision.transforms.functional import center_crop as theirs

    image = torch.randint(1, 256, (3, 5, 8), dtype=torch.uint8)
    for size in (4, 6, 7, 8, 11):
        assert torch.equal(center_crop(image, size), theirs(image, [size]))


def test_one_channel_is_the_brightness_that_pillow_computes(photos: list[Path]) -> None:
    settings = ImageInput(size=32, resize=32, mean=(0.0,), std=(1.0,), channels=1, crop="squash")
    path = photos[0]
    ours = preprocess(read_image(path), settings)
    theirs = np.asarray(
        Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR).convert("L")
    )
    assert ours.shape == (1, 32, 32)
    assert (ours[0] * 255 - torch.from_numpy(theirs.astype(np.float32))).abs().max() <= 1.5


def test_preparing_leaves_the_image_as_it_was(photos: list[Path]) -> None:
    image = read_image(photos[0])
    before = image.clone()
    preprocess(image, wanted(image.shape[1], image.shape[1]))
    augment(image, wanted(), torch.Generator().manual_seed(0))
    assert torch.equal(image, before)


# --- augmentation


def test_an_augmented_view_depends_on_seed_epoch_and_index_alone(photos: list[Path]) -> None:
    image = read_image(photos[0])

    def view(seed: int, epoch: int, index: int) -> torch.Tensor:
        torch.manual_seed(seed + 17)  # the global state must not matter
        return augment(image, wanted(64, 72), Draws(seed, epoch).generator(index))

    assert torch.equal(view(1, 2, 3), view(1, 2, 3))
    views = [view(1, 2, 3), view(0, 2, 3), view(1, 3, 3), view(1, 2, 4), view(12, 3, 3)]
    assert len({v.numpy().tobytes() for v in views}) == 5


def test_without_augmentation_the_view_is_the_one_of_prediction(photos: list[Path]) -> None:
    image = read_image(photos[0])
    view = augment(image, wanted(), torch.Generator().manual_seed(0), strength="none")
    assert torch.equal(view, preprocess(image, wanted()))


def test_an_unknown_strength_is_named(photos: list[Path]) -> None:
    with pytest.raises(UnknownName, match="no augmentation 'strng'"):
        augment(torch.zeros(3, 8, 8, dtype=torch.uint8), wanted(), torch.Generator(), strength="strng")


def test_half_of_the_views_are_mirrored() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 16:] = 255  # dark on the left
    settings = ImageInput(size=8, resize=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    views = torch.stack([augment(image, settings, Draws(0, 0).generator(i)) for i in range(400)])
    mirrored = (views[:, 0, :, 0] > views[:, 0, :, -1]).float().mean(1).round().mean()
    assert 0.42 < mirrored < 0.58


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_random_parts_keep_to_their_scale_and_ratio_and_reach_every_corner(strength: str) -> None:
    changes = AUGMENTATIONS[strength]
    assert changes is not None
    parts = [draw_crop(300, 400, changes, Draws(0, 1).generator(i)) for i in range(2000)]
    for top, left, height, width in parts:
        assert 0 <= top <= top + height <= 300
        assert 0 <= left <= left + width <= 400
        assert changes.scale[0] - 0.02 < height * width / 120_000 < changes.scale[1] + 0.02
        assert 0.7 < width / height < 1.4
    assert min(top for top, *_ in parts) == 0
    assert max(left + width for _, left, _, width in parts) == 400


def test_a_part_of_a_very_long_image_is_still_inside_it() -> None:
    changes = AUGMENTATIONS["light"]
    assert changes is not None
    top, left, height, width = draw_crop(10, 900, changes, torch.Generator().manual_seed(0))
    assert (top, height) == (0, 10)
    assert 0 <= left <= left + width <= 900
    assert width == 13


def test_stronger_augmentation_changes_the_image_more(photos: list[Path]) -> None:
    image = read_image(photos[0])
    plain = preprocess(image, wanted(64, 64))

    def change(strength: str) -> float:
        views = [
            augment(image, wanted(64, 64), Draws(5, 0).generator(i), strength=strength) for i in range(40)
        ]
        return float(np.mean([(v - plain).abs().mean().item() for v in views]))

    assert 0 < change("light") < change("strong")


@pytest.mark.parametrize("size", [64, 96])
def test_operations_and_erasing_are_those_of_torchvision_drawn_from_the_images_own_generator(
    photos: list[Path], size: int
) -> None:
    image, settings = read_image(photos[0]), wanted(size, size)
    before = torch.get_rng_state()
    for seed in range(6):
        view = augment(image, settings, Draws(seed, 1).generator(3), strength="randaugment", erase=1.0)
        assert view.shape == (3, size, size)
        again = augment(image, settings, Draws(seed, 1).generator(3), strength="randaugment", erase=1.0)
        assert torch.equal(view, again)
        whole = augment(image, settings, Draws(seed, 1).generator(3), strength="randaugment")
        kept = (view == whole).all(0)
        assert (view[:, ~kept] == 0).all()  # the mean, once it is normalised
        assert 0.01 < 1 - kept.float().mean() < 0.4
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    expected = v2.RandAugment(2, 9, interpolation=v2.InterpolationMode.BILINEAR)(image)
    with drawing_from(torch.Generator().manual_seed(7)):
        assert torch.equal(rand_augment(2, 9)(image), expected)
    torch.manual_seed(8)
    erased = v2.RandomErasing(1.0)(whole)
    with drawing_from(torch.Generator().manual_seed(8)):
        assert torch.equal(random_erasing(1.0)(whole), erased)
