"""Decoded images that are kept for the next pass over them: as many as may be, the rest is decoded anew.

Where images are varied in every epoch, each begins from all its pixels: those are the same every time. They
are kept as they were decoded, whatever their size; threads share them.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from zoo.catalogue.search import size_setting
from zoo.data.containers import Stamp, stamp_of
from zoo.data.pixels.decoding import Picture
from zoo.data.pixels.memory import ImageSource, MemoryImage, open_picture, place_of
from zoo.data.pixels.ranges import ValueRange

HELD = 512 * 10**6
"""Bytes of pixels that are kept by default, as of features: a thousand photographs of 500 × 340."""


def most_pixels() -> int:
    """The bytes of decoded images that a run may keep: ZOO_PIXELS_MEMORY, as 2GB, or HELD; 0 keeps none.

    Raises UsageError for what is not a size.
    """
    return size_setting("ZOO_PIXELS_MEMORY", HELD)


class KeptPictures:
    """Decoded images by path, those that came first.

    most: bytes of all of them. values: black and white of images of 16 bit or floats, as for `open_picture`.
    An image whose file is another one by now, by size, times and inode, is decoded anew.
    """

    def __init__(self, most: int, values: ValueRange | None = None) -> None:
        self.most = most
        self.values = values
        self.size = 0
        self._kept: dict[Path, tuple[Stamp, Picture]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def open(self, image: ImageSource) -> Picture:
        """The pixels of an image, which nobody may write into. Raises UnreadableFile."""
        path = place_of(image)
        stamp = None if isinstance(image, MemoryImage) else stamp_of(path)
        kept = self._kept.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        picture = open_picture(image, values=self.values)  # the stamp is from before: never of a later file
        if stamp is not None:
            self._keep(path, stamp, picture)
        return picture

    def _keep(self, path: Path, stamp: Stamp, picture: Picture) -> None:
        size = picture.pixels.untyped_storage().nbytes()
        with self._lock:
            before = self._kept.pop(path, None)
            if before is not None:
                self.size -= before[1].pixels.untyped_storage().nbytes()
            if self.size + size <= self.most:
                self._kept[path] = stamp, picture
                self.size += size
