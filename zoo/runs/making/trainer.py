"""One fine-tuning run: freeze, attach a head, features once, train the head, then deeper stages, save.

This is the walk of zoo finetune, top to bottom; each step is one call into the room that knows how.
What differs between images and texts is in a row of zoo/runs/modalities/table.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from torch import Tensor

from adapters import Head, count_parameters, frozen_fingerprint, unfreeze
from zoo.data.dataset import PARTS, Dataset
from zoo.data.names import one_line, safe_text
from zoo.errors import Interrupted, TrainingStopped
from zoo.events import Note, Report, silent
from zoo.runs.classifier import DIGITS
from zoo.runs.folder import new_folder, next_free, write_adapter, write_history, write_words
from zoo.runs.modalities.table import modality_of
from zoo.runs.plan import Plan
from zoo.runs.record import Baseline, RunRecord, RunResult, model_facts, write_record
from zoo.runs.session import Outcome, PreparedModel, Session, TrainingData, TrainingSteps
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
from zoo.training.tasks import SINGLE_LABEL


def train_run(
    plan: Plan, *, store: Store, report: Report = silent, stop_requested: Callable[[], bool] = never
) -> RunResult:
    """Carry out a plan and write its run folder; see `finetune_model` for what it raises.

    The process is left as it was: its random generators, its threads, its choice of kernels.
    """
    recipe, device = plan.recipe, pick_device(plan.recipe.device)
    with seeded(recipe.seed, device=device, deterministic=recipe.deterministic):
        return _carry_out(Session(plan, store, device, report, stop_requested))


def _carry_out(session: Session) -> RunResult:
    """The run of a plan, from its network to its folder."""
    plan = session.plan
    steps, model, data = begin_run(session)
    outcome = train_phases(session, steps, model, data)
    model.network.to("cpu").eval()
    if outcome.best is None:
        raise outcome.fault or Interrupted(
            "stopped before the first epoch was finished: there is nothing to keep",
            hint="The same command begins again" + ("." if model.reader else ": the features are kept."),
        )
    result = save(session, model, data, outcome)
    if outcome.fault is not None:
        outcome.fault.hint = (
            f"{outcome.fault.hint or ''} Epoch {outcome.best_epoch} is in {plan.out}.".strip()
        )
        raise outcome.fault
    if outcome.interrupted:
        raise Interrupted(
            f"stopped in epoch {len(outcome.history) + 1}; epoch {outcome.best_epoch} was best: {plan.out}",
            hint=f"Go on from it: zoo finetune {plan.out} {plan.as_typed[1]} --out {next_free(plan.out)}",
        )
    return result


def begin_run(session: Session) -> tuple[TrainingSteps, PreparedModel, TrainingData]:
    """The network of a plan with its new head, and what it learns from: everything before the first step."""
    steps = modality_of(session.plan.entry).load_training()
    model = steps.prepare(session)
    count_stages(model.network, session.recipe.unfreeze)  # refuses a stage that is not there, before features
    data = steps.read_data(session, model)
    standardize_features(session, model.head, data)
    return steps, model, data


def standardize_features(session: Session, head: Head, data: TrainingData) -> None:
    """Measure the features that a new head standardises: random ones mean nothing, a trained head keeps its
    own."""
    recipe, plan = session.recipe, session.plan
    if recipe.standardize and data.train and not (plan.start or recipe.from_scratch):
        head.fit_standardize(data.train.features)


def train_phases(session: Session, steps: TrainingSteps, model: PreparedModel, data: TrainingData) -> Outcome:
    """Train every phase of the recipe; a fault that ends training is in the outcome, with the best so far."""
    outcome = Outcome()
    try:
        for phase in phases(session.recipe):
            if phase.trains == "features":
                outcome.after(train_head(session, phase, model, data))
            else:
                outcome.after(tune(session, phase, steps, model, data, outcome.best))
            if outcome.interrupted:
                break
    except TrainingStopped as fault:
        if fault.result is not None:
            outcome.after(fault.result)
        outcome.fault = fault
    return outcome


def train_head(session: Session, phase: Phase, model: PreparedModel, data: TrainingData) -> FitResult:
    """Train the head alone, on features that are all in memory."""
    assert data.train is not None
    assert data.val is not None
    with one_thread():
        state = begin_phase(
            model.head,
            data.train,
            data.val,
            recipe=session.recipe,
            phase=phase,
            machine=Machine(session.device, phase.precision),
            task=session.plan.task,
            class_weights=class_weights(session, data.dataset),
            classes=data.dataset.classes,
        )
        return fit(state, report=session.report, stop_requested=session.stop_requested)


def tune(
    session: Session,
    phase: Phase,
    steps: TrainingSteps,
    model: PreparedModel,
    data: TrainingData,
    best: Score | None,
) -> FitResult:
    """Train the last stages together with the head, on the items themselves; deeper ones at smaller rates.

    Pretrained batch norms keep their statistics: batches of a few dozen images measure them badly, and the
    head was fitted to features that were normalised with them.
    """
    recipe, network, dataset = session.recipe, model.network, data.dataset
    unfreeze(network, count_stages(network, phase.unfreeze), freeze_norm=not recipe.from_scratch)
    state = begin_phase(
        network,
        steps.open_batches(session, data, dataset.train, phase),
        steps.open_batches(session, data, dataset.val),
        recipe=recipe,
        phase=phase,
        machine=Machine(session.device, precision_for(session.device, phase.precision)),
        task=session.plan.task,
        class_weights=class_weights(session, dataset),
        classes=dataset.classes,
        start=best,
    )
    return fit(state, report=session.report, stop_requested=session.stop_requested)


def class_weights(session: Session, dataset: Dataset) -> Tensor | None:
    """What each class weighs in the loss, if they are to be balanced and the task has classes."""
    task = session.plan.task
    if task.balance is None or not session.recipe.balance:
        return None
    return task.balance(session.encode(dataset.train), task.width(dataset.classes))


def save(session: Session, model: PreparedModel, data: TrainingData, outcome: Outcome) -> RunResult:
    """Compare what was frozen with what it was, and write the run folder."""
    assert outcome.best is not None
    plan, network = session.plan, model.network
    after = frozen_fingerprint(network)
    changed = [name for name, digest in after.items() if model.frozen.get(name, digest) != digest]
    if changed:  # never seen; a library that writes into frozen tensors must not pass silently
        names = ", ".join(changed[:3])
        session.report(Note(f"{len(changed)} frozen tensors changed: {names}", level="warning"))
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name not in after or name in model.kept
    }
    result = RunResult(
        run=str(plan.out),
        classes=data.dataset.classes,
        best_epoch=outcome.best_epoch,
        epochs=len(outcome.history),
        stopped_early=outcome.stopped_early,
        val_loss=outcome.best.loss,
        metrics=outcome.best.metrics,
        frozen_tensors=len(after),
        frozen_changed=len(changed),
        trained_parameters=count_parameters(network).trainable,
        seconds=time.perf_counter() - plan.began,
        baseline=data.baseline,
        task=plan.task.name,
        val_items=len(data.dataset.val),
        majority=_majority(data.dataset) if plan.task is SINGLE_LABEL else None,
    )
    with new_folder(plan.out) as folder:
        write_history(outcome.history, folder)
        record = RunRecord(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=model_facts(plan.entry),
            weights_sha256=model.sha256,
            classes=data.dataset.classes,
            recipe=session.recipe,
            data=_data_facts(data, one_class=plan.task is SINGLE_LABEL),
            result=msgspec.structs.replace(result, run=plan.out.absolute().name),
            text=None if model.reader is None else write_words(model.reader, folder),
            adapter_sha256="",
            versions=library_versions(),
            data_license=plan.data_license,
        )
        short = {name: digest[:DIGITS] for name, digest in after.items() if name not in state}
        written = write_adapter(state, folder, record.guarded | {"frozen": short})
        write_record(msgspec.structs.replace(record, adapter_sha256=written), folder)
    return result


def _majority(dataset: Dataset) -> Baseline:
    """What always answering the class with the most training items reaches on the validation items."""
    train, val = dataset.counts("train"), dataset.counts("val")
    label = max(range(len(train)), key=lambda label: train[label])
    return Baseline(
        name=f"always {one_line(dataset.classes[label])}", metrics={"accuracy": val[label] / sum(val)}
    )


def _data_facts(data: TrainingData, *, one_class: bool) -> dict[str, Any]:
    """Where the items came from, for run.json. one_class: whether each has exactly one."""
    dataset = data.dataset
    return {
        "root": safe_text(dataset.root.absolute().name),  # where it lay is nobody's business but the user's
        "fingerprint": dataset.fingerprint,
        "items": {part: len(getattr(dataset, part)) for part in PARTS},
        **({"counts": {part: list(dataset.counts(part)) for part in PARTS}} if one_class else {}),
        "skipped": [{"path": safe_text(file.path), "reason": file.reason} for file in data.bad],
        "split": dataset.split.facts(),
        **({} if data.values is None else {"value_range": data.values.facts}),
        **({} if dataset.layout is None else {"layout": dataset.layout}),
    }
