"""The kinds of items: images and texts. Every difference between them is a field of a row here.

A third kind is a third row, and its readers in zoo/data/scanning.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

_IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)


def _ends_like_an_image(cell: str) -> float:
    return float(os.path.splitext(cell)[1].lower() in _IMAGE_SUFFIXES)  # noqa: PTH122 - a Path is 5 times slower


def _count_words(cell: str) -> float:
    return float(len(cell.split()))


@dataclass(frozen=True)
class Kind:
    """A kind of items.

    noun: in the singular, for messages. suffixes: endings of files that are opened; their content decides
    what they are. layouts: what a dataset may look like, as a hint. task: of the models that take them.
    in_files: an item is a file of its own, which a table names by its path; else an item is what a cell of a
    table or a line of a file holds. file_per_class: a file may stand for a class, with an item per line.

    Of a table: cell is the word for what an item's column holds, and for its option; columns are the usual
    names of that column, the surest first; score is how much a cell looks like an item, of_column how much
    the mean score of a column must exceed, and of_cell that of a single cell.

    >>> IMAGES.matches("Bee.JPG"), TEXTS.matches("bee.jpg")
    (True, False)
    """

    noun: str
    suffixes: frozenset[str]
    layouts: str
    task: str
    in_files: bool
    file_per_class: bool
    cell: str
    columns: tuple[str, ...]
    score: Callable[[str], float]
    of_column: float
    of_cell: float

    @property
    def article(self) -> str:
        """a or an."""
        return "an" if self.noun[0] in "aeiou" else "a"

    def matches(self, name: str) -> bool:
        """Whether the ending says that a file may be one."""
        return os.path.splitext(name)[1].lower() in self.suffixes  # noqa: PTH122 - a Path is 5 times slower

    def is_item(self, cell: str) -> bool:
        """Whether a single cell of a table is surely an item, not the name of a column or a class.

        >>> IMAGES.is_item("bee.jpg"), TEXTS.is_item("a film that is good"), TEXTS.is_item("review text")
        (True, True, False)
        """
        return self.score(cell) > self.of_cell

    def count(self, number: int) -> str:
        """A number of them, in words.

        >>> IMAGES.count(1_200)
        '1,200 images'
        """
        return f"{number:,} {self.noun}{'s' * (number != 1)}"


IMAGES = Kind(
    noun="image",
    suffixes=_IMAGE_SUFFIXES,
    layouts="Expected train/CLASS/*.jpg and val/CLASS/*.jpg in the folder, or CLASS/*.jpg, "
    "or instead of a folder a CSV or TSV table with the columns path and label.",
    task="image-classification",
    in_files=True,
    file_per_class=False,
    cell="path",
    columns=(
        *("path", "image", "image_path", "img_path", "img", "file", "filename", "file_name", "filepath"),
        *("file_path", "image_name", "image_file", "image_id", "id", "name"),
    ),
    score=_ends_like_an_image,
    of_column=0.5,
    of_cell=0.5,
)
TEXTS = Kind(
    noun="text",
    suffixes=frozenset({".txt", ".text", ".md"}),
    layouts="Expected CLASS.txt files with a text per line, or CLASS/*.txt files, or either of them in train "
    "and val folders, or instead of a folder a CSV, TSV, JSONL or Parquet table with the columns text and "
    "label.",
    task="word-vectors",
    in_files=False,
    file_per_class=True,
    cell="text",
    columns=(
        *("text", "sentence", "review", "review_text", "review_body", "content", "body", "message", "sms"),
        *("comment", "comment_text", "document", "tweet", "post", "question", "utterance", "headline"),
    ),
    score=_count_words,
    of_column=2,
    of_cell=4,
)

KINDS = (IMAGES, TEXTS)
