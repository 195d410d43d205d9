"""Predictions as a file that grows row by row: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

from zoo.data.names import safe_text
from zoo.errors import DiskFull, UsageError
from zoo.runs.answers import Prediction, TextPrediction
from zoo.runs.using.caution import NO_CAUTION, Caution
from zoo.store.disk.space import writing

if TYPE_CHECKING:
    from zoo.runs.classifier import Classifier


@dataclass(frozen=True)
class Shape:
    """What every prediction of a model has. several: any number of classes. numbers: the names of those that
    it answers with instead of classes. caution: what was asked for besides. novelty: whether every item is
    compared with the training items."""

    several: bool = False
    numbers: tuple[str, ...] = ()
    caution: Caution = NO_CAUTION
    novelty: bool = False

    @classmethod
    def of(cls, classifier: Classifier, caution: Caution = NO_CAUTION, *, novelty: bool = False) -> Shape:
        """The shape of a model's predictions."""
        numbers = classifier.classes if classifier.task.scale is not None else ()
        return cls(classifier.thresholds is not None, tuple(numbers), caution, novelty)

    @property
    def lacks(self) -> frozenset[str]:
        """The fields of a prediction that its model, or what was asked for, never fills."""
        absent = set(_OF_CLASSES if self.numbers else ("values",))
        if not self.several:
            absent.add("labels")
        if self.caution.abstain_below is None:
            absent.add("unknown")
        if self.caution.sets is None or self.numbers:
            absent.add("prediction_set")
        if self.caution.sets is None or not self.numbers:
            absent.add("intervals")
        if not self.novelty:
            absent |= {"distance", "novel"}
        return frozenset(absent)


ONE_CLASS = Shape()
_OF_CLASSES = ("label", "probability", "top")


def whole_row(prediction: Prediction, shape: Shape = ONE_CLASS) -> dict[str, Any]:
    """A prediction as JSON has it, without what its model never says."""
    row = {**asdict(prediction), "path": str(prediction.path)}
    return {name: value for name, value in row.items() if name not in shape.lacks}


def flat_row(prediction: Prediction, top: int, shape: Shape = ONE_CLASS) -> dict[str, Any]:
    """A prediction as a row with the same columns for every item: path, label, probability, for texts text,
    words and known, the next classes as label_2, probability_2, …, error. Where an item may have several
    classes, those that it has are in labels, with | between them, and so are those of a set; numbers have
    columns of their own, and so have the ends of their intervals."""
    row: dict[str, Any] = {"path": safe_text(prediction.path)}
    if shape.several:
        row["labels"] = None if prediction.labels is None else "|".join(prediction.labels)
    if shape.numbers:
        row |= {name: (prediction.values or {}).get(name) for name in shape.numbers}
        if shape.caution.sets is not None:
            for name in shape.numbers:
                low, high = (prediction.intervals or {}).get(name, (None, None))
                row |= {f"{name}_low": low, f"{name}_high": high}
    else:
        row |= {"label": prediction.label, "probability": prediction.probability}
    if "unknown" not in shape.lacks:
        row["unknown"] = prediction.unknown
    if "prediction_set" not in shape.lacks:
        held = prediction.prediction_set
        row["prediction_set"] = None if held is None else "|".join(held)
    if shape.novelty:
        row |= {"distance": prediction.distance, "novel": prediction.novel}
    if isinstance(prediction, TextPrediction):
        row |= {"text": prediction.text, "words": prediction.words, "known": prediction.known}
    for place in range(1, 0 if shape.numbers else top):
        guess = prediction.top[place] if place < len(prediction.top) else None
        row[f"label_{place + 1}"] = None if guess is None else guess.label
        row[f"probability_{place + 1}"] = None if guess is None else guess.probability
    return row | {"error": prediction.error}


class _Sheet(Protocol):
    """A format: rows are added to an open file, and it is closed."""

    def add(self, row: Mapping[str, Any]) -> None: ...
    def begin(self, columns: Sequence[str]) -> None: ...
    def close(self) -> None: ...


def _as_cell(value: Any) -> Any:
    """A value as CSV has it: of yes and no, as JSON and Parquet write them."""
    return json.dumps(value) if isinstance(value, bool) else value


class CsvRows:
    """Rows as CSV, the names of the columns first. An empty cell is what is not known."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._writer: csv.DictWriter[str] | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row; all have the columns of the first."""
        if self._writer is None:
            self.begin(list(row))
        assert self._writer is not None
        self._writer.writerow({name: _as_cell(value) for name, value in row.items()})

    def begin(self, columns: Sequence[str]) -> None:
        """Write the names of the columns."""
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")
        self._writer.writeheader()

    def close(self) -> None:
        """Write what is still in memory."""
        self._file.flush()


class _JsonLines:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def begin(self, columns: Sequence[str]) -> None:
        pass  # each line names its own

    def close(self) -> None:
        self._file.flush()


class _Parquet:
    """Rows are in memory until the end: a Parquet file is written by columns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows: list[Mapping[str, Any]] = []
        self._columns: Sequence[str] | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)

    def begin(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def close(self) -> None:
        import polars

        polars.DataFrame(self._rows, self._columns, infer_schema_length=None).write_parquet(self._file)


FORMATS: dict[str, tuple[bool, Callable[[Any], _Sheet]]] = {
    ".csv": (False, CsvRows),
    ".jsonl": (False, _JsonLines),
    ".parquet": (True, _Parquet),
}
"""Whether a file holds bytes, and how it is written, by its suffix."""


def check_out(out: Path, formats: Mapping[str, Any] = FORMATS) -> None:
    """Raise UsageError for a suffix that there is no format for, and for a file that is there already: before
    anything is computed."""
    if out.suffix.lower() not in formats:
        raise UsageError(
            f"cannot write {out.name}: no such format", hint=f"End it in {' or '.join(formats)}."
        )
    if out.exists():
        raise UsageError(f"{out} exists already, and is never overwritten", hint="Name another file.")


class PredictionFile:
    """A file of predictions. When the block ends, by an error or Ctrl-C too, it has every row that was added;
    where the disk is full there is no file, since a row of it would be cut.

    columns: what a file without rows has; without them there is then no file. Raises what `check_out` does.
    """

    def __init__(self, out: Path, columns: Sequence[str] = ()) -> None:
        check_out(out)
        self.out = out
        self._columns = columns
        self.rows = 0
        self._whole = True
        self._draft = out.with_name(f".{out.name}.partial")

    def __enter__(self) -> PredictionFile:
        binary, kind = FORMATS[self.out.suffix.lower()]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[Any] = (
            self._draft.open("wb") if binary else self._draft.open("w", encoding="utf-8", newline="")
        )
        self._sheet = kind(self._file)
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises DiskFull."""
        try:
            with writing(self.out):
                self._sheet.add(row)
        except DiskFull:
            self._whole = False
            raise
        self.rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        empty = not self.rows and error is None and bool(self._columns)
        try:
            with writing(self.out):
                if not self._whole:
                    return
                if empty:
                    self._sheet.begin(self._columns)
                self._sheet.close()
                self._file.close()
                if self.rows or empty:
                    self._draft.replace(self.out)
        finally:
            with suppress(OSError):  # what is still in memory finds no more room than before
                self._file.close()
            self._draft.unlink(missing_ok=True)


def write_rows(rows: Iterable[Mapping[str, Any]], out: Path, columns: Sequence[str] = ()) -> int:
    """Write rows with the same columns to a file; returns how many. columns: of a file without rows, which is
    written all the same. Raises what `check_out` does."""
    with PredictionFile(out, columns) as file:
        for row in rows:
            file.add(row)
    return file.rows
