"""The training items that a network sees as most alike: "it looks like these"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.answers.explaining.explanations import Neighbour
from zoo.data.dataset import Dataset, Item, Split
from zoo.data.names import one_line
from zoo.data.scanning import scan_dataset
from zoo.data.trained import trained_items
from zoo.errors import DatasetError, ZooError
from zoo.events import Note, Report
from zoo.runs.classifier import Classifier
from zoo.runs.modalities.table import modality_of
from zoo.runs.record import RunRecord
from zoo.store.store import Store
from zoo.training.single_label import SINGLE_LABEL


def training_items(folder: Path, record: RunRecord, data: Path | None, *, report: Report) -> tuple[Item, ...]:
    """The items that a run was trained on, as far as they are still there, labelled as they are now.

    folder: of the run. data: where its data are; None to look for them by their name in the working folder
    and beside the run, because a run does not say where they lay. An item counts only if its content is one
    that the run was trained on. Where none is found, a note says what to do; raises DatasetError where `data`
    was named and has none.
    """
    found, problem = _search(folder, record, data)
    if found is not None:
        return trained_items(found, Split.from_facts(record.data["split"]))
    if data is not None:
        raise _not_there(record, data, problem)
    report(
        Note(
            f"{_gone(record)}: no items that are alike are shown",
            hint="Name their folder or table: --data DATA",
        )
    )
    return ()


def find_training_data(folder: Path, record: RunRecord, data: Path | None) -> Dataset:
    """The data that a run was trained on, as they are now; raises DatasetError where they are not there.
    Arguments: see `training_items`."""
    found, problem = _search(folder, record, data)
    if found is None:
        raise _not_there(record, data, problem)
    return found


def _search(folder: Path, record: RunRecord, data: Path | None) -> tuple[Dataset | None, ZooError | None]:
    """The first data that hold what the run was trained on, and what was wrong where there are none."""
    problem: ZooError | None = None
    for place in [data] if data is not None else _usual_places(folder, record):
        try:
            dataset = _scan(place, record)
        except ZooError as error:
            problem = error
            continue
        split = Split.from_facts(record.data["split"])
        if dataset.classes == record.classes and trained_items(dataset, split):
            return dataset, None
    return None, problem


def _gone(record: RunRecord) -> str:
    return f"the training data ({record.data['root']}) are not here"


def _not_there(record: RunRecord, data: Path | None, problem: ZooError | None) -> DatasetError:
    """The error where the training data were not found. data: where the user has them."""
    if data is None:
        return DatasetError(_gone(record), hint="Name their folder or table: --data DATA")
    return DatasetError(
        f"{one_line(data)} has none of the items that the run was trained on",
        hint="Their content is compared, not their names." if problem is None else problem.message,
    )


def nearest_items(
    classifier: Classifier,
    items: Sequence[Item],
    asked: Tensor,
    count: int,
    *,
    store: Store,
    device: torch.device,
    report: Report,
) -> list[tuple[Neighbour, ...]]:
    """The `count` nearest of the items for each row of features (n, width), by the cosine of what the head
    sees of both; features of photographs come from the cache where they were computed before."""
    if not items or not len(asked) or count < 1:
        return [()] * len(asked)
    modality = modality_of(classifier.entry)
    source = modality.load_asking().read(modality.items_of(items), classifier, report=report)
    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=device,
        engine=classifier.engine(store),
    )
    kept = [items[row] for row in table.kept]
    near = F.normalize(asked.flatten(1), dim=1) @ F.normalize(table.features.flatten(1), dim=1).T
    cosines, rows = near.topk(min(count, len(kept)), dim=1)
    return [
        tuple(
            Neighbour(
                kept[row].path,
                _label_of(kept[row], classifier),
                max(0.0, 1 - cosine),
                kept[row].text,
            )
            for cosine, row in zip(*found, strict=True)
        )
        for found in zip(cosines.tolist(), rows.tolist(), strict=True)
    ]


def _usual_places(folder: Path, record: RunRecord) -> list[Path]:
    """Where data of that name may lie."""
    name = str(record.data.get("root", ""))
    near = [Path(name), folder.absolute().parent / name]
    return [place for place in near if name not in ("", ".", "..") and place.exists()]


def _scan(place: Path, record: RunRecord) -> Dataset:
    """The data as they are now, whatever part an item lies in."""
    kind, split, task = record.kind, Split.from_facts(record.data["split"]), record.task
    return scan_dataset(
        place,
        kind,
        seed=split.seed or 0,
        val_fraction=split.val_fraction or 0.2,
        task=task.name,
        classes=None if task is SINGLE_LABEL else record.classes,
    )


def _label_of(item: Item, classifier: Classifier) -> str:
    """What an item is labelled as, in words."""
    names = classifier.classes
    if classifier.task.scale is not None:
        values = item.target if isinstance(item.target, tuple) else (item.target,)
        shown = [f"{value:.4g}" for value in values]
        return shown[0] if len(shown) == 1 else ", ".join(map("=".join, zip(names, shown, strict=True)))
    return ", ".join(names[label] for label in item.labels) or "none"
