"""Image files: damaged, wrongly named, flat, of odd sizes or modes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Finding
from zoo.data.dataset import Item
from zoo.data.pixels.appearance import Appearance
from zoo.data.pixels.decoding import TRAITS

SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"},
    "PNG": {".png", ".apng"},
    "BMP": {".bmp", ".dib"},
    "DIB": {".bmp", ".dib"},
    "GIF": {".gif"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "AVIF": {".avif"},
}
"""How files of each format are named."""

_TINY = 32  # pixels of the shorter side below which nothing can be recognised by a network for photographs
_HUGE = 25_000_000  # pixels above which decoding takes longer than everything else
_FLATTEST = 0.1
"""How much of a picture is not of one colour, as a share of what that is in the usual picture of the data: a
drawing on white is usual among drawings, and an exception among photographs."""
_UNIFORM = 0.995  # share of one colour from which on there is nothing to see, whatever the others are
_RARE = 0.1  # share of the images below which a mode is an exception, and not how the data are


def find_unreadable(evidence: Evidence) -> Iterator[Finding]:
    """Files that no image can be read from."""
    for item in evidence.items:
        if (reason := evidence.unreadable.get(item.path)) is not None:
            yield Finding(reason, (item,), (item,))


def find_wrong_suffixes(evidence: Evidence) -> Iterator[Finding]:
    """Files whose name says another format than their bytes."""
    for item, appearance in _appearances_of(evidence):
        usual = SUFFIXES.get(appearance.outside.format)
        suffix = item.path.suffix.lower()
        if usual and suffix not in usual and any(suffix in names for names in SUFFIXES.values()):
            yield Finding(f"is a {appearance.outside.format} file", (item,))


def find_flat(evidence: Evidence) -> Iterator[Finding]:
    """Pictures of almost one colour: placeholders, empty scans, covered lenses."""
    seen = list(_appearances_of(evidence))
    usual = median([1 - appearance.flat for _, appearance in seen]) if seen else 0.0
    found = [
        (item, appearance.flat)
        for item, appearance in seen
        if appearance.flat >= _UNIFORM or 1 - appearance.flat < _FLATTEST * usual
    ]
    for item, flat in sorted(found, key=lambda pair: -pair[1]):
        yield Finding(f"is of one colour to {flat:.0%}", (item,), (item,), flat)


def find_tiny(evidence: Evidence) -> Iterator[Finding]:
    """Images too small to show anything; one finding where most are so, for then the data are."""
    small = [
        (item, appearance) for item, appearance in _appearances_of(evidence) if _shorter(appearance) < _TINY
    ]
    if 2 * len(small) > len(evidence.appearances):
        sides = median([_shorter(appearance) for appearance in evidence.appearances.values()])
        yield Finding(f"most images are small: the median of their shorter side is {sides:.0f} pixels")
        return
    for item, appearance in sorted(small, key=lambda pair: _shorter(pair[1])):
        yield Finding(f"has {_size(appearance)} pixels", (item,), (item,))


def find_huge(evidence: Evidence) -> Iterator[Finding]:
    """Images that take long to decode, every time."""
    for item, appearance in _appearances_of(evidence):
        if appearance.outside.width * appearance.outside.height > _HUGE:
            yield Finding(f"has {_size(appearance)} pixels", (item,))


def find_rotated(evidence: Evidence) -> Iterator[Finding]:
    """Photographs that lie on their side in the file, as EXIF data say: zoo turns them, others may not."""
    yield from _with_trait(evidence, "rotated")


def find_odd_modes(evidence: Evidence) -> Iterator[Finding]:
    """Grey, transparent, CMYK or deep images, several frames, where the others are not so."""
    seen = list(_appearances_of(evidence))
    for trait in TRAITS:
        found = [item for item, appearance in seen if trait in appearance.traits]
        if trait != "rotated" and len(found) <= _RARE * len(seen):
            yield from (Finding(TRAITS[trait], (item,)) for item in found)
    grey = [
        item
        for item, appearance in seen
        if appearance.outside.mode in ("L", "LA", "1") or appearance.outside.mode[0] == "I"
    ]
    if len(grey) <= _RARE * len(seen):
        yield from (Finding("is grey, and the others have colours", (item,)) for item in grey)


def _with_trait(evidence: Evidence, trait: str) -> Iterator[Finding]:
    for item, appearance in _appearances_of(evidence):
        if trait in appearance.traits:
            yield Finding(TRAITS[trait], (item,))


def _appearances_of(evidence: Evidence) -> Iterator[tuple[Item, Appearance]]:
    for item in evidence.items:
        if (appearance := evidence.appearances.get(item.path)) is not None:
            yield item, appearance


def _shorter(appearance: Appearance) -> int:
    return min(appearance.outside.width, appearance.outside.height)


def _size(appearance: Appearance) -> str:
    return f"{appearance.outside.width:,} x {appearance.outside.height:,}"
