"""One fine-tuning run: freeze, attach a head, features once, train the head, then deeper stages, save.

This is the walk of zoo finetune, top to bottom; each step is one call into the room that knows how.
What differs between images and texts is in a row of zoo/runs/modalities/table.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from adapters import count_parameters, frozen_fingerprint, unfreeze
from zoo.data.dataset import PARTS, Dataset
from zoo.data.names import safe_text
from zoo.errors import Interrupted, TrainingStopped
from zoo.events import Note, Report, silent
from zoo.runs.folder import new_folder, next_free, write_adapter, write_history, write_words
from zoo.runs.modalities.table import modality_of
from zoo.runs.plan import Plan
from zoo.runs.record import RunRecord, RunResult, model_facts, write_record
from zoo.runs.session import Features, Outcome, PreparedModel, Session, TrainingSteps
from zoo.runs.versions import library_versions
from zoo.store.store import Store
from zoo.training.device import pick_device, precision_for
from zoo.training.interruption import never
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine, one_thread
from zoo.training.phase_state import begin_phase
from zoo.training.seeds import seeded
from zoo.training.stages import count_stages
from zoo.training.stopping import Score
from zoo.training.strategies import Phase, phases


def train_run(
    plan: Plan, *, store: Store, report: Report = silent, stop_requested: Callable[[], bool] = never
) -> RunResult:
    """Carry out a plan and write its run folder; see `finetune_model` for what it raises.

    The process is left as it was: its random generators, its threads, its choice of kernels.
    """
    recipe, device = plan.recipe, pick_device(plan.recipe.device)
    with seeded(recipe.seed, device=device, deterministic=recipe.deterministic):
        return carry_out(Session(plan, store, device, report, stop_requested))


def carry_out(job: Session) -> RunResult:
    """The run of a job, from its network to its folder."""
    plan, recipe = job.plan, job.recipe
    side = modality_of(plan.entry).load_training()
    start = side.prepare(job)
    count_stages(start.network, recipe.unfreeze)  # refuses a stage that is not there, before the features
    seen = side.extract(job, start)
    if (
        recipe.standardize and seen.train and not (plan.start or recipe.from_scratch)
    ):  # random ones say nothing
        start.head.fit_standardize(seen.train.features)

    fitted = Outcome()
    try:
        for phase in phases(recipe):
            if phase.trains == "features":
                fitted.after(train_head(job, phase, start, seen))
            else:
                fitted.after(tune(job, phase, side, start, seen, fitted.best))
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
            hint="The same command begins again" + ("." if start.reader else ": the features are kept."),
        )
    result = save(job, start, seen, fitted)
    if fitted.fault is not None:
        fitted.fault.hint = f"{fitted.fault.hint or ''} Epoch {fitted.best_epoch} is in {plan.out}.".strip()
        raise fitted.fault
    if fitted.interrupted:
        raise Interrupted(
            f"stopped in epoch {len(fitted.history) + 1}; epoch {fitted.best_epoch} was best: {plan.out}",
            hint=f"Go on from it: zoo finetune {plan.out} {plan.as_typed[1]} --out {next_free(plan.out)}",
        )
    return result


def train_head(job: Session, phase: Phase, start: PreparedModel, seen: Features) -> FitResult:
    """Train the head alone, on features that are all in memory."""
    assert seen.train is not None
    assert seen.val is not None
    with one_thread():
        state = begin_phase(
            start.head,
            seen.train,
            seen.val,
            recipe=job.recipe,
            phase=phase,
            machine=Machine(job.device, phase.precision),
            task=job.plan.task,
            class_weights=class_weights(job, seen.dataset),
            classes=seen.dataset.classes,
        )
        return fit(state, report=job.report, stop_requested=job.stop_requested)


def tune(
    job: Session, phase: Phase, side: TrainingSteps, start: PreparedModel, seen: Features, best: Score | None
) -> FitResult:
    """Train the last stages together with the head, on the items themselves; deeper ones at smaller rates.

    Pretrained batch norms keep their statistics: batches of a few dozen images measure them badly, and the
    head was fitted to features that were normalised with them.
    """
    recipe, network, dataset = job.recipe, start.network, seen.dataset
    unfreeze(network, count_stages(network, phase.unfreeze), freeze_norm=not recipe.from_scratch)
    state = begin_phase(
        network,
        side.open_batches(job, seen, dataset.train, phase),
        side.open_batches(job, seen, dataset.val),
        recipe=recipe,
        phase=phase,
        machine=Machine(job.device, precision_for(job.device, phase.precision)),
        task=job.plan.task,
        class_weights=class_weights(job, dataset),
        classes=dataset.classes,
        start=best,
    )
    return fit(state, report=job.report, stop_requested=job.stop_requested)


def class_weights(job: Session, dataset: Dataset) -> Tensor | None:
    """What each class weighs in the loss, if they are to be balanced and the task has classes."""
    task = job.plan.task
    if task.balance is None or not job.recipe.balance:
        return None
    return task.balance(job.encode(dataset.train), task.width(dataset.classes))


def save(job: Session, start: PreparedModel, seen: Features, fitted: Outcome) -> RunResult:
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
        if name not in after or name in start.kept
    }
    result = RunResult(
        run=str(plan.out),
        classes=seen.dataset.classes,
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        stopped_early=fitted.stopped_early,
        val_loss=fitted.best.loss,
        metrics=fitted.best.metrics,
        frozen_tensors=len(after),
        frozen_changed=len(changed),
        trained_parameters=count_parameters(network).trainable,
        seconds=time.perf_counter() - plan.began,
        baseline=seen.baseline,
        task=plan.task.name,
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
            text=None if start.reader is None else write_words(start.reader, folder),
            adapter_sha256=write_adapter(state, folder),
            versions=library_versions(),
            data_license=plan.data_license,
        )
        write_record(record, folder)
    return result


def data_facts(seen: Features) -> dict[str, Any]:
    """Where the items came from, for run.json."""
    dataset = seen.dataset
    return {
        "root": safe_text(dataset.root),
        "fingerprint": dataset.fingerprint,
        "items": {part: len(getattr(dataset, part)) for part in PARTS},
        "skipped": [{"path": safe_text(file.path), "reason": file.reason} for file in seen.bad],
        "split": dataset.split.facts(),
        **({} if seen.values is None else {"value_range": seen.values.facts}),
        **({} if dataset.layout is None else {"layout": dataset.layout}),
    }
