"""A map of what the network saw, laid over the photograph that it was cut from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

Map = NDArray[np.float32]
Box = tuple[float, float, float, float]


def enlarge(grid: torch.Tensor, size: int) -> torch.Tensor:
    """(size, size) of (h, w), smoothly."""
    large: torch.Tensor = F.interpolate(
        grid[None, None].float(), (size, size), mode="bilinear", align_corners=False
    )
    return large[0, 0]


def heat_of(raw: torch.Tensor) -> torch.Tensor:
    """0..1: what speaks for the class, as a share of the most that does; all 0 where nothing does."""
    positive = raw.clamp(min=0)
    most = positive.max()
    return positive / most if most > 0 else positive


def place_map(heat: Map, box: Box, shape: tuple[int, int], height: int, width: int) -> Map:
    """The map over the whole photograph, float32 (height, width), 0 where the network saw nothing.

    box: (left, top, width, height) of what it saw, in pixels of the photograph, which is `shape` (height,
    width); height, width: of the picture of it that is drawn.
    """
    left, top, wide, high = box
    size_y, size_x = heat.shape
    matrix = (
        shape[1] / width * size_x / wide,
        0.0,
        -left * size_x / wide,
        0.0,
        shape[0] / height * size_y / high,
        -top * size_y / high,
    )
    # A border of the same values: at its edge, bilinear sampling would take half of a pixel of nothing.
    padded = Image.fromarray(np.pad(heat, 1, mode="edge").astype(np.float32))
    moved = (*matrix[:2], matrix[2] + 1, *matrix[3:5], matrix[5] + 1)
    placed = padded.transform((width, height), Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR)
    return np.asarray(placed, np.float32) * seen_mask(box, shape, height, width)


def seen_mask(box: Box, shape: tuple[int, int], height: int, width: int) -> Map:
    """1 where the network sees the photograph, else 0: float32 (height, width)."""
    left, top, wide, high = box
    x = (np.arange(width) + 0.5) * shape[1] / width
    y = (np.arange(height) + 0.5) * shape[0] / height
    inside_x, inside_y = (x >= left) & (x <= left + wide), (y >= top) & (y <= top + high)
    return (inside_y[:, None] & inside_x[None, :]).astype(np.float32)
