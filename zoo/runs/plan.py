"""The plan of a fine-tuning run: everything that is decided, or refused, before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.catalogue.entry import ModelEntry
from zoo.data.dataset import Dataset
from zoo.runs.record import RunRecord
from zoo.training.recipe import Resolved
from zoo.training.tasks import SINGLE_LABEL, Task

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.local import LocalModel


@dataclass(frozen=True)
class Plan:
    """A fine-tuning run that passed every check that needs no torch.

    start: the run that this one goes on from. local: a file of vectors that was given by its path. member: of
    a .zip of vectors. as_typed: the model and the data as the user named them. task: how targets are learned.
    registry: where the weights of an earlier run may be found again; None for the default one.
    skips_any: unreadable files are passed over however many there are, because somebody asked for it.
    """

    entry: ModelEntry
    dataset: Dataset
    recipe: Resolved
    out: Path
    began: float
    start: Path | None = None
    start_record: RunRecord | None = None
    data_license: str | None = None
    local: LocalModel | None = None
    member: str | None = None
    as_typed: tuple[str, str] = ("", "")
    task: Task = SINGLE_LABEL
    skips_any: bool = False
    registry: Registry | None = None
