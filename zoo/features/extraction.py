"""The features of each image from a frozen backbone: one forward pass, kept for later runs."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache as once
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from zoo.catalogue.entry import ImageInput
from zoo.data.containers import stamp_of
from zoo.data.contents import Contents, number_contents, read_contents
from zoo.data.hashes import stamp_rows
from zoo.data.pixels import decoding as decoding
from zoo.data.pixels import metadata, on_gpu, preprocessing, resampling
from zoo.data.pixels.batches import BadFile, Batches, OnBad, load_batches
from zoo.data.pixels.memory import ImageSource, MemoryImage, place_of
from zoo.data.pixels.on_gpu import decoder_versions
from zoo.data.pixels.preprocessing import Draws, Preprocessing
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import TrainingStopped
from zoo.events import Note, Progress, Report, silent
from zoo.features import fusion, graphs, network, sharing
from zoo.features.cache import FeatureCache
from zoo.features.engine import LARGEST, PLAIN, TORCH, Backend, Engine, Way
from zoo.features.exported import (
    ExportedNetwork,
    choose_engine,
    onnx_facts,
    other_features,
)
from zoo.features.network import (
    FrozenNetwork,
    Precision,
    fingerprint_network,
    freeze_network,
    in_bf16,
    least_cosine,
    rounded_down,
)
from zoo.features.rows import Rows, StoredRows, new_rows, select_rows

EXAMPLES = 4  # images on which every shortcut is tried first
CHUNK = 2048  # images after which their features are stored: an interrupted run continues from there
BATCH_SIZES = {"cuda": 256, "mps": 64, "cpu": 32}


@dataclass(frozen=True)
class FeatureTable:
    """The features of each readable image.

    views: (views, n, width) float32 on the CPU, in the order in which they were asked for; number 0 is of the
    image as preprocessed for prediction, the others are of random crops. stored: the same, a table each,
    where they were asked for in files; views is empty then. kept: the index of each row's image. bad: the
    images that could not be read. seconds: of the whole call. from_cache: how many of the views were cached;
    equal images count once. traits: of the images that were decoded, which are those that were not cached.
    way: how all of them were computed, now or before. cosine: the least one to features of torch in fp32 that
    was measured in this call, on its first batch; None where nothing was computed, or in that way.
    """

    views: Tensor
    kept: tuple[int, ...]
    bad: tuple[BadFile, ...]
    seconds: float
    from_cache: int
    traits: Counter[str] = field(default_factory=Counter)
    way: Way = PLAIN
    cosine: float | None = None
    stored: tuple[StoredRows, ...] = ()

    @property
    def features(self) -> Tensor:
        """(n, width): those of the first view, the plain one unless others were asked for; in memory."""
        return self.views[0]

    @property
    def rows(self) -> Rows:
        """The same, in memory or in a file."""
        return self.stored[0] if self.stored else self.views[0]

    @property
    def nbytes(self) -> int:
        """What all views take."""
        return sum(rows.nbytes for rows in self.stored) if self.stored else self.views.nbytes


def extract_features(
    model: nn.Module,
    images: Sequence[ImageSource],
    input: ImageInput,  # noqa: A002
    *,
    backbone_sha256: str | None = None,
    store_home: Path | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    views: Sequence[int] = (0,),
    strength: str = "light",
    seed: int = 0,
    workers: int | None = None,
    on_bad: OnBad = "skip",
    values: ValueRange | None = None,
    engine: Engine = TORCH,
    spill: Path | None = None,
    report: Report = silent,
) -> FeatureTable:
    """The feature vectors before the model's classifier, for every readable image.

    Only images that are new to this network are computed: features are kept in `store_home` by the content of
    the file, so that files may be renamed, moved or added. store_home: None stores nothing. backbone_sha256:
    of the published weights, if any; the key also has every tensor and setting of the network, so that a
    tuned one is never mistaken for the published one. views: their numbers; 0 is the plain one, all others
    are augmented with `strength`, equally for the same content, number and seed. values: black and white of
    images of 16 bit or floats. spill: a folder for a file of the features that are too many for the memory;
    None holds them there. engine, precision: how they are computed, all of them or none: where ONNX Runtime,
    or bf16, does not agree with torch in fp32 on the first batch, or ONNX Runtime fails later, torch computes
    every feature of the table in fp32, and a note says so. The model is not changed. fp32 features equal the
    model's own to 1e-4 of the largest one.

    Raises UnreadableFile with on_bad="stop", and TrainingStopped if a feature is not a finite number or the
    device lacks the memory for one image.
    """
    started = time.perf_counter()
    device = torch.device(device)
    paths = [place_of(image) for image in images]
    contents = read_contents(
        [None if isinstance(image, MemoryImage) else place_of(image) for image in images], store_home
    )
    slots, firsts = number_contents(contents)
    work = Extraction(
        model,
        [images[position] for position in firsts],
        contents.select(firsts),
        input,
        device=device,
        batch_size=batch_size or BATCH_SIZES.get(device.type, BATCH_SIZES["cpu"]),
        workers=workers,
        on_bad=on_bad,
        values=values,
        total=len(views) * len(firsts),
        counts="images" if 0 in views else "views",
        spill=spill,
        report=report,
    )
    about = _describe(work, backbone_sha256) if store_home else {}

    def fill(work: Extraction) -> list[Rows]:
        found = []
        for number in views:
            view = View(number, seed, strength) if number else None
            facts = {**about, **work.way_facts, "view": str(view)}
            cache = FeatureCache(store_home / "features", facts, report=report) if store_home else None
            found.append(work.fill(view, cache))
        return found

    way = Way(_choose_backend(engine, len(firsts), device, precision, report), precision)
    found, work = _fill_in(way, work, fill, engine)
    reasons = [work.bad.get(slot) for slot in slots]
    kept = tuple(position for position, reason in enumerate(reasons) if reason is None)
    chosen = [select_rows(features, [slots[position] for position in kept]) for features in found]
    stored = tuple(rows for rows in chosen if isinstance(rows, StoredRows))
    held = [rows for rows in chosen if isinstance(rows, Tensor)]
    return FeatureTable(
        views=torch.empty(0) if stored else held[0][None] if len(held) == 1 else torch.stack(held),
        stored=stored,
        kept=kept,
        bad=tuple(BadFile(p, reason) for p, reason in zip(paths, reasons, strict=True) if reason is not None),
        seconds=time.perf_counter() - started,
        from_cache=work.from_cache,
        traits=work.traits,
        way=work.way,
        cosine=work.cosine,
    )


def _choose_backend(
    engine: Engine, items: int, device: torch.device, precision: Precision, report: Report
) -> Backend:
    """What is to compute so many items. The same for the same data on the same machine, whatever was computed
    before."""
    if engine.backend != "onnx" and not (engine.may_use_onnx and engine.has_many(items)):
        return "torch"
    if engine.may_use_onnx and device.type == "cpu" and precision == "fp32":
        return "onnx"
    if engine.backend == "onnx":
        missing = (
            f"{', '.join(engine.missing)} is not installed" if engine.missing else "it is for fp32 on CPUs"
        )
        report(Note(f"torch computes the features, not ONNX Runtime: {missing}", level="warning"))
    return "torch"


def _fill_in(
    way: Way, plain: Extraction, fill: Callable[[Extraction], list[Rows]], engine: Engine
) -> tuple[list[Rows], Extraction]:
    """The tables of all views, all computed in one way, and the work that made them. Each way has tables of
    its own, and where it cannot be gone, all begins again with torch in fp32."""
    if way == PLAIN:
        return fill(plain), plain
    whole = engine if engine.items is not None else replace(engine, items=len(plain.images))
    work = replace(plain, way=way, engine=whole, bad={}, traits=Counter())
    try:
        found = fill(work)
    except _NotThatWay:
        return fill(plain), plain
    if work.frozen is None and work.from_cache:
        named = "by ONNX Runtime" if way.backend == "onnx" else f"in {way.precision}"
        plain.report(Note(f"features {named}, from the store: compared when they were computed"))
    return found, work


class _NotThatWay(Exception):
    """Features cannot be computed in the way that was asked for; the reason was reported."""


@dataclass(frozen=True)
class View:
    """A random view of every image. number: from 1; strength: a name in AUGMENTATIONS."""

    number: int
    seed: int
    strength: str


@dataclass(frozen=True)
class _ContentDraws(Draws):
    """The random numbers of one view: they depend on an image's content, not on its position in a list."""

    contents: Contents

    def generator(self, index: int) -> torch.Generator:
        """The generator of one image."""
        digest = self.contents[index].digest
        if digest is None:
            return super().generator(index)
        key = hashlib.sha256(f"{self.seed} {self.epoch} ".encode() + digest).digest()
        return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)  # takes 63 bits


@dataclass
class Extraction:
    """The state of one call. images, contents: one image per distinct content, a row of the tables each.

    bad: what is wrong with unreadable images, by row. traits: of those that were decoded. done, from_cache:
    counts out of `total`, over all views. counts: what is counted. way: how everything is computed; engine:
    with which exports. cosine: the least one of the first batch to torch in fp32.
    """

    model: nn.Module
    images: list[ImageSource]
    contents: Contents
    input: ImageInput
    _: KW_ONLY
    device: torch.device
    batch_size: int
    workers: int | None
    on_bad: OnBad
    values: ValueRange | None
    total: int
    report: Report
    counts: Literal["images", "views"] = "images"
    spill: Path | None = None
    way: Way = PLAIN
    engine: Engine = TORCH
    cosine: float | None = None
    frozen: FrozenNetwork | ExportedNetwork | None = None
    bad: dict[int, str] = field(default_factory=dict)
    traits: Counter[str] = field(default_factory=Counter)
    done: int = 0
    from_cache: int = 0

    @property
    def way_facts(self) -> dict[str, Any]:
        """What the key of the cache has of the way."""
        backend = {"backend": onnx_facts()} if self.way.backend == "onnx" else {}
        return {"precision": self.way.precision, **backend}

    def fill(self, view: View | None, cache: FeatureCache | None) -> Rows:
        """The features of one view, (contents, width); zeros for unreadable files.

        Computed features are stored in the cache, even if Ctrl-C or an error ends the call.
        """
        table, there = self.look_up(cache)
        missing = [slot for slot in there.logical_not().nonzero().flatten().tolist() if not self.is_bad(slot)]
        self.count(len(self.images) - len(missing))
        fresh: list[tuple[Tensor, Tensor]] = []
        try:
            for slots, features in self.compute(missing, view):
                if not len(table):
                    table = self.new_rows((len(self.images), *features.shape[1:]))
                table[slots] = features
                fresh.append((slots, features))
                if sum(len(slots) for slots, _ in fresh) >= CHUNK:
                    self.keep(cache, fresh)
                    fresh = []
        finally:
            self.keep(cache, fresh)
        return table

    def new_rows(self, shape: tuple[int, ...]) -> Rows:
        """A table of zeros, in memory or in a file."""
        return torch.zeros(shape) if self.spill is None else new_rows(shape, self.spill)

    def look_up(self, cache: FeatureCache | None) -> tuple[Rows, Tensor]:
        """A table with the cached rows (empty if there are none), and a mask of these rows."""
        there = torch.zeros(len(self.images), dtype=torch.bool)
        if cache is not None:
            there, table = cache.find(self.contents.digests, self.new_rows)
            self.from_cache += int(there.sum())
            return table, there
        return torch.empty(0), there

    def compute(self, missing: Sequence[int], view: View | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Slots (batch,) and their features (batch, width), decoded by threads while the network computes."""
        with self.open_batches(missing, view) as batches:
            for slots, images, _ in batches:
                if self.frozen is None:
                    self.frozen = self.freeze(images)
                features = self.ask(self.frozen, images)
                self.check(slots, features)
                yield slots, features
                self.count(len(slots))
            self.bad |= {position: file.reason for position, file in batches.failures.items()}
            self.count(len(batches.bad))
            if view is None:
                self.traits += batches.traits

    def freeze(self, images: Tensor) -> FrozenNetwork | ExportedNetwork:
        """The fastest network, compared with the model on the first images. Raises _NotThatWay."""
        frozen = freeze_network(self.model, images[:EXAMPLES], device=self.device, report=self.report)
        if self.way == PLAIN:
            return frozen
        # every image of the first batch: what is computed is kept
        fast = self.exported(frozen, images) if self.way.backend == "onnx" else frozen
        if self.way.precision == "bf16":
            fast, self.cosine = in_bf16(frozen, images, self.report)
        if self.cosine is None:
            raise _NotThatWay
        return fast

    def exported(self, frozen: FrozenNetwork, images: Tensor) -> FrozenNetwork | ExportedNetwork:
        """The network by ONNX Runtime, if it agrees; then `cosine` is known."""

        def differs(found: Tensor, expected: Tensor) -> str | None:
            fault = other_features(found, expected)
            self.cosine = None if fault else least_cosine(found, expected)
            return fault

        fast = choose_engine(frozen, images, self.engine, self.report, differs=differs)
        if self.cosine is not None:
            nearest = rounded_down(self.cosine, 6)
            self.report(
                Note(f"features by ONNX Runtime: cosine to torch at least {nearest} for {len(images)} images")
            )
        return fast

    def ask(self, network: FrozenNetwork | ExportedNetwork, images: Tensor) -> Tensor:
        """The features of a batch. Raises _NotThatWay where torch would have to take over."""
        if isinstance(network, FrozenNetwork):
            return network(images)
        try:
            return network.run(images)
        except Exception as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.report(Note(f"torch computes all features, and not ONNX Runtime: {why}", level="warning"))
            raise _NotThatWay from error

    def open_batches(self, missing: Sequence[int], view: View | None) -> Batches:
        """The images of these slots, preprocessed or augmented."""
        common: dict[str, Any] = {
            "order": missing,
            "workers": self.workers,
            "on_bad": self.on_bad,
            "values": self.values,
            "device": self.device,
        }
        if view is None:
            return load_batches(self.images, Preprocessing(self.input), self.batch_size, **common)
        draws = _ContentDraws(view.seed, view.number, self.contents)
        random = Preprocessing(self.input, view.strength)
        return load_batches(self.images, random, self.batch_size, draws=draws, **common)

    def keep(self, cache: FeatureCache | None, fresh: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Store rows in the cache, except for files that changed since they were hashed."""
        if cache is None or not fresh:
            return
        slots = torch.cat([slots for slots, _ in fresh]).tolist()
        same = [row for row, slot in enumerate(slots) if self.is_unchanged(slot)]
        cache.add(
            self.contents.select([slots[row] for row in same]).digests,
            torch.cat([features for _, features in fresh])[same],
        )

    def is_unchanged(self, slot: int) -> bool:
        """Whether the file is still the one whose content was hashed."""
        stamp = stamp_of(place_of(self.images[slot]))
        now = None if stamp is None else tuple(stamp_rows([stamp])[0].tolist())
        content = self.contents[slot]
        return content.digest is not None and content.stamp == now

    def is_bad(self, slot: int) -> bool:
        """Whether the file is known to be unreadable, from an earlier view."""
        return slot in self.bad

    def check(self, slots: Tensor, features: Tensor) -> None:
        """Raise TrainingStopped for a feature that is not finite, or too large: every loss after it would be
        NaN, or mean nothing."""
        finite = features.flatten(1).isfinite().all(1)
        if not finite.all():
            path = place_of(self.images[int(slots[~finite][0])])
            raise TrainingStopped(
                f"the network's features of {path} are not finite numbers",
                hint="Its weights may be damaged (zoo verify); with precision bf16, try fp32.",
            )
        largest = features.flatten(1).abs().amax(1)
        if largest.max() > LARGEST:
            path = place_of(self.images[int(slots[largest.argmax()])])
            raise TrainingStopped(
                f"the network's features of {path} are as large as {largest.max():.0e}, and up to "
                f"{LARGEST:.0e} can be learned from",
                hint="Its weights may be damaged: zoo verify.",
            )

    def count(self, count: int) -> None:
        """Count images as done, and report the progress."""
        self.done += count
        if count:
            task = "features" if self.counts == "images" else "features of views"
            self.report(Progress(task, self.done, self.total, self.counts))


def _describe(work: Extraction, backbone_sha256: str | None) -> dict[str, Any]:
    """The key of the cache: everything that a feature depends on besides the image, the view and the way."""
    return {
        "point": "classifier",
        "backbone": backbone_sha256,
        "network": fingerprint_network(work.model),
        "input": msgspec.to_builtins(work.input),
        "device": work.device.type,
        "versions": {name: version(name) for name in ("torch", "pillow")} | decoder_versions(work.device),
        "code": hash_code(),
        **({} if work.values is None else {"values": work.values.facts}),
    }


@once
def hash_code() -> str:
    """The sha256 of the code that computes features: changed code never uses old features."""
    modules = (decoding, metadata, preprocessing, on_gpu, resampling, fusion, network, graphs, sharing)
    return hashlib.sha256("".join(map(inspect.getsource, modules)).encode()).hexdigest()
