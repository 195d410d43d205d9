"""What is written beside the pixels of a JPEG or a TIFF: read here, and taken out before Pillow sees it.

Pillow warns of odd metadata, which a user whose warnings are errors meets as a file that cannot be read. A
process's warning filters are not ours to change, and `warnings.catch_warnings` is not safe among threads.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ORIENTATION = 0x0112

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}
"""Bytes of a value, by the number of its type (TIFF 6.0, page 15; 13, 16 and 17 came later)."""

_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q"}

_PIXEL_TAGS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 280, 281, 284, 292, 293, 317)
) | frozenset((320, 322, 323, 324, 325, 332, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532))
"""Tags of a TIFF that decide its pixels."""

_MOST_VALUES = 64  # the offsets of strips may be a million; none of them is looked at here


@dataclass(frozen=True)
class Directory:
    """The first directory of a TIFF or of EXIF data. entries: tag, its twelve (or twenty) bytes, and whether
    its values lie in the file. more: whether another directory, a page, follows."""

    order: str
    big: bool
    entries: tuple[tuple[int, bytes, bool], ...]
    values: Mapping[int, tuple[float, ...]]
    more: bool


@dataclass(frozen=True)
class Stripped:
    """A file without what makes Pillow warn. exif: of a JPEG. tags: of a TIFF. pages: whether it has more
    than one."""

    data: bytes
    exif: bytes = b""
    tags: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    pages: bool = False


def strip_metadata(data: bytes) -> Stripped:
    """The file without EXIF data (JPEG) or without all but what decides the pixels (TIFF); another file as
    it is."""
    if data.startswith(b"\xff\xd8\xff"):
        return _strip_jpeg(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _strip_tiff(data)
    return Stripped(data)


def read_orientation(exif: bytes, xmp: bytes | str = b"") -> int:
    """EXIF's orientation, 1 to 8, of EXIF data or else of XMP; 1 where it is absent or nonsense."""
    directory = read_directory(exif.removeprefix(b"Exif\0\0"))
    values = () if directory is None else directory.values.get(ORIENTATION, ())
    if not values:
        text = xmp if isinstance(xmp, str) else xmp.decode("utf-8", "replace")
        found = re.search(r'tiff:Orientation(?:="|>)([0-9])', text)
        values = (int(found[1]),) if found else ()
    return int(values[0]) if values and values[0] in range(1, 9) else 1


def read_directory(data: bytes) -> Directory | None:
    """The first directory; None where it is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        count_code, offset_code, width, inline = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
        (start,) = struct.unpack_from(order + offset_code, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_code, data, start)
        first = start + struct.calcsize(f"{order}{count_code}")
        count = min(count, (len(data) - first) // width)
        entries, values = [], {}
        for position in range(first, first + count * width, width):
            tag, kind, number = struct.unpack_from(f"{order}HH{offset_code}", data, position)
            size = _SIZES.get(kind, 1) * number
            place = position + width - inline
            if size > inline:
                (place,) = struct.unpack_from(order + offset_code, data, place)
            there = place + size <= len(data)
            entries.append((tag, data[position : position + width], there))
            if there and kind in _CODES and number <= _MOST_VALUES:
                values[tag] = struct.unpack_from(f"{order}{number}{_CODES[kind]}", data, place)
        end = first + count * width
        following = data[end : end + inline]
        more = len(following) == inline and 0 < struct.unpack(order + offset_code, following)[0] < len(data)
    except (struct.error, OverflowError, ValueError):
        return None
    return Directory(order, big, tuple(entries), values, more)


def _strip_tiff(data: bytes) -> Stripped:
    """The TIFF with a directory of one page behind its end, in which only what decides the pixels is left."""
    directory = read_directory(data)
    if directory is None:
        return Stripped(data)
    kept = [entry for tag, entry, there in directory.entries if tag in _PIXEL_TAGS and there]
    if directory.values.get(262) == (0,) and max(directory.values.get(258) or (1,)) > 8:
        # Pillow reads white-is-zero with 8 bit alone: declare black-is-zero, the decoder inverts it.
        photometric, one = struct.pack(f"{directory.order}H", 262), struct.pack(f"{directory.order}H", 1)
        place = 12 if directory.big else 8
        kept = [
            entry[:place] + one + entry[place + 2 :] if entry.startswith(photometric) else entry
            for entry in kept
        ]
    count_code, offset_code, position = ("Q", "Q", 8) if directory.big else ("H", "I", 4)
    order = directory.order
    padding = b"\0" * (len(data) % 2)
    start = len(data) + len(padding)
    if not directory.big and start > 0xFFFFFFFF:
        return Stripped(data, tags=directory.values, pages=directory.more)
    header = data[:position] + struct.pack(order + offset_code, start)
    rest = struct.pack(order + count_code, len(kept)) + b"".join(kept) + struct.pack(order + offset_code, 0)
    whole = b"".join((header, memoryview(data)[len(header) :], padding, rest))
    return Stripped(whole, tags=directory.values, pages=directory.more)


def _strip_jpeg(data: bytes) -> Stripped:
    """The JPEG without its EXIF data; as it is where its parts do not follow each other."""
    parts, exif, begin = [], b"", 0
    for start, end, marker in _segments(data):
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            exif = exif or data[start + 4 : end]
            parts.append(data[begin:start])
            begin = end
    if not parts:
        return Stripped(data)
    return Stripped(b"".join((*parts, data[begin:])), exif)


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the pixels of a JPEG. width, height: as they lie in the file. orientation: EXIF's, 1
    to 8. kind: what decides how a decoder goes about it. is_plain: whether it is whole, of 8 bit, grey or in
    brightness and colours (YCbCr)."""

    width: int
    height: int
    orientation: int
    kind: tuple[object, ...]
    is_plain: bool

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height


_FRAMES = {0xC0: "baseline", 0xC2: "progressive"}
_OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {0xC2, 0xC4, 0xC8, 0xCC}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None for any other file, and for one that decoders read in ways of their own.

    Whether it is whole: behind the first row there is an end mark, which pixels cannot contain.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    frame, form, exif, xmp, jfif, adobe, end = b"", "", b"", b"", False, None, 2
    for start, end, marker in _segments(data):
        part = data[start + 4 : end]
        if marker in _FRAMES and not frame:
            frame, form = part, _FRAMES[marker]
        elif marker in _FRAMES or marker in _OTHER_FRAMES:
            return None
        elif marker == 0xE0 and part[:5] == b"JFIF\0":
            jfif = True
        elif marker == 0xE1 and part[:6] == b"Exif\0\0":
            exif = exif or part
        elif marker == 0xE1 and part.startswith(_XMP):
            xmp = xmp or part
        elif marker == 0xEE and part[:5] == b"Adobe" and len(part) >= 12:
            adobe = part[11]
    if len(frame) < 9 or data[end : end + 2] != b"\xff\xda":
        return None
    bits, height, width, colours = struct.unpack_from(">BHHB", frame)
    if len(frame) < 6 + 3 * colours:
        return None
    names, sampling = [*frame[6 : 6 + 3 * colours : 3]], tuple(frame[7 : 6 + 3 * colours : 3])
    bright = jfif or adobe == 1 or names == [1, 2, 3]  # what libjpeg goes by
    return JpegHeader(
        width=width,
        height=height,
        orientation=read_orientation(exif, xmp),
        kind=(form, sampling, jfif, adobe),
        is_plain=bits == 8
        and min(width, height) > 0
        and (colours == 1 or (colours == 3 and bright and adobe in (None, 1)))
        and data.rfind(b"\xff\xd9", end) >= 0,
    )


def lacks_restarts(data: bytes) -> bool:
    """Whether a JPEG has fewer restart marks than its size asks for, or is of a kind in which that is not
    counted. Decoders pass over whatever stands where a mark should, and fill the rows behind it with grey.

    One without restart marks lacks none.
    """
    interval, frame, end = 0, b"", 2  # the end of what stands before the pixels
    for start, end, marker in _segments(data):
        if marker == 0xDD:
            interval = int.from_bytes(data[start + 4 : start + 6], "big")
        elif marker in (0xC0, 0xC1):  # all rows in one go, not finer and finer
            frame = data[start + 5 : end]
    if not interval:
        return False
    if len(frame) < 8 or data[end + 4 : end + 5] != frame[4:5]:  # or a scan for each colour
        return True
    height, width, colours = map(int, struct.unpack_from(">HHB", frame))
    sizes = [(8 * (each >> 4), 8 * (each & 15)) for each in frame[6::3]] if colours > 1 else [(8, 8)]
    across, down = max(wide for wide, _ in sizes), max(high for _, high in sizes)
    blocks = -(-width // across) * -(-height // down)
    found = len(re.findall(rb"\xff[\xd0-\xd7]", data[end:]))
    return found < -(-blocks // interval) - 1


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, end, marker) of the parts of a JPEG that stand before its pixels and are whole."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9:
            return
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if end > len(data):
            return
        yield position, end, marker
        position = end
