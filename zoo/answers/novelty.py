"""Which items are unlike all that a run was trained on: the distance to the nearest of those, judged by that
of items which the run knows the like of.

An item is novel where its distance is above what a share of 1 - `false_alarms` of the held-out items have:
of new items like the training data no more than that share is called novel, whatever the network and the
distances are (split conformal, as for sets of classes). Distances are cosine distances of what the head sees
(Sun et al. 2022, arXiv:2204.06507, with the first neighbour).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.answers.explaining.neighbours import find_training_data
from zoo.data.dataset import Item, Split
from zoo.data.trained import trained_items, validated_items
from zoo.errors import DatasetError, UsageError
from zoo.events import Note, Report, silent
from zoo.runs.answers import Prediction
from zoo.runs.classifier import Classifier
from zoo.runs.modalities.table import modality_of
from zoo.runs.record import RunRecord
from zoo.store.store import Store
from zoo.training.calibration import conformal_bound, items_needed
from zoo.training.device import pick_device

_AT_ONCE = 1024
"""Items whose features are in memory at a time."""


@dataclass(frozen=True)
class Familiar:
    """What a run knows. rows: (n, width) float32 of length 1, of the items that it was trained on. distances:
    of the held-out items to the nearest of them, sorted. bound: above it an item is novel."""

    classifier: Classifier
    rows: Tensor
    distances: tuple[float, ...]
    bound: float
    store: Store
    device: torch.device

    def distances_of(self, items: Sequence[Any], *, report: Report = silent) -> Iterator[float | None]:
        """The distance of every item to the nearest training item, in order; None for what cannot be read."""
        for start in range(0, len(items), _AT_ONCE):
            found = _features(
                self.classifier, items[start : start + _AT_ONCE], self.store, self.device, report
            )
            for row in found:
                yield None if row is None else float(_nearest(row[None], self.rows)[0])

    def mark(self, predictions: Iterable[Prediction], items: Sequence[Any]) -> Iterator[Prediction]:
        """The predictions for some items, each with its distance and whether the item is novel."""
        for prediction, distance in zip(predictions, self.distances_of(items), strict=True):
            known = None if prediction.error is not None else distance
            yield replace(prediction, distance=known, novel=None if known is None else known > self.bound)


def learn_familiar(
    folder: Path,
    record: RunRecord,
    classifier: Classifier,
    false_alarms: float,
    *,
    data: Path | None = None,
    store: Store,
    device: str = "auto",
    report: Report = silent,
) -> Familiar:
    """What a run knows, from the items that it was trained on and those that it was validated with.

    folder: of the run. false_alarms: the share, in 0..1, of items like the training data that may be called
    novel. data: where the data of the run are; None to look for them by their name here and beside the run.
    Raises UsageError for a share outside of 0..1, DatasetError where the data are not there, or where the
    held-out items are too few for it.
    """
    check_false_alarms(false_alarms)
    dataset = find_training_data(folder, record, data)
    split = Split.from_facts(record.data["split"])
    trained, held = (find(dataset, split, store.home) for find in (trained_items, validated_items))
    needed = items_needed(_level(false_alarms))
    if len(held) < needed:
        raise DatasetError(
            f"{false_alarms:g} false alarms need {needed:,} validation items, and {len(held):,} of the run's "
            f"are there",
            hint=f"The least that they allow: --false-alarms {1 / (len(held) + 1):.3g}" if held else None,
        )
    where = pick_device(device)
    rows = _readable(classifier, trained, store, where, report)
    distances = sorted(_nearest(_readable(classifier, held, store, where, report), rows).tolist())
    bound = conformal_bound(distances, _level(false_alarms))
    if bound is None:
        raise DatasetError(f"{false_alarms:g} false alarms need {needed:,} validation items that can be read")
    report(
        Note(
            f"novel: farther than {bound:.3f} from each of {len(rows):,} training items, as at most "
            f"{false_alarms:g} of items like them are (by {len(distances):,} that were held out)"
        )
    )
    return Familiar(classifier, rows, tuple(distances), bound, store, where)


def check_false_alarms(share: float) -> None:
    """Raise UsageError for what does not lie between 0 and 1."""
    if not 0 < share < 1:
        raise UsageError(f"false_alarms must lie between 0 and 1, not {share:g}")


def _level(false_alarms: float) -> float:
    return float(1 - Fraction(str(false_alarms)))


def _features(
    classifier: Classifier, items: Sequence[Any], store: Store, device: torch.device, report: Report
) -> list[Tensor | None]:
    """What the head sees of every item, (width,) of length 1; None for one that cannot be read."""
    source = modality_of(classifier.entry).load_asking().read(list(items), classifier, report=report)
    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=device,
        engine=classifier.engine(store),
    )
    found: list[Tensor | None] = [None] * len(items)
    for position, row in zip(table.kept, F.normalize(table.features.flatten(1), dim=1), strict=True):
        found[position] = row
    return found


def _readable(
    classifier: Classifier, items: Sequence[Item], store: Store, device: torch.device, report: Report
) -> Tensor:
    """The features of those labelled items that can be read, (n, width)."""
    gathered = modality_of(classifier.entry).items_of(items)
    found = [row for row in _features(classifier, gathered, store, device, report) if row is not None]
    if not found:
        raise DatasetError("none of the run's items can be read")
    return torch.stack(found)


def _nearest(asked: Tensor, rows: Tensor) -> Tensor:
    """(n,) the cosine distance of each of (n, width) to the nearest of some rows, all of length 1."""
    parts = [1 - (part @ rows.T).max(dim=1).values for part in torch.split(asked, _AT_ONCE)]
    return torch.cat(parts).clamp(min=0)
