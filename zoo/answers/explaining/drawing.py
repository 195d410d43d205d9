"""The picture of an explanation: the photograph, and the photograph with the map over it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from zoo.answers.explaining.explanations import ImageExplanation
from zoo.answers.explaining.placement import place_map, seen_mask
from zoo.data.names import one_line
from zoo.errors import StorageError

LONGEST = 640  # pixels of each of the two pictures
MARK = "transfer-zoo explain"
"""What our own pictures say of themselves (PNG's `Software`): those alone are written over."""
# Dark violet, red, orange, yellow: in the order of their brightness, for those who see few colours.
_COLOURS = np.array([[59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]])
_VEIL = 0.35  # brightness of what the network does not see
_STRONGEST = 0.75  # of the colour over the photograph
_NAME = re.compile(r"[^\w.+-]+")


def draw(explanation: ImageExplanation) -> Image.Image:
    """The photograph, beside it the same with the map over it, and a line that says what it is.

    What the network does not see is dark on both. Raises ValueError for an image that could not be read.
    """
    if explanation.pixels is None or explanation.map is None or explanation.box is None:
        raise ValueError(f"{explanation.path} {explanation.error}")
    photo = Image.fromarray(np.ascontiguousarray(explanation.pixels.transpose(1, 2, 0)))
    shape = (photo.height, photo.width)
    photo.thumbnail((LONGEST, LONGEST))
    if max(photo.size) < LONGEST // 2:  # digits of 32 pixels: as large as a person can see
        factor = LONGEST // 2 // max(photo.size)
        photo = photo.resize((photo.width * factor, photo.height * factor), Image.Resampling.NEAREST)
    plain = np.asarray(photo, np.float32)
    height, width = plain.shape[:2]
    seen = seen_mask(explanation.box, shape, height, width)[:, :, None]
    veiled = plain * (_VEIL + (1 - _VEIL) * seen)
    heat = place_map(explanation.map, explanation.box, shape, height, width)
    grey = veiled.mean(2, keepdims=True)
    strength = _STRONGEST * heat[:, :, None]
    overlaid = 0.7 * (grey * 0.6 + veiled * 0.4) * (1 - strength) + _colours(heat) * strength
    overlaid = np.where(seen > 0, overlaid, veiled)
    gap, margin = 8, 8
    font = ImageFont.load_default(size=16)
    lines = caption(explanation)
    sheet = Image.new(
        "RGB", (2 * width + gap + 2 * margin, height + 2 * margin + 22 * len(lines) + 4), "white"
    )
    for place, part in ((margin, plain), (margin + width + gap, overlaid)):
        sheet.paste(Image.fromarray(part.clip(0, 255).astype(np.uint8)), (place, margin))
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        text = _shortened(line, sheet.width - 2 * margin, font)
        pen.text((margin, height + margin + 6 + 22 * number), text, fill="black", font=font)
    return sheet


def caption(explanation: ImageExplanation) -> list[str]:
    """What the picture says below: the class and its probability, and whether covering confirms the map."""
    number = "" if explanation.score is None else f"{explanation.score:.3f}"
    first = f"{one_line(explanation.label or '')} {number} - {explanation.method}"
    check = explanation.check
    if check is None:
        return [first, "nothing in the image speaks for it"]
    verdict = "" if check.confirmed else "NOT CONFIRMED: "
    return [
        first,
        f"{verdict}hottest {check.share:.0%} covered {check.hot:.3f}, coldest {check.cold:.3f}",
    ]


def write_picture(explanation: ImageExplanation, folder: Path, taken: set[Path]) -> Path:
    """Write the picture as PNG into the folder; returns where. taken: what this command has written, which
    grows.

    It is called after the image and the class. A file of that name that is not ours stays, and the picture
    gets a number. Raises StorageError where the folder cannot be written.
    """
    stem = _safe(explanation.path.stem if explanation.path.suffix else explanation.path.name)
    name, number = f"{stem}-{_safe(explanation.label or '')}", 1
    out = folder / f"{name}.png"
    while out in taken or ((out.exists() or out.is_symlink()) and not _is_ours(out)):
        number += 1
        out = folder / f"{name}-{number}.png"
    facts = PngImagePlugin.PngInfo()
    facts.add_text("Software", MARK)
    draft = folder / f".{secrets.token_hex(6)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw(explanation).save(draft, "PNG", pnginfo=facts)
        draft.replace(out)
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written: {error.strerror or error}", hint="Another place: --out FOLDER"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    taken.add(out)
    return out


def _is_ours(path: Path) -> bool:
    """Whether an earlier `zoo explain` has written the file."""
    try:
        with Image.open(path) as picture:
            return picture.format == "PNG" and picture.info.get("Software") == MARK
    except (OSError, ValueError, SyntaxError):
        return False


def _safe(name: str) -> str:
    """A name of a file made of a name from somewhere.

    >>> _safe("../a b<c>")
    'a_b_c'
    """
    return _NAME.sub("_", name).strip("._")[:80] or "image"


def _colours(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width, 3) 0..255 of (height, width) 0..1."""
    steps = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(heat, steps, _COLOURS[:, channel]) for channel in range(3)], 2)


def _shortened(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits into that many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
