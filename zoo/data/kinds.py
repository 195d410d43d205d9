"""What items are: images or texts. Their noun, their file endings, and the layouts that a folder may have."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of items. noun: in the singular, for messages. suffixes: of files that are looked at; what a
    file is, its content decides. layouts: what a dataset may look like, as a hint. file_per_class: a file may
    stand for a class, with an item per line. task: of the models that take them.

    >>> IMAGES.matches("Bee.JPG"), TEXTS.matches("bee.jpg")
    (True, False)
    """

    noun: str
    suffixes: frozenset[str]
    layouts: str
    task: str
    file_per_class: bool = False

    @property
    def article(self) -> str:
        """a or an."""
        return "an" if self.noun[0] in "aeiou" else "a"

    def matches(self, name: str) -> bool:
        """Whether the ending says that a file may be one."""
        return os.path.splitext(name)[1].lower() in self.suffixes  # noqa: PTH122 - a Path costs 5 times more

    def count(self, number: int) -> str:
        """So many of them.

        >>> IMAGES.count(1_200)
        '1,200 images'
        """
        return f"{number:,} {self.noun}{'s' * (number != 1)}"


IMAGES = Kind(
    "image",
    frozenset(
        {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp"}
        | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
    ),
    "Expected train/CLASS/*.jpg and val/CLASS/*.jpg in the folder, or CLASS/*.jpg, "
    "or instead of a folder a CSV or TSV table with the columns path and label.",
    "image-classification",
)
TEXTS = Kind(
    "text",
    frozenset({".txt", ".text", ".md"}),
    "Expected CLASS.txt files with a text per line, or CLASS/*.txt files, or either of them in train and val "
    "folders, or instead of a folder a CSV, TSV, JSONL or Parquet table with the columns text and label.",
    "word-vectors",
    file_per_class=True,
)

KINDS = (IMAGES, TEXTS)
