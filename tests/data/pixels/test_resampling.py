"""Many images resized together: each as it is resized alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.data.pixels import resampling
from zoo.data.pixels.preprocessing import resize
from zoo.data.pixels.resampling import Window, resample


def noise(height: int, width: int, seed: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)
    return torch.from_numpy(drawn)


def alone(image: torch.Tensor, window: Window, size: int, interpolation: str) -> torch.Tensor:
    """What becomes of one image on the CPU."""
    top, left, height, width, resized, (down, right) = window
    part = image[:, top : top + height, left : left + width].contiguous()
    return resize(part, resized, interpolation)[:, down : down + size, right : right + size].float()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("at_once", [50_000_000, 20_000])
def test_each_is_resized_as_it_is_alone(
    interpolation: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "AT_ONCE", at_once)
    images = [noise(70 + 31 * at, 150 - 13 * at, at) for at in range(6)]
    windows = [
        Window(0, 0, 70, 150, (40, 40)),
        Window(5, 7, 60, 90, (40, 55), (0, 9)),
        Window(0, 0, 132, 124, (132, 124), (20, 30)),  # not resized at all
        Window(3, 0, 20, 30, (90, 80), (11, 12)),  # made larger
        Window(0, 0, 194, 98, (40, 40)),
        Window(10, 10, 200, 70, (41, 40), (1, 0)),
    ]
    found = resample(images, windows, 40, interpolation)
    assert found.shape == (6, 3, 40, 40)
    for at, window in enumerate(windows):
        expected = alone(images[at], window, 40, interpolation)
        difference = (found[at] - expected).abs()
        assert difference.max() <= 2, (at, difference.max())
        assert difference.mean() < 0.05, at


def test_what_lies_beyond_the_image_has_the_colour_of_the_border() -> None:
    image = noise(20, 30, 0)
    window = Window(0, 0, 20, 30, (20, 30), (-4, 3))
    found = resample([image, image], [window, Window(0, 0, 20, 30, (24, 24))], 24, "bilinear", (9, 8, 7))
    assert torch.equal(found[0][:, 4:], image[:, :20, 3:27].float())
    assert found[0][:, :4].flatten(1).unique(dim=1).flatten().tolist() == [9, 8, 7]
    plain = resample([image], [window], 24, "bilinear")
    assert not plain[0][:, :4].any()


def test_images_of_many_sizes_are_padded_among_their_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "AT_ONCE", 100_000)
    sizes = [(300, 400), (30, 40), (40, 30), (500, 20), (31, 41)]
    groups = [*resampling._alike([Window(0, 0, *size, size) for size in sizes])]
    assert groups == [[1, 2, 4], [0], [3]]
