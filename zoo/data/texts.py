"""Texts as people have them: a file each, a line each, a row of a table each. All are read at once.

reviews/train/CLASS/*.txt  reviews/val/CLASS/*.txt       a file is a text
reviews/CLASS.txt                                        a line is a text
reviews.csv with text, label [, split]                   also TSV, JSONL, Parquet
reviews/train.csv  reviews/test.csv                      the same, a table per part
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.data.containers import open_file, size_of
from zoo.data.dataset import Layout, Part
from zoo.data.finding.columns import choose_item_column
from zoo.data.finding.encodings import decode
from zoo.data.finding.found import ClassFiles, Found
from zoo.data.finding.table_file import TABLE_SUFFIXES, is_table, read_table
from zoo.data.kinds import TEXTS, Kind
from zoo.data.listing import list_files
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note

STDIN = Path("-")
_TEXT_FILES = replace(TEXTS, suffixes=TEXTS.suffixes | TABLE_SUFFIXES)
MOST_BYTES = 1 << 30  # of one file: a larger file is not read as texts


@dataclass(frozen=True)
class Text:
    """One text and where it is from: reviews.txt:17 is a line, reviews.csv:17 a row, review.txt a file."""

    place: Path
    text: str


def _bytes_of(path: Path) -> bytes:
    with open_file(path, MOST_BYTES) as file:
        return file.read()


@dataclass
class Reader:
    """Reads files and counts what the user should know about them."""

    guessed: list[Path] = field(default_factory=list)
    empty: int = 0

    def read(self, path: Path) -> str:
        """The characters of a file, or of standard input. Raises DatasetError for a file that is not text."""
        if path != STDIN and size_of(path) > MOST_BYTES:
            raise DatasetError(
                f"{one_line(path)} is larger than {MOST_BYTES >> 30} GiB", hint="Split it into several files."
            )
        decoded = decode(sys.stdin.buffer.read() if path == STDIN else _bytes_of(path))
        if decoded is None:
            raise DatasetError(
                f"{one_line(path)} is not a text file: it contains NUL bytes", hint=TEXTS.layouts
            )
        if decoded.guessed:
            self.guessed.append(path)
        return decoded.text

    def lines(self, path: Path) -> Iterator[Text]:
        """A text per line that is not empty, named FILE:LINE, lines counted from 1."""
        for number, line in enumerate(self.read(path).removesuffix("\n").split("\n"), 1):
            if text := line.strip():
                yield Text(Path(f"{path}:{number}"), text)
            else:
                self.empty += 1

    def whole(self, path: Path) -> Iterator[Text]:
        """The file as one text, if there is anything in it."""
        if text := self.read(path).strip():
            yield Text(path, text)
        else:
            self.empty += 1

    def notes(self) -> Iterator[Note]:
        """What the user should know of it."""
        if self.guessed:
            more = f" and {len(self.guessed) - 1:,} more" if len(self.guessed) > 1 else ""
            yield Note(
                f"{one_line(self.guessed[0])}{more}: not UTF-8, read as Windows-1252",
                hint="If letters look wrong, save it as UTF-8.",
                level="warning",
            )
        if self.empty:
            yield Note(f"{TEXTS.count(self.empty)} passed over: empty")


def read_texts(found: Found, kind: Kind) -> Found:
    """What was found with its texts read, a text per file or per line; images are left as they are."""
    if kind.in_files:
        return found
    reader = Reader()
    parts: dict[Part | None, ClassFiles] = {}
    texts: dict[str, str] = {}
    for part, classes in found.parts.items():
        for name, files in classes.items():
            read = [t for f in files for t in (reader.lines if f in found.by_line else reader.whole)(Path(f))]
            texts |= {str(one.place): one.text for one in read}
            parts.setdefault(part, {})[name] = [str(one.place) for one in read]
    notes = (*found.notes, *reader.notes())
    layout: Layout = "lines" if found.by_line else "files"
    return replace(found, parts=parts, notes=notes, texts=texts, layout=layout)


def list_texts(
    paths: Sequence[Path], *, whole_files: bool = False, text_column: str | None = None
) -> tuple[list[Text], list[Note]]:
    """The texts in files, in the order given, and what the user should know about them.

    A table has one per row; any other file, and - for standard input, one per line, or is one with
    `whole_files`; a folder stands for every such file in and below it. Raises DatasetError for a path that is
    not there, and if none of them holds a text.
    """
    reader = Reader()
    texts: list[Text] = []
    notes: list[Note] = []
    files = [
        file for path in paths for file in ([path] if path == STDIN else list_files([path], _TEXT_FILES))
    ]
    for path in files:
        if is_table(path, TEXTS):
            table = read_table(path, TEXTS, named=(text_column,))
            notes += table.notes
            column = table.frame[choose_item_column(table, TEXTS, text_column)]
            cells = [str(cell or "").strip() for cell in column]
            texts += [Text(Path(f"{path}:{number}"), cell) for number, cell in enumerate(cells, 1) if cell]
            reader.empty += cells.count("")
        else:
            texts += (reader.whole if whole_files else reader.lines)(path)
    if not texts:
        raise DatasetError(f"no text in {', '.join(map(one_line, paths))}", hint="Expected a text per line.")
    return texts, [*notes, *reader.notes()]
