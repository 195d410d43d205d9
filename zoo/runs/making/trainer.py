"""One fine-tuning run: freeze, attach a head, features once, train the head, then deeper stages, save.

This is the walk of zoo finetune, top to bottom; each step is one call into the room that knows how.
What differs between images and texts is in a row of zoo/runs/modalities/table.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from adapters import Head, count_parameters, frozen_fingerprint, low_rank_state, remove_low_rank
from zoo.data.dataset import PARTS, Dataset
from zoo.data.names import one_line, safe_text
from zoo.data.replaced import name_replaced
from zoo.data.trained import with_replaced
from zoo.errors import DatasetError, Interrupted, TrainingStopped, UsageError, ZooError
from zoo.events import Note, Report, silent
from zoo.features.rows import Rows, are_equal, blocks_of
from zoo.runs.classifier import DIGITS, load_run_classifier
from zoo.runs.folder import (
    new_folder,
    next_free,
    refuse_existing,
    refuse_unfinished,
    resume_command,
    write_adapter,
    write_history,
    write_words,
)
from zoo.runs.making.agreeing import check_equal_plans
from zoo.runs.making.batch_size import decide_batch_size
from zoo.runs.making.checkpoints import Checkpoints, features_sha256, pack, read_newest, unpack
from zoo.runs.making.deciding import decide_head, decide_strategy
from zoo.runs.making.differences import Resumption, check_same
from zoo.runs.making.live_history import LiveHistory
from zoo.runs.making.unfinished import Facts, Partial, facts_of, hold_partial
from zoo.runs.modalities.table import modality_of
from zoo.runs.plan import Plan, read_interval
from zoo.runs.record import Baseline, RunRecord, RunResult, model_facts, read_record, write_record
from zoo.runs.session import Outcome, PreparedModel, Session, TrainingData, TrainingSteps
from zoo.runs.using.calibrating import calibrate_run
from zoo.runs.versions import library_versions
from zoo.store.store import Store
from zoo.threads import one_thread
from zoo.training.batches import BatchSource
from zoo.training.device import precision_for
from zoo.training.interruption import never
from zoo.training.loop import fit, keep_nothing
from zoo.training.machine import Machine
from zoo.training.metrics import Measurement, evaluate
from zoo.training.phase_state import PhaseState, begin_phase
from zoo.training.processes import ALONE, Processes, is_lost_process, lost_process, meet, own_device
from zoo.training.seeds import seeded
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.stages import count_opened, count_stages, open_phase
from zoo.training.stopping import Score
from zoo.training.strategies import Phase, phases
from zoo.training.time_limit import TimeLimit, time_text


def train_run(
    plan: Plan,
    *,
    store: Store,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
    resumption: Resumption | None = None,
) -> RunResult:
    """Carry out a plan and write its run folder; see `finetune_model` for what it raises.

    The process is left as it was: its random generators, its threads, its choice of kernels. resumption: of
    the unfinished run that it goes on with; None for one that begins.
    """
    device = own_device(plan.recipe.device)
    plan = decide_head(decide_strategy(plan, device, report=report), report=report)
    recipe = plan.recipe
    try:
        with (
            meet(device, report) as processes,
            hold_partial(plan.out) if processes.is_first else nullcontext() as partial,
            seeded(recipe.seed, device=device, deterministic=recipe.deterministic),
        ):
            if recipe.shard and processes.world == 1:
                raise UsageError(
                    "--shard divides a network among several processes, and this is one alone",
                    hint="Add --processes N, start it with torchrun, or add --no-shard.",
                )
            if resumption is None and partial:  # another run may have taken the place in the meantime
                refuse_unfinished(plan.out)
                refuse_existing(plan.out)
            report = report if processes.is_first else silent
            session = Session(plan, store, device, report, stop_requested, processes)
            if resumption is not None:  # the order of what is read from a file depends on it
                session = replace(session, held=resumption.facts.held or session.held)
            return _share_result(session, partial, resumption)
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        raise lost_process(error) from error


def _share_result(session: Session, partial: Partial | None, resumption: Resumption | None) -> RunResult:
    """The same, in one process or in several; all of them get the result."""
    processes = session.processes
    if processes.world > 1:
        check_equal_plans(session.plan, processes)
    if partial is None:
        return follow_run(session)
    result = _carry_out(session, partial, resumption)
    if processes.world > 1:
        processes.send(msgspec.json.encode(result))
    return result


def _carry_out(session: Session, partial: Partial, resumption: Resumption | None) -> RunResult:
    """The run of a plan, from its network to its folder."""
    plan, report, processes = session.plan, session.report, session.processes
    found = None if resumption is None else read_newest(partial.folder, plan.out, report=report)
    if processes.world > 1:
        processes.send(None if found is None else pack(found))
        if phases(plan.recipe)[-1].trains == "features":
            report(_describe_head_alone(processes.world))
    if found is not None:
        plan = replace(plan, began=plan.began - found.seconds)
        session = replace(session, plan=plan)
    session, steps, model, data = begin_run(session)
    facts = _all_facts(session, model, data)
    plan = session.plan
    if resumption is not None:
        check_same(resumption, facts, out=plan.out, report=report, earlier=facts_of(plan))
    with partial.disk_errors("the plan of the run"):
        partial.write_facts(facts)
    every = read_interval(plan.request.checkpoint_every)
    checkpoints = Checkpoints(partial.folder, every, plan.began, report, found)
    live = LiveHistory(partial.folder, report)
    live.start(found)
    outcome = train_phases(session, steps, model, data, checkpoints, live)
    model.network.to("cpu").eval()
    if outcome.best is None:
        raise outcome.fault or Interrupted(
            "stopped before the first epoch was finished: there is no best one yet",
            hint=f"Go on: {resume_command(plan.out)}"
            if partial.resumable
            else "The same command begins again" + ("." if model.reader else ": the features are kept."),
        )
    result = save(session, model, data, outcome, partial)
    if outcome.fault is not None:
        kept = f"Epoch {outcome.best_epoch} is in {plan.out}."
        if partial.resumable:
            kept += f" It goes on: {resume_command(plan.out)} (with another option: --force)"
        outcome.fault.hint = f"{outcome.fault.hint or ''} {kept}".strip()
        raise outcome.fault
    if outcome.interrupted:
        raise Interrupted(
            f"stopped in epoch {len(outcome.history) + 1}; epoch {outcome.best_epoch} was best: {plan.out}",
            hint=_how_to_go_on(plan, partial),
        )
    if outcome.out_of_time:
        report(
            Note(
                f"the time is up: epoch {outcome.best_epoch} was the best of {len(outcome.history)}",
                hint=_how_to_go_on(plan, partial),
            )
        )
        return result
    partial.finished = True
    if plan.apart:
        _calibrate(session)
    return result


def _calibrate(session: Session) -> None:
    """Calibrate the run that was saved, with the items that were set apart for it; what goes wrong there is a
    warning, for the run is whole."""
    plan = session.plan
    try:
        record = read_record(plan.out)
        classifier = load_run_classifier(plan.out, record, store=session.store, registry=plan.registry)
        found = calibrate_run(
            plan.out,
            record,
            classifier,
            plan.apart,
            Path(plan.request.data),
            device=str(session.device),
            report=session.report,
        )
    except ZooError as error:
        session.report(Note(f"the run is not calibrated: {error.message}", error.hint, "warning"))
        return
    kept = found.calibration
    what = kept.problem or f"temperature {kept.temperature:.3g}"
    session.report(Note(f"calibrated with {kept.items:,} items: {what}"))


def follow_run(session: Session) -> RunResult:
    """The run in a process that is not the first: it trains its share, and writes nothing.

    Raises Interrupted, or what ended training, where the first process raises it too.
    """
    content = session.processes.receive()
    found = None if content is None else unpack(content)
    session, steps, model, data = begin_run(session)
    every = read_interval(session.plan.request.checkpoint_every)
    outcome = train_phases(session, steps, model, data, Checkpoints(every=every, found=found))
    if outcome.fault is not None:
        raise outcome.fault
    result = None if outcome.interrupted else session.processes.receive()
    if result is None:
        raise Interrupted("stopped with the first process of the run")
    return msgspec.json.decode(result, type=RunResult)


def _describe_limit(seconds: float) -> Note:
    end = datetime.now().astimezone() + timedelta(seconds=seconds)
    return Note(
        f"training ends after {time_text(seconds)}, at {end:%H:%M:%S}, if not before, with the best so far"
    )


def _describe_head_alone(world: int) -> Note:
    return Note(
        f"only the head is trained: {world} processes share the reading of images, and the first one trains",
        hint="More processes do not make that faster; they do with --unfreeze.",
    )


def _describe_compiling(world: int) -> Note:
    if world > 1:
        return Note(f"--compile is for one process: these {world} train without it", level="warning")
    return Note("the network is compiled: the first step, and each of another size, takes a minute or more")


def _how_to_go_on(plan: Plan, partial: Partial) -> str:
    """What to type after an interruption; without a checkpoint the best epoch so far is a beginning."""
    if partial.resumable:
        return f"Go on: {resume_command(plan.out)}"
    return f"Go on from it: zoo finetune {plan.out} {plan.as_typed[1]} --out {next_free(plan.out)}"


def _all_facts(session: Session, model: PreparedModel, data: TrainingData) -> Facts:
    """What the run depends on, now that its network and its items were read."""
    parts = {"train": data.train, "val": data.val}
    features: dict[str, Rows] = {name: part.features for name, part in parts.items() if part is not None}
    varied = None if data.train is None else data.train.varied
    if isinstance(varied, Tensor):
        features["views"] = varied
    else:
        features |= {f"view {number}": rows for number, rows in enumerate(varied or (), 1)}
    return msgspec.structs.replace(
        facts_of(session.plan),
        weights_sha256=model.sha256,
        device=session.device.type,
        features=features_sha256(features) if features else None,
        way=None if data.features is None else f"{data.features.backend}, {data.features.precision}",
        threads=torch.get_num_threads(),
        processes=session.processes.world,
        held=session.held,
    )


def begin_run(session: Session) -> tuple[Session, TrainingSteps, PreparedModel, TrainingData]:
    """The network of a plan with its new head, and what it learns from: everything before the first step. The
    session that is returned has the batch size that was chosen."""
    steps = modality_of(session.plan.entry).load_training()
    model = steps.prepare(session)
    count_stages(model.network, session.recipe.unfreeze)  # refuses a stage that is not there, before features
    session = decide_batch_size(session, model)
    data = steps.read_data(session, model)
    _check_features(session, model, data)
    fit_head(session, model.head, data)
    return session, steps, model, data


def _check_features(session: Session, model: PreparedModel, data: TrainingData) -> None:
    """Raise DatasetError where the network sees no difference between the items that the head alone would
    learn from: it could only answer one thing. Deeper stages may find one; there it is a warning."""
    if data.train is None or len(data.train.labels) < 2:
        return
    features = data.train.features
    if not are_equal(features):
        return
    items = session.plan.dataset.kind.noun
    message = (
        f"the network sees no difference between the {len(features):,} training {items}s: their features "
        "are all equal"
    )
    hint = f"Look at the {items}s: zoo check {session.plan.as_typed[1]}"
    if phases(session.recipe, count_opened(model.network, session.recipe))[-1].trains == "features":
        raise DatasetError(message, hint=hint)
    session.report(Note(message, hint=hint, level="warning"))


def fit_head(session: Session, head: Head, data: TrainingData) -> None:
    """Measure the features that a new head standardises (random ones mean nothing), and the numbers that it
    learns; a trained head keeps its own."""
    recipe, plan = session.recipe, session.plan
    if plan.start:
        return
    if recipe.standardize and data.train and not recipe.from_scratch:
        head.fit_standardize(blocks_of(data.train.features))
    if plan.task.scale is not None:
        head.fit_rescale(session.encode(data.dataset.train))


def train_phases(
    session: Session,
    steps: TrainingSteps,
    model: PreparedModel,
    data: TrainingData,
    checkpoints: Checkpoints | None = None,
    after_epoch: Callable[[PhaseState], None] = keep_nothing,
) -> Outcome:
    """Train every phase of the recipe; a fault that ends training is in the outcome, with the best so far.

    checkpoints: what is kept on the way, and gone on from; None keeps nothing. after_epoch: called before it
    is kept.
    """
    checkpoints = checkpoints or Checkpoints()
    planned = phases(session.recipe, count_opened(model.network, session.recipe))
    for phase in planned[: checkpoints.done]:
        open_stages(session, phase, model)
    limit = TimeLimit(session.plan.time_limit)
    if limit.seconds is not None:
        session.report(_describe_limit(limit.seconds))
    outcome = checkpoints.start(model.network)  # what those phases trained has its place now
    try:
        for number, phase in enumerate(planned):
            if number < checkpoints.finished:
                continue
            open_stages(session, phase, model)
            if phase.trains == "features" and not session.processes.is_first:
                outcome = follow_phase(session.processes, model.network)
                if outcome.interrupted or outcome.out_of_time:
                    break
                continue
            with (
                one_thread() if phase.trains == "features" else nullcontext(),
                lead(session.processes, phase) as show_life,
            ):
                state = begin(session, phase, steps, model, data, outcome.best)
                state = checkpoints.begin_phase(state, number, outcome)
                result = fit(
                    state,
                    report=session.report,
                    stop_requested=session.stop_requested,
                    after_epoch=in_turn(after_epoch, checkpoints.after_epoch, show_life),
                    after_steps=checkpoints.after_steps(),
                    limit=limit,
                )
                outcome.after(result)
                if not outcome.interrupted and not outcome.out_of_time:
                    checkpoints.after_phase(model.network, number, outcome)
                hand_on(session.processes, phase, checkpoints, outcome)
            if outcome.interrupted or outcome.out_of_time:
                break
    except TrainingStopped as fault:
        if fault.result is not None:
            outcome.after(fault.result)
        outcome.fault = fault
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        outcome.fault = lost_process(error)
    finally:
        checkpoints.flush()
    return outcome


def in_turn(*functions: Callable[[PhaseState], None]) -> Callable[[PhaseState], None]:
    """A function that calls all of these."""

    def call(state: PhaseState) -> None:
        for function in functions:
            function(state)

    return call


@contextmanager
def lead(processes: Processes, phase: Phase) -> Iterator[Callable[[PhaseState], None]]:
    """In the first process: a phase on features, which it trains alone while the others wait. Gives what is
    to be called now and then, so that they know it is alive; where it ends too early, they end as well."""
    if processes.world == 1 or phase.trains != "features":
        yield keep_nothing
        return
    last = time.monotonic()

    def show_life(_state: PhaseState) -> None:
        nonlocal last
        last = processes.show_life(last)

    try:
        yield show_life
    except BaseException:
        processes.send(None)
        raise


def hand_on(processes: Processes, phase: Phase, checkpoints: Checkpoints, outcome: Outcome) -> None:
    """Give the others what a phase on features has trained; nothing if it was interrupted, and no bytes if
    the time is up."""
    if processes.world > 1 and phase.trains == "features":
        ended = b"" if outcome.out_of_time else checkpoints.packed()
        processes.send(None if outcome.interrupted else ended)


def follow_phase(processes: Processes, network: nn.Module) -> Outcome:
    """In the other processes: take over what the first one has trained on features."""
    content = processes.receive()
    if content is None:
        return Outcome(interrupted=True)
    if not content:
        return Outcome(out_of_time=True)
    checkpoint = unpack(content)
    network.load_state_dict(checkpoint.before, strict=False)  # strict=False: the rest is frozen
    return checkpoint.outcome


def open_stages(session: Session, phase: Phase, model: PreparedModel) -> None:
    """Let learn what a phase trains besides the head."""
    if phase.trains == "items":
        open_phase(model.network, phase, session.recipe)


def begin(
    session: Session,
    phase: Phase,
    steps: TrainingSteps,
    model: PreparedModel,
    data: TrainingData,
    best: Score | None,
) -> PhaseState:
    """A phase before its first step: the head alone, on features that are all in memory; or the last stages
    together with the head, on the items themselves, deeper ones at smaller rates."""
    dataset, device = data.dataset, session.device
    trained: nn.Module
    train: BatchSource
    val: BatchSource
    if phase.trains == "features":
        assert data.train is not None
        assert data.val is not None
        trained, train, val = model.head, data.train, data.val
        machine = Machine(device, phase.precision)
    else:
        trained = model.network
        train = steps.open_batches(session, data, dataset.train, phase)
        val = steps.open_batches(session, data, dataset.val)
        machine = Machine(device, precision_for(device, phase.precision), session.processes)
        if session.recipe.compile:
            session.report(_describe_compiling(session.processes.world))
    return begin_phase(
        trained,
        train,
        val,
        recipe=session.recipe,
        phase=phase,
        machine=machine,
        task=session.plan.task,
        class_weights=class_weights(session, dataset),
        classes=dataset.classes,
        start=best,
    )


def class_weights(session: Session, dataset: Dataset) -> Tensor | None:
    """What each class weighs in the loss, if they are to be balanced; what each number does, in any case."""
    task = session.plan.task
    weigh = task.scale or (task.balance if session.recipe.balance else None)
    return None if weigh is None else weigh(session.encode(dataset.train), task.width(dataset.classes))


def save(
    session: Session, model: PreparedModel, data: TrainingData, outcome: Outcome, partial: Partial
) -> RunResult:
    """Compare what was frozen with what it was, and write the run folder.

    Raises DiskFull; nothing half-written stays, and the checkpoints do.
    """
    assert outcome.best is not None
    session = replace(session, processes=ALONE)  # the others have ended
    data = _note_replaced(session, data)
    plan, network = session.plan, model.network
    thresholds = _choose_thresholds(session, model, data)
    trained = count_parameters(network).trainable
    corrections = low_rank_state(network)
    remove_low_rank(network)  # what is below is compared with what was published
    after = frozen_fingerprint(network)
    changed = [name for name, digest in after.items() if model.frozen.get(name, digest) != digest]
    if changed:  # never seen; a library that writes into frozen tensors must not pass silently
        names = ", ".join(changed[:3])
        session.report(Note(f"{len(changed)} frozen tensors changed: {names}", level="warning"))
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name not in after or name in model.kept
    } | corrections
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
        trained_parameters=trained,
        seconds=time.perf_counter() - plan.began,
        baseline=data.baseline,
        task=plan.task.name,
        val_items=len(data.dataset.val),
        majority=_guess(session, data.dataset),
        time_limit=plan.time_limit,
        out_of_time=outcome.out_of_time,
        views=session.recipe.views,
        features=data.features,
    )
    needed = sum(tensor.nbytes for tensor in state.values())
    with (
        partial.disk_errors(str(plan.out), needed),
        new_folder(plan.out, partial.make_room) as folder,
    ):
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
            thresholds=thresholds,
        )
        short = {name: digest[:DIGITS] for name, digest in after.items() if name not in state}
        written = write_adapter(state, folder, record.guarded | {"frozen": short})
        write_record(msgspec.structs.replace(record, adapter_sha256=written), folder)
    return result


def _note_replaced(session: Session, data: TrainingData) -> TrainingData:
    """The data of a run whose files hold something else by now than when it was planned: it may have learned
    from either, so both count as seen."""
    watched, dataset = session.plan.watched, data.dataset
    paths = [item.path for item in dataset.train + dataset.val]
    if watched is None or not (replaced := watched.find_replaced(paths)):
        return data
    kept, named = dataset.kind.count(len(replaced)), name_replaced(replaced, dataset.root)
    session.report(
        Note(
            f"{kept} of {len(paths):,} hold something else than when the run began: {named}. It may have "
            "learned from either",
            hint="Train again for a run of what is there now.",
            level="warning",
        )
    )
    return replace(data, dataset=with_replaced(dataset, replaced))


def _guess(session: Session, dataset: Dataset) -> Baseline:
    """What is reached on the validation items without looking at them, from the training targets alone."""
    task = session.plan.task
    name, outputs = task.guess(session.encode(dataset.train), task.width(dataset.classes))
    figures = task.figures(outputs.expand(len(dataset.val), -1), session.encode(dataset.val))
    if task is SINGLE_LABEL:
        name = name.format(one_line(dataset.classes[int(outputs.argmax())]))
    return Baseline(name=name, metrics=figures)


def _choose_thresholds(
    session: Session, model: PreparedModel, data: TrainingData
) -> tuple[float, ...] | None:
    """From which probability an item has a class, where it may have several: chosen on the val items."""
    task = session.plan.task
    if task.thresholds is None:
        return None
    model.network.to(session.device)  # where the items are
    found = measure_val(session, model, data)
    model.network.to("cpu")
    assert found.outputs is not None
    assert found.targets is not None
    return task.thresholds(found.outputs, found.targets)


def measure_val(session: Session, model: PreparedModel, data: TrainingData) -> Measurement:
    """The outputs of the trained network for the validation items, as it is."""
    task, machine, network = session.plan.task, Machine(session.device), model.network
    planned = phases(session.recipe, count_opened(network, session.recipe))
    if data.val is not None and all(phase.trains == "features" for phase in planned):
        return evaluate(model.head, data.val, machine=machine, task=task, keep_outputs=True)
    steps = modality_of(session.plan.entry).load_training()
    batches = steps.open_batches(session, data, data.dataset.val)
    return evaluate(network, batches, machine=machine, task=task, keep_outputs=True)


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
