"""Checkpoints of a run: written after an epoch or a step, read when it goes on. No pickle.

A checkpoint is one safetensors file, NUMBER-SHA256.safetensors, named by the hash of its bytes. It is written
under another name, flushed to the disk and renamed; so whoever reads it has the whole of it, or knows that
it is damaged. `values` is JSON as bytes: the header of safetensors holds no more than 100 MB.

    values             which phase, its history, early stopping, what the run found so far
    before/NAME        what finished phases trained, by its name in the network
    phase/PART/NAME    the phase that trains, as `state_to_save` has it
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from adapters import frozen_fingerprint
from zoo.errors import IntegrityError
from zoo.events import EpochEnd, Note, Report, silent
from zoo.features.rows import Rows, blocks_of
from zoo.runs.folder import CHECKPOINT, find_checkpoints, resume_command
from zoo.runs.plan import Interval
from zoo.runs.session import Outcome
from zoo.store.disk.blobs import flush, write_whole
from zoo.store.disk.space import FULL, free_bytes, size_text
from zoo.training.loop import AfterSteps
from zoo.training.phase_state import PhaseState, SavedPhase, load_phase, state_to_save, trainable_state
from zoo.training.stopping import Score

SECONDS = 5.0
"""Between two checkpoints, where nobody asks for one every so many epochs. Writing one of a head takes about
10 ms, most of it waiting for the disk; an epoch on cached features takes less."""
_KEPT = 2
_COPY_SHARE = 50
"""As many times as long as a copy in memory takes must have passed since the last one. Measured on epochs of
10 ms, checkpoints and copies take 3 % of the training time."""


class Checkpoint(NamedTuple):
    """Where a run is. finished: how many phases are. saved: of the one that trains; None where it has not
    begun. before: what finished phases trained. outcome: of those phases. seconds: that the run took."""

    finished: int
    saved: SavedPhase | None
    before: dict[str, Tensor]
    outcome: Outcome
    seconds: float

    @property
    def epochs(self) -> int:
        """How many epochs are finished, over all phases."""
        own = 0 if self.saved is None else len(self.saved.values["history"])
        return len(self.outcome.history) + own

    @property
    def place(self) -> str:
        """Where the run goes on: "after epoch 3", "after step 40 of epoch 4"."""
        epoch = None if self.saved is None else self.saved.values.get("epoch")
        return (
            f"after epoch {self.epochs}"
            if epoch is None
            else f"after step {epoch['steps']} of epoch {self.epochs + 1}"
        )


@dataclass
class Checkpoints:
    """What a run keeps while it trains, and goes on from.

    folder: where; None keeps nothing, in a process that is not the first one. every: epochs or steps between
    two; neither for SECONDS. began: the moment from which the run's seconds count, of time.perf_counter.
    found: what the run goes on from. held: the last epoch that was finished and not written, in memory, for
    an interruption.
    """

    folder: Path | None = None
    every: Interval = field(default_factory=Interval)
    began: float = 0.0
    report: Report = silent
    found: Checkpoint | None = None
    before: dict[str, Tensor] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    finished: int = 0
    held: SavedPhase | None = None
    written: float = field(default_factory=time.perf_counter)
    copied: float = 0.0
    copy_cost: float = 0.0
    warned: bool = False

    @property
    def done(self) -> int:
        """How many phases were finished in what the run goes on from."""
        return 0 if self.found is None else self.found.finished

    def start(self, network: nn.Module) -> Outcome:
        """What the run found so far; the network has what finished phases trained."""
        if self.found is None:
            return Outcome()
        self.before, self.finished = self.found.before, self.found.finished
        network.load_state_dict(self.before, strict=False)  # strict=False: the rest is frozen, or comes later
        self.report(Note(f"going on {self.found.place}"))
        return _copy_of(self.found.outcome)

    def begin_phase(self, state: PhaseState, number: int, outcome: Outcome) -> PhaseState:
        """A phase that has just begun, in the place where it was interrupted. outcome: of those before it."""
        self.finished, self.outcome, self.held = number, _copy_of(outcome), None
        self.copied = self.copy_cost = 0.0  # of what another phase trains it says nothing
        if self.found is not None and self.found.saved is not None and self.found.finished == number:
            return load_phase(state, self.found.saved)
        return state

    def after_epoch(self, state: PhaseState) -> None:
        """Write the state, if it is time to; else keep a copy in memory, as far as that costs little."""
        began = time.perf_counter()
        epochs, steps = self.every
        due = state.epoch % epochs == 0 if epochs else steps is None and began - self.written >= SECONDS
        if state.home is not None:
            self._write_whole(state, due)
        elif self.folder is None:
            return
        elif due:
            self.write(state_to_save(state))
        elif began - self.copied >= _COPY_SHARE * self.copy_cost:
            self.held = state_to_save(state)
            self.copied = time.perf_counter()
            self.copy_cost = self.copied - began

    def _write_whole(self, state: PhaseState, due: bool) -> None:
        """The same for a model in parts: every process has its own, and the first one's clock decides."""
        own = float(due and self.folder is not None)
        if not state.machine.processes.sum(own)[0]:
            return
        saved = state_to_save(state)
        if self.folder is not None:
            self.write(saved)

    def after_steps(self) -> AfterSteps:
        """Write the state in the middle of an epoch, if steps were asked for, and where training stops."""

        def call(state: PhaseState) -> None:
            saved = state_to_save(state)  # in every process: each knows its own share
            if self.folder is not None:
                self.write(saved)

        return AfterSteps(call, self.every.steps)

    def after_phase(self, network: nn.Module, number: int, outcome: Outcome) -> None:
        """Write that a phase is finished; the network has its best weights."""
        if self.folder is None:
            return
        self.before = trainable_state(network, frozen_fingerprint(network))
        self.finished, self.outcome = number + 1, _copy_of(outcome)
        self.write(None)

    def packed(self) -> bytes:
        """Where the run is after a phase, as bytes."""
        return pack(Checkpoint(self.finished, None, self.before, self.outcome, 0.0))

    def flush(self) -> None:
        """Write what was only kept in memory: training ends here."""
        if self.held is not None:
            self.write(self.held)

    def write(self, saved: SavedPhase | None) -> None:
        """Write a checkpoint. On a full disk training goes on, with one warning, and the last one stays."""
        assert self.folder is not None
        seconds = time.perf_counter() - self.began
        content = pack(Checkpoint(self.finished, saved, self.before, self.outcome, seconds))
        self.held = None
        try:
            write_checkpoint(self.folder, content)
        except OSError as error:
            self._warn(error, len(content))
        self.written = time.perf_counter()

    def _warn(self, error: OSError, needed: int) -> None:
        """Report, once, that checkpoints cannot be written."""
        if self.warned:
            return
        self.warned = True
        folder = self.folder
        assert folder is not None
        why = error.strerror or str(error)
        if error.errno in FULL:
            why = f"it needs {size_text(needed)}, and {size_text(free_bytes(folder))} are free"
        kept = "the one before stays" if find_checkpoints(folder) else "there is none yet"
        self.report(
            Note(
                f"no checkpoint could be written in {folder}: {why}; training goes on, and {kept}",
                hint="Free some space: the next one is tried again." if error.errno in FULL else None,
                level="warning",
            )
        )


def _copy_of(outcome: Outcome) -> Outcome:
    return Outcome([*outcome.history], outcome.best_epoch, outcome.best, outcome.stopped_early)


def pack(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as the bytes of a safetensors file."""
    from safetensors.torch import save

    outcome, saved = checkpoint.outcome, checkpoint.saved
    values = {
        "schema": 1,
        "finished": checkpoint.finished,
        "phase": None if saved is None else saved.values,
        "history": outcome.history,
        "best_epoch": outcome.best_epoch,
        "best": outcome.best,
        "stopped_early": outcome.stopped_early,
        "seconds": checkpoint.seconds,
    }
    text = json.dumps(msgspec.to_builtins(values))  # msgspec's own JSON has no NaN, which a metric may be
    tensors = {"values": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}
    tensors |= {f"before/{name}": tensor for name, tensor in checkpoint.before.items()}
    if saved is not None:
        tensors |= {f"phase/{name}": tensor for name, tensor in saved.tensors.items()}
    content: bytes = save(tensors)
    return content


def unpack(content: bytes) -> Checkpoint:
    """The checkpoint that `pack` made bytes of."""
    from safetensors.torch import load

    tensors = load(content)
    values: dict[str, Any] = json.loads(tensors.pop("values").numpy().tobytes())
    parts: dict[str, dict[str, Tensor]] = {"before": {}, "phase": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    outcome = Outcome(
        msgspec.convert(values["history"], list[EpochEnd]),
        values["best_epoch"],
        msgspec.convert(values["best"], Score | None),
        values["stopped_early"],
    )
    saved = None if values["phase"] is None else SavedPhase(parts["phase"], values["phase"])
    return Checkpoint(values["finished"], saved, parts["before"], outcome, values["seconds"])


def write_checkpoint(folder: Path, content: bytes) -> Path:
    """Write a checkpoint, the newest; those before the last two go. Raises OSError; nothing is lost then."""
    earlier = find_checkpoints(folder)
    number = 1 + (int(earlier[0].name.partition("-")[0]) if earlier else 0)
    path = folder / f"{number:08d}-{hashlib.sha256(content).hexdigest()}{CHECKPOINT}"
    write_whole(path, content)
    flush(folder)
    for old in earlier[_KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return path


def read_newest(folder: Path, out: Path, *, report: Report = silent) -> Checkpoint:
    """The newest checkpoint whose bytes are those that were written; a warning where it is not the last one.

    Raises IntegrityError if all are damaged.
    """
    damaged = []
    for path in find_checkpoints(folder):
        content = _read_verified(path)
        if content is None:
            damaged.append(path)
            continue
        checkpoint = unpack(content)
        if damaged:
            report(
                Note(
                    f"{_names(damaged)} is damaged: going on from the checkpoint before, {checkpoint.place}",
                    level="warning",
                )
            )
        return checkpoint
    raise IntegrityError(
        f"{resume_command(out)}: every checkpoint is damaged ({_names(damaged)} in {folder})",
        hint=f"Restore one from a copy; or delete {folder} and train again.",
    )


def _read_verified(path: Path) -> bytes | None:
    """The bytes of a checkpoint; None unless they are those of its name."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    _, _, digest = path.name.removesuffix(CHECKPOINT).partition("-")
    return content if hashlib.sha256(content).hexdigest() == digest else None


def _names(paths: Sequence[Path]) -> str:
    """Files, briefly: their whole names are hashes."""
    return ", ".join(f"{path.name[:17]}…{CHECKPOINT}" for path in paths)


def features_sha256(parts: Mapping[str, Rows]) -> str:
    """The sha256 of features, by name: another one shows that an item, or what computes, has changed."""
    digest = hashlib.sha256()
    for name, rows in parts.items():
        digest.update(f"{name} {tuple(rows.shape)} ".encode())
        for block in blocks_of(rows):
            digest.update(block.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
