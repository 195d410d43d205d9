"""The files that a table names: beside it, in folders that it leaves out, in other capitals, from elsewhere.

Every name is looked for as it stands, relative to the table. What is not there is looked for below the
table's folder by the end of its path: /content/data/im/1.jpg is im/1.jpg, and 1.JPG is 1.jpg. Two files that
fit equally well are refused, for one of them would be the wrong one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from zoo.data.dataset import Part
from zoo.data.finding.split_words import read_part
from zoo.data.finding.walking import Disk, Tally, is_junk
from zoo.data.kinds import Kind
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError
from zoo.events import Note

_SAMPLE = 20  # names that decide which way is tried first
_MOST_FILES = 1_000_000  # below the table's folder that are looked through
_WEB = re.compile(r"(https?|s3|gs|ftp)://", re.IGNORECASE)


@dataclass
class Locator:
    """Finds files by the names in a table. part: that the whole table is, if its name says so."""

    table: Path
    kind: Kind
    names: Sequence[str]
    part: Part | None = None
    moved: dict[str, Path] = field(default_factory=dict)
    _folder: str = ""
    _ending: str = ""
    _base: Path | None = None
    _index: dict[str, list[tuple[str, ...]]] | None = None

    def __post_init__(self) -> None:
        sample = self.names[:: max(1, len(self.names) // _SAMPLE)][:_SAMPLE]
        if web := next((name for name in sample if _WEB.match(name)), None):
            raise DatasetError(
                f"{one_line(self.table)} lists addresses, as {shortened(web)}, not files",
                hint="Download them first, and list the files.",
            )
        self._choose_way(sample)

    def locate(self, name: str, part: Part | None) -> Path:
        """The file of a name; where none is found, the path where it should be. Raises DatasetError for
        several that fit equally well. part: that the row is in."""
        path = self._place(name)
        if _exists(path):
            return path
        found = self._look_up(name, part or self.part)
        if found is None:
            return path
        self.moved[name] = found
        return found

    def notes(self) -> Iterator[Note]:
        """How files were found that are not where the table says."""
        way = []
        if self._folder:
            way.append(f"in {one_line(self._folder)}/")
        if self._ending:
            way.append(f"with the ending {self._ending}")
        if self._base is not None:
            way.append(f"below {one_line(self._base)}")
        if way:
            yield Note(f"the files of {one_line(self.table)} were found {' and '.join(way)}")
        if self.moved:
            name, path = next(iter(self.moved.items()))
            folders = list(dict.fromkeys(p.parent.name for p in self.moved.values()))
            where = ", ".join(map(one_line, folders[:4])) + (", …" if len(folders) > 4 else "")
            yield Note(
                f"{len(self.moved):,} of the {len(self.names):,} files of {one_line(self.table)} were found "
                f"by the end of their paths or in other capitals, in {where}: {shortened(name)} is "
                f"{shortened(os.path.relpath(path, self.table.parent))}"
            )

    def _choose_way(self, sample: Sequence[str]) -> None:
        """Choose the folder and the ending that find most of the first names: competitions leave them out."""
        if self._hits(sample, "", "") == len(sample):
            return
        for base in (self.table.parent.parent, Path.cwd()):
            if self._hits(sample, "", "", base) > len(sample) // 2 and self._hits(sample, "", "") == 0:
                self._base = base
                return
        neighbours = [
            e.name for e in sorted(self.table.parent.iterdir()) if e.is_dir() and not is_junk(e.name)
        ][:_SAMPLE]
        endings = [""] if any(map(self.kind.matches, sample)) else ["", *sorted(self.kind.suffixes)]
        ways = [(folder, ending) for ending in endings for folder in ("", *neighbours)]
        hits = {way: self._hits(sample, *way) for way in ways}
        best = max(hits.values())
        if best * 10 < 9 * len(sample):
            return  # not one way for all: each is looked up
        chosen = [way for way in ways if hits[way] == best]
        if len(chosen) > 1:
            chosen = [way for way in chosen if _part_of(way[0]) == (self.part or "train")]
        if len(chosen) == 1:
            self._folder, self._ending = chosen[0]

    def _hits(self, names: Sequence[str], folder: str, ending: str, base: Path | None = None) -> int:
        above = (base or self.table.parent) / folder
        return sum(_exists(above / (self._plain(name) + ending)) for name in names)

    def _place(self, name: str) -> Path:
        base = self._base or self.table.parent
        return base / self._folder / (self._plain(name) + self._ending)

    def _plain(self, name: str) -> str:
        """The name with forward slashes, unless a file has backslashes in its name."""
        name = name.strip().removeprefix("file://")
        if "\\" not in name or _exists(self.table.parent / name):
            return name
        return name.replace("\\", "/")

    def _look_up(self, name: str, part: Part | None) -> Path | None:
        """The file below the table's folder whose path ends most like the name."""
        wanted = _parts(self._plain(name)) or _parts(name)
        if not wanted:
            return None
        index = self._build_index()
        candidates = index.get(wanted[-1].casefold(), [])
        if not candidates and not self.kind.matches(wanted[-1]):
            endings = [wanted[-1].casefold() + ending for ending in self.kind.suffixes]
            candidates = [found for ending in endings for found in index.get(ending, [])]
        if not candidates and "%" in name:
            return self._look_up(unquote(name), part)
        ranks = {found: _likeness(found, wanted) for found in candidates}
        best = sorted(found for found, rank in ranks.items() if rank == max(ranks.values()))
        if len(best) > 1:
            best = [found for found in best if _part_of_path(found) == (part or "train")] or best
        if len(best) > 1:
            raise DatasetError(
                f"{shortened(name)} of {one_line(self.table)} may be {shortened('/'.join(best[0]))} or "
                f"{shortened('/'.join(best[1]))}",
                hint="Write the folder into the table.",
            )
        return self.table.parent.joinpath(*best[0]) if best else None

    def _build_index(self) -> dict[str, list[tuple[str, ...]]]:
        """Every file below the table's folder by its name in lower case, as the parts of its path."""
        if self._index is None:
            self._index = {}
            root = os.fspath(self.table.parent)
            disk = Disk(Tally(self.kind))
            disk.claim_parents(root)
            pending: list[tuple[str, ...]] = [()]
            count = 0
            while pending and count < _MOST_FILES:
                inside = pending.pop()
                listing = disk.list(os.path.join(root, *inside))  # noqa: PTH118
                if not disk.tally.enter(listing):
                    continue
                for name in listing.all_files:
                    self._index.setdefault(name.casefold(), []).append((*inside, name))
                count += len(listing.all_files)
                pending.extend(
                    (*inside, name) for name in listing.all_folders if not disk.tally.is_loop(listing, name)
                )
        return self._index


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return False


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a name, without those that say where a disk begins."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "..", ".") and not part.endswith(":"))


def _likeness(found: Sequence[str], wanted: Sequence[str]) -> tuple[int, int]:
    """How many parts at the end are the same but for capitals, and how many of these exactly."""
    same = exact = 0
    for here, there in zip(reversed(found), reversed(wanted), strict=False):
        if same and here.casefold() != there.casefold():
            break
        same += 1
        exact += here == there
    return same, exact


def _part_of(folder: str) -> Part | None:
    word = read_part(folder)
    return None if word is None else next((p for p in ("train", "val", "test") if p == word.role), None)


def _part_of_path(found: Sequence[str]) -> Part | None:
    """The part that a folder of a path names."""
    return next((part for folder in found[:-1] if (part := _part_of(folder))), None)
