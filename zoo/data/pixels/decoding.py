"""A file becomes an RGB image: one decoder for every format, and for files from strangers.

Pillow reads every header and decodes all but plain JPEGs. Those go through torchvision's decoder where it
is installed, at 1.3 times the speed and with equal pixels; it is deprecated since 0.29, so nothing depends
on it. What others clip, drop or leave on its side, this does not: 16-bit and float values are scaled,
transparency is laid on white, EXIF rotation is applied, CMYK is converted, of an animation the first frame
is taken. Colour profiles are ignored, as they are by the transforms that the models were trained with.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from zoo.data.containers import read_inside
from zoo.data.contents import JPEG, MOST_BYTES
from zoo.data.names import one_line
from zoo.data.pixels.metadata import Stripped, lacks_restarts, read_orientation, strip_metadata
from zoo.data.pixels.ranges import (
    Range,
    ValueRange,
    declared_range,
    join_extremes,
    shifted_range,
    usual_range,
)
from zoo.errors import UnreadableFile
from zoo.vision import import_torchvision

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
"""What is decoded. Pillow's other plugins see no stranger's file: EPS, for one, starts Ghostscript."""

_MOST_PIXELS = 40_000_000
_MOST_JPEG_PIXELS = 175_000_000
_PIXEL_CAPS = {"WEBP": 25_000_000, "AVIF": 25_000_000}
_MOST_ASPECT = 100
"""Caps that keep one image at about a second and below 500 MB, whatever it is: a few kilobytes can declare
gigapixels, and a line of 1 x 20,000 becomes 256 x 5,120,000 when its shorter side is resized to 256. A JPEG
can be decoded at a fraction of its size, so it may be larger, but a progressive one keeps everything in
memory."""

_UNKNOWN = Stripped(b"")
"""The file of an image that is in memory."""

_BAND_PIXELS = 4_000_000  # pixels converted at a time: the copies of large images would double the memory

_PNG_METADATA = {b"tEXt": 65_536, b"zTXt": 0, b"iTXt": 65_536, b"iCCP": 0}
"""Bytes of a part of a PNG above which it is passed over. XMP, an iTXt, may hold the orientation."""

_DAMAGED = (
    (0, b"\xff\xd8\xff", "is a JPEG whose first part is damaged"),
    (0, b"\x89png", "is a PNG whose first part is damaged"),
    (0, b"gif8", "is a GIF whose first part is damaged"),
    (8, b"webp", "is a WebP image whose first part is damaged"),
    (4, b"ftypavif", "is an AVIF image that is damaged or cut off"),
)
"""What a file starts with that a decoder takes, in lower case, and what is wrong where none did."""

_OTHERS = (
    (0, b"<!doctype", "is a web page, not an image (a download that failed?)"),
    (0, b"<html", "is a web page, not an image (a download that failed?)"),
    (0, b"<?xml", "is XML or SVG, not a photograph"),
    (0, b"<svg", "is an SVG drawing, not a photograph"),
    (0, b"{", "is JSON text, not an image (a download that failed?)"),
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the image: git lfs pull"),
    (4, b"ftypheic", "is a HEIC photograph: convert it to JPEG"),
    (4, b"ftypheix", "is a HEIC photograph: convert it to JPEG"),
    (4, b"ftypmif1", "is a HEIF photograph: convert it to JPEG"),
    (4, b"ftyp", "is a video"),
    (0, b"%pdf", "is a PDF, not an image"),
    (0, b"pk\x03\x04", "is a zip archive, not an image"),
    (0, b"par1", "is a Parquet table, not an image"),
    (0, b"\x93numpy", "is an array of numpy, not an image"),
    (0, b"\x1f\x8b", "is compressed with gzip: decompress it"),
    (0, b"8bps", "is a Photoshop file: export it as JPEG or PNG"),
    (0, b"\x00" * 16, "holds zeros, not an image (a disk that was full?)"),
)
"""What a file starts with that no decoder takes, in lower case, and what it is in words."""


_JPEG = b"\xff\xd8\xff"
_UNBLOCKED = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Picture:
    """A decoded image. pixels: uint8 (3, height, width) RGB; traits: keys of TRAITS, what had to be done."""

    pixels: torch.Tensor
    traits: tuple[str, ...] = ()


TRAITS = {
    "first frame": "with several frames or pages: the first was taken",
    "alpha": "with an alpha channel: laid on white",
    "deep": "with 16 bit or float values: scaled to 8 bit",
    "cmyk": "in CMYK: converted to RGB",
    "rotated": "rotated as their EXIF data say",
    "no end": "without the end mark of a JPEG: all rows are there",
}
"""What a report says of images that were not plain RGB."""


def read_image(path: Path, *, keep: int | None = None) -> torch.Tensor:
    """Pixels of one image file as a person sees it: uint8 (3, height, width) RGB.

    keep: with it, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this
    many pixels: three times as fast for 12 megapixels. Keeping four times what it is resized to costs a mean
    error of 0.4 grey levels. Raises UnreadableFile, with the reason.
    """
    return read_picture(path, keep=keep).pixels


def read_picture(path: Path, *, keep: int | None = None, values: ValueRange | None = None) -> Picture:
    """Pixels and traits of one image file; all else as `read_image`. values: black and white of its set."""
    try:
        return decode_picture(read_bytes(path), keep=keep, values=values)
    except UnreadableFile as error:
        raise UnreadableFile(f"{one_line(path)} {error.reason}", reason=error.reason) from error.__cause__


@dataclass(frozen=True)
class Outside:
    """What the header of an image file says. format: a name in FORMATS, whatever the file's name ends in."""

    width: int
    height: int
    format: str
    mode: str


def read_outside(path: Path) -> Outside:
    """What the header of an image file says; no pixel is decoded. Raises UnreadableFile, with the reason."""
    data = read_bytes(path)
    try:
        with _open(strip_metadata(_without_long_metadata(data)).data) as image:
            return Outside(image.width, image.height, image.format or "", image.mode)
    except UnidentifiedImageError:
        reason = _what_it_is(data[:64])
    except Exception as error:  # a stranger's file can make a parser raise anything
        reason = _what_is_wrong(error)
    raise UnreadableFile(f"{one_line(path)} {reason}", reason=reason)


def judge_start(path: Path) -> str | None:
    """Why a file is certainly not an image, by its first bytes, in 10 us; None where it may be one."""
    start = _start_of(path, 64)
    if start is None or start.startswith(_JPEG):  # in an archive; or it is gone, which reading it says better
        return None
    return _by_signature(start, _OTHERS)


def _start_of(path: Path, count: int) -> bytes | None:
    """The first bytes of a regular file, in four calls of the system; None where there is none to read."""
    try:
        descriptor = os.open(path, _UNBLOCKED)  # a pipe would wait for who writes it
        try:
            return os.read(descriptor, count) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None


def decode_picture(data: bytes, *, keep: int | None = None, values: ValueRange | None = None) -> Picture:
    """Pixels and traits of an image file's bytes. Raises UnreadableFile, whose message is the reason."""
    start = data[:64]
    try:
        stripped = strip_metadata(_without_long_metadata(data))
        _refuse_channels(stripped.tags)
        with _open(stripped.data) as image:
            _check_size(image)
            reduced = _reduce(image, keep)
            pixels = None if reduced else _decode_plain_jpeg(data, image)
            if pixels is None:
                if image.format == "PNG":
                    _check_png(data)
                image.load()
                pixels = _to_rgb(image, stripped, values)
                _refuse_lost(image, stripped)
            orientation = _orientation(image, stripped.exif)
            traits = tuple(_traits(image, orientation, pages=stripped.pages))
    except UnreadableFile:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableFile(_what_it_is(start)) from error
    except Exception as error:  # a stranger's file can make a parser raise anything
        if "truncated" in str(error) and (whole := _end_jpeg(data)) is not None:
            picture = decode_picture(whole, keep=keep)
            return Picture(picture.pixels, (*picture.traits, "no end"))
        raise UnreadableFile(_what_is_wrong(error)) from error
    return Picture(orient(pixels, orientation), traits)


def _open(data: bytes) -> Image.Image:
    """The image with its header read. `Image.open` does the same, but warns: of many pixels, which have caps
    of our own, and of preview pictures behind a JPEG that are damaged."""
    if not all(name in Image.OPEN for name in FORMATS):
        Image.init()
    for name in FORMATS:
        if name not in Image.OPEN:
            continue  # a Pillow that was built without it
        factory, accept = Image.OPEN[name]
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            taken = accept is None or accept(data[:16])
            if taken and not isinstance(taken, str):  # a text says what is missing for it
                opener = JpegImagePlugin.JpegImageFile if name == "JPEG" else factory
                image: Image.Image = opener(io.BytesIO(data), "")
                return image
    raise UnidentifiedImageError


def _end_jpeg(data: bytes) -> bytes | None:
    """A JPEG of which only the end mark is missing, with it; None for anything else, a missing row too.

    What stands between the last row and the end mark is passed over. So whatever is put there makes no
    difference, unless it is taken for a part of a row.
    """
    if not data.startswith(b"\xff\xd8\xff") or lacks_restarts(data):
        return None
    body, mark = data.removesuffix(b"\xff"), b"\xff\xd9"
    decoded = []
    try:
        for filling in (b"\0" * 64, b"\x55" * 64):
            with _open(strip_metadata(body + filling + mark).data) as image:
                if image.width * image.height > _MOST_PIXELS:
                    return None
                decoded.append(image.tobytes())
    except Exception:  # damaged in another way too
        return None
    return body + mark if decoded[0] == decoded[1] else None


def convert_image(image: Image.Image, *, values: ValueRange | None = None) -> Picture:
    """Pixels and traits of an image that Pillow opened or made. Raises UnreadableFile, as for its file."""
    try:
        _check_size(image)
        image.load()
        pixels, orientation = _to_rgb(image, values=values), _orientation(image)
        return Picture(orient(pixels, orientation), tuple(_traits(image, orientation)))
    except UnreadableFile:
        raise
    except Exception as error:  # it may still have to be read from a stranger's file
        raise UnreadableFile(_what_is_wrong(error)) from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file; never waits for a pipe, never reads an endless device."""
    content = _read_if(path, b"")
    assert content is not None
    return content


def read_jpeg(path: Path) -> bytes | None:
    """The same of a file that begins as a JPEG; None for any other, of which no more than that is read."""
    return _read_if(path, JPEG)


def _read_if(path: Path, start: bytes) -> bytes | None:
    """The bytes of a regular file that begins so. Raises UnreadableFile."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile("is not a file" if not stat.S_ISDIR(status.st_mode) else "is a folder")
            if status.st_size > MOST_BYTES:
                raise UnreadableFile(f"has {status.st_size / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:.0f}")
            if start and os.read(handle, len(start)) != start:
                return None
            os.lseek(handle, 0, os.SEEK_SET)
            return file.read()
    except NotADirectoryError:
        content = _read_contained(path)
        return content if content.startswith(start) else None
    except FileNotFoundError as error:
        raise UnreadableFile("does not exist") from error
    except IsADirectoryError as error:
        raise UnreadableFile("is a folder") from error
    except PermissionError as error:
        raise UnreadableFile("may not be read (no permission)") from error
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read_contained(path: Path) -> bytes:
    """The bytes of a file in a zip or a table."""
    try:
        return read_inside(path, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFile("does not exist") from error
    except OSError as error:
        raise UnreadableFile(error.strerror or f"cannot be read: {error}") from error


def _check_size(image: Image.Image) -> None:
    """Raise UnreadableFile for an image that would take too much memory or time; nothing is decoded yet."""
    width, height = image.size
    cap = _PIXEL_CAPS.get(image.format or "", _MOST_PIXELS)
    if image.format in ("JPEG", "MPO") and not image.info.get("progressive"):
        cap = _MOST_JPEG_PIXELS
    cap = max(cap, _allowed_pixels())
    if width * height > cap:
        raise UnreadableFile(
            f"has {width:,} x {height:,} pixels, more than {cap / 1e6:.0f} million: save it smaller, or "
            "allow more with ZOO_MAX_PIXELS"
        )
    if max(width, height) > _MOST_ASPECT * min(width, height):
        raise UnreadableFile(f"is a line of {width:,} x {height:,} pixels, not a picture")


def _allowed_pixels() -> int:
    """What ZOO_MAX_PIXELS allows beyond the caps; 0 where it is not a whole number."""
    given = os.environ.get("ZOO_MAX_PIXELS", "").replace("_", "")
    return int(given) if given.isdecimal() else 0


def _reduce(image: Image.Image, keep: int | None) -> bool:
    """Let a JPEG be decoded at the smallest of 1, 1/2, 1/4 and 1/8 that keeps its shorter side long enough;
    beyond _MOST_PIXELS at the largest of them that is not. Returns whether it will be."""
    if image.format not in ("JPEG", "MPO"):
        return False
    width, height = image.size
    factor = 1
    while factor < 8 and (
        (keep is not None and min(width, height) // (2 * factor) >= keep)
        or width * height > _MOST_PIXELS * factor**2
    ):
        factor *= 2
    if factor > 1:
        image.draft(None, (width // factor, height // factor))
    return factor > 1


def _decode_plain_jpeg(data: bytes, image: Image.Image) -> torch.Tensor | None:
    """Pixels of a grey or RGB JPEG as (3, height, width); None for anything else, and for what it refuses."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    decode = _torchvision_decoder()
    if decode is None:
        return None
    try:
        # bytearray: torch warns of memory that may not be written. 3: RGB. False: EXIF rotation is ours.
        pixels: torch.Tensor = decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), 3, False)
    except RuntimeError:
        return None  # Pillow has the last word on what is damaged, and says it better
    return pixels


@cache
def _torchvision_decoder() -> Callable[[torch.Tensor, int, bool], torch.Tensor] | None:
    """torchvision's JPEG decoder, as an operator: its Python function warns at every call that it will go."""
    try:
        import_torchvision()  # registers the operator

        return torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, RuntimeError):
        return None


def _without_long_metadata(data: bytes) -> bytes:
    """A PNG without its colour profile and without texts that are long or packed: they are not used, and
    Pillow refuses a sound picture for a long one. Anything else as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    parts, position, kept = [data[:8]], 8, len(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PNG_METADATA and (length > _PNG_METADATA[kind] or _is_packed(data[position:end])):
            kept -= end - position
        else:
            parts.append(data[position:end])
        if kind == b"IDAT" or end > len(data):  # what follows the picture is not read before it
            parts.append(data[end:])
            break
        position = end
    return data if kept == len(data) else b"".join(parts)


def _is_packed(part: bytes) -> bool:
    """Whether a part of a PNG is an iTXt whose text is compressed: it may unpack to anything."""
    _keyword, _, rest = part[8:].partition(b"\0")
    return part[4:8] == b"iTXt" and rest[:1] == b"\1"


def _check_png(data: bytes) -> None:
    """Raise UnreadableFile for a chunk that does not match its checksum; Pillow does not check pixel data."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break  # cut off; if it matters, decoding says so
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UnreadableFile(f"is damaged: wrong checksum in its {kind.decode('ascii', 'replace')} part")
        if kind == b"IEND":
            break
        position = end + 4


def _to_rgb(
    image: Image.Image, source: Stripped = _UNKNOWN, values: ValueRange | None = None
) -> torch.Tensor:
    """Pixels as uint8 (3, height, width), channels last in memory: the fast resize wants them so."""
    convert = _converter(image, source, values)
    pixels = torch.empty(image.height, image.width, 3, dtype=torch.uint8)
    view = pixels.numpy()
    for top, band in _bands(image):
        view[top : top + band.height] = convert(band)
    return pixels.permute(2, 0, 1)


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Horizontal strips of the image with the row that each starts at; the image itself if it is small."""
    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _converter(
    image: Image.Image, source: Stripped, values: ValueRange | None
) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """A function that turns a strip of the image into RGB (height, width, 3), decided once for all of it."""
    if _is_deep(image):
        black, white = _black_and_white(image, source, values)
        if source.tags.get(262) == (0,):  # white is zero
            black, white = white, black

        def scaled(band: Image.Image) -> NDArray[np.uint8]:
            found = np.asarray(band, dtype=np.float32)
            found = np.nan_to_num(found, posinf=max(black, white), neginf=min(black, white))
            grey = np.clip((found - black) * (255 / ((white - black) or 1)) + 0.5, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)

        return scaled
    if image.has_transparency_data:

        def on_white(band: Image.Image) -> NDArray[np.uint8]:
            paper = Image.new("RGB", band.size, "white")
            layer = band.convert("RGBA")
            paper.paste(layer, mask=layer)
            return np.asarray(paper)

        return on_white
    if image.mode == "RGB":
        return np.asarray
    return lambda band: np.asarray(band.convert("RGB"))


def _black_and_white(image: Image.Image, source: Stripped, values: ValueRange | None) -> Range:
    """The values of black and white in an image of integers or floats: as its file states, else as its set
    has it, else of the smallest usual depth."""
    if (declared := _declared(image, source)) is not None:
        return declared
    floats = image.mode == "F"
    given = None if values is None else values.floats if floats else values.integers
    return given or usual_range(_extremes(image), floats=floats)


def _declared(image: Image.Image, source: Stripped) -> Range | None:
    """The range that the file itself states."""
    if image.format == "PPM" and image.mode != "F":
        return 0, 65535  # Pillow has scaled by the largest value that the header states
    if image.format == "PNG":
        head = source.data[: max(0, source.data.find(b"IDAT"))]
        at = head.find(b"sBIT")
        if at < 0 or at + 4 >= len(head):
            return None
        used = int(np.bitwise_or.reduce(np.asarray(image, dtype=np.uint16), axis=None))
        return shifted_range(head[at + 4], _extremes(image), used)
    return declared_range(source.tags, floats=image.mode == "F")


def _extremes(image: Image.Image) -> Range:
    found = join_extremes(_finite_extremes(np.asarray(band)) for _, band in _bands(image))
    return found or (0, 0)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def measure_values(path: Path) -> tuple[bool, Range] | None:
    """Whether an image file holds floats, and its least and largest value; None where it has 8 bits, states
    its range itself, or cannot be read. Of other files 32 bytes are read."""
    try:
        start = _start_of(path, 32)
        if start is not None and not _may_be_deep(start):
            return None
        if start is None and path.suffix.lower() not in (".png", ".tif", ".tiff"):
            return None
        data = read_bytes(path)
        if not _may_be_deep(data[:32]):
            return None
        source = strip_metadata(_without_long_metadata(data))
        with _open(source.data) as image:
            _check_size(image)
            if not _is_deep(image):
                return None
            image.load()
            return None if _declared(image, source) else (image.mode == "F", _extremes(image))
    except Exception:  # the reason is reported when its pixels are wanted
        return None


def _may_be_deep(start: bytes) -> bool:
    """Whether a file is a grey PNG of 16 bit, or a TIFF, by its first 32 bytes."""
    if start.startswith(b"\x89PNG"):
        return start[24:26] == b"\x10\0"
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}
"""Channels of colour by PhotometricInterpretation (TIFF 6.0, page 37)."""
_ALPHA = ((1,), (2,))  # ExtraSamples that are transparency; 0 is a band of which nothing is known


def _refuse_channels(tags: Mapping[int, tuple[float, ...]]) -> None:
    """Raise UnreadableFile for a TIFF whose pixels Pillow would not read, or would read wrongly: the fourth
    band of a satellite is not dropped in silence."""
    bits, channels = tags.get(258) or (1,), int((tags.get(277) or (1,))[0])
    colours = _COLOURS.get(int((tags.get(262) or (1,))[0]), channels)
    if channels != colours and not (channels == colours + 1 and tags.get(338) in _ALPHA):
        raise UnreadableFile(
            f"has {channels} channels, and a picture has 1 (grey) or 3 (RGB): choose three of them and save "
            "them as RGB"
        )
    if channels > 1 and (max(bits) > 16 or tags.get(339, (1,))[0] == 3):
        raise UnreadableFile(
            f"has {channels} channels of {max(bits):.0f} bit: save it as a PNG, or with 8 bit"
        )
    if channels > 1 and max(bits) > 8 and tags.get(284) == (2,):
        raise UnreadableFile(
            f"has {channels} planes of {max(bits):.0f} bit one after another: save it as a PNG, or with 8 bit"
        )


_LEAST_USED = 64
"""High bytes of 16-bit colours below which their values are of 10, 12 or 14 bit: Pillow keeps the high bytes
alone, so that the picture would be dark and nearly without detail."""


def _refuse_lost(image: Image.Image, source: Stripped) -> None:
    """Raise UnreadableFile for colours of 16 bit of which Pillow's high bytes keep too little."""
    png = image.format == "PNG" and source.data[24:25] == b"\x10"
    deep = png or max(source.tags.get(258) or (8,)) == 16
    if not deep or _is_deep(image):
        return
    colours = image.convert("RGB") if image.mode == "P" else image
    bands = zip(colours.getbands(), _band_extremes(colours), strict=True)
    brightest = max(high for name, (_, high) in bands if name not in ("A", "a"))
    if brightest < _LEAST_USED:
        raise UnreadableFile(
            f"has colours of 16 bit with values below {256 << int(brightest).bit_length():,} of 65,535: "
            "scale them to 16 bit, or save it with 8 bit"
        )


def _band_extremes(image: Image.Image) -> tuple[tuple[float, float], ...]:
    """The least and the largest value of each band."""
    found: Any = image.getextrema()
    return found if len(image.getbands()) > 1 else (found,)


def _finite_extremes(values: NDArray[np.generic]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _orientation(image: Image.Image, exif: bytes = b"") -> int:
    """EXIF's orientation, 1 to 8; 1 where it is absent or nonsense. exif: what the file had, if not with the
    image. A TIFF has it among its tags."""
    exif = exif or image.info.get("exif", b"")
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    if exif or image.format != "TIFF":
        return read_orientation(exif, xmp)
    with suppress(Exception):  # damaged tags are not a reason to lose the pixels
        found = image.getexif().get(0x0112, 1)
        return found if found in _ORIENT else 1
    return 1


_ORIENT: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    1: lambda x: x,
    2: lambda x: x.flip(2),
    3: lambda x: x.flip(1, 2),
    4: lambda x: x.flip(1),
    5: lambda x: x.transpose(1, 2),
    6: lambda x: x.transpose(1, 2).flip(2),
    7: lambda x: x.transpose(1, 2).flip(1, 2),
    8: lambda x: x.transpose(1, 2).flip(1),
}
"""How (3, height, width) is turned upright, by EXIF orientation (Exif 2.32, section 4.6.4.A)."""


def orient(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """Pixels (3, height, width) as a person sees them, by EXIF's orientation."""
    return _ORIENT[orientation](pixels)


def is_usual_size(width: int, height: int) -> bool:
    """Whether an image of that size is within all caps, and decoded at its full size."""
    sides = sorted((width, height))
    return width * height <= _MOST_PIXELS and sides[1] <= _MOST_ASPECT * sides[0]


def _traits(image: Image.Image, orientation: int, *, pages: bool = False) -> Iterator[str]:
    """Keys of TRAITS that are true of the image. pages: whether more pages are known of than Pillow sees."""
    with suppress(Exception):  # the second frame may be damaged
        # The other pictures of an MPO are previews and depth, not frames.
        if pages or (image.format != "MPO" and getattr(image, "is_animated", False)):
            yield "first frame"
    if _is_deep(image):
        yield "deep"
    elif image.has_transparency_data:
        yield "alpha"
    elif image.mode == "CMYK":
        yield "cmyk"
    if orientation != 1:
        yield "rotated"


def _what_it_is(start: bytes) -> str:
    """Why a file that no decoder knows is not an image, by its first bytes."""
    return _by_signature(start, _DAMAGED + _OTHERS) or "is not an image of a known format"


def _by_signature(start: bytes, table: Sequence[tuple[int, bytes, str]]) -> str | None:
    """What a file is that starts so, if it is empty or in the table."""
    if not start:
        return "is empty (0 bytes)"
    start = start.lower()
    text = start.lstrip()
    for offset, magic, words in table:
        if (text if offset == 0 else start)[offset:].startswith(magic):
            return words
    return None


def _what_is_wrong(error: Exception) -> str:
    """Why an image could not be decoded, in a user's words."""
    detail = str(error).partition("\n")[0] or type(error).__name__
    if "truncated" in detail.lower() or isinstance(error, EOFError):
        return "is cut off: the file ends in the middle of the picture"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    return f"is damaged ({one_line(detail)})"
