"""Whether data are images or texts, where nobody says so."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import Dataset
from zoo.data.kinds import IMAGES, TEXTS
from zoo.data.scanning import scan_dataset
from zoo.errors import DatasetError, UsageError


def scan_any(
    path: Path,
    *,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    seed: int = 0,
) -> Dataset:
    """The labelled images or texts at a path: images, if it can be read as such. Options as `scan_dataset`.

    Raises DatasetError with what is wrong with the images, unless they are texts; UsageError for the columns
    of both.
    """
    if path_column is not None and text_column is not None:
        raise UsageError(
            "a table has a column of paths or one of texts", hint="Leave out --path-column or --text-column."
        )
    common = {
        "label_column": label_column,
        "split_column": split_column,
        "class_level": class_level,
        "group_by": group_by,
        "seed": seed,
    }
    if text_column is not None:
        return scan_dataset(path, TEXTS, item_column=text_column, **common)  # type: ignore[arg-type]
    try:
        return scan_dataset(path, IMAGES, item_column=path_column, **common)  # type: ignore[arg-type]
    except DatasetError as as_images:
        if path_column is not None:
            raise
        try:
            texts = scan_dataset(path, TEXTS, **common)  # type: ignore[arg-type]
        except DatasetError:
            raise as_images from None
        named = sum(IMAGES.matches((item.text or "").strip()) for item in texts.items)
        if 2 * named > len(texts.items):  # names of images that are not there are no texts
            raise as_images from None
        return texts
