"""RUN.partial/history.jsonl: a line per epoch, written as soon as the epoch is over. `tail -f` follows it.

It has what the history.jsonl of the finished run will have. A run that goes on from a checkpoint trains the
epochs after it again: their lines go, and come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from zoo.events import EpochEnd, Note, Report, silent
from zoo.runs.making.checkpoints import Checkpoint
from zoo.store.disk.space import FULL
from zoo.targets import HISTORY
from zoo.training.phase_state import PhaseState


@dataclass
class LiveHistory:
    """The file, in a folder; without one nothing is written. Call it with the phase after every epoch.

    failed: it could not be written, which was reported; the run's own history does not depend on it.
    """

    folder: Path | None = None
    report: Report = silent
    failed: bool = field(default=False, init=False)

    def start(self, found: Checkpoint | None) -> None:
        """Leave the lines of the epochs that a run goes on after, and no others."""
        if self.folder is None:
            return
        known = lines_of(_epochs(found))
        try:
            path = self.folder / HISTORY
            with path.open("r+b" if path.exists() else "w+b") as file:
                if file.read(len(known)) != known:
                    file.seek(0)
                    file.write(known)
                file.truncate(len(known))  # in place: whoever follows the file keeps it
        except OSError as error:
            self._warn(error)

    def __call__(self, state: PhaseState) -> None:
        """Add the last epoch."""
        if self.folder is None or self.failed:
            return
        try:
            with (self.folder / HISTORY).open("ab", buffering=0) as file:
                file.write(lines_of(state.history[-1:]))
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        """Report, once, that the file cannot be written; it ends there, so that no line is missing in it."""
        self.failed = True
        assert self.folder is not None
        path = self.folder / HISTORY
        full = error.errno in FULL
        self.report(
            Note(
                f"{path} cannot be written: {'the disk is full' if full else error.strerror or error}; "
                "training goes on",
                hint="The finished run has its history all the same.",
                level="warning",
            )
        )


def _epochs(found: Checkpoint | None) -> list[EpochEnd]:
    """Every epoch that a checkpoint has, of finished phases and of the one that trains."""
    if found is None:
        return []
    own = [] if found.saved is None else found.saved.values["history"]
    return [*found.outcome.history, *msgspec.convert(own, list[EpochEnd])]


def lines_of(history: Sequence[EpochEnd]) -> bytes:
    """One line of JSON per epoch."""
    return msgspec.json.Encoder().encode_lines(list(history))
