"""Photographs that a network is asked about: decoded by threads while it works, in the least time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.batches import OnBad, describe_range, describe_traits, load_batches
from zoo.data.pixels.memory import ImageSource, place_of
from zoo.data.pixels.preprocessing import Preprocessing
from zoo.data.pixels.ranges import ValueRange
from zoo.events import Note, Report, silent
from zoo.features.engine import TORCH, Engine
from zoo.features.exported import ExportedNetwork, choose_engine
from zoo.features.extraction import EXAMPLES, FeatureTable, extract_features
from zoo.features.network import FrozenNetwork, Precision, answer_few, freeze_classifier
from zoo.runs.answers import Guess, Prediction
from zoo.runs.classifier import Classifier
from zoo.runs.joining import join_tables
from zoo.training.batches import Rounds
from zoo.training.processes import ALONE, Processes


class ImageItems:
    """An ItemSource of images: files, or in memory. input: what the weights want to see. values: black and
    white of images of 16 bit or floats."""

    noun = "image"

    def __init__(
        self,
        images: Sequence[ImageSource],
        input: ImageInput,  # noqa: A002
        *,
        batch_size: int = 32,
        workers: int | None = None,
        on_bad: OnBad = "skip",
        values: ValueRange | None = None,
        processes: Processes = ALONE,
        spill: Path | None = None,
        report: Report = silent,
    ) -> None:
        self.images = images
        self.input = input
        self.batch_size = batch_size
        self.workers = workers
        self.on_bad = on_bad
        self.values = values
        self.processes = processes
        self.spill = spill
        self.report = report
        self.places: list[Path] = [place_of(image) for image in images]
        self.failures: dict[int, str] = {}
        self.traits: Counter[str] = Counter()

    @cached_property
    def rounds(self) -> Rounds:
        """Which batches are whose."""
        return Rounds(len(self.images), self.batch_size, self.processes.share)

    @property
    def columns(self) -> dict[str, list[int]]:
        """Nothing more is known of images."""
        return {}

    def batches(self, device: torch.device | None = None, /) -> Iterator[tuple[list[int], Tensor]]:
        """(positions, images (batch, 3, size, size) float32), batch by batch. device: of the network."""
        alone = self.processes.world == 1
        own = [] if alone else self.rounds.batches
        batches = load_batches(
            self.images,
            Preprocessing(self.input),
            self.batch_size,
            order=None if alone else [*chain(*own)],
            sizes=None if alone else [*map(len, own)],
            workers=self.workers,
            on_bad=self.on_bad,
            values=self.values,
            device=device,
            report=self.report,
        )
        with batches:
            for batch in batches:
                self.failures |= {at: file.reason for at, file in batches.failures.items()}
                yield batch.indices.tolist(), batch.images
            self.failures |= {at: file.reason for at, file in batches.failures.items()}
            self.traits.update(batches.traits)

    def prediction(self, position: int, top: tuple[Guess, ...], error: str | None = None) -> Prediction:
        """The answer to one image."""
        label, probability = (top[0].label, top[0].probability) if top else (None, None)
        return Prediction(self.places[position], label, probability, top, error)

    def features(
        self,
        network: nn.Module,
        *,
        identity: str,
        store_home: Path | None,
        device: torch.device,
        precision: Precision = "fp32",
        views: Sequence[int] = (0,),
        strength: str = "light",
        engine: Engine = TORCH,
    ) -> FeatureTable:
        """What the network's head sees of every image; computed once for each content, kept in the store.

        views, strength: see `extract_features`. engine: several processes leave it to torch, for each of them
        would decide for itself.
        """
        if self.processes.world > 1 and engine.backend != "torch":
            if engine.backend == "onnx":
                self.report(Note("torch computes the features: there are several processes", level="warning"))
            engine = TORCH

        def compute(places: Sequence[int], report: Report, plain: bool) -> FeatureTable:
            return extract_features(
                network,
                [self.images[place] for place in places],
                self.input,
                backbone_sha256=identity,
                store_home=store_home,
                device=device,
                precision="fp32" if plain else precision,
                views=views,
                strength=strength,
                workers=self.workers,
                on_bad=self.on_bad,
                values=self.values,
                engine=TORCH if plain else engine,
                spill=self.spill,
                report=report,
            )

        table = join_tables(compute, len(self.images), self.processes, self.report)
        self.traits = table.traits
        kept = set(table.kept)
        lost = (position for position in range(len(self.images)) if position not in kept)
        self.failures = {position: file.reason for position, file in zip(lost, table.bad, strict=True)}
        return table

    def notes(self) -> Iterator[Note]:
        """What was unusual about the images, and a warning where some could not be read."""
        if (unusual := describe_traits(self.traits)) is not None:
            yield unusual
        if self.traits["deep"]:
            yield describe_range(self.values)
        if self.failures:
            yield Note(
                f"{len(self.failures):,} of {len(self.places):,} files cannot be read", level="warning"
            )


def read(items: Sequence[ImageSource], classifier: Classifier, /, **options: Any) -> ImageItems:
    """The images as the classifier takes them. Options: those of ImageItems."""
    return ImageItems(items, classifier.input, values=classifier.values, **options)


def open_network(
    network: nn.Module, device: torch.device, report: Report = silent, engine: Engine = TORCH
) -> Callable[[Tensor], Tensor]:
    """The network as a function of images that answers in the least time.

    It is copied when the first batch comes that is larger than a few images, and its shortcuts are compared
    with the plain network on the first of them.
    """
    fast: FrozenNetwork | ExportedNetwork | None = None

    def answer(images: Tensor) -> Tensor:
        nonlocal fast
        if fast is None:
            at_once = device.type == "cpu" and engine.backend != "onnx"
            few = answer_few(network, images) if at_once else None
            if few is not None:
                return few
            examples = images[:EXAMPLES]
            frozen = freeze_classifier(network, examples, device=device, report=report)
            fast = choose_engine(frozen, examples, engine, report)
        return fast(images)

    return answer
