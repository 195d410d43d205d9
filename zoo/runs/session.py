"""What the steps of a fine-tuning run hand to each other, whether its items are images or texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from adapters import Head
from zoo.data.contents import count_cpus
from zoo.data.dataset import Dataset, Item
from zoo.data.pixels.batches import BadFile
from zoo.data.pixels.keeping import most_pixels
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import TrainingStopped
from zoo.events import EpochEnd, Note, Report
from zoo.features.engine import Engine, Way
from zoo.features.extraction import FeatureTable
from zoo.features.network import Precision, feature_precision
from zoo.features.rows import Rows, StoredRows, most_held
from zoo.runs.answers import ItemSource
from zoo.runs.plan import Plan
from zoo.runs.record import Baseline, FeatureFacts
from zoo.store.disk.space import size_text
from zoo.store.store import Store
from zoo.store.upkeep.pruning import most_features
from zoo.training.batches import BatchSource, FeatureBatches, StoredBatches
from zoo.training.loop import FitResult
from zoo.training.processes import ALONE, Processes
from zoo.training.recipe import Resolved
from zoo.training.stopping import Score
from zoo.training.strategies import Phase
from zoo.words.texts.selection import ReadText, TextReader

VAL_BATCH = 4096
"""Feature vectors at a time: a few MB; nothing is learned from them, so large batches are only faster."""


@dataclass(frozen=True)
class Session:
    """A plan, and what it is carried out with. held: bytes of features that it holds in memory; pixels: of
    decoded images."""

    plan: Plan
    store: Store
    device: torch.device
    report: Report
    stop_requested: Callable[[], bool]
    processes: Processes = ALONE
    held: int = field(default_factory=most_held)
    pixels: int = field(default_factory=most_pixels)

    def spill(self, items: int, width: int) -> Path | None:
        """Where the features of so many items go that are more than the run holds in memory; None where it
        holds them, as it does in several processes."""
        size = 4 * width * items * self.recipe.views
        return self.store.home / "features" if self.processes.world == 1 and size > self.held else None

    @property
    def workers(self) -> int | None:
        """Threads that read images; None for one per core. Processes share the cores of a machine."""
        if self.recipe.workers is not None or self.processes.local_world == 1:
            return self.recipe.workers
        return max(1, count_cpus() // self.processes.local_world)

    @property
    def recipe(self) -> Resolved:
        """Everything that decides the run."""
        return self.plan.recipe

    @property
    def batch_size(self) -> int:
        """Items of a step; it is known once a run has begun."""
        assert isinstance(self.recipe.batch_size, int)
        return self.recipe.batch_size

    def encode(self, items: Sequence[Item]) -> Tensor:
        """The targets of some items, (items, …), as the task encodes them."""
        task, names = self.plan.task, self.plan.dataset.classes
        return task.encode([item.target for item in items], task.width(names))


@dataclass(frozen=True)
class PreparedModel:
    """What training begins with: the network, all of it frozen but its new head.

    sha256: of the published weights; None for random ones. identity: what features are kept under. kept:
    names of the tensors that go into the run besides those that are trained. frozen: sha256 of every frozen
    tensor. reader: how texts become the network's input; None for images.
    """

    network: nn.Module
    head: Head
    sha256: str | None
    identity: str
    kept: frozenset[str]
    frozen: Mapping[str, str]
    reader: TextReader | None = None


@dataclass(frozen=True)
class TrainingData:
    """The dataset without what cannot be read, and what training takes of the rest.

    train, val: features of the items in batches; None where items have none. baseline: what a
    simple method reaches on the same items. read: texts as ids. values: black and white of images of 16 bit
    or floats. features: how those of images were computed.
    """

    dataset: Dataset
    train: FeatureBatches | StoredBatches | None
    val: FeatureBatches | StoredBatches | None
    bad: tuple[BadFile, ...] = ()
    baseline: Baseline | None = None
    read: Mapping[Path, ReadText] = field(default_factory=dict)
    values: ValueRange | None = None
    features: FeatureFacts | None = None


@dataclass
class Outcome:
    """The results of all phases, taken together."""

    history: list[EpochEnd] = field(default_factory=list)
    best_epoch: int = 0
    best: Score | None = None
    stopped_early: bool = False
    interrupted: bool = False
    out_of_time: bool = False
    fault: TrainingStopped | None = None

    def after(self, result: FitResult) -> None:
        """Add a phase; a later one replaces the best only if one of its epochs was better."""
        if result.best_epoch:
            self.best_epoch = len(self.history) + result.best_epoch
            self.best = result.best
        self.history += result.history
        self.stopped_early = result.stopped_early
        self.interrupted = result.interrupted
        self.out_of_time = result.out_of_time


class TrainingSteps(Protocol):
    """What a run does in one way with images and in another with texts; a module of zoo/runs is one."""

    def prepare(self, session: Session) -> PreparedModel:
        """The network of the plan, everything frozen, with its new head or with that of the earlier run."""

    def open_items(self, session: Session, model: PreparedModel, items: Sequence[Item]) -> ItemSource:
        """The items as a network is asked about them; `compute_features` takes it."""

    def read_data(self, session: Session, model: PreparedModel) -> TrainingData:
        """Read train and val once: their features, what cannot be read, leaks, the baseline."""

    def open_batches(
        self, session: Session, data: TrainingData, items: Sequence[Item], phase: Phase | None = None, /
    ) -> BatchSource:
        """The items themselves, in batches: shuffled and varied for a phase, in order without one."""


def wanted_way(session: Session, way: Way | None = None) -> tuple[Precision, Engine]:
    """How features are to be computed: as the recipe says, or in a certain way."""
    exports = session.store.home / "onnx"
    if way is not None:
        return way.precision, Engine(way.backend, exports)
    return feature_precision(session.recipe.precision), Engine(session.recipe.backend, exports)


def compute_features(
    session: Session, model: PreparedModel, source: ItemSource, way: Way | None = None
) -> FeatureTable:
    """What the frozen network says of every item that can be read: a step of its own, cached for images.

    Nothing else happens here: no item is left out of a dataset, no leak is looked for, no batch is made.
    way: how; None as the recipe says.
    """
    precision, engine = wanted_way(session, way)
    return source.features(
        model.network,
        identity=model.identity,
        store_home=session.store.home,
        device=session.device,
        precision=precision,
        engine=engine,
    )


def describe_views(views: int, strength: str, table: FeatureTable) -> Note:
    """How many views a head learns from, where they came from, and what they take."""
    others, images, taken = views - 1, len(table.kept), table.nbytes
    message = (
        f"{views} views of each of {images:,} training images: the plain one and {others} varied ones "
        f"({strength}), {table.from_cache:,} of {others * images:,} from the store, {size_text(taken)}"
    )
    if taken <= most_features():
        return Note(message)
    kept = size_text(most_features())
    hint = f"The store keeps {kept} of features, and the next run would compute these again."
    return Note(message, f"{hint} More: ZOO_FEATURES_SIZE=20GB", level="warning")


def batches_of(
    session: Session,
    features: Rows,
    targets: Tensor,
    batch_size: int,
    *,
    shuffled: bool,
    varied: Tensor | Sequence[StoredRows] | None = None,
) -> FeatureBatches | StoredBatches:
    """Features (items, width) with the encoded targets of their items, on the device of the session or in a
    file; varied: of other views of them, (views, items, width)."""
    device, recipe = session.device, session.recipe
    seed, sampling = (recipe.seed, recipe.sampling) if shuffled else (None, "once")
    targets = targets.to(device)
    if isinstance(features, StoredRows):
        assert not isinstance(varied, Tensor)
        return StoredBatches(
            features,
            targets,
            batch_size,
            held=session.held,
            seed=seed,
            sampling=sampling,
            varied=varied,
        )
    assert varied is None or isinstance(varied, Tensor)
    return FeatureBatches(
        features.to(device),
        targets,
        batch_size,
        seed=seed,
        sampling=sampling,
        varied=None if varied is None else varied.to(device),
    )
