"""Which class a file belongs to, and how sure the network is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import DatasetError, UsageError
from zoo.events import Note, Report, silent

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.batches import BadFile, OnBad
    from zoo.runs.classifier import Classifier


@dataclass(frozen=True)
class Guess:
    """One class and its probability in 0..1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable class of a file. top: the best classes in order, beginning with that one."""

    path: Path
    label: str
    probability: float
    top: tuple[Guess, ...]


def predict_files(
    classifier: Classifier,
    paths: Sequence[Path],
    *,
    top: int = 5,
    batch_size: int = 32,
    device: str = "auto",
    on_bad: OnBad = "skip",
    report: Report = silent,
) -> list[Prediction]:
    """One Prediction per readable file, in the order given; folders stand for the images in them.

    An unreadable file is named in a Note and left out. Raises DatasetError if none can be read, or on the
    first unreadable one with on_bad="stop".
    """
    import torch

    from zoo.data.scanning import list_images

    if not classifier.classes:
        raise UsageError(
            f"{classifier.name} gives features and has no classes",
            hint=f"Train it on your own: zoo finetune {classifier.name} DATA --out run",
        )
    files = list_images([Path(path) for path in paths])
    bad: list[BadFile] = []
    predictions = []
    for rows, logits in iterate_logits(
        classifier, files, bad, batch_size=batch_size, device=device, on_bad=on_bad, report=report
    ):
        values, columns = torch.softmax(logits, 1).topk(min(top, logits.shape[1]))
        for row, value, column in zip(rows, values.tolist(), columns.tolist(), strict=True):
            guesses = tuple(Guess(classifier.classes[c], v) for v, c in zip(value, column, strict=True))
            predictions.append(Prediction(files[row], guesses[0].label, guesses[0].probability, guesses))
    tell_bad(bad, len(files), report)
    return predictions


def iterate_logits(
    classifier: Classifier,
    files: Sequence[Path],
    bad: list[BadFile],
    *,
    batch_size: int,
    device: str,
    on_bad: OnBad,
    report: Report,
) -> Iterator[tuple[list[int], Tensor]]:
    """(positions in `files`, logits (positions, classes) on the CPU), batch by batch.

    Unreadable files are added to `bad`.
    """
    from functools import partial

    import torch

    from zoo.data.batches import load_batches
    from zoo.data.preprocessing import preprocess
    from zoo.training.device import pick_device

    place = pick_device(device)
    network = classifier.network.to(place).eval()
    transform = partial(preprocess, input=classifier.entry.input)
    with (
        torch.inference_mode(),
        load_batches(files, transform, batch_size, on_bad=on_bad, report=report) as batches,
    ):
        for batch in batches:
            yield batch.indices.tolist(), network(batch.images.to(place)).float().cpu()
        bad += batches.bad


def tell_bad(bad: Iterable[BadFile], files: int, report: Report) -> None:
    """Name unreadable files. Raises DatasetError if there was nothing else."""
    bad = list(bad)
    for file in bad:
        report(Note(f"skipped: {file}", level="warning"))
    if bad and len(bad) == files:
        raise DatasetError(
            f"none of the {files} files can be read", hint="The reasons are above, a line for each."
        )
    if bad:
        report(Note(f"{len(bad)} of {files} files skipped", level="warning"))
