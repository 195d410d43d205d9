"""RUN.partial: what a run needs to go on, beside the folder that it will be; one process at a time.

    plan.json               the recipe, the model, the data: what must be the same when the run goes on
    NUMBER-SHA256.safetensors  the last two checkpoints, see zoo/runs/making/checkpoints
    history.jsonl           a line per epoch, see zoo/runs/making/live_history
    own                     sha256 of each run.json that this run wrote: the best so far of an interruption
    earlier                 what an interruption wrote, while the finished run takes its place
    lock                    of the process that trains

It is there while a run is trained, and after an interruption; it is gone when the run is finished, and where
there is no checkpoint in it. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from zoo.errors import DiskFull, IntegrityError, LockTimeout, RunExists, StorageError, UsageError
from zoo.runs.folder import (
    CHECKPOINT,
    find_checkpoints,
    next_free,
    partial_of,
    refuse_existing,
    refuse_unfinished,
    resume_command,
)
from zoo.runs.plan import Plan, Request
from zoo.runs.record import model_facts, read_record
from zoo.runs.versions import library_versions
from zoo.store.disk.blobs import write_whole
from zoo.store.disk.locks import describe_holder, hold
from zoo.store.disk.space import FULL, free_bytes, size_text
from zoo.targets import HISTORY, PARTIAL, PLAN, RECORD
from zoo.training.recipe import to_json

OWN, LOCK, EARLIER = "own", "lock", "earlier"
SCHEMA = 1


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """plan.json: what a run depends on, as plain values. None: not known yet.

    model: the registry entry. weights_sha256: of the published file; None for random weights too. start: the
    sha256 of what an earlier run had trained. classes: in order. data: fingerprint and split. recipe: as in
    run.json. features: sha256 of what the frozen network says of the items; way: how it was computed; held:
    the most bytes of them in memory.
    """

    schema: int = SCHEMA
    request: Request
    kind: str
    task: str
    model: Mapping[str, Any]
    classes: tuple[str, ...]
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    start: str | None = None
    weights_sha256: str | None = None
    device: str | None = None
    features: str | None = None
    way: str | None = None
    threads: int | None = None
    processes: int | None = None
    held: int | None = None


@dataclass
class Partial:
    """RUN.partial, held by this process. finished: the run is written, and this is not needed any more."""

    out: Path
    folder: Path
    finished: bool = False

    @property
    def resumable(self) -> bool:
        """Whether there is something to go on from."""
        return bool(find_checkpoints(self.folder))

    def write_facts(self, facts: Facts) -> None:
        """Keep what the run depends on. Raises OSError."""
        write_whole(self.folder / PLAN, msgspec.json.format(msgspec.json.encode(facts), indent=1))

    def discard(self) -> None:
        """Delete what is ours of the folder, and the folder if nothing else is in it.

        The checkpoints go first, so that what is left at any moment is either enough to go on from, or known
        to be of no use.
        """
        self.remove_torn()
        for path in find_checkpoints(self.folder):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / EARLIER, ignore_errors=True)
        for name in (PLAN, OWN, HISTORY, LOCK, f"{LOCK}.owner"):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def remove_torn(self) -> None:
        """Delete what processes that were killed were writing."""
        for pattern in (f"{PLAN}.*.tmp", f"{OWN}.*.tmp", f"[0-9]*-*{CHECKPOINT}.*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def make_room(self, draft: Path) -> None:
        """Move what an interruption wrote of this run out of the way of the draft that takes its name.

        A process that is killed at any moment leaves either of them, and both are known as this run's own.
        Raises OSError.
        """
        known = [*_own_records(self.folder), _record_sha256(draft)]
        write_whole(self.folder / OWN, "\n".join(known).encode())
        if is_own(self.out):
            shutil.rmtree(self.folder / EARLIER, ignore_errors=True)
            self.out.rename(self.folder / EARLIER)

    @contextmanager
    def disk_errors(self, what: str, needed: int | None = None) -> Iterator[None]:
        """Turn an error of the disk while `what` is written into a StorageError. needed: bytes, if known."""
        try:
            yield
        except OSError as error:
            folder = self.folder.parent
            if error.errno not in FULL:
                raise StorageError(
                    f"{what} cannot be written: {error.strerror or error} ({folder})",
                    hint=self._once("Mend it"),
                ) from error
            need = "more space" if needed is None else size_text(needed)
            raise DiskFull(
                f"{what} needs {need}, {size_text(free_bytes(folder))} free in {folder}",
                hint=self._once("Free some space"),
            ) from error

    def _once(self, mended: str) -> str:
        """What to type once a fault is mended."""
        return (
            f"{mended}, then: {resume_command(self.out)}" if self.resumable else f"{mended}, and try again."
        )


@contextmanager
def hold_partial(out: Path) -> Iterator[Partial]:
    """RUN.partial, for this process alone. Afterwards it is gone if the run is finished, or if there is
    nothing to go on from.

    Raises RunExists while another process trains a run of this name.
    """
    partial = Partial(out, partial_of(out))
    made = [folder for folder in partial.folder.parents if not folder.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            stack.enter_context(hold(partial.folder / LOCK, str(out), patience=0.0))
        except LockTimeout as error:
            raise RunExists(
                f"{out} is being trained by {describe_holder(partial.folder / LOCK)}",
                hint=f"Try: --out {next_free(out)}",
            ) from error
        partial.remove_torn()
        try:
            yield partial
        finally:
            if partial.finished or not partial.resumable:
                partial.discard()


def refuse_taken(out: Path) -> None:
    """Raise RunExists if a run of this name is there, is being trained, or was interrupted."""
    refuse_trained(out)
    refuse_unfinished(out)
    refuse_existing(out)


def refuse_trained(out: Path) -> None:
    """Raise RunExists while another process trains a run of this name; what a dead one left of a run that was
    never begun, or is finished, goes."""
    if partial_of(out).is_dir():
        with hold_partial(out):
            pass


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def is_own(out: Path) -> bool:
    """Whether what is at `out` was written by the unfinished run of this name, and not by another."""
    with suppress(OSError):
        return _record_sha256(out) in _own_records(partial_of(out))
    return False


def _own_records(folder: Path) -> list[str]:
    """The sha256 of each run.json that the unfinished run wrote."""
    with suppress(OSError):
        return (folder / OWN).read_text().split()
    return []


def _record_sha256(folder: Path) -> str:
    return hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()


def facts_of(plan: Plan) -> Facts:
    """What a run depends on, as far as its plan knows."""
    dataset = plan.dataset
    return Facts(
        request=plan.request,
        kind=dataset.kind.noun,
        task=plan.task.name,
        model=model_facts(plan.entry),
        classes=dataset.classes,
        data={"fingerprint": dataset.fingerprint, **dataset.split.facts()},
        recipe=to_json(plan.recipe, dataset.kind),
        versions=library_versions(),
        start=None if plan.start_record is None else plan.start_record.adapter_sha256,
    )


def find_unfinished(run: Path) -> tuple[Path, Facts]:
    """The folder that an unfinished run will have, and what it depends on. run: that folder, or RUN.partial.

    A file in either stands for the folder. Raises UsageError if the run is finished or was not begun, or if
    what is at its place is another run.
    """
    run = run.parent if run.is_file() else run
    out = run.with_name(run.name.removesuffix(PARTIAL)) if run.name.endswith(PARTIAL) else run
    if not find_checkpoints(partial_of(out)):
        refuse_trained(out)
        raise _nothing_to_resume(out)
    if os.path.lexists(out) and not is_own(out):
        raise RunExists(
            f"{out} is not what {partial_of(out)} belongs to, and a run is never overwritten",
            hint=f"Move it away, then: {resume_command(out)}",
        )
    return out, read_facts(partial_of(out))


def _nothing_to_resume(out: Path) -> UsageError:
    """The error for a run that has no checkpoint."""
    if (out / RECORD).is_file():
        result = read_record(out).result
        return UsageError(
            f"{out} is finished: {result.epochs} epochs, epoch {result.best_epoch} was best",
            hint=f"Train it further: zoo finetune {shlex.quote(str(out))} DATA --out {next_free(out)}",
        )
    return UsageError(
        f"nothing to go on from: there is no checkpoint in {partial_of(out)}",
        hint=f"Begin: zoo finetune MODEL DATA --out {out}",
    )


def read_facts(folder: Path) -> Facts:
    """What the run in a folder RUN.partial depends on. Raises IntegrityError if that cannot be read."""
    path = folder / PLAN
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=Facts)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(
            f"{path} cannot be read: {error}",
            hint=f"Begin again, with another --out, or delete {folder}.",
        ) from error
    if facts.schema > SCHEMA:
        raise IntegrityError(
            f"{path}: written by a later zoo (schema {facts.schema}, this one reads {SCHEMA})",
            hint="Upgrade: pip install -U transfer-zoo",
        )
    return facts
