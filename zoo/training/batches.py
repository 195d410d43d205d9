"""Where the loop gets its items from: cached features, texts as ids, or photographs decoded on the way."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, cast, overload

import torch
from torch import Tensor

from adapters import pad_ids
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.pixels.batches import BadFile, OnBad, load_batches
from zoo.data.pixels.batches import Batch as Pictures
from zoo.data.pixels.keeping import KeptPictures
from zoo.data.pixels.preprocessing import Draws, Preprocessing
from zoo.data.pixels.ranges import ValueRange
from zoo.events import Note, Report, silent
from zoo.features.rows import StoredRows
from zoo.training.mixing import Mixing
from zoo.training.sampling import SAMPLINGS, count_before
from zoo.training.seeds import epoch_generator

Inputs: TypeAlias = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs: what the model takes, (items, …). targets: as the task encodes them. count: how many items.
    end: how many rows of the order of this pass are behind it, those of other processes too."""

    inputs: Inputs
    targets: Tensor
    count: int
    end: int = 0


def parts_of(batch: Batch, count: int, *, keep_empty: bool = False) -> Iterator[Batch]:
    """A batch in so many parts of about the same size; empty ones are left out, or kept."""
    if count == 1:
        yield batch
        return
    alone = isinstance(batch.inputs, Tensor)
    inputs = (batch.inputs,) if isinstance(batch.inputs, Tensor) else batch.inputs
    pieces = zip(*(torch.tensor_split(part, count) for part in (*inputs, batch.targets)), strict=True)
    for *some, targets in pieces:
        if len(targets) or keep_empty:
            yield Batch(some[0] if alone else tuple(some), targets, len(targets))


class BatchSource(Protocol):
    """Items in batches. `epoch(n)` yields the n-th pass, n from 1; 0 is a pass for evaluation.

    A pass depends on n and the source's seed alone. taken: how many of its batches were taken already, and
    start: the `end` of the last of them; those that are left are the ones of the whole pass. `len` is how
    many batches a pass has, `smallest` the fewest items that one of them may have.
    """

    batch_size: int

    def __len__(self) -> int: ...

    @property
    def smallest(self) -> int: ...

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]: ...


def cut(items: int, batch_size: int) -> list[int]:
    """The sizes of the batches of one pass; a last batch of one joins the one before.

    Batch norm cannot learn from one item (torch refuses it), and a step on one item is mostly noise.

    >>> cut(33, 16), cut(34, 16), cut(1, 16)
    ([16, 17], [16, 16, 2], [1])
    """
    sizes = [batch_size] * (items // batch_size)
    rest = items % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def left_of(batches: Iterable[Tensor], start: int) -> Iterator[tuple[Tensor, int]]:
    """The batches of rows that come after `start` rows, and how many rows are behind each of them.

    Where batches have another size now than when the start was noted, the first one is what is left of it;
    a single row is left out then, see `cut`.

    >>> [(rows.tolist(), end) for rows, end in left_of(torch.arange(7).split(3), 3)]
    [([3, 4, 5], 6), ([6], 7)]
    """
    end = 0
    for rows in batches:
        begin, end = end, end + len(rows)
        if begin >= start:
            yield rows, end
        elif end > start + 1:
            yield rows[start - begin :], end


class Share(NamedTuple):
    """Which part of every batch is this process's own: number `rank` of `world` parts."""

    rank: int = 0
    world: int = 1

    def of(self, rows: Tensor) -> Tensor:
        """This part of the rows. The parts of all processes together are the rows, each once.

        >>> [Share(rank, 3).of(torch.arange(8)).tolist() for rank in range(3)]
        [[0, 1, 2], [3, 4, 5], [6, 7]]
        """
        return rows if self.world == 1 else torch.tensor_split(rows, self.world)[self.rank]


NAMED = 5
"""Files that are named of those that cannot be read any more in an epoch."""

ALONE = Share()
ROUND = 4
"""Batches of each process between two exchanges: what is computed comes soon, and nobody waits often."""


class Rounds:
    """So many items in batches, in rounds: what this process has of each.

    rounds: positions, a batch each. Batches are those of one process; of a round every process has some that
    follow each other, as many as the others or one less.

    >>> Rounds(10, 2, Share(1, 2)).rounds
    [[range(6, 8), range(8, 10)]]
    """

    def __init__(self, items: int, batch_size: int, share: Share) -> None:
        starts = torch.arange(0, items, batch_size)
        self.rounds = [
            [range(start, min(start + batch_size, items)) for start in share.of(block).tolist()]
            for block in torch.split(starts, ROUND * share.world)
        ]

    @property
    def batches(self) -> list[range]:
        """Of all rounds."""
        return [batch for batches in self.rounds for batch in batches]


class _Batches:
    """What every source of batches has: the sizes of its batches, and an order for every pass.

    seed: shuffle every pass; None keeps the order. share: of several processes, which all draw the same order
    and the same batches; none of them is padded, as a sampler per process would have to. sampling: a name in
    SAMPLINGS, for passes that are shuffled.
    """

    def __init__(
        self,
        labels: Tensor,
        batch_size: int,
        seed: int | None,
        share: Share = ALONE,
        sampling: str = "once",
    ) -> None:
        self.sampling = SAMPLINGS[sampling]
        self.share = share
        self.labels = labels
        self.batch_size = batch_size
        self.seed = seed
        self.sizes = cut(len(labels), batch_size)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def smallest(self) -> int:
        """The fewest items of a batch, if all of them can be read."""
        return min(self.sizes, default=0)

    def shuffles(self, number: int) -> bool:
        """Whether pass `number` is shuffled: not without a seed, and not for evaluation."""
        return self.seed is not None and number != 0

    def order(self, number: int) -> Tensor:
        """The rows of the items in pass `number`."""
        if self.seed is None or not self.shuffles(number):
            return torch.arange(len(self.labels))
        return self.sampling(self.labels.cpu(), epoch_generator(self.seed, number))


class FeatureBatches(_Batches):
    """Batches of features that are all in memory, on the device already: no copy, no worker, no DataLoader.

    features: (items, width) float32. labels: (items, …), as the task encodes the targets. seed: shuffle every
    pass; None keeps the order. varied: (views, items, width) features of other views of the same items. Where
    a pass is shuffled, each place of its order shows one view, `features` or one of these, drawn by the seed
    and the pass alone.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        seed: int | None = None,
        share: Share = ALONE,
        sampling: str = "once",
        varied: Tensor | None = None,
    ) -> None:
        super().__init__(labels, batch_size, seed, share, sampling)
        self.features = features
        self.varied = varied

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of pass `number`, rows gathered per batch: a shuffled copy would double the memory."""
        rows = self.order(number).to(self.features.device)
        views = draw_views(self, number, len(rows))
        views = None if views is None else views.to(rows.device)
        for whole, end in left_of(torch.split(rows, self.sizes), start):
            part = self.share.of(whole)
            features, labels = self.features.index_select(0, part), self.labels.index_select(0, part)
            if self.varied is not None and views is not None:
                view = self.share.of(views[end - len(whole) : end])
                other = view > 0
                features[other] = self.varied[view[other] - 1, part[other]]
            yield Batch(features, labels, len(part), end)


class StoredBatches(_Batches):
    """Batches of features that are in a file, because the memory does not hold them: as FeatureBatches, but
    for the order.

    features, varied: see there. held: bytes of features that are in memory at once. A shuffled pass cuts the
    items into blocks that follow each other in the file, draws which blocks are read together, as many as fit
    into half of that, and shuffles what is in them; the other half is read in the meantime. The order depends
    on `held` and the row's size, not on where the features are.
    """

    BLOCK = 128 * 1024
    """Bytes that are read at a place: a disk reads as many in the time that it takes to get there."""

    def __init__(
        self,
        features: StoredRows,
        labels: Tensor,
        batch_size: int,
        *,
        held: int,
        seed: int | None = None,
        sampling: str = "once",
        varied: Sequence[StoredRows] | None = None,
    ) -> None:
        super().__init__(labels, batch_size, seed, ALONE, sampling)
        self.features = features
        self.varied = varied
        self.held = held
        self.block = max(1, min(self.BLOCK, held // 8) // features.row_bytes)
        self.blocks = -(-len(labels) // self.block)
        self.groups = -(-self.blocks // max(1, held // 2 // (self.block * features.row_bytes)))
        self.at_once = -(-self.blocks // max(1, self.groups)) * self.block

    def order(self, number: int) -> Tensor:
        """The rows of the items in pass `number`: those of a group of blocks follow each other."""
        order = super().order(number)
        if self.seed is None or not self.shuffles(number):
            return order
        group = self.draw_groups(number)[order // self.block]
        return order[group.argsort(stable=True)]

    def draw_groups(self, number: int) -> Tensor:
        """The group of each block (blocks,) in pass `number`. Of blocks that follow each other, as many as
        there are groups, each group has one: where items are sorted by class, groups have as much of each."""
        generator = Draws(self.seed or 0, number).batch_generator(1)  # another one than the order is drawn by
        drawn = torch.rand(-(-self.blocks // self.groups), self.groups, generator=generator)
        return drawn.argsort(1).flatten()[: self.blocks]

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of pass `number`, on the device of the labels."""
        order = self.order(number)
        views = draw_views(self, number, len(order))
        batches = [*left_of(torch.split(order, self.sizes), start)]
        with ThreadPoolExecutor(1, thread_name_prefix="zoo-features") as pool:
            chunks = self._chunks(batches)
            ahead = [pool.submit(self._read, chunk, views) for chunk in chunks[:1]]
            for place, chunk in enumerate(chunks):
                found = ahead.pop().result()
                ahead += [pool.submit(self._read, chunk, views) for chunk in chunks[place + 1 : place + 2]]
                parts = torch.split(found, [len(rows) for rows, _ in chunk])
                for (rows, end), features in zip(chunk, parts, strict=True):
                    labels = self.labels.index_select(0, rows.to(self.labels.device))
                    yield Batch(features, labels, len(rows), end)

    def _chunks(self, batches: Sequence[tuple[Tensor, int]]) -> list[list[tuple[Tensor, int]]]:
        """The batches that are read together: those that begin in one group of blocks."""
        grouped = groupby(batches, key=lambda each: (each[1] - len(each[0])) // self.at_once)
        return [[*chunk] for _, chunk in grouped]

    def _read(self, chunk: Sequence[tuple[Tensor, int]], views: Tensor | None) -> Tensor:
        """The features of some batches, (rows, width), on the device of the labels."""
        rows = torch.cat([rows for rows, _ in chunk])
        if views is None:
            return self.features.read(rows).to(self.labels.device)
        end = chunk[-1][1]
        return self._read_views(rows, views[end - len(rows) : end]).to(self.labels.device)

    def _read_views(self, rows: Tensor, views: Tensor) -> Tensor:
        """The rows, each of its view: 0 is the plain one."""
        found = torch.empty(len(rows), *self.features.shape[1:])
        for number, source in enumerate((self.features, *(self.varied or ()))):
            mine = (views == number).nonzero().flatten()
            found[mine] = source.read(rows[mine])
        return found


def draw_views(source: FeatureBatches | StoredBatches, number: int, places: int) -> Tensor | None:
    """Which view each place of the order of pass `number` shows, drawn by the seed and the pass alone; None
    where all show the plain one."""
    if source.varied is None or source.seed is None or not source.shuffles(number):
        return None
    generator = Draws(source.seed, number).batch_generator(0)  # another one than the order is drawn by
    return torch.randint(1 + len(source.varied), (places,), generator=generator)


class TextBatches(_Batches):
    """Batches of texts as ids of their words, padded with 0 to the longest of each batch.

    ids: of each text's words, from 1. labels: a target per text. seed: shuffle every pass; None keeps
    the order. alike: a shuffled batch holds texts of about the same length, drawn from POOL batches' worth of
    them: half of a batch drawn from all is padding, and an encoder that walks through it takes 1.4 × as long.
    """

    POOL = 32

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        labels: Sequence[int] | Tensor,
        batch_size: int,
        *,
        seed: int | None = None,
        alike: bool = False,
        share: Share = ALONE,
        sampling: str = "once",
    ) -> None:
        super().__init__(torch.as_tensor(labels), batch_size, seed, share, sampling)
        self.ids = ids
        self.lengths = torch.tensor([len(text) for text in ids])
        self.alike = alike

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of pass `number`; inputs (batch, length) int64."""
        for whole, end in left_of(self.rows_of(number), start):
            rows = self.share.of(whole)
            ids = pad_ids([self.ids[row] for row in rows.tolist()])
            yield Batch(ids, self.labels[rows], len(rows), end)

    def rows_of(self, number: int) -> Sequence[Tensor]:
        """Which texts are in each batch of pass `number`."""
        rows = self.order(number)
        if not (self.alike and self.seed is not None and self.shuffles(number)):
            return torch.split(rows, self.sizes)
        pools = torch.split(rows, self.POOL * self.batch_size)
        alike = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        batches = torch.split(alike, self.sizes)
        return [
            batches[i] for i in torch.randperm(len(batches), generator=epoch_generator(self.seed, number))
        ]


class ImageBatches(_Batches):
    """Batches of photographs, decoded and preprocessed by threads while the model works.

    targets: (items, …), as the task encodes them; the classes of the items by default. input: what the
    weights want. augmentation: a name in AUGMENTATIONS; every item draws anew in every pass. seed: shuffle
    every pass; None keeps the order and varies nothing. on_bad: what to do with a file that cannot be read
    any more; "skip" passes over it and reports it once, "stop" raises UnreadableFile. values: black and white
    of images of 16 bit or floats. kept: bytes of decoded images that shuffled passes keep for the next one.
    device: of the model; a GPU makes the batches too. erase: see `augment`. mixing: of shuffled passes;
    targets are rows of float32 then. Of several processes each mixes its share of a batch, all in the same
    way.
    """

    def __init__(
        self,
        items: Sequence[Item],
        input: ImageInput,  # noqa: A002
        batch_size: int,
        *,
        augmentation: str = "none",
        erase: float = 0.0,
        mixing: Mixing | None = None,
        targets: Tensor | None = None,
        seed: int | None = None,
        workers: int | None = None,
        on_bad: str = "skip",
        values: ValueRange | None = None,
        kept: int = 0,
        device: torch.device | None = None,
        share: Share = ALONE,
        sampling: str = "once",
        report: Report = silent,
    ) -> None:
        if targets is None:
            targets = torch.tensor([item.label for item in items], dtype=torch.long)
        super().__init__(targets, batch_size, seed, share, sampling)
        self.items = items
        self.input = input
        self.augmentation = augmentation
        self.erase = erase
        self.mixing = mixing
        self.workers = workers
        self.on_bad = cast(OnBad, on_bad)
        self.values = values
        self.kept = KeptPictures(kept, values) if kept else None
        self.device = device
        self.report = report
        self.bad: dict[Path, BadFile] = {}

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of pass `number`; threads end with it, or when the iterator is dropped."""
        order, own = self.order(number), len(self.items)
        order += own * count_before(order)  # an item that comes again is varied anew
        alone = self.share.world == 1
        left = [*left_of(torch.split(order, self.sizes), start)]
        parts = [order[start:]] if alone else [self.share.of(whole) for whole, _ in left]
        varies = self.shuffles(number)
        strength, erase = (self.augmentation, self.erase) if varies else ("none", 0.0)
        mixing, draws = (self.mixing if varies else None), Draws(self.seed or 0, number)

        pictures = load_batches(
            _Repeated(self.items),
            Preprocessing(self.input, strength, erase),
            self.batch_size,
            draws=draws,
            order=torch.cat(parts).tolist() if parts else [],
            sizes=None if alone else [len(part) for part in parts if len(part)],
            workers=self.workers,
            on_bad=self.on_bad,
            values=self.values,
            kept=self.kept if varies else None,
            device=self.device,
        )
        with pictures:
            batches = _join_a_last_one(pictures) if alone else self._fill(parts, pictures)
            for place, (indices, images, done) in enumerate(batches):
                targets = self.labels[indices % own]
                if mixing is not None:
                    images, targets = mixing.mix(images, targets, draws.batch_generator(taken + place))
                yield Batch(images, targets, len(indices), start + done if alone else left[place][1])
        self._note_bad([file for file in pictures.bad if file.path not in self.bad])

    def _note_bad(self, files: Sequence[BadFile]) -> None:
        """Say once of each file that it cannot be read; a few are named."""
        self.bad |= {file.path: file for file in files}
        named = files if len(files) <= NAMED + 1 else files[:NAMED]
        for file in named:
            self.report(Note(f"passed over: {file}", level="warning"))
        if len(files) > len(named):
            self.report(Note(f"passed over: {len(files) - len(named):,} more", level="warning"))

    def _fill(self, parts: Iterable[Tensor], pictures: Iterator[Pictures]) -> Iterator[Pictures]:
        """A batch for every part, one without items too: all processes make the same steps."""
        nothing = torch.empty(0, 3, self.input.size, self.input.size)
        for part in parts:
            indices, images, _ = next(pictures) if len(part) else (part, nothing, 0)
            yield Pictures(indices, images if len(indices) else nothing)


class _Repeated(Sequence[Item]):
    """The items over and over."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return sys.maxsize

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            raise TypeError("one item at a time")
        return self.items[index % len(self.items)]


def _join_a_last_one(batches: Iterable[Pictures]) -> Iterator[Pictures]:
    """The same batches, but a last one of a single image joins the one before. Holds one batch back."""
    held: Pictures | None = None
    for batch in batches:
        if held is not None and len(batch.indices) == 1 < len(held.indices):
            indices = torch.cat([held.indices, batch.indices])
            held = Pictures(indices, torch.cat([held.images, batch.images]), batch.done)
            continue
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held
