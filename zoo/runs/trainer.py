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
from zoo.data.batches import BadFile, OnBad, check_bad_files
from zoo.data.dataset import Dataset, Item
from zoo.data.leaks import describe_leak
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
from zoo.training.seeds import seed_everything
from zoo.training.stopping import Score
from zoo.training.strategies import Phase, phases


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
    device = pick_device(recipe.device)
    network, head, sha256, identity, earlier = prepare(plan, store, report)
    before = frozen_fingerprint(network)
    dataset, train, val, bad = features_of_dataset(plan, network, identity, device, store, report)
    if recipe.standardize and not (earlier or recipe.from_scratch):  # random features say nothing
        head.fit_standardize(train.features)

    fitted = Fitted([])
    try:
        for phase in phases(recipe):
            fitted.after(
                train_head(head, train, val, dataset, plan, phase, device, report, stop_requested)
                if phase.name == "head"
                else tune(network, dataset, plan, phase, fitted.best, device, report, stop_requested)
            )
            if fitted.interrupted:
                break
    except TrainingStopped as fault:
        fitted.after(fault.result)
        fitted.fault = fault

    network.to("cpu").eval()
    if fitted.best is None:
        raise fitted.fault or Interrupted(
            "stopped before the first epoch was finished: there is nothing to keep",
            hint="The features are kept: the same command goes on from there.",
        )
    return save(plan, network, dataset, bad, sha256, before, earlier, fitted, report)


def prepare(
    plan: Plan, store: Store, report: Report
) -> tuple[nn.Module, Head, str | None, str, frozenset[str]]:
    """The network, everything frozen but its new head, and that head.

    Returns with them the sha256 of the published weights, what features are kept under, and the names of the
    tensors that an earlier run has trained.
    """
    entry, recipe, record = plan.entry, plan.recipe, plan.start_record
    sha256 = record.weights_sha256 if record else None
    if record is None and not recipe.from_scratch:
        sha256 = store.fetch(entry, report=report).sha256
    network = build_start(entry, sha256, store=store, report=report)
    freeze(network)
    head = attach_recipe_head(network, plan.dataset.classes, recipe)
    identity = sha256 or f"random {recipe.seed}"
    if record is None or plan.start is None:
        return network, head, sha256, identity, frozenset()
    state = read_adapter(plan.start, record)
    put_adapter(network, state, record, plan.start)
    return network, head, sha256, record.adapter_sha256 if record.tuned else identity, frozenset(state)


def features_of_dataset(
    plan: Plan, network: nn.Module, identity: str, device: torch.device, store: Store, report: Report
) -> tuple[Dataset, FeatureBatches, FeatureBatches, list[BadFile]]:
    """The dataset without what cannot be read, and its features: one pass over train and val, ever."""
    recipe, dataset = plan.recipe, plan.dataset
    items = dataset.train + dataset.val
    on_bad = cast(OnBad, recipe.on_bad)
    table = extract_features(
        network,
        items,
        image_model(plan.entry).input,
        backbone_sha256=identity,
        store_home=store.home,
        device=device,
        workers=recipe.workers,
        on_bad=on_bad,
        report=report,
    )
    features = {items[row].path: vector for row, vector in zip(table.kept, table.features, strict=True)}
    readable = check_bad_files(dataset, table.bad, on_bad)
    for note in readable.notes[len(dataset.notes) :]:
        report(note)
    train = batches_of(readable.train, features, recipe.batch_size, device, seed=recipe.seed)
    val = batches_of(readable.val, features, recipe.batch_size, device)
    resaved = find_resaved(
        readable.train, train.features.cpu(), readable.val, val.features.cpu(), image_model(plan.entry).input
    )
    if resaved:
        report(describe_leak(resaved, "val", len(readable.val)))
    return readable, train, val, list(table.bad)


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


def train_head(
    head: nn.Module,
    train: FeatureBatches,
    val: FeatureBatches,
    dataset: Dataset,
    plan: Plan,
    phase: Phase,
    device: torch.device,
    report: Report,
    stop_requested: Callable[[], bool],
) -> FitResult:
    """Train the head alone, on features that are all in memory."""
    return fit(
        head,
        train,
        val,
        recipe=plan.recipe,
        phase=phase,
        machine=Machine(device, precision_for(device, phase.precision)),
        class_weights=weights_of_classes(plan, dataset),
        classes=dataset.classes,
        report=report,
        stop_requested=stop_requested,
    )


def tune(
    network: nn.Module,
    dataset: Dataset,
    plan: Plan,
    phase: Phase,
    start: Score | None,
    device: torch.device,
    report: Report,
    stop_requested: Callable[[], bool],
) -> FitResult:
    """Train the last stages together with the head, on the photographs; deeper stages at smaller rates.

    Pretrained batch norms keep their statistics: batches of a few dozen images measure them badly, and the
    head was fitted to features that were normalised with them.
    """
    recipe = plan.recipe
    stages = None if phase.unfreeze == "all" else phase.unfreeze
    unfreeze(network, stages, freeze_norm=not recipe.from_scratch)
    images = partial(
        ImageBatches,
        input=image_model(plan.entry).input,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        on_bad=recipe.on_bad,
        report=report,
    )
    return fit(
        network,
        images(dataset.train, augmentation=phase.augment, seed=recipe.seed),
        images(dataset.val),
        recipe=recipe,
        phase=phase,
        machine=Machine(device, precision_for(device, phase.precision)),
        groups=parameter_groups(network, phase.lr, decay=phase.lr_decay, weight_decay=phase.weight_decay),
        class_weights=weights_of_classes(plan, dataset),
        classes=dataset.classes,
        start=start,
        report=report,
        stop_requested=stop_requested,
    )


def weights_of_classes(plan: Plan, dataset: Dataset) -> Tensor | None:
    """What each class weighs in the loss, if they are to be balanced."""
    return (
        balanced_weights([item.label for item in dataset.train], len(dataset.classes))
        if plan.recipe.balance
        else None
    )


def save(
    plan: Plan,
    network: nn.Module,
    dataset: Dataset,
    bad: list[BadFile],
    sha256: str | None,
    before: Mapping[str, str],
    earlier: frozenset[str],
    fitted: Fitted,
    report: Report,
) -> RunResult:
    """Prove that what was frozen is unchanged, write the run folder, and say how training ended."""
    assert fitted.best is not None
    after = frozen_fingerprint(network)
    state = {name: t for name, t in network.state_dict().items() if name not in after or name in earlier}
    changed = [name for name, digest in after.items() if before.get(name, digest) != digest]
    result = RunResult(
        run=str(plan.out),
        classes=dataset.classes,
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
            weights_sha256=sha256,
            classes=dataset.classes,
            recipe=plan.recipe,
            data=data_facts(dataset, bad),
            result=result,
            adapter_sha256=write_adapter(state, folder),
            versions=library_versions(),
        )
        write_record(record, folder)
    if changed:  # never seen; a library that writes into frozen tensors must not pass silently
        report(Note(f"{len(changed)} frozen tensors changed: {', '.join(changed[:3])}", level="warning"))
    if fitted.fault is not None:
        fitted.fault.hint = f"{fitted.fault.hint or ''} Epoch {fitted.best_epoch} is in {plan.out}.".strip()
        raise fitted.fault
    if fitted.interrupted:
        raise Interrupted(
            f"stopped in epoch {len(fitted.history) + 1}; epoch {fitted.best_epoch} was best: {plan.out}",
            hint=f"Go on from it: zoo finetune {plan.out} {dataset.root} --out {next_free(plan.out)}",
        )
    return result


def data_facts(dataset: Dataset, bad: list[BadFile]) -> dict[str, Any]:
    """Where the items came from, for run.json."""
    return {
        "root": str(dataset.root),
        "fingerprint": dataset.fingerprint,
        "items": {part: len(getattr(dataset, part)) for part in ("train", "val", "test")},
        "skipped": [{"path": str(file.path), "reason": file.reason} for file in bad],
        "split": dataset.split.facts(),
    }
