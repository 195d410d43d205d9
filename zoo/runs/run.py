"""A run that was saved: load it, predict, evaluate, embed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.events import Report, silent
from zoo.runs.classifier import Classifier, load_run_classifier
from zoo.runs.embedding import Embeddings, embed_files
from zoo.runs.evaluation import Evaluation, evaluate_classifier
from zoo.runs.prediction import Prediction, predict_files
from zoo.runs.record import RunRecord, read_record
from zoo.store.obtaining import default_store

if TYPE_CHECKING:
    from zoo.store.store import Store


@dataclass
class Run:
    """A run folder. The network is built when it is first needed, from the same backbone by its sha256.

    record: what run.json says: classes, recipe, split, result, versions.
    """

    path: Path
    record: RunRecord
    store: Store
    report: Report = field(default=silent, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self.record.classes

    @cached_property
    def classifier(self) -> Classifier:
        """The network with its head. Raises WeightsMismatch if the backbone is not the run's own."""
        return load_run_classifier(self.path, self.record, store=self.store, report=self.report)

    def predict(self, files: Iterable[str | Path], **options: Any) -> list[Prediction]:
        """One Prediction per readable file, in the order given. Options: see `predict_files`."""
        return predict_files(self.classifier, [Path(f) for f in files], report=self.report, **options)

    def evaluate(self, data: str | Path, **options: Any) -> Evaluation:
        """How good the run is on labelled data. Options: see `evaluate_classifier`."""
        return evaluate_classifier(self.classifier, Path(data), report=self.report, **options)

    def embed(self, files: Iterable[str | Path], **options: Any) -> Embeddings:
        """What the head sees of every readable file."""
        paths = [Path(f) for f in files]
        return embed_files(self.classifier, paths, store=self.store, report=self.report, **options)


def load_run(path: str | Path, *, store: Store | None = None, report: Report = silent) -> Run:
    """The run in a folder. Its record is checked now, its weights when they are needed.

    Raises IntegrityError if the folder is no run or is damaged.
    """
    return Run(Path(path), read_record(Path(path)), store or default_store(), report)
