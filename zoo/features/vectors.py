"""Features in Parquet files: labelled items that no photograph is read for.

What they depend on is in the metadata of a file, where `zoo embed` writes it, or in a column beside them,
where `zoo.Featurizer` has it: engines that spread work write columns, and lose metadata.

Their vectors are read in blocks, into the one table that a head is trained on; only that imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.data.finding.cells import Table
from zoo.data.finding.found import Found
from zoo.data.finding.table import Named, find_in_cells
from zoo.data.finding.table_file import AGAIN, read_table
from zoo.data.finding.vector_table import COLUMN, is_vector, parquet_files, written_as_text
from zoo.data.kinds import IMAGES, Kind
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError
from zoo.events import Note
from zoo.features.engine import LARGEST, LONG_NAMES
from zoo.features.provenance import KEY, SCHEMA, Provenance, Unreadable

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from zoo.features.rows import Rows

_NOT_LABELS = (
    "sha256",
    "reason",
    "error",
    "license",
    "licence",
    "model",
    "model_license",
    "data_license",
    KEY,
)
ROWS = 1 << 14  # vectors read and written at a time: 80 MB of 1,280 numbers each
_AT_ONCE = 1 << 11  # of these, that are put into the table at a time: there are several copies of them
_VERSIONS = 3  # that are named
_DEPENDS: tuple[tuple[str, str], ...] = (
    ("network", "the network"),
    ("input", "how photographs become its input"),
    ("precision", "the precision"),
)


@dataclass(frozen=True)
class Listed:
    """Items that have features: their names, as paths and as they are written (s3://…), and what a file says
    of each, None where it does not. lacking: those that have none. more: the columns that say something else.
    """

    names: tuple[str, ...]
    written: tuple[str, ...]
    label: tuple[str | None, ...]
    split: tuple[str | None, ...]
    sha256: tuple[str | None, ...]
    lacking: tuple[Unreadable, ...] = ()
    more: tuple[str, ...] = ()


def _texts_of(frame: pl.DataFrame, column: str) -> list[str | None]:
    """A column of texts; nothing but None where there is none."""
    return frame[column].to_list() if column in frame.columns else [None] * len(frame)


@dataclass
class FeatureFile:
    """Features of labelled items. files: one, or those of a folder, with so many rows each. abouts: what they
    depend on; of several only the devices, the code and the versions differ. name: of the model or run that
    they are for, as it was typed.

    What `find` found, by the name of an item's path. rows: where its vector is, counted over all files. bad:
    why it has none.
    """

    path: Path
    files: tuple[tuple[Path, int], ...]
    abouts: tuple[Provenance, ...]
    name: str
    rows: dict[str, int] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    width: int = 0

    @property
    def about(self) -> Provenance:
        """What the features depend on, whatever computed them."""
        return self.abouts[0]

    def find(self, named: Named) -> Found:
        """The items by part and class. Raises DatasetError where one has two rows, or there are no labels."""
        frame, names, class_names = self._read(named)
        spare = [name for name in _NOT_LABELS if name in frame.columns and name not in named.columns]
        digests = _texts_of(frame, "sha256")
        frame = frame.drop(spare)
        if set(frame.columns) <= {"path", "split"}:
            raise DatasetError(
                f"{one_line(self.path)} has features and no labels",
                hint="Give it a column label, or embed a folder with a folder for each class.",
            )
        table = Table(self.path, frame, True, (), class_names=class_names, whole=True)
        found = find_in_cells(table, IMAGES, named)
        for classes in found.parts.values():
            for files in classes.values():
                files.sort()
        contents = {name: digest or "" for name, digest in zip(names, digests, strict=True)}
        parts = {
            part: {name: [str(Path(file)) for file in files] for name, files in classes.items()}
            for part, classes in found.parts.items()
        }
        groups = None if found.groups is None else {str(Path(p)): g for p, g in found.groups.items()}
        notes = list(found.notes)
        if not any(digests):
            notes.append(
                Note(
                    f"{one_line(self.path)} has no sha256 of its items: copies among them are not looked "
                    "for, and zoo evaluate knows what was trained on by name alone",
                    level="warning",
                )
            )
        root = Path(self.about.root) if self.about.root is not None else self.path.parent
        return replace(found, root=root, parts=parts, groups=groups, contents=contents, notes=tuple(notes))

    def list_items(self) -> Listed:
        """Every item that has a vector, labelled or not, in the order of the files; those that have none are
        in `bad`. Raises DatasetError where one has two rows."""
        frame, names, _ = self._read(Named())
        columns = {name: _texts_of(frame, name) for name in ("label", "split", "sha256")}
        written = [(cell or "").strip() for cell in frame["path"]]
        kept = [at for at, name in enumerate(names) if name not in self.bad]
        lacking = [
            Unreadable(
                path=written[at],
                reason=self.bad[name],
                **{column: cells[at] for column, cells in columns.items()},
            )
            for at, name in enumerate(names)
            if name in self.bad
        ]
        known = ("path", *columns, "reason", "error", "model", "model_license", KEY)
        return Listed(
            tuple(names[at] for at in kept),
            tuple(written[at] for at in kept),
            **{name: tuple(cells[at] for at in kept) for name, cells in columns.items()},
            lacking=tuple(lacking),
            more=tuple(name for name in frame.columns if name not in known),
        )

    def _read(self, named: Named) -> tuple[pl.DataFrame, list[str], Mapping[str, Sequence[str]]]:
        """All rows but for their vectors, the items' names, and what classes are called by their numbers."""
        import polars as pl

        tables = [read_table(file, IMAGES, named=named.columns) for file, count in self.files if count]
        frame = pl.concat([table.frame for table in tables], how="diagonal")
        kept = {"reason", *frame.columns}
        lost = [
            {name: cell for name, cell in msgspec.to_builtins(item).items() if name in kept}
            for about in self.abouts
            for item in about.unreadable
        ]
        if lost:
            more = pl.DataFrame(lost, schema=dict.fromkeys(lost[0], pl.String))
            frame = pl.concat([frame, more], how="diagonal")
        if "path" not in frame.columns:
            raise DatasetError(
                f"{one_line(self.path)} has features and no column path", hint="Name each item there."
            )
        names = [str(Path((cell or "").strip())) for cell in frame["path"]]
        self._find_rows(names, frame)
        return frame, names, tables[0].class_names

    def _find_rows(self, names: Sequence[str], frame: pl.DataFrame) -> None:
        """Learn where each item's vector is, and which have none."""
        import polars as pl

        empty: list[bool] = []
        for file, _ in self.files:
            with _readable(file):
                empty += pl.scan_parquet(file).select(pl.col(COLUMN).is_null()).collect()[COLUMN].to_list()
        empty += [True] * (len(names) - len(empty))
        why = [pl.col(name) for name in ("reason", "error") if name in frame.columns]
        reasons = frame.select(pl.coalesce(*why)).to_series() if why else [None] * len(names)
        for row, (name, lacks, reason) in enumerate(zip(names, empty, reasons, strict=True)):
            if name == ".":  # a path without a name
                raise DatasetError(
                    f"{one_line(self.path)}: row {row + 1:,} has no path", hint="Name each item there."
                )
            if name in self.rows:
                raise DatasetError(
                    f"{one_line(self.path)} has two rows of {shortened(name)}", hint="Remove one of them."
                )
            self.rows[name] = row
            if lacks:
                self.bad[name] = reason or "has no features"

    def check(self, own: Provenance, width: int) -> Note | None:
        """A remark where other versions computed the features. own: what they would depend on here. Raises
        DatasetError where that is something else: a head would learn from numbers that mean nothing to it."""
        for name, what in _DEPENDS:
            theirs, ours = getattr(self.about, name), getattr(own, name)
            if theirs != ours:
                short = {key: str(value)[:12] for key, value in (("theirs", theirs), ("ours", ours))}
                detail = f" ({short['theirs']}, not {short['ours']})" if isinstance(theirs, str) else ""
                hint = f"Compute them: zoo embed {one_line(self.name)} PHOTOGRAPHS -o FILE.parquet"
                if name == "precision":
                    hint = f"Train with --precision {one_line(theirs)}, or embed with --precision {ours}."
                raise DatasetError(
                    f"{one_line(self.path)} has features of {one_line(self.about.model)}, and those of "
                    f"{one_line(self.name)} are needed: {what} is another{detail}",
                    hint=hint,
                )
        self.width = width
        if self.about.backend != own.backend:
            return Note(
                f"{one_line(self.path)} was computed by {LONG_NAMES[self.about.backend]}: features differ in "
                f"their last digits from those of {LONG_NAMES[own.backend]}"
            )
        return self._remark_versions(own)

    def _remark_versions(self, own: Provenance) -> Note | None:
        """A remark where the versions that computed the features are not all the same, or not those here."""
        ways = dict.fromkeys((about.code, *sorted(about.versions.items())) for about in self.abouts)
        here = (own.code, *sorted(own.versions.items()))
        if [*ways] == [here]:
            return None
        texts = dict.fromkeys(
            ", ".join(f"{name} {number}" for name, number in about.versions.items()) for about in self.abouts
        )
        named = "; ".join([*texts][:_VERSIONS]) + (
            f"; {len(texts) - _VERSIONS} more" * (len(texts) > _VERSIONS)
        )
        several = len(ways) > 1
        whose = f"{len(ways)} versions of zoo" if several else "another version of zoo"
        whom = "each other" if several else "those that are computed here"
        return Note(
            f"{one_line(self.path)} was computed by {whose} or of its libraries ({named}): features may "
            f"differ in their last digits from {whom}"
        )

    def read_into(self, found: Rows, items: Sequence[Path]) -> None:
        """Write the vectors of items that have one, in that order, into rows (items, width) float32.

        Raises DatasetError for one of another width, and for one that is not made of finite numbers.
        """
        import numpy as np
        import polars as pl
        import torch

        wanted = np.full(sum(count for _, count in self.files), -1, dtype=np.int64)
        wanted[[self.rows[os.fspath(path)] for path in items]] = np.arange(len(items))
        first = 0
        for file, count in self.files:
            for start in range(0, count, ROWS):
                places = wanted[first + start : first + min(start + ROWS, count)]
                mine = np.flatnonzero(places >= 0)
                if not len(mine):
                    continue
                with _readable(file):
                    block = pl.scan_parquet(file).select(COLUMN).slice(start, ROWS).collect()[COLUMN]
                for at in range(0, len(mine), _AT_ONCE):
                    some = mine[at : at + _AT_ONCE]
                    with _readable(file):
                        matrix = self._matrix(block.gather(some), items, places[some])
                    found[torch.from_numpy(places[some])] = torch.from_numpy(matrix)
            first += count

    def _matrix(self, block: pl.Series, items: Sequence[Path], places: np.ndarray) -> np.ndarray:
        """A block of vectors as (rows, width) float32."""
        import numpy as np
        import polars as pl

        block = block.arr.to_list() if isinstance(block.dtype, pl.Array) else block
        lengths = block.list.len().to_numpy()
        if (odd := np.flatnonzero(lengths != self.width)).size:
            raise DatasetError(
                f"{one_line(self.path)}: {shortened(items[places[odd[0]]])} has {lengths[odd[0]]:,} "
                f"features, and {one_line(self.name)} gives {self.width:,}",
                hint=f"Compute them: zoo embed {one_line(self.name)} PHOTOGRAPHS -o FILE.parquet",
            )
        flat = block.explode().cast(pl.Float64).to_numpy()  # nulls become NaN
        with np.errstate(over="ignore"):
            matrix: np.ndarray = flat.reshape(len(block), self.width).astype(np.float32)
        if (odd := np.flatnonzero(~np.isfinite(matrix).all(1))).size:
            raise DatasetError(
                f"{one_line(self.path)}: the features of {shortened(items[places[odd[0]]])} are not all "
                f"finite numbers ({len(odd):,} rows of {len(block):,} like it)",
                hint="Compute them again, or remove the rows.",
            )
        largest = np.abs(matrix).max(1, initial=0.0)
        if (odd := np.flatnonzero(largest > LARGEST)).size:
            raise DatasetError(
                f"{one_line(self.path)}: the features of {shortened(items[places[odd[0]]])} are as large as "
                f"{largest[odd[0]]:.0e}, and up to {LARGEST:.0e} can be learned from ({len(odd):,} rows of "
                f"{len(block):,} like it)",
                hint="Compute them again, or remove the rows.",
            )
        return matrix


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn an error of polars into a DatasetError that names the file."""
    import polars as pl

    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise DatasetError(f"cannot read {one_line(file)}: {reason}", hint=AGAIN) from error


def open_features(path: Path, kind: Kind, name: str) -> FeatureFile:
    """The features in a file, or in all Parquet files of a folder. kind: of items that a model takes; name:
    of the model, as it was typed.

    Raises DatasetError where nothing says which network computed them, or different ones did, and where a
    model needs more than features.
    """
    import polars as pl

    if kind is not IMAGES:
        raise DatasetError(
            f"{one_line(path)} has features, and a run on {kind.noun}s needs the words of the {kind.noun}s",
            hint=f"Give the {kind.noun}s themselves, in a table without the column {COLUMN}.",
        )
    files, found = [], []
    for file in parquet_files(path):
        with _readable(file):
            _check_type(file, name)
            files.append((file, int(pl.scan_parquet(file).select(pl.len()).collect().item())))
            found += [(file, _decoded(file, written)) for written in _written_in(file, name)]
    if not sum(count for _, count in files):
        raise DatasetError(f"{one_line(path)} has no rows")
    if not found:
        raise DatasetError(f"{one_line(path)} has {COLUMN} of none of its items")
    first, whose = found[0]
    for file, about in found:
        for field_name in ("network", "input", "precision", "backend", "values", "root"):
            if getattr(about, field_name) != getattr(whose, field_name):
                raise DatasetError(
                    f"{_described(file, about)} and {_described(first, whose)} do not belong together: their "
                    f"{field_name} differs",
                    hint="Compute all of them with one model and one --backend, from one folder.",
                )
    return FeatureFile(path, tuple(files), tuple(about for _, about in found), name)


def _check_type(file: Path, name: str) -> None:
    """Raise DatasetError where features are anything but lists of floating-point numbers: whole numbers are
    not what a network gives, and a head would learn from what rounding left of that. name: of the model."""
    import polars as pl

    dtype = pl.read_parquet_schema(file)[COLUMN]
    nothing = (pl.Null, pl.List(pl.Null))  # of a file of nothing but items that could not be read
    if dtype in nothing or (is_vector(dtype) and dtype.inner.is_float()):
        return
    found = f"{one_line(file)}: its column {COLUMN} has the type {dtype}, not lists of float32"
    if is_vector(dtype) and dtype.inner.is_integer():
        found += ": they were rounded to whole numbers"
    raise DatasetError(found, hint=_again(name))


def _again(name: str) -> str:
    """What to do about features that cannot be used. name: of the model, as it was typed."""
    return (
        f"Write them again: zoo embed {one_line(name)} PHOTOGRAPHS -o FILE.parquet. To train on the "
        f"photographs themselves, leave out the column {COLUMN}."
    )


def refuse_texts(path: Path, name: str) -> None:
    """Raise DatasetError for features in a table that is a text file: its paths would be read as photographs
    instead. name: of the model, as it was typed."""
    if written_as_text(path):
        raise DatasetError(
            f"{one_line(path)} has the columns {COLUMN} and {KEY}, and features are read from Parquet files "
            "alone",
            hint=_again(name),
        )


def _described(file: Path, about: Provenance) -> str:
    """Whose features a file has."""
    return f"{one_line(file)} ({one_line(about.model)}, {about.precision})"


def _written_in(file: Path, name: str) -> list[str]:
    """What a file says that its features depend on: in its metadata, beside its features, or in both.

    Nothing where it has no features. Raises DatasetError where it has some and says nothing of them. name: of
    the model, as it was typed.
    """
    import polars as pl

    metadata = pl.read_parquet_metadata(file).get(KEY)
    declared = [] if metadata is None else [metadata]
    has_column = KEY in pl.read_parquet_schema(file)
    some = pl.scan_parquet(file).filter(pl.col(COLUMN).is_not_null())
    written = (pl.col(KEY) if has_column else pl.lit(None)).cast(pl.String).alias(KEY)
    found = some.select(written).unique().collect(engine="streaming")[KEY]
    if not declared and found.null_count():
        which, their = ("some rows of {} do", "their") if has_column else ("{} does", "its")
        raise DatasetError(
            f"{which.format(one_line(file))} not say which network computed {their} features, and those of "
            f"another one than {one_line(name)} would mean nothing",
            hint=f"Write them with: zoo embed {one_line(name)} PHOTOGRAPHS -o FILE.parquet, or keep the "
            f"column {KEY} that zoo.Featurizer gives. To train on the photographs themselves, leave out the "
            f"column {COLUMN}.",
        )
    return [*declared, *sorted(found.drop_nulls())]


def _decoded(file: Path, written: str) -> Provenance:
    """The same as a value. Raises DatasetError where it cannot be read."""
    try:
        about = msgspec.json.decode(written, type=Provenance)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DatasetError(f"{one_line(file)}: its {KEY} cannot be read: {error}", hint=AGAIN) from error
    if about.schema > SCHEMA:
        raise DatasetError(
            f"{one_line(file)}: written by a later zoo", hint="Upgrade: pip install -U transfer-zoo"
        )
    return about
