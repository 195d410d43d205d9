"""Images and texts, a row each: everything that differs between them is in a row, and nobody asks elsewhere.

A third kind of item is a third row: its Kind in zoo/data/kinds, and its modules here. This file imports no
torch; what needs it is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from zoo.catalogue.entry import ImageModel, ModelEntry, WordModel
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.data.texts import Text
from zoo.errors import UsageError
from zoo.events import Report, silent
from zoo.features.engine import TORCH, Engine
from zoo.runs.modalities.gathering import gather_images, gather_texts
from zoo.runs.record import read_record
from zoo.targets import KindName, RunFolder, Target, kind_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from zoo.runs.answers import ItemSource
    from zoo.runs.classifier import Classifier
    from zoo.runs.session import TrainingSteps


class Asking(Protocol):
    """What a modality's module offers to whoever asks a network about items."""

    def read(self, items: list[Any], classifier: Classifier, /, **options: Any) -> ItemSource:
        """The items as the network takes them."""

    def open_network(
        self, network: nn.Module, device: torch.device, report: Report = silent, engine: Engine = TORCH, /
    ) -> Callable[[Any], Tensor]:
        """A function from a batch of a source to the outputs (items, width) on the CPU, in the least time."""


@dataclass(frozen=True)
class Modality:
    """A kind of items and what is done with it.

    entry: the models that take such items; targets: what their names mean. gather: (model's name, Wanted,
    report) -> the items to ask about, before torch is imported; items_of: the same of labelled items.
    batch_size: of items that a network is asked about.
    """

    kind: Kind
    entry: type[ModelEntry]
    targets: tuple[KindName, ...]
    gather: Callable[..., list[Any]]
    items_of: Callable[[Sequence[Item]], list[Any]]
    batch_size: int
    load_asking: Callable[[], Asking]
    load_training: Callable[[], TrainingSteps]

    def choose_column(self, name: str, path_column: str | None, text_column: str | None) -> str | None:
        """The column of the items that was named. Raises UsageError for one that the model does not take."""
        named = {"path": path_column, "text": text_column}
        wanted = named.pop(self.kind.cell)
        for other in named.values():
            if other is not None:
                raise UsageError(
                    f"{name} takes {self.kind.noun}s",
                    hint=f"Name their column: --{self.kind.cell}-column {other}",
                )
        return wanted


def _ask_images() -> Asking:
    from zoo.runs.modalities import image_items

    return image_items


def _ask_texts() -> Asking:
    from zoo.runs.modalities import text_items

    return text_items


def _train_on_images() -> TrainingSteps:
    from zoo.runs.modalities import images

    return images


def _train_on_texts() -> TrainingSteps:
    from zoo.runs.modalities import texts

    return texts


IMAGE_ROW = Modality(
    kind=IMAGES,
    entry=ImageModel,
    targets=("images",),
    gather=gather_images,
    items_of=list,
    batch_size=32,
    load_asking=_ask_images,
    load_training=_train_on_images,
)
TEXT_ROW = Modality(
    kind=TEXTS,
    entry=WordModel,
    targets=("words", "vector file"),
    gather=gather_texts,
    items_of=lambda items: [Text(item.path, item.text or "") for item in items],
    batch_size=256,
    load_asking=_ask_texts,
    load_training=_train_on_texts,
)
MODALITIES = (IMAGE_ROW, TEXT_ROW)


def modality_of(entry: ModelEntry) -> Modality:
    """The row of the items that a model takes."""
    return next(row for row in MODALITIES if isinstance(entry, row.entry))


def modality_of_target(target: Target) -> Modality:
    """The row of the items that a run or a model takes, before any of its files is fetched."""
    if isinstance(target, RunFolder):
        return modality_of(read_record(target.path).entry)
    return next(row for row in MODALITIES if kind_of(target) in row.targets)
