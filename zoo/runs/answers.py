"""What a network is asked about, and what it answers: one Prediction for every item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note, Report
from zoo.features.engine import TORCH, Engine
from zoo.notebook import facts_table

if TYPE_CHECKING:
    import torch
    from torch import nn

    from zoo.features.extraction import FeatureTable
    from zoo.features.network import Precision
    from zoo.training.batches import Inputs, Rounds
    from zoo.training.processes import Processes


@dataclass(frozen=True)
class Guess:
    """One class and its probability in 0..1. id: its WordNet id, of a model with ImageNet's classes."""

    label: str
    probability: float
    id: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The most probable class of an item, or why there is none.

    path: of the file; item:3 for the third of a list that is not a file. top: the best classes in order,
    beginning with that one. error: why the item cannot be read; label and probability are then None, and top
    is empty. labels: of a run whose items may have several classes, those that this one has; label is then
    the most probable class, whether the item has it or not. values: of a run that learned numbers, by name;
    there are then no classes.

    What was asked for besides, else None. unknown: whether the network abstains; label is then None, and top
    and probability are what it would have answered. prediction_set: the classes that hold the true one as
    often as was asked, the most probable first. intervals: the same for each number, from and to. distance:
    to the nearest training item, 0..2; novel: whether it is farther than those of items that the run knows.
    """

    path: Path
    label: str | None
    probability: float | None
    top: tuple[Guess, ...]
    error: str | None
    labels: tuple[str, ...] | None = field(default=None, kw_only=True)
    values: Mapping[str, float] | None = field(default=None, kw_only=True)
    unknown: bool | None = field(default=None, kw_only=True)
    prediction_set: tuple[str, ...] | None = field(default=None, kw_only=True)
    intervals: Mapping[str, tuple[float, float]] | None = field(default=None, kw_only=True)
    distance: float | None = field(default=None, kw_only=True)
    novel: bool | None = field(default=None, kw_only=True)

    def _repr_html_(self) -> str:
        """The answer as a notebook shows it, with a small picture where the item is an image file."""
        from zoo.data.pixels.thumbnails import thumbnail

        answer = "unknown" if self.unknown else self.label
        chance = None if self.probability is None else f"{self.probability:.3f}"
        numbers = {name: f"{value:.4g}" for name, value in (self.values or {}).items()}
        found = {"path": self.path, "label": answer, "probability": chance, **numbers}
        if self.labels is not None:
            found = {"path": self.path, "labels": ", ".join(self.labels) or "none"}
        if self.novel is not None:
            found["novel"] = "yes" if self.novel else "no"
        if self.prediction_set is not None:
            found["set"] = ", ".join(self.prediction_set)
        table = facts_table({**found, "text": getattr(self, "text", None), "error": self.error})
        small = thumbnail(self.path) if self.error is None and self.path.is_file() else None
        return table if small is None else f'<img alt="" src="data:image/jpeg;base64,{small}">{table}'


@dataclass(frozen=True)
class TextPrediction(Prediction):
    """The most probable class of a text. path: where it is from. words, known: how many it has, and how many
    of them the run knows or reads as another; without any, the label means nothing."""

    text: str
    words: int
    known: int


class ItemSource(Protocol):
    """Items that a network is asked about, in their order.

    places: what each is called. noun: what they are, in the singular. columns: what more there is to say of
    each, as in Embeddings. failures: by position, why an item
    could not be read; it grows while batches are read, and those items are in no batch. traits: how many had
    which. processes: which read them, each its share. rounds: of several, which batches are whose.
    """

    @property
    def noun(self) -> str: ...
    @property
    def places(self) -> Sequence[Path]: ...
    @property
    def columns(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def failures(self) -> MutableMapping[int, str]: ...
    @property
    def traits(self) -> Counter[str]: ...
    @property
    def processes(self) -> Processes: ...
    @property
    def rounds(self) -> Rounds: ...

    def batches(self, device: torch.device | None = None, /) -> Iterator[tuple[list[int], Inputs]]:
        """(positions, what the network takes), batch by batch. device: of the network. Of several
        processes those of this one, and an empty one where nothing of a batch can be read. Raises
        UnreadableFile where it is to stop."""

    def prediction(self, position: int, top: tuple[Guess, ...], error: str | None = None) -> Prediction:
        """The answer to one item."""

    def features(
        self,
        network: nn.Module,
        *,
        identity: str,
        store_home: Path | None,
        device: torch.device,
        precision: Precision = "fp32",
        engine: Engine = TORCH,
    ) -> FeatureTable:
        """What the network's head sees of every item that can be read; the network is left as it is.

        identity: what features of this network are kept under. engine: what computes those of images.
        """

    def notes(self) -> Iterator[Note]:
        """What the user should know once all have been asked about: a warning for answers without meaning."""


def refuse_unreadable(source: ItemSource, report: Report) -> None:
    """Name every item that could not be read. Raises DatasetError if there is no other."""
    for position, reason in source.failures.items():
        report(Note(f"skipped: {one_line(source.places[position])} {reason}", level="warning"))
    if source.failures and len(source.failures) == len(source.places):
        raise DatasetError(
            f"none of the {len(source.places):,} files can be read",
            hint="The reasons are above, a line for each.",
        )
    for note in source.notes():
        report(note)
