"""What a user names becomes a list of items to ask about, before torch is imported and any is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from zoo.data.dataset import Layout
from zoo.data.listing import list_images, local_path
from zoo.data.names import safe_text
from zoo.data.texts import Text, list_texts
from zoo.errors import UsageError
from zoo.events import Report, silent


@dataclass(frozen=True)
class Wanted:
    """What is asked about. things: files, folders, and items themselves; texts: those that were typed.

    whole_files: a file is one text; None for what the model was trained on. text_column: of tables. layout:
    how the texts of the model's own data lay in their files.
    """

    things: Sequence[object] = ()
    texts: Sequence[str] = ()
    whole_files: bool | None = None
    text_column: str | None = None
    layout: Layout | None = None


def gather_images(name: str, wanted: Wanted, *, report: Report = silent) -> list[Any]:  # noqa: ARG001
    """Files and images in memory, in the order given; a folder stands for the images in and below it.

    name: of the model. Raises UsageError for texts, and for what is not an image; DatasetError for a path
    where nothing is.
    """
    if wanted.texts or wanted.text_column is not None or wanted.whole_files is not None:
        raise UsageError(f"{name} takes images", hint="Name image files or folders instead of texts.")
    found: list[Any] = []
    for number, thing in enumerate(wanted.things, 1):
        if isinstance(thing, str | Path):
            found += list_images([local_path(thing)])
        else:
            from zoo.data.pixels.memory import as_image  # torch, which files have no need of yet

            found.append(as_image(thing, number))
    return found


def gather_texts(name: str, wanted: Wanted, *, report: Report = silent) -> list[Text]:
    """The texts themselves, and those in files, in the order given.

    name: of the model. A str is a text, a Path a file. Raises UsageError for anything else, DatasetError for
    a file without texts or that is not there.
    """
    whole = wanted.layout == "files" if wanted.whole_files is None else wanted.whole_files
    found: list[Text] = []
    numbered = enumerate((*wanted.texts, *wanted.things), 1)
    for is_file, group in groupby(numbered, key=lambda pair: isinstance(pair[1], Path)):
        if is_file:
            paths = [local_path(str(path)) for _, path in group]
            texts, notes = list_texts(paths, whole_files=whole, text_column=wanted.text_column)
            found += texts
            for note in notes:
                report(note)
            continue
        for number, text in group:
            if not isinstance(text, str):
                raise UsageError(
                    f"{name} takes texts, and item {number} is {type(text).__name__}",
                    hint="Give texts as str, and files as Path.",
                )
            found.append(Text(Path(f"text:{number}"), safe_text(text)))
    return found
