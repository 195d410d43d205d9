"""A run that was saved: load it, predict, evaluate, embed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.texts import Text, list_texts
from zoo.errors import UsageError
from zoo.events import EpochEnd, Report, silent
from zoo.runs.classifier import Classifier, load_run_classifier
from zoo.runs.folder import read_history
from zoo.runs.record import RunRecord, read_record
from zoo.runs.using.embedding import Embeddings, embed_files, embed_texts
from zoo.runs.using.evaluation import Evaluation, evaluate_classifier
from zoo.runs.using.prediction import Prediction, predict_files, predict_texts
from zoo.store.names import default_store
from zoo.targets import RunFolder, accept, find_target

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
    def history(self) -> tuple[EpochEnd, ...]:
        """Every epoch of the training, in order. Raises IntegrityError if the file is missing or damaged."""
        return read_history(self.path)

    @cached_property
    def classifier(self) -> Classifier:
        """The network with its head. Raises WeightsMismatch if the backbone is not the run's own."""
        return load_run_classifier(self.path, self.record, store=self.store, report=self.report)

    def predict(self, items: Iterable[str | Path], **options: Any) -> Sequence[Prediction]:
        """One Prediction per readable image, or one TextPrediction per text, in the order given.

        items: of a run on images, files and folders; of a run on texts, texts themselves, and Path objects of
        files with a text per line. Options: see `predict_files` and `predict_texts`.
        """
        items = several(items)
        if self.classifier.reader is None:
            return predict_files(self.classifier, [Path(f) for f in items], report=self.report, **options)
        return predict_texts(self.classifier, self.texts(items), report=self.report, **options)

    def evaluate(self, data: str | Path, **options: Any) -> Evaluation:
        """How good the run is on labelled data. Options: see `evaluate_classifier`."""
        return evaluate_classifier(self.classifier, Path(data), report=self.report, **options)

    def embed(self, items: Iterable[str | Path], **options: Any) -> Embeddings:
        """What the head sees of every readable image, or of every text. items: as for `predict`."""
        items = several(items)
        if self.classifier.reader is not None:
            return embed_texts(self.classifier, self.texts(items), report=self.report, **options)
        paths = [Path(f) for f in items]
        return embed_files(self.classifier, paths, store=self.store, report=self.report, **options)

    def texts(self, items: Iterable[str | Path]) -> list[Text]:
        """Texts as they are, and those in files; a file is one text if the run was trained on such."""
        if isinstance(items, str | Path):
            raise UsageError(
                "one text or file was given where a list is expected", hint="Put it in a list: […]."
            )
        found: list[Text] = []
        for number, item in enumerate(items, 1):
            if isinstance(item, Path):
                texts, notes = list_texts([item], whole_files=self.classifier.layout == "files")
                found += texts
                for note in notes:
                    self.report(note)
            else:
                found.append(Text(Path(f"text:{number}"), item))
        return found


def load_run(path: str | Path, *, store: Store | None = None, report: Report = silent) -> Run:
    """The run in a folder. Its record is checked now, its weights when they are needed.

    path: of the folder, or of a file in it. Raises UsageError if it is something else, and IntegrityError if
    the run is damaged.
    """
    store = store or default_store()
    target = accept(find_target(path, store=store), "zoo.load_run")
    assert isinstance(target, RunFolder)
    return Run(target.path, read_record(target.path), store, report)


def several(items: Iterable[str | Path]) -> list[str | Path]:
    """The items as a list. Raises UsageError for one alone: a text is not a list of its letters."""
    if isinstance(items, str | Path):
        raise UsageError("one item was given where a list is expected", hint="Put it in a list: […].")
    return list(items)
