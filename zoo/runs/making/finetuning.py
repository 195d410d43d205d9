"""From a name and a folder to a run: everything that can be refused is refused before torch is imported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import ModelEntry, WordModel
from zoo.catalogue.licenses import UNKNOWN, check_license_name, join_licenses
from zoo.data.dataset import Dataset, describe_classes
from zoo.data.kinds import IMAGES, TEXTS
from zoo.data.leaks import keep_copies_together
from zoo.data.scanning import scan_dataset
from zoo.errors import InvalidRecipe, UsageError
from zoo.events import Note, Report, silent
from zoo.runs.folder import refuse_existing, refuse_unwritable
from zoo.runs.record import RunRecord, RunResult, read_record
from zoo.store.names import default_store
from zoo.targets import (
    HubFile,
    Model,
    RunFolder,
    VectorFile,
    accept,
    describe_target,
    fetch_target,
    find_target,
)
from zoo.training.interruption import never
from zoo.training.recipe import FIELDS, Recipe, resolve, suit

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.local import LocalModel
    from zoo.store.store import Store


UNNAMED_LICENSE = Note(
    "nobody said what licence the training data are under: run.json calls it unknown",
    hint="Name it: --data-license NAME, an SPDX name or LicenseRef-… for your own.",
    level="warning",
)


@dataclass(frozen=True)
class Plan:
    """A fine-tuning run that nothing speaks against so far.

    start: the run that this one goes on from. local: a file of vectors that was given by its path. member: of
    a .zip of vectors. typed: the model and the data as the user named them.
    """

    entry: ModelEntry
    dataset: Dataset
    recipe: Recipe
    out: Path
    began: float
    start: Path | None = None
    start_record: RunRecord | None = None
    data_license: str | None = None
    local: LocalModel | None = None
    member: str | None = None
    typed: tuple[str, str] = ("", "")


def finetune_model(
    name: str | Path,
    data: str | Path,
    *,
    out: str | Path,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    member: str | None = None,
    data_license: str | None = None,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
    **recipe: Any,
) -> RunResult:
    """Train a pretrained model on labelled images or texts, write a run folder, and return what came out.

    name: a model, a file of word vectors, or the folder of an earlier run to go on from (its recipe is then
    the default). Word vectors take texts, every other model takes images. data: a folder or a table, see
    zoo/data/scanning and zoo/data/texts. split_column: of a table; "none" draws a split in spite of one.
    class_level: which level of folders is the classes. member: which file of a .zip of vectors. data_license:
    of the data, for run.json. recipe: fields of `zoo.Recipe`.

    The recipe is checked first, then the folder, then the model is fetched. Raises InvalidRecipe, RunExists,
    StorageError, DatasetError, NetworkError, IntegrityError; TrainingStopped and Interrupted after the best
    weights so far, if there are any, were written to `out`.
    """
    began = time.perf_counter()
    out, data = Path(out), Path(data)
    store = store or default_store()
    target = accept(find_target(name, registry=registry, store=store, member=member), "zoo finetune")
    start = target.path if isinstance(target, RunFolder) else None
    record = None if start is None else read_record(start)
    data_license = None if data_license is None else check_license_name(data_license)
    wished = choose_recipe(record, recipe)
    refuse_existing(out)
    refuse_unwritable(out)
    local = fetch_target(target, store, report=report) if isinstance(target, VectorFile | HubFile) else None
    if record is not None:
        entry = record.entry
    elif local is not None:
        entry = local.entry
    else:
        assert isinstance(target, Model)
        entry = describe_target(target, store, report=report)
    texts = isinstance(entry, WordModel)
    checked = resolve(suit(wished, texts=texts))
    if not checked.from_scratch:
        store.check_license(entry)
    dataset = keep_copies_together(
        scan_dataset(
            data,
            TEXTS if texts else IMAGES,
            seed=checked.seed,
            val_fraction=checked.val_fraction,
            item_column=choose_column(entry, path_column, text_column),
            label_column=label_column,
            split_column=split_column,
            class_level=class_level,
        )
    )
    if record is not None and dataset.classes != record.classes:
        raise UsageError(
            f"{name} knows {', '.join(record.classes)}; {data} has {', '.join(dataset.classes)}",
            hint=f"Begin with the model itself: zoo finetune MODEL {data} --out {out} (it was {entry.name})",
        )
    for note in (*dataset.notes, describe_classes(dataset)):
        report(note)
    data_license = license_of_data(data_license, record, dataset.fingerprint)
    if store.policies and UNKNOWN in (data_license or UNKNOWN).split(" and "):
        report(UNNAMED_LICENSE)
    plan = Plan(
        entry,
        dataset,
        checked,
        out,
        began,
        start,
        record,
        data_license,
        local,
        member,
        (str(name), str(data)),
    )

    from zoo.runs.making.trainer import train_run  # from here on torch is needed

    return train_run(plan, store=store, report=report, stop_requested=stop_requested)


def license_of_data(named: str | None, record: RunRecord | None, fingerprint: str) -> str | None:
    """The licence of all data that a run has seen; None where nobody named any.

    Where an earlier run goes on with other data, what nobody named of either is unknown.
    """
    if record is None:
        return named
    if record.data.get("fingerprint") == fingerprint or (named is None and record.data_license is None):
        return join_licenses(record.data_license, named)
    return join_licenses(record.data_license or UNKNOWN, named or UNKNOWN)


def choose_column(entry: ModelEntry, path_column: str | None, text_column: str | None) -> str | None:
    """The column of the items that was named. Raises UsageError for the one that the model does not take."""
    wanted, other = (text_column, path_column) if isinstance(entry, WordModel) else (path_column, text_column)
    if other is not None:
        right, kind = ("text", "texts") if isinstance(entry, WordModel) else ("path", "images")
        raise UsageError(f"{entry.name} takes {kind}", hint=f"Name their column: --{right}-column {other}")
    return wanted


def choose_recipe(record: RunRecord | None, options: dict[str, Any]) -> Recipe:
    """The checked recipe of these options.

    Going on from a run, its recipe is what the options leave open. Raises InvalidRecipe for another head, or
    another way to read texts: what was trained would be lost.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if record is None:
        return Recipe.from_options(**given)
    earlier = {name: getattr(record.recipe, name) for name in FIELDS}
    free = ("dropout", "baseline")
    fixed = [name for name, f in FIELDS.items() if f.group in ("head", "texts") and name not in free]
    if changed := [n for n in fixed if n in given and FIELDS[n].read(given[n]) != earlier[n]]:
        raise InvalidRecipe([f"{name} cannot change: the run is trained already" for name in changed])
    if str(given.get("unfreeze")) in ("none", "0"):  # what was meant for deeper stages means nothing now
        earlier |= {name: None for name, f in FIELDS.items() if f.group == "deeper" and f.optional}
        earlier |= {"tune_patience": None}
    return Recipe.from_options(**{**earlier, **given})
