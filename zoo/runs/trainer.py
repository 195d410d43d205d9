"""One fine-tuning run: freeze, attach a head, features once, train the head, then deeper stages, save.

This is the walk of the README's picture, top to bottom; each step is one call into the room that knows how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from adapters import Head, count_parameters, freeze, frozen_fingerprint, parameter_groups, unfreeze
from zoo.catalogue.entry import ImageInput
from zoo.data.batches import BadFile, OnBad, check_bad_files
from zoo.data.dataset import PARTS, Dataset, Item
from zoo.data.leaks import describe_leak
from zoo.data.names import safe_text
from zoo.errors import Interrupted, TrainingStopped
from zoo.events import EpochEnd, Note, Report, silent
from zoo.features.extraction import extract_features
from zoo.features.lookalikes import find_resaved
from zoo.runs.classifier import attach_recipe_head, build_start, image_model, put_adapter
from zoo.runs.finetuning import Plan
from zoo.runs.folder import new_folder, next_free, read_adapter, write_adapter, write_history
from zoo.runs.record import RunRecord, RunResult, library_versions, model_facts, write_record
from zoo.store.store import Store
from zoo.training.batches import FeatureBatches, ImageBatches
from zoo.training.device import pick_device, precision_for
from zoo.training.interruption import never
from zoo.training.loop import FitResult, fit
from zoo.training.losses import balanced_weights
from zoo.training.machine import Machine
from zoo.training.recipe import Recipe
from zoo.training.seeds import seed_everything
from zoo.training.stopping import Score
from zoo.training.strategies import Phase, phases

VAL_BATCH = (
    4096  # feature vectors: a few MB; nothing is learned from them, so that large batches are only faster
)


@dataclass(frozen=True)
class Job:
    """A plan, and what it is carried out with."""

    plan: Plan
    store: Store
    device: torch.device
    report: Report
    stop_requested: Callable[[], bool]

    @property
    def recipe(self) -> Recipe:
        """Everything that decides the run."""
        return self.plan.recipe

    @property
    def input(self) -> ImageInput:
        """What the weights want to see."""
        return image_model(self.plan.entry).input


@dataclass(frozen=True)
class Start:
    """What training begins with: the network, all of it frozen but its new head.

    sha256: of the published weights; None for random ones. identity: what features are kept under. earlier:
    names of the tensors that an earlier run has trained. frozen: sha256 of every frozen tensor.
    """

    network: nn.Module
    head: Head
    sha256: str | None
    identity: str
    earlier: frozenset[str]
    frozen: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """The dataset without what cannot be read, and what the backbone says about the rest."""

    dataset: Dataset
    train: FeatureBatches
    val: FeatureBatches
    bad: tuple[BadFile, ...]


@dataclass
class Fitted:
    """What the phases came to, taken together."""

    history: list[EpochEnd]
    best_epoch: int = 0
    best: Score | None = None
    stopped_early: bool = False
    interrupted: bool = False
    fault: TrainingStopped | None = None

    def after(self, result: FitResult) -> None:
        """Add a phase; a later one replaces the best only if one of its epochs was better."""
        if result.best_epoch and result.best_val_loss is not None and result.best_val_accuracy is not None:
            self.best_epoch = len(self.history) + result.best_epoch
            self.best = Score(result.best_val_loss, result.best_val_accuracy)
        self.history += result.history
        self.stopped_early = result.stopped_early
        self.interrupted = result.interrupted


def train_run(
    plan: Plan, *, store: Store, report: Report = silent, stop_requested: Callable[[], bool] = never
) -> RunResult:
    """Carry out a plan and write its run folder; see `finetune_model` for what it raises."""
    recipe = plan.recipe
    seed_everything(recipe.seed, deterministic=recipe.deterministic)
    job = Job(plan, store, pick_device(recipe.device), report, stop_requested)
    start = prepare(job)
    seen = look(job, start)
    if recipe.standardize and not (start.earlier or recipe.from_scratch):  # random features say nothing
        start.head.fit_standardize(seen.train.features)

    fitted = Fitted([])
    try:
        for phase in phases(recipe):
            if phase.name == "head":
                fitted.after(train_head(job, phase, start.head, seen))
            else:
                fitted.after(tune(job, phase, start.network, seen.dataset, fitted.best))
            if fitted.interrupted:
                break
    except TrainingStopped as fault:
        if fault.result is not None:
            fitted.after(fault.result)
        fitted.fault = fault

    start.network.to("cpu").eval()
    if fitted.best is None:
        raise fitted.fault or Interrupted(
            "stopped before the first epoch was finished: there is nothing to keep",
            hint="The features are kept: the same command goes on from there.",
        )
    result = save(job, start, seen, fitted)
    if fitted.fault is not None:
        fitted.fault.hint = f"{fitted.fault.hint or ''} Epoch {fitted.best_epoch} is in {plan.out}.".strip()
        raise fitted.fault
    if fitted.interrupted:
        raise Interrupted(
            f"stopped in epoch {len(fitted.history) + 1}; epoch {fitted.best_epoch} was best: {plan.out}",
            hint=f"Go on from it: zoo finetune {plan.out} {seen.dataset.root} --out {next_free(plan.out)}",
        )
    return result


def prepare(job: Job) -> Start:
    """The network of the plan, everything frozen, with its new head or with that of the earlier run."""
    plan, recipe, record = job.plan, job.recipe, job.plan.start_record
    sha256 = record.weights_sha256 if record else None
    if record is None and not recipe.from_scratch:
        sha256 = job.store.fetch(plan.entry, report=job.report).sha256
    network = build_start(plan.entry, sha256, store=job.store, report=job.report)
    freeze(network)
    head = attach_recipe_head(network, plan.dataset.classes, recipe)
    identity = sha256 or f"random {recipe.seed}"
    earlier: frozenset[str] = frozenset()
    if record is not None and plan.start is not None:
        state = read_adapter(plan.start, record)
        put_adapter(network, state, record, plan.start)
        earlier = frozenset(state)
        identity = record.adapter_sha256 if record.tuned else identity
    return Start(network, head, sha256, identity, earlier, frozen_fingerprint(network))


def look(job: Job, start: Start) -> Seen:
    """Read every image of train and val once, compute or find its features, tell of bad files and leaks."""
    dataset, on_bad = job.plan.dataset, cast(OnBad, job.recipe.on_bad)
    items = dataset.train + dataset.val
    table = extract_features(
        start.network,
        items,
        job.input,
        backbone_sha256=start.identity,
        store_home=job.store.home,
        device=job.device,
        workers=job.recipe.workers,
        on_bad=on_bad,
        report=job.report,
    )
    features = {items[row].path: vector for row, vector in zip(table.kept, table.features, strict=True)}
    readable = check_bad_files(dataset, table.bad, on_bad)
    for note in readable.notes[len(dataset.notes) :]:
        job.report(note)
    train = batches_of(readable.train, features, job.recipe.batch_size, job.device, seed=job.recipe.seed)
    val = batches_of(readable.val, features, VAL_BATCH, job.device)
    resaved = find_resaved(readable.train, train.features, readable.val, val.features, job.input)
    if resaved:
        job.report(describe_leak(resaved, "val", len(readable.val)))
    return Seen(readable, train, val, table.bad)


def batches_of(
    items: tuple[Item, ...],
    features: Mapping[Path, Tensor],
    batch_size: int,
    device: torch.device,
    seed: int | None = None,
) -> FeatureBatches:
    """The features of these items with their labels, all on the device. features: (width,) of every path."""
    rows = torch.stack([features[item.path] for item in items]).to(device)
    labels = torch.tensor([item.label for item in items]).to(device)
    return FeatureBatches(rows, labels, batch_size, seed=seed)


def train_head(job: Job, phase: Phase, head: Head, seen: Seen) -> FitResult:
    """Train the head alone, on features that are all in memory."""
    return fit(
        head,
        seen.train,
        seen.val,
        recipe=job.recipe,
        phase=phase,
        machine=Machine(job.device, phase.precision),
        class_weights=class_weights(job, seen.dataset),
        classes=seen.dataset.classes,
        report=job.report,
        stop_requested=job.stop_requested,
    )


def tune(job: Job, phase: Phase, network: nn.Module, dataset: Dataset, best: Score | None) -> FitResult:
    """Train the last stages together with the head, on the photographs; deeper stages at smaller rates.

    Pretrained batch norms keep their statistics: batches of a few dozen images measure them badly, and the
    head was fitted to features that were normalised with them.
    """
    recipe = job.recipe
    stages = None if phase.unfreeze == "all" else phase.unfreeze
    unfreeze(network, stages, freeze_norm=not recipe.from_scratch)
    images = partial(
        ImageBatches,
        input=job.input,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        on_bad=recipe.on_bad,
        report=job.report,
    )
    return fit(
        network,
        images(dataset.train, augmentation=phase.augment, seed=recipe.seed),
        images(dataset.val),
        recipe=recipe,
        phase=phase,
        machine=Machine(job.device, precision_for(job.device, phase.precision)),
        groups=parameter_groups(network, phase.lr, decay=phase.lr_decay, weight_decay=phase.weight_decay),
        class_weights=class_weights(job, dataset),
        classes=dataset.classes,
        start=best,
        report=job.report,
        stop_requested=job.stop_requested,
    )


def class_weights(job: Job, dataset: Dataset) -> Tensor | None:
    """What each class weighs in the loss, if they are to be balanced."""
    labels = [item.label for item in dataset.train]
    return balanced_weights(labels, len(dataset.classes)) if job.recipe.balance else None


def save(job: Job, start: Start, seen: Seen, fitted: Fitted) -> RunResult:
    """Compare what was frozen with what it was, and write the run folder."""
    assert fitted.best is not None
    plan, network = job.plan, start.network
    after = frozen_fingerprint(network)
    changed = [name for name, digest in after.items() if start.frozen.get(name, digest) != digest]
    if changed:  # never seen; a library that writes into frozen tensors must not pass silently
        names = ", ".join(changed[:3])
        job.report(Note(f"{len(changed)} frozen tensors changed: {names}", level="warning"))
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name not in after or name in start.earlier
    }
    result = RunResult(
        run=str(plan.out),
        classes=seen.dataset.classes,
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        stopped_early=fitted.stopped_early,
        val_accuracy=fitted.best.accuracy,
        val_loss=fitted.best.loss,
        frozen_tensors=len(after),
        frozen_changed=len(changed),
        trained_parameters=count_parameters(network).trainable,
        seconds=time.perf_counter() - plan.began,
    )
    with new_folder(plan.out) as folder:
        write_history(fitted.history, folder)
        record = RunRecord(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=model_facts(plan.entry),
            weights_sha256=start.sha256,
            classes=seen.dataset.classes,
            recipe=job.recipe,
            data=data_facts(seen),
            result=result,
            adapter_sha256=write_adapter(state, folder),
            versions=library_versions(),
        )
        write_record(record, folder)
    return result


def data_facts(seen: Seen) -> dict[str, Any]:
    """Where the items came from, for run.json."""
    dataset = seen.dataset
    return {
        "root": safe_text(dataset.root),
        "fingerprint": dataset.fingerprint,
        "items": {part: len(getattr(dataset, part)) for part in PARTS},
        "skipped": [{"path": safe_text(file.path), "reason": file.reason} for file in seen.bad],
        "split": dataset.split.facts(),
    }
