"""The run's own data as the pretrained network sees them: what a map and doubts about labels are made of.

A network that was trained on an item has learned its label, a wrong one too, and would not doubt it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.answers.judged import Judged, see_items
from zoo.data.dataset import SINGLE, Item, Split
from zoo.data.scanning import scan_dataset
from zoo.data.trained import trained_items
from zoo.errors import ZooError
from zoo.events import Report
from zoo.runs.classifier import Classifier, attach_recipe_head, build_start
from zoo.runs.modalities.table import modality_of
from zoo.runs.record import RunRecord

if TYPE_CHECKING:
    from zoo.store.store import Store

MOST = 5_000
"""Items that are looked at, drawn from more: the time of the doubts grows with the square of their number."""


@dataclass(frozen=True)
class DataView:
    """items: labelled ones, of which features (items, numbers) float32 are known. trained: (items,) whether
    the run learned from each. drawn: of how many they were drawn; None where they are all."""

    items: tuple[Item, ...]
    features: NDArray[np.float32]
    trained: NDArray[np.bool_]
    drawn: int | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(items,) of items that have one class each."""
        return np.array([item.label for item in self.items], dtype=np.int64)


def view_data(
    record: RunRecord,
    judged: Judged,
    data: Path,
    *,
    store: Store,
    device: str,
    report: Report,
    reading: Mapping[str, Any],
) -> DataView:
    """The items that the run learned from, where `data` hold them, and those that it was measured on.

    Of a run that changed its words, or began at random, only the latter: there is no pretrained network that
    could be asked.
    """
    classifier = judged.classifier
    if record.recipe.from_scratch or (record.tuned and not record.kind.in_files):
        return DataView(judged.items, judged.features, np.zeros(len(judged.items), dtype=np.bool_))
    if record.tuned:
        classifier = _as_pretrained(classifier, record, store, report)
    measured = {item.path for item in judged.items}  # copies of training items may be among them
    learned = [i for i in _find_learned(record, classifier, data, reading, store) if i.path not in measured]
    items = [*learned, *judged.items]
    trained = np.arange(len(items)) < len(learned)
    drawn = None
    if len(items) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(len(items), MOST, replace=False))
        drawn, items, trained = len(items), [items[row] for row in rows], trained[rows]
    features, kept = see_items(classifier, items, store=store, device=device, report=report)
    rows = np.array(kept, dtype=np.int64)
    return DataView(tuple(items[row] for row in kept), features, trained[rows], drawn)


def _as_pretrained(classifier: Classifier, record: RunRecord, store: Store, report: Report) -> Classifier:
    """The network that the run began with."""
    network = build_start(record.entry, record.weights_sha256, store=store, report=report)
    attach_recipe_head(network, record.classes, record.recipe, record.task)
    return replace(classifier, network=network.eval(), identity=record.weights_sha256 or "")


def _find_learned(
    record: RunRecord, classifier: Classifier, data: Path, reading: Mapping[str, Any], store: Store
) -> tuple[Item, ...]:
    """The items of the data that the run learned from; none where these are other data."""
    modality, recipe = modality_of(record.entry), record.recipe
    split = Split.from_facts(record.data["split"])
    columns = dict(reading)
    try:
        dataset = scan_dataset(
            data,
            modality.kind,
            seed=recipe.seed,
            val_fraction=recipe.val_fraction,
            item_column=modality.choose_column(
                classifier.name, columns.pop("path_column", None), columns.pop("text_column", None)
            ),
            group_by=split.group_by,
            task=record.result.task,
            classes=record.classes if record.result.task != SINGLE else None,
            **columns,
        )
    except ZooError:  # a folder without a training part can be measured on, and not be learned from
        return ()
    if dataset.classes != record.classes:
        return ()
    return trained_items(dataset, split, store.home)
