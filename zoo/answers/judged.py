"""What a run answers about labelled items, with what its head sees of each: the one step below every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Item, Part
from zoo.events import Report, silent
from zoo.runs.answers import refuse_unreadable
from zoo.runs.classifier import Classifier
from zoo.runs.modalities.table import modality_of
from zoo.runs.using.evaluation import Evaluation, measure, open_labelled

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.store.store import Store


@dataclass(frozen=True)
class Judged:
    """Labelled items and what a run answers about them.

    items: those that could be read, in their order. outputs: (items, width) float32, before any softmax.
    features: (items, numbers) float32, what the head saw. failures: why the others could not be read. part:
    of the data that they are of; None where these have no parts. evaluation: the figures. store: where
    features are kept.
    """

    classifier: Classifier
    root: Path
    part: Part | None
    items: tuple[Item, ...]
    outputs: Tensor
    features: NDArray[np.float32]
    failures: Mapping[Path, str]
    evaluation: Evaluation
    store: Store

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(items, classes) of items that have one class each, at the temperature of a calibrated run."""
        return self.classifier.calibrated(self.outputs).softmax(1).numpy()

    @property
    def labels(self) -> NDArray[np.int64]:
        """(items,) the true class of items that have one each."""
        return np.array([item.label for item in self.items], dtype=np.int64)


def judge_data(
    classifier: Classifier,
    data: Path,
    *,
    store: Store,
    device: str = "auto",
    report: Report = silent,
    **reading: Any,
) -> Judged:
    """Ask a run about labelled data: of those that it was trained on, what it has not seen. reading: the
    columns, as for `evaluate_classifier`. Features of images are kept, so that asking again costs little.

    Raises DatasetError where no item can be read, or a class is unknown to the run.
    """
    dataset, source = open_labelled(classifier, data, home=store.home, report=report, **reading)
    features, kept = see(classifier, source, store=store, device=device)
    refuse_unreadable(source, report)
    items = tuple(dataset.items[row] for row in kept)
    outputs = answer_features(classifier, features)
    evaluation = measure(
        classifier.task,
        outputs,
        [item.target for item in items],
        classifier.classes,
        skipped=len(source.failures),
        thresholds=classifier.thresholds,
    )
    failures = {source.places[row]: reason for row, reason in source.failures.items()}
    return Judged(
        classifier,
        dataset.root,
        dataset.part,
        items,
        outputs,
        features.numpy(),
        failures,
        evaluation,
        store,
    )


def see_items(
    classifier: Classifier, items: Sequence[Item], *, store: Store, device: str = "auto", report: Report
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """((readable items, numbers) what the network's head sees of each, the rows of these items)."""
    modality = modality_of(classifier.entry)
    source = modality.load_asking().read(
        modality.items_of(items), classifier, batch_size=modality.batch_size, report=report
    )
    features, kept = see(classifier, source, store=store, device=device)
    return features.numpy(), kept


def see(classifier: Classifier, source: Any, *, store: Store, device: str) -> tuple[Tensor, tuple[int, ...]]:
    """What the head sees of every item of a source that can be read, and the positions of these."""
    from zoo.training.device import pick_device

    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=pick_device(device),
        engine=classifier.engine(store),
    )
    return table.features, table.kept


def answer_features(classifier: Classifier, features: Tensor) -> Tensor:
    """(items, width) what the head answers about features (items, numbers)."""
    import torch

    from adapters import find_classifier

    head = find_classifier(classifier.network)[1]
    with torch.inference_mode():
        return torch.cat([head(part).float() for part in torch.split(features, 8192)]).clone()
