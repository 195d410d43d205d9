"""From a name and a folder to a run: everything that can be refused is refused before torch is imported."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from zoo.catalogue.classifiers import check_classifier
from zoo.catalogue.licenses import UNKNOWN, check_license_name, join_licenses
from zoo.data.contents import know_files
from zoo.data.dataset import SINGLE, Dataset, Item, describe_classes
from zoo.data.finding.vector_table import holds_features
from zoo.data.kinds import Kind
from zoo.data.leaks import keep_copies_together
from zoo.data.names import one_line
from zoo.data.replaced import Watched
from zoo.data.scanning import scan_dataset
from zoo.data.trained import set_apart, with_contents
from zoo.errors import InvalidRecipe, UnknownName, UsageError
from zoo.events import Note, Report, silent
from zoo.features.engine import Engine
from zoo.features.vectors import FeatureFile, open_features, refuse_texts
from zoo.progress import usual_report
from zoo.runs.folder import refuse_unwritable
from zoo.runs.making.unfinished import refuse_taken
from zoo.runs.modalities.table import modality_of, modality_of_target
from zoo.runs.plan import Plan, Request, read_interval
from zoo.runs.record import RunRecord, RunResult, read_record
from zoo.runs.using.calibrating import refuse_uncalibratable
from zoo.store.names import default_store
from zoo.targets import (
    HubFile,
    HubModel,
    RegistryModel,
    RunFolder,
    Target,
    Unlisted,
    VectorFile,
    accept,
    describe_target,
    fetch_target,
    find_target,
    kind_of,
)
from zoo.training.calibration import highest_level, items_needed
from zoo.training.interruption import never
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.ready_recipes import ready_recipe
from zoo.training.recipe import (
    AUTO,
    Recipe,
    RecipeOptions,
    Resolved,
    begin_with,
    go_on,
    merge,
    read_options,
    resolve,
)
from zoo.training.task import Task
from zoo.training.tasks import TASKS
from zoo.training.time_limit import parse_time

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


USUAL_LEVEL = 0.95
UNNAMED_LICENSE = Note(
    "the licence of the training data is not given: run.json calls it unknown",
    hint="Name it: --data-license NAME, an SPDX name or LicenseRef-… for your own.",
    level="warning",
)


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
    group_by: str | None = None,
    task: str | None = None,
    calibrate: float | None = None,
    member: str | None = None,
    data_license: str | None = None,
    checkpoint_every: int | str | None = None,
    time_limit: str | float | None = None,
    report: Report | None = None,
    stop_requested: Callable[[], bool] = never,
    recipe: Recipe | str | None = None,
    **options: Unpack[RecipeOptions],
) -> RunResult:
    """Train a pretrained model on labelled images or texts, write a run folder, and return what came out.

    What `name` means is decided first; then the recipe is checked, then the data; then the model is fetched.

    Args:
        name: A model, a file of word vectors, or the folder of an earlier run to go on from. Word vectors
            take texts, every other model takes images.
        data: A folder or a table, see zoo/data/scanning and zoo/data/texts; or a Parquet file of features
            that `zoo embed` wrote with the same model of labelled images, for training the head alone.
        out: The folder of the run; it must not exist.
        registry: The registry to find the model in; None for the default one.
        store: The store to keep files in; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item; "none" draws a split in spite
            of one.
        class_level: Which level of folders is the classes.
        task: What is learned: "single-label", one class per item; "multi-label", any number of classes, of a
            table with several labels in a cell (a|b) or a column of 0 and 1 for each label; "regression", the
            numbers of one column or several. `label_column` may then name several: "a,b". None: one class, or
            what an earlier run learned.
        calibrate: The share of the training items, in 0..1, that is set apart for `zoo.calibrate`, which is
            called with them at the end: neither training nor the choice of the epoch sees them.
        group_by: A column of a table, or a regular expression that is matched with the items' paths below the
            root of the data: items with equal cells, or equal matches (of its first group, if it has one),
            belong together, and are drawn together: one patient, one video.
        member: Which file of a .zip of word vectors.
        data_license: The licence of the data, for run.json.
        checkpoint_every: Epochs between two checkpoints, for `zoo.resume`; or steps, as in "200steps": in the
            middle of an epoch too. None: one in five seconds at most, after an epoch. One is written at the
            end of each phase too, and where training is asked to stop.
        time_limit: How long all phases of training may take together, in seconds or as "30m", "1h30m"; the
            best epoch so far is then the result, and `zoo.resume` goes on. Reading data and computing
            features come before and are not counted. Where not one epoch was finished, what its steps have
            trained is measured as it is.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.
        stop_requested: Asked after every step; once it is true, the best weights so far are kept.
        recipe: What the run should be like, or the name of a ready one: "quick", "accurate", "tiny-data".
            Going on from a run, what that run was given is kept where neither this nor the options say
            otherwise.
        **options: Fields of a `zoo.Recipe`, one by one; they win over `recipe`.

    Returns:
        What came out, as run.json has it too.

    Raises:
        InvalidRecipe: A recipe that cannot be used, with every problem.
        RunExists: `out` is there already.
        StorageError: `out` cannot be written, or the disk is full.
        DatasetError: The data cannot be used as they are.
        NetworkError: The model cannot be fetched.
        IntegrityError: A file is not what it should be.
        TrainingStopped: A fault ended training; the best weights so far, if any, were written to `out`.
        Interrupted: Ctrl-C, or `stop_requested`; the best weights so far, if any, were written to `out`.
    """
    store, report = store or default_store(), report or usual_report()
    seconds = None if time_limit is None else parse_time(time_limit)
    plan = plan_run(
        name,
        data,
        out=out,
        registry=registry,
        store=store,
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        group_by=group_by,
        task=task,
        calibrate=calibrate,
        member=member,
        data_license=data_license,
        checkpoint_every=checkpoint_every,
        report=report,
        recipe=recipe,
        options=options,
        takes_features=True,
    )
    from zoo.runs.making.trainer import train_run  # from here on torch is needed

    plan = dataclasses.replace(plan, time_limit=seconds)
    return train_run(plan, store=store, report=report, stop_requested=stop_requested)


def plan_run(
    name: str | Path,
    data: str | Path,
    *,
    out: str | Path | None,
    store: Store,
    registry: Registry | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    task: str | None = None,
    calibrate: float | None = None,
    member: str | None = None,
    data_license: str | None = None,
    checkpoint_every: int | str | None = None,
    report: Report = silent,
    recipe: Recipe | str | None = None,
    target: Target | None = None,
    takes_features: bool = False,
    options: Mapping[str, Any],
) -> Plan:
    """Decide everything about a run, in the order target, kind of item, recipe, data; refuse what cannot be.

    Imports no torch and fetches nothing but a file of vectors of the Hub. Arguments and errors as those of
    `finetune_model`; options: its further keywords. out: None for a run that is not written. target: what the
    name means, where that is known. takes_features: whether the data may be a file of features.
    """
    began = time.perf_counter()
    read_interval(checkpoint_every)
    data = Path(data)
    target = accept(
        target or find_target(name, registry=registry, store=store, member=member), "zoo finetune"
    )
    start = target.path if isinstance(target, RunFolder) else None
    record = None if start is None else read_record(start)
    request = Request(
        name=str(target.path.absolute() if isinstance(target, RunFolder | VectorFile) else name),
        kind=kind_of(target),
        data=str(data.absolute()),
        reading={
            "path_column": path_column,
            "text_column": text_column,
            "label_column": label_column,
            "split_column": split_column,
            "class_level": class_level,
            "group_by": group_by,
            "task": task,
            **({} if calibrate is None else {"calibrate": calibrate}),
        },
        member=member,
        data_license=data_license,
        skips_any="skip" in (options.get("on_bad"), getattr(recipe, "on_bad", None)),
        checkpoint_every=checkpoint_every,
    )
    data_license = None if data_license is None else check_license_name(data_license)
    if group_by is None and record is not None:  # else items that were trained on would be measured
        group_by = record.data["split"].get("group_by")
    if out is not None:
        refuse_taken(Path(out))
        refuse_unwritable(Path(out))
    local, entry = None, None if record is None else record.entry
    if isinstance(target, HubModel | RegistryModel | Unlisted):
        entry = describe_target(target, store, report=report)
    kind = modality_of_target(target).kind
    learned = _choose_task(task, record)
    _check_calibrate(calibrate, learned, name)
    checked = choose_recipe(record, recipe, options, kind)
    if problems := list(learned.problems(checked)):
        raise InvalidRecipe(problems)
    OPTIMIZERS[checked.optimizer].check_installed()
    Engine(checked.backend).check(checked.device)
    if isinstance(target, VectorFile | HubFile):  # read, and fetched, once the recipe is right
        local = fetch_target(target, store, report=report)
        entry = local.entry
    assert entry is not None  # `accept` lets nothing else through
    check_classifier(entry)
    if not checked.from_scratch:
        store.check_license(entry)
    features = (
        open_features(data, kind, str(name))
        if takes_features and text_column is None and holds_features(data, kind)
        else None
    )
    if features is None and takes_features and kind.in_files:
        refuse_texts(data, str(name))
    if features is not None:
        _check_for_features(features, checked, calibrate, class_level)
    dataset = scan_dataset(
        data,
        kind,
        seed=checked.seed,
        val_fraction=checked.val_fraction,
        item_column=modality_of(entry).choose_column(entry.name, path_column, text_column),
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        group_by=group_by,
        task=learned.name,
        classes=record.classes if record is not None and learned.name != SINGLE else None,
        find=None if features is None else features.find,
    )
    digests, unusual, watched = None, None, None  # of files; features bring their own
    if kind.in_files and features is None:
        paths = [item.path for item in dataset.items]
        digests, unusual, contents = know_files(paths, store.home)
        watched = Watched(paths, contents)
    dataset = keep_copies_together(dataset, digests)
    if record is not None and dataset.classes != record.classes:
        raise UsageError(
            f"{name} knows {', '.join(record.classes)}; {data} has {', '.join(dataset.classes)}",
            hint=f"Begin with the model itself: zoo finetune MODEL {data} --out {out} (it was {entry.name})",
        )
    apart: tuple[Item, ...] = ()
    if calibrate is not None:
        dataset, apart = set_apart(dataset, calibrate, checked.seed, digests)
        report(_describe_apart(dataset, len(apart)))
    dataset = with_contents(dataset, digests)
    for note in (*dataset.notes, describe_classes(dataset)):
        report(note)
    asked = options.get("batch_size") or getattr(recipe, "batch_size", None)
    size, most = checked.batch_size, len(dataset.train)
    if asked is not None and isinstance(size, int) and size > most:
        report(Note(f"a batch of {size:,} is more than there is: each step takes all {most:,}"))
    data_license = _license_of_data(data_license, record, dataset.fingerprint)
    if store.policies and UNKNOWN in (data_license or UNKNOWN).split(" and "):
        report(UNNAMED_LICENSE)
    return Plan(
        entry,
        dataset,
        checked,
        Path() if out is None else Path(out),
        began,
        start,
        record,
        data_license,
        local,
        member,
        (str(name), str(data)),
        task=learned,
        registry=registry,
        skips_any=request.skips_any,
        request=request,
        apart=apart,
        features=features,
        unusual=unusual,
        watched=watched,
    )


def _check_for_features(
    features: FeatureFile, recipe: Resolved, calibrate: float | None, class_level: int | None
) -> None:
    """Raise UsageError for what features alone cannot give."""
    what = f"{one_line(features.path)} has features, not the photographs"
    if recipe.views > 1:
        raise UsageError(f"{what}: no other views of them can be computed", hint="Leave out --views.")
    if recipe.from_scratch or recipe.strategy not in (AUTO, "head"):
        raise UsageError(
            f"{what}: only the head can be trained on it",
            hint="Leave out what trains more, or give the photographs.",
        )
    if calibrate is not None:
        raise UsageError(
            f"{what}: a run is calibrated with photographs", hint="Afterwards: zoo calibrate RUN PHOTOGRAPHS"
        )
    if class_level is not None:
        raise UsageError(f"{what}: the classes are in a column", hint="Name it: --label-column NAME")


def _check_calibrate(share: float | None, task: Task, name: object) -> None:
    """Raise UsageError for a share that cannot be set apart, and for a task that cannot be calibrated."""
    if share is None:
        return
    if not 0 < share < 1:
        raise UsageError(f"calibrate must lie between 0 and 1, not {share:g}")
    refuse_uncalibratable(task, str(name))


def _describe_apart(dataset: Dataset, count: int) -> Note:
    """How many items a run will be calibrated with, and what they can give at most."""
    kept = f"{dataset.kind.count(count)} set apart to calibrate the run with"
    if count >= items_needed(USUAL_LEVEL):
        return Note(kept)
    return Note(
        f"{kept}: sets of at most {highest_level(count):g}, for 0.95 needs {items_needed(USUAL_LEVEL)}",
        hint="Set more apart, or collect more.",
        level="warning",
    )


def _choose_task(name: str | None, record: RunRecord | None) -> Task:
    """The task of that name, or that of the run that is gone on from. Raises UsageError for another one than
    that, UnknownName for none."""
    if record is not None and name in (None, record.task.name):
        return record.task
    if name is not None and name not in TASKS:
        raise UnknownName("task", name, TASKS)
    if record is not None:
        raise UsageError(
            f"the run has learned {record.task.name}, not {name}", hint="Begin with the model itself."
        )
    return TASKS[name or SINGLE]


def _license_of_data(named: str | None, record: RunRecord | None, fingerprint: str) -> str | None:
    """The licence of all data that a run has seen; None where nobody named any.

    Where an earlier run goes on with other data, what nobody named of either is unknown.
    """
    if record is None:
        return named
    if record.data.get("fingerprint") == fingerprint or (named is None and record.data_license is None):
        return join_licenses(record.data_license, named)
    return join_licenses(record.data_license or UNKNOWN, named or UNKNOWN)


def choose_recipe(
    record: RunRecord | None, recipe: Recipe | str | None, options: Mapping[str, Any], kind: Kind
) -> Resolved:
    """The recipe of a run on items of that kind; `options` win over `recipe`.

    recipe: or the name of a ready one. Going on from a run, its recipe is what both leave open. Raises
    InvalidRecipe with every problem; one is another head, or another way to read texts: what was trained
    would be lost.
    """
    if recipe is not None and not isinstance(recipe, Recipe | str):
        raise UsageError(f"recipe must be a zoo.Recipe, not {recipe!r}", hint="recipe=zoo.Recipe(epochs=5)")
    given, problems = read_options(options)
    if isinstance(recipe, str):
        wishes = begin_with(ready_recipe(recipe), given, kind)
    else:
        wishes = given if recipe is None else merge(recipe, given)
    if record is not None:
        wishes, changed = go_on(record.recipe, wishes, kind)
        problems += changed
    return resolve(wishes, kind, more=problems)
