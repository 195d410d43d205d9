"""A run that was saved: load it, predict, evaluate, embed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.kinds import IMAGES
from zoo.data.listing import listed
from zoo.events import EpochEnd, Report, silent
from zoo.features.engine import Engine, Precision
from zoo.progress import usual_report
from zoo.runs.answers import ItemSource, Prediction
from zoo.runs.classifier import Classifier, load_classifier, load_run_classifier
from zoo.runs.folder import read_history
from zoo.runs.modalities.gathering import Wanted
from zoo.runs.modalities.table import modality_of, modality_of_target
from zoo.runs.record import RunRecord, read_record
from zoo.runs.using.caution import Caution
from zoo.runs.using.embedding import (
    Embeddings,
    embed_by_vectors,
    embed_from_features,
    embed_items,
    refuse_beside_features,
    table_among,
)
from zoo.runs.using.evaluation import Evaluation, evaluate_classifier
from zoo.runs.using.prediction import predict_items
from zoo.store.names import default_store
from zoo.targets import Model, RunFolder, accept, fetch_target, find_target, kind_of
from zoo.words.loading import load_words

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.data.pixels.batches import OnBad
    from zoo.store.store import Store


@dataclass(repr=False)
class Run:
    """A run folder. The network is built when it is first needed, from the same backbone by its sha256.

    record: what run.json says: classes, recipe, split, result, versions.
    """

    path: Path
    record: RunRecord
    store: Store
    report: Report = field(default=silent, repr=False)

    def __repr__(self) -> str:
        result = self.record.result
        metrics = ", ".join(f"val {name} {value:.4f}" for name, value in result.metrics.items())
        names = ", ".join(self.classes[:4]) + (", …" if len(self.classes) > 4 else "")
        model = self.record.model["name"]
        return f"Run({str(self.path)!r}: {model}, {len(self.classes)} classes ({names}), {metrics})"

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

    def predict(
        self,
        items: Iterable[object],
        *,
        top: int = 5,
        abstain_below: float | None = None,
        sets: float | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        backend: str = "auto",
        on_bad: OnBad = "skip",
    ) -> list[Prediction]:
        """One Prediction per item, in the order given; of one that cannot be read, with its error.

        items: of a run on images, files, folders (which stand for the images in them), Pillow images, uint8
        arrays (height, width, 3), uint8 tensors (3, height, width), or the bytes of a file. Of a run on
        texts, texts themselves, and Path objects of files with a text per line; each gives a TextPrediction.
        top: classes per item. on_bad: "stop" raises UnreadableFile for the first item that cannot be read.
        abstain_below: the probability, in 0..1, below which an item gets no label but is unknown. sets: how
        often, in 0..1, the set of classes (of numbers: the interval) that each item gets is to hold the
        truth. backend: what computes on a CPU: "torch", "onnx", or "auto", which is ONNX Runtime where it is
        installed, agrees with torch on the first images, and pays. Raises UsageError for sets of a run that
        is not calibrated, or by too few items.
        """
        caution = Caution(abstain_below, sets)
        source = self._read(items, batch_size=batch_size, on_bad=on_bad)
        found = predict_items(
            self.classifier,
            source,
            top=top,
            caution=caution,
            device=device,
            engine=Engine(backend, self.store.home / "onnx"),
            report=self.report,
        )
        return list(found)

    def evaluate(self, data: str | Path, **options: Any) -> Evaluation:
        """How good the run is on labelled data. Options: see `evaluate_classifier`."""
        return evaluate_classifier(
            self.classifier, Path(data), home=self.store.home, report=self.report, **options
        )

    def embed(
        self,
        items: Iterable[object],
        *,
        batch_size: int | None = None,
        device: str = "auto",
        on_bad: OnBad = "skip",
        backend: str = "auto",
        precision: Precision = "fp32",
    ) -> Embeddings:
        """What the head sees of every item that can be read. items, backend: as for `predict`; precision: as
        for `zoo.embed`. A Parquet file of features, alone, gives what is in it."""
        items = listed(items)
        pictures = modality_of(self.record.entry).kind is IMAGES
        if pictures and (table := table_among(items)) is not None:
            refuse_beside_features(
                table, batch_size=batch_size, backend=None if backend == "auto" else backend
            )
            return embed_from_features(
                self.classifier,
                table,
                str(self.path),
                store=self.store,
                device=device,
                precision=precision,
                on_bad=on_bad,
                report=self.report,
            )
        source = self._read(items, batch_size=batch_size, on_bad=on_bad)
        return embed_items(
            self.classifier,
            source,
            store=self.store,
            device=device,
            backend=backend,
            precision=precision,
            report=self.report,
        )

    def gather(self, items: Iterable[object]) -> list[Any]:
        """The files, images or texts that `items` stand for; none is read yet. items: as for `predict`."""
        wanted = Wanted(listed(items), layout=self.record.data.get("layout"))
        return modality_of(self.record.entry).gather(str(self.path), wanted, report=self.report)

    def _read(self, items: Iterable[object], *, batch_size: int | None, on_bad: OnBad) -> ItemSource:
        """The items as the network takes them."""
        modality = modality_of(self.record.entry)
        return modality.load_asking().read(
            self.gather(items),
            self.classifier,
            batch_size=batch_size or modality.batch_size,
            on_bad=on_bad,
            report=self.report,
        )


def load_run(path: str | Path, *, store: Store | None = None, report: Report = silent) -> Run:
    """The run in a folder. Its record is checked now, its weights when they are needed.

    path: of the folder, or of a file in it. Raises UsageError if it is something else, and IntegrityError if
    the run is damaged.
    """
    store = store or default_store()
    target = accept(find_target(path, store=store), "zoo.load_run")
    assert isinstance(target, RunFolder)
    return Run(target.path, read_record(target.path), store, report)


def embed(
    name: str | Path,
    items: Iterable[object],
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    member: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    on_bad: OnBad = "skip",
    backend: str = "auto",
    precision: Precision = "fp32",
    report: Report | None = None,
) -> Embeddings:
    """What a frozen network sees of every item, computed once: features for a head, an index, a search.

    Args:
        name: A model for images, a run, word vectors, or the path of either.
        items: As for `Run.predict`: files, folders, images in memory; or one Parquet file of features, or a
            folder of them, as `zoo embed` and engines write them: they are read, and nothing is computed.
            Word vectors and runs on texts take texts as str, and files of texts as Path.
        registry: The registry to find the model in; None for the default one.
        store: The store to keep files and features in; None for the default one.
        member: Which file of a .zip of word vectors.
        batch_size: Items at a time; None for what suits them.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        on_bad: "skip" leaves out what cannot be read, "stop" raises for the first.
        backend: What computes images on a CPU: "torch", "onnx", or "auto": ONNX Runtime for 1,000 images or
            more where it is installed and agrees.
        precision: "fp32", or "bf16" for images: faster where the processor has it, and used where it agrees
            with fp32 on the first of them.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.

    Returns:
        Features (items, width) float32 and the paths of the items that could be read, in their order. Of
        word vectors the mean of each text's words.

    Raises:
        UsageError: The name cannot be used for this, or the items are not what the model takes.
        DatasetError: None of the items can be read.
        NetworkError: The model cannot be fetched.
        IntegrityError: A file is not what it should be.
    """
    store, report = store or default_store(), report or usual_report()
    target = accept(find_target(name, registry=registry, store=store, member=member), "zoo.embed")
    if isinstance(target, RunFolder):
        run = Run(target.path, read_record(target.path), store, report)
        return run.embed(
            items, batch_size=batch_size, device=device, on_bad=on_bad, backend=backend, precision=precision
        )
    assert isinstance(target, Model)
    modality = modality_of_target(target)
    things = listed(items)
    table = table_among(things) if modality.kind is IMAGES else None
    if table is not None:
        refuse_beside_features(table, batch_size=batch_size, backend=None if backend == "auto" else backend)
        return embed_from_features(
            load_classifier(target, store=store, report=report),
            table,
            str(name),
            store=store,
            device=device,
            precision=precision,
            on_bad=on_bad,
            report=report,
        )
    gathered = modality.gather(str(name), Wanted(things), report=report)
    if kind_of(target) in ("words", "vector file"):
        vectors = load_words(fetch_target(target, store, report=report), store, member=member, report=report)
        return embed_by_vectors(vectors, gathered, report=report)
    classifier = load_classifier(target, store=store, report=report)
    size = batch_size or modality.batch_size
    source = modality.load_asking().read(gathered, classifier, batch_size=size, on_bad=on_bad, report=report)
    return embed_items(
        classifier,
        source,
        store=store,
        device=device,
        backend=backend,
        precision=precision,
        report=report,
    )
