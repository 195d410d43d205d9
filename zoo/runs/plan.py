"""The plan of a fine-tuning run: everything that is decided, or refused, before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zoo.catalogue.entry import ModelEntry
from zoo.data.dataset import Dataset, Item
from zoo.errors import UsageError
from zoo.runs.record import RunRecord
from zoo.targets import KindName
from zoo.training.recipe import Resolved
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Task

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.data.replaced import Watched
    from zoo.features.vectors import FeatureFile
    from zoo.store.local import LocalModel


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for, besides the recipe: enough to plan the same run again.

    name: of the model; of a run or a file of vectors its whole path. kind: of target, see zoo/targets. data:
    the whole path. reading: how the data are read: columns, level of the classes. skips_any: see Plan.
    checkpoint_every: see `read_interval`.
    """

    name: str
    kind: KindName
    data: str
    reading: Mapping[str, Any] = {}
    member: str | None = None
    data_license: str | None = None
    skips_any: bool = False
    checkpoint_every: int | str | None = None


class Interval(NamedTuple):
    """How often a checkpoint is written: every so many epochs, or steps. Neither: one in a few seconds."""

    epochs: int | None = None
    steps: int | None = None


def read_interval(every: int | str | None) -> Interval:
    """What was asked for: 10 or "10 epochs", "200 steps" or "200steps".

    Raises UsageError for anything else.

    >>> read_interval(10), read_interval("200steps")
    (Interval(epochs=10, steps=None), Interval(epochs=None, steps=200))
    """
    if every is None:
        return Interval()
    found = re.fullmatch(r"([0-9]{1,9}) ?(epochs?|steps?)?", "" if isinstance(every, bool) else str(every))
    if found is None or int(found[1]) < 1:
        raise UsageError(
            f"checkpoint_every is {every!r}: a whole number of epochs from 1 on, or of steps, as 200steps",
            hint="Leave it away: a checkpoint is written after an epoch, every few seconds.",
        )
    number = int(found[1])
    return Interval(steps=number) if (found[2] or "").startswith("step") else Interval(epochs=number)


NOBODY = Request(name="", kind="images", data="")
"""The request of a plan that was made by hand."""


@dataclass(frozen=True)
class Plan:
    """A fine-tuning run that passed every check that needs no torch.

    start: the run that this one goes on from. local: a file of vectors that was given by its path. member: of
    a .zip of vectors. as_typed: the model and the data as the user named them. task: how targets are learned.
    registry: where the weights of an earlier run may be found again; None for the default one.
    skips_any: unreadable files are passed over however many there are, because somebody asked for it.
    request: what the plan was made of. time_limit: seconds that training may take;
    None for as long as it takes. apart: items that the finished run is calibrated with.
    features: what a file has of the items, in place of the items. unusual: the files whose first bytes are
    to be looked at; None for all. watched: the files as they were when the run was planned.
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
    request: Request = NOBODY
    time_limit: float | None = None
    apart: tuple[Item, ...] = ()
    features: FeatureFile | None = None
    unusual: frozenset[Path] | None = None
    watched: Watched | None = None
