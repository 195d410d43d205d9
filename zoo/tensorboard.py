"""Epochs for TensorBoard: a report that writes every epoch's figures, and hands every event on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.events import EpochEnd, Event, Note, Report, silent


def tensorboard_report(folder: str | Path, report: Report = silent) -> Report:
    """What to give to `finetune_model` or `resume` as `report`, to follow a run in TensorBoard.

    Each phase is a run of its own in the folder (`head`, `tune`, …), so that TensorBoard draws them over each
    other: loss/train, loss/val, a scalar val/NAME for every metric, rate, seconds, items_per_second,
    peak_memory (bytes); a step is an epoch of the phase. A run that goes on writes its epochs in the place of
    those that are trained again. Where the folder cannot be written there is a warning, and the run goes on.

    Args:
        folder: Where the files go; it is made, and may hold other runs.
        report: Called with every event as well.

    Raises:
        UsageError: TensorBoard is not installed, or the folder is a file.
    """
    folder = Path(folder)
    if find_spec("tensorboard") is None:
        raise UsageError(
            "TensorBoard is not installed", hint="Install it: pip install 'transfer-zoo[tensorboard]'"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="Name a folder for TensorBoard's files.")
    return _TensorBoard(folder, report)


class _TensorBoard:
    """A writer per phase, opened with its first epoch."""

    def __init__(self, folder: Path, report: Report) -> None:
        self._folder, self._report = folder, report
        self._writers: dict[str, Any] = {}
        self._failed = False

    def __call__(self, event: Event) -> None:
        self._report(event)
        if isinstance(event, EpochEnd) and not self._failed:
            try:
                self._write(event)
            except OSError as error:
                self._failed = True
                why = f"{self._folder} cannot be written: {error.strerror or error}"
                self._report(Note(f"{why}; training goes on without TensorBoard", level="warning"))

    def _write(self, epoch: EpochEnd) -> None:
        writer = self._writers.get(epoch.phase)
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what an interrupted run wrote of these epochs counts no more
            writer = SummaryWriter(str(self._folder / epoch.phase), purge_step=epoch.epoch)
            self._writers[epoch.phase] = writer
        figures = {
            "loss/train": epoch.train_loss,
            "loss/val": epoch.val_loss,
            **{f"val/{name}": value for name, value in epoch.metrics.items()},
            "rate": epoch.lr,
            "seconds": epoch.seconds,
            "items_per_second": epoch.items_per_second,
            "peak_memory": epoch.peak_memory,
        }
        for name, value in figures.items():
            if value is not None:
                writer.add_scalar(name, value, epoch.epoch)
        writer.flush()  # whoever looks on sees the epoch now
