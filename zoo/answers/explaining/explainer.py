"""Why a network answers as it does, item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.answers.explaining.evidence import (
    find_label,
    log_odds,
    no_grad_outputs,
    scores_of,
    targets_of,
)
from zoo.answers.explaining.explanations import (
    Explanation,
    ImageExplanation,
    Neighbour,
    TextExplanation,
)
from zoo.answers.explaining.grad_cam import NoMap, grad_cam
from zoo.answers.explaining.neighbours import nearest_items
from zoo.answers.explaining.occlusion import check_map, occlusion_maps
from zoo.answers.explaining.placement import enlarge, heat_of
from zoo.answers.explaining.word_weights import read_words, weigh_words
from zoo.data.dataset import Item
from zoo.data.pixels.batches import OnBad
from zoo.data.pixels.memory import ImageSource, open_picture, place_of
from zoo.data.pixels.preprocessing import preprocess, seen_part
from zoo.data.texts import Text
from zoo.errors import UnreadableFile, UsageError
from zoo.events import Note, Report, silent
from zoo.runs.classifier import Classifier
from zoo.runs.modalities.table import modality_of
from zoo.store.store import Store
from zoo.training.device import pick_device

Method = Literal["grad-cam", "occlusion"]
METHODS: tuple[Method, ...] = ("grad-cam", "occlusion")
NEAREST = 3


@dataclass(frozen=True)
class Wishes:
    """What to explain and how. labels: the classes or numbers; none for those that are predicted. method:
    None for what suits the network. trained: the items to find those in that are alike. nearest: how many."""

    labels: tuple[str, ...] = ()
    method: Method | None = None
    trained: Sequence[Item] = ()
    nearest: int = NEAREST
    device: str = "auto"
    on_bad: OnBad = "skip"


def explain_items(
    classifier: Classifier,
    items: Sequence[Any],
    wishes: Wishes,
    *,
    store: Store,
    report: Report = silent,
) -> Iterator[Explanation]:
    """The explanations of every item, in order, one for each label; of one that cannot be read, its error.

    items: images, or Texts, as the modality of the classifier gathers them. Raises UnknownName for a label
    that the classifier lacks, UsageError for a model without classes and for a method that it cannot have.
    """
    if not classifier.classes:
        raise UsageError(
            f"{classifier.name} gives features and has no classes to explain",
            hint=f"Train it on your own: zoo finetune {classifier.name} DATA --out run",
        )
    for label in wishes.labels:
        find_label(classifier, label)
    device = pick_device(wishes.device)
    alike = partial(_alike, classifier, wishes, store, device, report)
    if classifier.reader is not None:
        if wishes.method == "grad-cam":
            raise UsageError(
                "grad-cam needs photographs, and this run is on texts",
                hint="Leave --method out, or take --method occlusion.",
            )
        yield from _explain_texts(classifier, items, wishes, alike)
        return
    yield from _explain_images(classifier, items, wishes, alike, device, report)


Alike = Callable[[Sequence[Any]], list[tuple[Neighbour, ...]]]


def _alike(
    classifier: Classifier,
    wishes: Wishes,
    store: Store,
    device: torch.device,
    report: Report,
    items: Sequence[Any],
) -> list[tuple[Neighbour, ...]]:
    """The training items that are most alike, for every item; none for one that cannot be read."""
    found: list[tuple[Neighbour, ...]] = [()] * len(items)
    if not wishes.trained or wishes.nearest < 1 or not items:
        return found
    source = modality_of(classifier.entry).load_asking().read(list(items), classifier, report=report)
    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=device,
        engine=classifier.engine(store),
    )
    near = nearest_items(
        classifier,
        wishes.trained,
        table.features,
        wishes.nearest,
        store=store,
        device=device,
        report=report,
    )
    for row, those in zip(table.kept, near, strict=True):
        found[row] = those
    return found


def _explain_texts(
    classifier: Classifier, texts: Sequence[Text], wishes: Wishes, alike: Alike
) -> Iterator[TextExplanation]:
    assert classifier.reader is not None
    near = alike(texts)
    from adapters import pad_ids

    for text, those in zip(texts, near, strict=True):
        words = read_words(classifier.reader, text.text)
        ids = [number for word in words for number in word.ids]
        outputs = no_grad_outputs(classifier.network, pad_ids([ids]))
        for target in targets_of(classifier, outputs, wishes.labels):
            weights = weigh_words(classifier, words, target, wishes.method)
            yield TextExplanation(
                text.place,
                classifier.classes[target],
                scores_of(classifier, outputs, target)[0],
                weights.method,
                those,
                text=text.text,
                words=weights.words,
                evidence=weights.evidence,
                constant=weights.constant,
            )


def _explain_images(
    classifier: Classifier,
    images: Sequence[ImageSource],
    wishes: Wishes,
    alike: Alike,
    device: torch.device,
    report: Report,
) -> Iterator[ImageExplanation]:
    near = alike(images)
    network = classifier.network
    at = next(network.parameters()).device
    network.to(device)
    try:
        method: str | None = wishes.method
        for image, those in zip(images, near, strict=True):
            try:
                pixels = open_picture(image, values=classifier.values).pixels
            except UnreadableFile as error:
                if wishes.on_bad == "stop":
                    raise
                yield ImageExplanation(place_of(image), None, None, None, error=error.reason)
                continue
            try:
                found = _explain_image(classifier, pixels, wishes.labels, method or "grad-cam", device)
            except NoMap:
                if method == "grad-cam":
                    raise UsageError(
                        f"{classifier.name} has no map of features for grad-cam",
                        hint="Cover parts of the image instead: --method occlusion",
                    ) from None
                report(Note(f"{classifier.name} has no map of features: by occlusion, which takes longer"))
                method = "occlusion"
                found = _explain_image(classifier, pixels, wishes.labels, method, device)
            for one in found:
                yield replace(one, path=place_of(image), nearest=those)
    finally:
        network.to(at)


def _explain_image(
    classifier: Classifier, pixels: Tensor, labels: Sequence[str], method: str, device: torch.device
) -> list[ImageExplanation]:
    """One explanation for each label of one image. pixels: uint8 (3, height, width)."""
    image = preprocess(pixels, classifier.input)

    def answer(images: Tensor) -> Tensor:
        return no_grad_outputs(classifier.network, images.to(device))

    outputs = answer(image[None])
    targets = targets_of(classifier, outputs, labels)
    evidence = [partial(log_odds, classifier, target=target) for target in targets]
    if method == "occlusion":
        grids = occlusion_maps(image, answer, evidence)
    else:
        grids = grad_cam(classifier.network, image[None].to(device), targets)
    height, width = pixels.shape[-2:]
    found = []
    for target, grid, speaks in zip(targets, grids, evidence, strict=True):
        raw = enlarge(grid, classifier.input.size)
        heat = heat_of(raw)
        score = partial(scores_of, classifier, target=target)
        found.append(
            ImageExplanation(
                Path(),
                classifier.classes[target],
                scores_of(classifier, outputs, target)[0],
                method,
                map=heat.numpy(),
                grid=grid.numpy(),
                box=seen_part(height, width, classifier.input),
                shape=(height, width),
                check=check_map(image, raw, answer, speaks, score) if heat.any() else None,
                pixels=pixels.numpy(),
            )
        )
    return found
