"""Small pictures of image files, for a page that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from zoo.errors import UnreadableFile

SIDE = 160
"""Pixels of the longer side."""


def thumbnail(path: Path, side: int = SIDE) -> str | None:
    """A small JPEG of an image file in base64, encoded anew: nothing else of the file is in it, such as
    where it was taken. None where it cannot be read."""
    from PIL import Image

    from zoo.data.pixels.decoding import read_image

    try:
        pixels = read_image(path, keep=side)
    except UnreadableFile:
        return None
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()
