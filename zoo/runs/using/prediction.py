"""Which class a file or a text belongs to, and how sure the network is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import DatasetError, IntegrityError, UsageError
from zoo.events import Note, Report, silent

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.pixels.batches import BadFile, OnBad
    from zoo.data.texts import Text
    from zoo.runs.classifier import Classifier
    from zoo.words.texts.selection import ReadText, TextReader


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


@dataclass(frozen=True)
class TextPrediction(Prediction):
    """The most probable class of a text. path: where it is from. words, known: how many it has, and how many
    of them the run knows or reads as another; where that is none, the label means nothing."""

    text: str
    words: int
    known: int


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
    from zoo.data.listing import list_images

    check_classes(classifier)
    files = list_images([Path(path) for path in paths])
    bad: list[BadFile] = []
    predictions = []
    for rows, logits in iterate_logits(
        classifier, files, bad, batch_size=batch_size, device=device, on_bad=on_bad, report=report
    ):
        for row, guesses in zip(rows, guess(logits, classifier.classes, top), strict=True):
            predictions.append(Prediction(files[row], guesses[0].label, guesses[0].probability, guesses))
    tell_bad(bad, len(files), report)
    return predictions


def predict_texts(
    classifier: Classifier,
    texts: Sequence[Text],
    *,
    top: int = 5,
    batch_size: int = 256,
    device: str = "auto",
    report: Report = silent,
) -> list[TextPrediction]:
    """One TextPrediction per text, in the order given. Texts without a known word are counted in a Note."""
    reader = text_reader(classifier)
    read = [reader(text.text) for text in texts]
    predictions = []
    for rows, logits in iterate_text_logits(classifier, read, batch_size=batch_size, device=device):
        for row, guesses in zip(rows, guess(logits, classifier.classes, top), strict=True):
            best = guesses[0]
            text, words = texts[row], read[row]
            predictions.append(
                TextPrediction(
                    text.place, best.label, best.probability, guesses, text.text, words.words, words.known
                )
            )
    tell_unknown(read, report)
    return predictions


def check_classes(classifier: Classifier) -> None:
    """Raise UsageError for a model that has no classes to predict."""
    if not classifier.classes:
        raise UsageError(
            f"{classifier.name} gives features and has no classes",
            hint=f"Train it on your own: zoo finetune {classifier.name} DATA --out run",
        )


def text_reader(classifier: Classifier) -> TextReader:
    """How the classifier reads texts. Raises UsageError for one that takes images."""
    if classifier.reader is None:
        raise UsageError(
            f"{classifier.name} takes images, and these are texts",
            hint="Models for texts: zoo list --task word-vectors",
        )
    return classifier.reader


def guess(logits: Tensor, classes: Sequence[str], top: int) -> list[tuple[Guess, ...]]:
    """The most probable classes of each item, best first. logits: (items, classes)."""
    import torch

    values, columns = torch.softmax(logits, 1).topk(min(top, logits.shape[1]))
    return [
        tuple(Guess(classes[c], v) for v, c in zip(value, column, strict=True))
        for value, column in zip(values.tolist(), columns.tolist(), strict=True)
    ]


def check_numbers(model: str, items: Sequence[str], logits: Tensor) -> None:
    """Raise IntegrityError if the network's answer to any item, (items, classes), is not made of numbers."""
    wrong = (logits.isnan() | logits.isposinf()).any(1).nonzero().ravel().tolist()
    if wrong:
        what = "NaN" if logits.isnan().any() else "infinity"
        others = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise IntegrityError(
            f"{model} answers {what} for {items[wrong[0]]}{others}: there is no label in that",
            hint="Its weights, or those of its head, are damaged: zoo verify looks for changed files.",
        )


def iterate_text_logits(
    classifier: Classifier, read: Sequence[ReadText], *, batch_size: int, device: str
) -> Iterator[tuple[list[int], Tensor]]:
    """(positions in `read`, logits (positions, classes) on the CPU), batch by batch."""
    import torch

    from zoo.training.batches import TextBatches
    from zoo.training.device import pick_device
    from zoo.training.machine import Machine

    machine = Machine(pick_device(device))
    network = classifier.network.to(machine.device).eval()
    batches = TextBatches([text.ids for text in read], list(range(len(read))), batch_size)
    with torch.inference_mode():
        for batch in batches.epoch(0):
            rows, logits = batch.targets.tolist(), network(machine.place(batch.inputs)).float().cpu()
            check_numbers(classifier.name, [f"text {row + 1:,}" for row in rows], logits)
            yield rows, logits


def tell_unknown(read: Sequence[ReadText], report: Report) -> None:
    """Warn of texts without a known word: nothing is known about them."""
    empty = sum(text.is_empty for text in read)
    if empty:
        report(
            Note(
                f"{empty:,} of {len(read):,} texts have no known word: what is said about them means nothing",
                level="warning",
            )
        )


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

    from zoo.data.pixels.batches import load_batches
    from zoo.data.pixels.preprocessing import preprocess
    from zoo.training.device import pick_device

    place = pick_device(device)
    network = classifier.network.to(place).eval()
    transform = partial(preprocess, input=classifier.input)
    with (
        torch.inference_mode(),
        load_batches(files, transform, batch_size, on_bad=on_bad, report=report) as batches,
    ):
        for batch in batches:
            rows, logits = batch.indices.tolist(), network(batch.images.to(place)).float().cpu()
            check_numbers(classifier.name, [str(files[row]) for row in rows], logits)
            yield rows, logits
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
