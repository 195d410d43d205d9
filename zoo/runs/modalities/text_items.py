"""Texts that a network is asked about: as the ids of the words that it knows, padded batch by batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters import feature_extractor, pad_ids
from zoo.data.texts import Text
from zoo.events import Note, Progress, Report, silent
from zoo.features.engine import TORCH, Engine
from zoo.features.extraction import FeatureTable
from zoo.features.network import Precision
from zoo.features.portions import Portions
from zoo.runs.answers import Guess, TextPrediction
from zoo.runs.classifier import Classifier
from zoo.training.batches import Rounds
from zoo.training.processes import ALONE, Processes
from zoo.words.texts.selection import ReadText, TextReader

WORDS_AT_ONCE = 1 << 16  # that an encoder is given, padding included: 80 MB of 300 numbers each


class TextItems:
    """An ItemSource of texts. read: each as ids, with what was done about unknown words."""

    noun = "text"

    def __init__(
        self,
        texts: Sequence[Text],
        reader: TextReader,
        *,
        batch_size: int = 256,
        processes: Processes = ALONE,
        report: Report = silent,
    ) -> None:
        self.texts = texts
        self.read: list[ReadText] = [reader(text.text) for text in texts]
        self.batch_size = batch_size
        self.processes = processes
        self.report = report
        self.failures: dict[int, str] = {}  # a text that has been read can be answered
        self.traits: Counter[str] = Counter()
        self.places: list[Path] = [text.place for text in texts]

    @cached_property
    def rounds(self) -> Rounds:
        """Which batches are whose."""
        return Rounds(len(self.texts), self.batch_size, self.processes.share)

    @property
    def columns(self) -> dict[str, list[int]]:
        """How many words each text has, and how many of them are known."""
        return {"words": [one.words for one in self.read], "known": [one.known for one in self.read]}

    def batches(self, _device: torch.device | None = None, /) -> Iterator[tuple[list[int], Tensor]]:
        """(positions, ids (batch, words) int64, padded with 0), batch by batch."""
        for batch in self.rounds.batches:
            positions = [*batch]
            yield positions, pad_ids([self.read[position].ids for position in positions])

    def prediction(self, position: int, top: tuple[Guess, ...], error: str | None = None) -> TextPrediction:
        """The answer to one text."""
        text, read = self.texts[position], self.read[position]
        label, probability = (top[0].label, top[0].probability) if top else (None, None)
        return TextPrediction(text.place, label, probability, top, error, text.text, read.words, read.known)

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
        """What the network's head sees of every text.

        Nothing is kept: a mean of vectors is made sooner than it is read from a file. An encoder that
        learned something is computed in batches of about WORDS_AT_ONCE words.
        """
        started = time.perf_counter()
        extract = _TextNetwork(feature_extractor(network).to(device), device, self.report)
        ids = [read.ids for read in self.read]
        step = max(1, WORDS_AT_ONCE // max(1, *map(len, ids)))
        found: list[Tensor] = []
        for start in range(0, len(ids), step):
            found.append(extract(pad_ids(ids[start : start + step])))
            self.report(Progress("features", min(start + step, len(ids)), len(ids), "texts"))
        return FeatureTable(
            views=torch.cat(found).clone()[None],
            kept=tuple(range(len(ids))),
            bad=(),
            seconds=time.perf_counter() - started,
            from_cache=0,
        )

    def notes(self) -> Iterator[Note]:
        """A warning where some texts have no known word: nothing is known about them."""
        empty = sum(text.is_empty for text in self.read)
        if empty:
            yield Note(
                f"{empty:,} of {len(self.read):,} texts have no known word: their results mean nothing",
                level="warning",
            )


def read(items: Sequence[Text], classifier: Classifier, /, **options: Any) -> TextItems:
    """The texts as the classifier takes them. Options: those of TextItems; on_bad is for files alone."""
    options.pop("on_bad", None)
    assert classifier.reader is not None
    return TextItems(items, classifier.reader, **options)


def open_network(
    network: nn.Module, device: torch.device, report: Report = silent, _engine: Engine = TORCH
) -> Callable[[Tensor], Tensor]:
    """The network as a function of ids that answers on the CPU."""
    return _TextNetwork(network.to(device).eval(), device, report)


class _TextNetwork(Portions):
    """Ids (batch, words) in, what the network makes of them out, both on the CPU."""

    noun = "text"
    smaller = "Cut long texts, or use a smaller model"

    def __init__(self, network: nn.Module, device: torch.device, report: Report) -> None:
        super().__init__(device, report)
        self.network = network

    def apply(self, ids: Tensor) -> Tensor:
        """The outputs."""
        found: Tensor = self.network(ids.to(self.device))
        return found.float().cpu()
