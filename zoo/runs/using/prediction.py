"""Which class an item belongs to, and how sure the network is: one loop for every kind of item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.errors import IntegrityError, UsageError
from zoo.events import Note, Report, silent
from zoo.features.engine import TORCH, Engine
from zoo.runs.answers import Guess, ItemSource, Prediction
from zoo.runs.modalities.table import modality_of
from zoo.runs.using.caution import NO_CAUTION, Caution

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.runs.classifier import Classifier


def predict_items(
    classifier: Classifier,
    source: ItemSource,
    *,
    top: int = 5,
    caution: Caution = NO_CAUTION,
    device: str = "auto",
    engine: Engine = TORCH,
    report: Report = silent,
) -> Iterator[Prediction]:
    """One Prediction per item, in the order given, as soon as its batch is computed. Probabilities are those
    of the calibrated run, if it is.

    engine: what computes it, of images: see Engine.

    An item that cannot be read has one too, with its error. Raises UsageError for a model without classes and
    for a caution that it cannot have, at once; IntegrityError for an output that is not a number.
    """
    _check_classes(classifier)
    caution.check(classifier)
    engine.check(device)
    outputs = iterate_outputs(classifier, source, device=device, engine=engine, report=report)
    return _predict(classifier, source, top, caution, outputs, report)


def _predict(
    classifier: Classifier,
    source: ItemSource,
    top: int,
    caution: Caution,
    found_outputs: Iterator[tuple[list[int], Tensor]],
    report: Report,
) -> Iterator[Prediction]:
    calibration = classifier.calibration
    if calibration is not None and calibration.temperature != 1:
        fitted = f"temperature {calibration.temperature:.3g}, fitted on {calibration.items:,} items"
        report(Note(f"probabilities are calibrated ({fitted})"))
    elif caution.abstain_below is not None:
        why = "it is not calibrated" if calibration is None else calibration.problem
        report(Note(f"probabilities are as {classifier.name} gives them: {why}"))
    done, ids = 0, dict(zip(classifier.classes, classifier.ids, strict=False))
    for positions, outputs in found_outputs:
        answers = classifier.task.decide(
            classifier.calibrated(outputs), classifier.classes, top, classifier.thresholds
        )
        found = []
        for position, answer in zip(positions, answers, strict=True):
            guesses = tuple(Guess(*pair, ids.get(pair[0])) for pair in answer.ranking)
            labels = None if classifier.thresholds is None else answer.labels
            found.append(replace(source.prediction(position, guesses), labels=labels, values=answer.values))
        for position, prediction in zip(positions, caution.apply(found, outputs, classifier), strict=True):
            yield from _failed(source, range(done, position))
            yield prediction
            done = position + 1
    yield from _failed(source, range(done, len(source.places)))
    for note in source.notes():
        report(note)


def _check_classes(classifier: Classifier) -> None:
    """Raise UsageError for a model that has no classes to predict."""
    if not classifier.classes:
        raise UsageError(
            f"{classifier.name} gives features and has no classes",
            hint=f"Train it on your own: zoo finetune {classifier.name} DATA --out run",
        )


def iterate_outputs(
    classifier: Classifier,
    source: ItemSource,
    *,
    device: str = "auto",
    engine: Engine = TORCH,
    report: Report = silent,
) -> Iterator[tuple[list[int], Tensor]]:
    """(positions, outputs (positions, width) float32 on the CPU), batch by batch. Of several processes each
    computes its share, and all get all of them.

    Raises IntegrityError for an output that is not a number.
    """
    import torch

    from zoo.runs.joining import join_outputs
    from zoo.training.device import pick_device

    asking = modality_of(classifier.entry).load_asking()
    engine = replace(engine, items=len(source.places))
    chosen = pick_device(device)
    network = asking.open_network(classifier.network, chosen, report, engine)

    def own() -> Iterator[tuple[list[int], Tensor]]:
        for positions, inputs in source.batches(chosen):
            outputs = network(inputs) if positions else torch.empty(0, 0)
            check_numbers(classifier.name, [str(source.places[at]) for at in positions], outputs)
            yield positions, outputs

    if source.processes.world == 1:
        return own()
    return join_outputs(own(), source)


def _failed(source: ItemSource, positions: range) -> Iterator[Prediction]:
    """The answers to items that were passed over, which are those that could not be read."""
    for position in positions:
        yield source.prediction(position, (), source.failures[position])


def check_numbers(model: str, items: Sequence[str], outputs: Tensor) -> None:
    """Raise IntegrityError if the network's answer to any item, (items, width), is not made of numbers."""
    wrong = (outputs.isnan() | outputs.isposinf()).any(1).nonzero().ravel().tolist()
    if wrong:
        what = "NaN" if outputs.isnan().any() else "infinity"
        others = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise IntegrityError(
            f"{model} answers {what} for {items[wrong[0]]}{others}: there is no label in that",
            hint="Its weights, or those of its head, are damaged: zoo verify looks for changed files.",
        )
