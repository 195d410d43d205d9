"""Images in batches, decoded by threads ahead of the model, in a fixed order, bad files set aside.

Threads, not processes: decoding and resizing release Python's lock, so that nothing has to be copied between
processes, pickled, or started anew in every epoch.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload

import torch

from zoo.data.contents import count_cpus, read_contents
from zoo.data.dataset import Dataset, Item
from zoo.data.names import one_line
from zoo.data.pixels.decoding import TRAITS, Picture, judge_start, measure_values
from zoo.data.pixels.keeping import KeptPictures
from zoo.data.pixels.memory import ImageSource, MemoryImage, open_picture, place_of
from zoo.data.pixels.on_gpu import OnGpu, decoder_of, read_ahead
from zoo.data.pixels.preprocessing import Draws, Preprocessing
from zoo.data.pixels.ranges import ValueRange, join_extremes, usual_range
from zoo.errors import DatasetError, UnreadableFile
from zoo.events import Note, Progress, Report, silent
from zoo.threads import one_thread

Transform = Callable[[torch.Tensor], torch.Tensor]
RandomTransform = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

OnBad = Literal["skip", "stop"]
"""What to do about a file that cannot be read: pass over it and count it, or end with an error."""

_MOST_BAD = 0.05
"""Share of a class that may be unreadable: above it something is wrong with the data, not with a file."""


@dataclass(frozen=True)
class BadFile:
    """A file that could not be read, and why ("is cut off: …"), worded to follow its name."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{one_line(self.path)} {self.reason}"


class Batch(NamedTuple):
    """indices: positions of the images in the list that was given, int64 (batch,); images: (batch, …). done:
    how many of the positions to read are behind it, unreadable ones too."""

    indices: torch.Tensor
    images: torch.Tensor
    done: int = 0


class Batches(Iterator[Batch]):
    """Batches as they get ready. failures: by their position, the files that could not be read so far;
    traits: how many images had which.

    Threads end with the last batch, when it is closed, when a `with` block ends, or when nobody holds it.
    """

    def __init__(
        self, source: Generator[Batch, None, None], failures: dict[int, BadFile], traits: Counter[str]
    ) -> None:
        self._source = source
        self.failures = failures
        self.traits = traits

    @property
    def bad(self) -> list[BadFile]:
        """The files that could not be read so far, in order."""
        return list(self.failures.values())

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        return next(self._source)

    def close(self) -> None:
        """Stop reading ahead; images that are being decoded are waited for."""
        self._source.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@overload
def load_batches(
    images: Sequence[ImageSource],
    transform: Transform,
    batch_size: int,
    *,
    order: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    workers: int | None = None,
    on_bad: OnBad = "skip",
    keep: int | None = None,
    values: ValueRange | None = None,
    kept: KeptPictures | None = None,
    device: torch.device | None = None,
    report: Report = silent,
    task: str = "images",
) -> Batches: ...
@overload
def load_batches(
    images: Sequence[ImageSource],
    transform: RandomTransform,
    batch_size: int,
    *,
    draws: Draws,
    order: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    workers: int | None = None,
    on_bad: OnBad = "skip",
    keep: int | None = None,
    values: ValueRange | None = None,
    kept: KeptPictures | None = None,
    device: torch.device | None = None,
    report: Report = silent,
    task: str = "images",
) -> Batches: ...
def load_batches(
    images: Sequence[ImageSource],
    transform: Callable[..., torch.Tensor],
    batch_size: int,
    *,
    draws: Draws | None = None,
    order: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    workers: int | None = None,
    on_bad: OnBad = "skip",
    keep: int | None = None,
    values: ValueRange | None = None,
    kept: KeptPictures | None = None,
    device: torch.device | None = None,
    report: Report = silent,
    task: str = "images",
) -> Batches:
    """Batches of `batch_size` transformed images (the last one may be smaller), in the order given.

    transform: from uint8 (3, height, width) to a tensor whose shape is always the same; with `draws` it gets
    a generator of the item's own too, so that no result depends on how many threads there are. order:
    positions in `images` in the order to read them, all by default. sizes: how many positions each batch
    has, in place of batch_size: those that cannot be read are missing in it, and images is empty if it has
    none. workers: threads, one per CPU by default.
    keep: see `read_image`. values: black and white of images of 16 bit or floats; None: by each file. kept:
    opens the images, and keeps them for another pass, in place of keep and values. device: of the network; on
    a GPU the batches of a Preprocessing are made there, a batch ahead, see `on_gpu`. A file
    that cannot be read goes to `.bad` and the next one takes its place in the batch; with on_bad="stop"
    UnreadableFile is raised. At most one batch is read ahead.
    """
    positions = range(len(images)) if order is None else order
    failures: dict[int, BadFile] = {}
    traits: Counter[str] = Counter()
    open_image = kept.open if kept is not None else partial(open_picture, keep=keep, values=values)
    maker: Maker = _OnCpu(images, transform, draws, open_image)
    gpu = device if isinstance(transform, Preprocessing) and device and device.type == "cuda" else None
    if gpu is not None and isinstance(transform, Preprocessing):
        decode = decoder_of(gpu)
        maker = OnGpu(gpu, images, transform, draws=draws, decode=decode, open_image=open_image)

    def load(start: int) -> list[Any]:
        return [_or_error(maker.read, position) for position in positions[start : start + maker.at_once]]

    def pass_over(position: int, error: UnreadableFile) -> None:
        if on_bad == "stop":
            raise _stop_at(error)
        failures[position] = BadFile(place_of(images[position]), error.reason)

    def assemble(loaded: Sequence[tuple[int, Any]], done: int) -> Batch:
        if not loaded:
            return Batch(torch.empty(0, dtype=torch.long), torch.empty(0), done)
        indices = []
        stacked, outcomes = maker.assemble(loaded)
        for (position, _), outcome in zip(loaded, outcomes, strict=True):
            if isinstance(outcome, UnreadableFile):
                pass_over(position, outcome)
            else:
                traits.update(outcome)
                indices.append(position)
        return Batch(torch.tensor(indices, dtype=torch.long), stacked, done)

    def make() -> Generator[Batch, None, None]:
        loaded: list[tuple[int, Any]] = []
        threads, some = workers or min(count_cpus(), maker.most_threads), maker.at_once
        starts = range(0, len(positions), some)
        ends = None if sizes is None else {*accumulate(sizes)}
        with closing(
            _run_ahead(load, starts, threads=threads, ahead=batch_size // some + threads)
        ) as results:
            read = zip(positions, chain.from_iterable(results), strict=True)
            for done, (position, result) in enumerate(read, start=1):
                if isinstance(result, UnreadableFile):
                    pass_over(position, result)
                else:
                    loaded.append((position, result))
                full = len(loaded) == batch_size if ends is None else done in ends
                if full or done == len(positions):
                    yield assemble(loaded, done)
                    loaded = []

    def batches() -> Generator[Batch, None, None]:
        made = make() if gpu is None else read_ahead(make(), gpu, lambda batch: batch.images)
        with closing(made):
            for batch in made:
                report(Progress(task, batch.done, len(positions), "images"))
                if len(batch.indices) or sizes is not None:
                    yield batch

    return Batches(batches(), failures, traits)


def _or_error(read: Callable[[int], Any], position: int) -> Any:
    try:
        return read(position)
    except UnreadableFile as error:
        return error


class Maker(Protocol):
    """What batches are made by: images are read in threads, and assembled in one. at_once: images that a
    thread reads before it answers; most_threads: how many there are, unless somebody says so."""

    at_once: int
    most_threads: int

    def read(self, position: int, /) -> Any:
        """An image, as far as a thread of its own gets. Raises UnreadableFile."""

    def assemble(
        self, loaded: Sequence[tuple[int, Any]], /
    ) -> tuple[torch.Tensor, list[tuple[str, ...] | UnreadableFile]]:
        """The batch of (position, what `read` returned), and what came of each: its traits, or why it is
        missing in the batch."""


class _OnCpu:
    """Each image is transformed where it is decoded."""

    at_once = 1
    most_threads = sys.maxsize

    def __init__(
        self,
        images: Sequence[ImageSource],
        transform: Callable[..., torch.Tensor],
        draws: Draws | None,
        open_image: Callable[[ImageSource], Picture],
    ) -> None:
        self.images = images
        self.transform = transform
        self.draws = draws
        self.open_image = open_image

    def read(self, position: int, /) -> tuple[torch.Tensor, tuple[str, ...]]:
        """The transformed image and its traits."""
        picture = self.open_image(self.images[position])
        if self.draws is None:
            return self.transform(picture.pixels), picture.traits
        return self.transform(picture.pixels, self.draws.generator(position)), picture.traits

    def assemble(
        self, loaded: Sequence[tuple[int, tuple[torch.Tensor, tuple[str, ...]]]], /
    ) -> tuple[torch.Tensor, list[tuple[str, ...] | UnreadableFile]]:
        """Stacked images."""
        with one_thread():  # there is more to lose by waiting than by copying
            stacked = torch.stack([image for _, (image, _) in loaded])
        return stacked, [traits for _, (_, traits) in loaded]


Result = TypeVar("Result")


def _run_ahead(
    work: Callable[[int], Result], positions: Sequence[int], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Results of `work` in the order of `positions`, computed by threads, at most `ahead` before they are
    wanted; a single one where it is wanted."""
    if len(positions) == 1:
        yield work(positions[0])
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="zoo-images")
    pending: deque[Future[Result]] = deque()
    try:
        for position in positions:
            pending.append(pool.submit(work, position))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also on Ctrl-C and when the caller stops early: no thread stays behind
        pool.shutdown(wait=True, cancel_futures=True)


_LOOKS = 16
"""Files that a thread looks at before it answers: most looks take less time than a call of another thread."""


def measure_range(
    images: Sequence[ImageSource], *, workers: int | None = None, home: Path | None = None
) -> ValueRange | None:
    """One range for all images of a set that have 16 bit or floats and do not state theirs: the smallest
    usual one that holds every value. None where there are none. Each of them is decoded for it; the others
    are opened, but for those of which the hashes in the home of a store say that they are plain."""
    paths = [place_of(image) for image in images if not isinstance(image, MemoryImage)]
    if home is not None:
        plain = read_contents(paths, home).plain.tolist()
        paths = [path for path, nothing in zip(paths, plain, strict=True) if not nothing]
    threads = workers or count_cpus()
    work = _run_ahead(
        lambda at: [found for path in paths[at : at + _LOOKS] if (found := measure_values(path)) is not None],
        range(0, len(paths), _LOOKS),
        threads=threads,
        ahead=4 * threads,
    )
    with closing(work) as results:
        found = list(chain.from_iterable(results))
    ranges = []
    for floats in (False, True):
        extremes = join_extremes(pair for is_float, pair in found if is_float is floats)
        ranges.append(None if extremes is None else usual_range(extremes, floats=floats))
    return ValueRange(*ranges) if found else None


def describe_range(values: ValueRange | None) -> Note:
    """A note on which values of 16 bit or float images are black and white."""
    if values is None:
        return Note(
            "16-bit and float images: each has the smallest usual range that holds its values, unless its "
            "file states one"
        )
    return Note(f"16-bit and float images: black to white is {values} in every file that states no range")


def find_obvious(dataset: Dataset, unusual: Collection[Path] | None = None) -> list[BadFile]:
    """The files that are not images by their first bytes: what a quick look can find before anything is
    fetched. unusual: the ones to look at, see `know_files`; None for all."""
    paths = (item.path for item in dataset.items)
    judged = ((path, judge_start(path)) for path in paths if unusual is None or path in unusual)
    return [BadFile(path, reason) for path, reason in judged if reason is not None]


def check_bad_files(
    dataset: Dataset, bad: Sequence[BadFile], on_bad: OnBad = "skip", *, however_many: bool = False
) -> Dataset:
    """The dataset without the files that could not be read, with a note that counts and names them.

    Raises DatasetError with on_bad="stop", where more than 5 % of a class are unreadable (unless they are to
    be passed over however many they are), and where a class has no image to train on or there is none to
    validate with.
    """
    if not bad:
        return dataset
    named = name_bad_files(bad)
    if on_bad == "stop":
        raise DatasetError(f"{_files(len(bad))} cannot be read: {named}", hint="Repair or remove them.")
    paths = {file.path: file for file in bad}
    total = Counter(label for item in dataset.items for label in _classes_of(item))
    lost = Counter(label for item in dataset.items if item.path in paths for label in _classes_of(item))
    for label, count in sorted(lost.items()):
        if not however_many and count > _MOST_BAD * total[label]:
            of_class = [
                paths[item.path]
                for item in dataset.items
                if label in _classes_of(item) and item.path in paths
            ]
            of = f" of class {one_line(dataset.classes[label])}" if label != _NO_CLASS else ""
            raise DatasetError(
                f"{count} of the {total[label]} images{of} cannot be "
                f"read ({count / total[label]:.0%}; at most {_MOST_BAD:.0%} are passed over): "
                f"{name_bad_files(of_class)}",
                hint="Repair or remove them, or pass over all of them with --on-bad skip.",
            )
    rest = dataset.without(paths.keys())
    counts = rest.counts("train") if any(item.labels for item in dataset.train) else ()
    if empty := [name for name, left in zip(rest.classes, counts, strict=False) if not left]:
        raise DatasetError(
            f"no image of class {one_line(empty[0])} that can be read is left to train on: {named}",
            hint="Repair or replace them.",
        )
    if dataset.val and not rest.val:
        raise DatasetError(f"no image that can be read is left to validate with: {named}")
    return rest.with_notes(
        Note(f"{_files(len(bad))} of {len(dataset.items):,} passed over: {named}", level="warning")
    )


_NO_CLASS = -1


def _classes_of(item: Item) -> tuple[int, ...]:
    """The classes that an item counts in; one for all that have none."""
    return item.labels or (_NO_CLASS,)


def name_bad_files(bad: Sequence[BadFile], most: int = 3) -> str:
    """The first few files with their reasons, on one line."""
    shown = "; ".join(map(str, bad[:most]))
    return shown if len(bad) <= most else f"{shown}; and {len(bad) - most} more"


def describe_traits(traits: Counter[str]) -> Note | None:
    """A note on images that were not plain RGB, None where all were."""
    found = [f"{traits[trait]:,} {words}" for trait, words in TRAITS.items() if traits[trait]]
    return Note(f"images {'; '.join(found)}") if found else None


def _stop_at(error: UnreadableFile) -> UnreadableFile:
    hint = "Repair or remove it, or pass over such files with --on-bad skip."
    return UnreadableFile(error.message, hint=hint, reason=error.reason)


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"
