"""Labelled images or texts: which files, classes and split, and what the user should know about them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.data.kinds import IMAGES, Kind
from zoo.data.names import one_line, safe_text
from zoo.events import Note

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Origin = Literal["folders", "table", "made"]
Layout = Literal["files", "lines", "table"]
"""How texts lie: a file each, a line each, a row each."""

SINGLE = "single-label"
"""The task of data where each item has one class."""

Target = int | tuple[int, ...] | float | tuple[float, ...]
"""What a model learns to answer for an item: one class, several classes (each an index into the dataset's
classes), one number, several numbers. What a tensor of targets looks like is the task's decision, not the
item's."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image file, or one text, and what a model learns to answer for it.

    path: of the file; of a text that is not alone in its file with its place behind it: reviews.csv:17.
    target: see `Target`; an int is an index into the dataset's classes. text: None for an image. group: what
    it belongs to, with others that must lie in the same part: one patient, one video. sha256: of its file, of
    an item that is known by its features, whatever lies at its path now; empty where they do not say it.
    """

    path: Path
    target: Target
    text: str | None = None
    group: str | None = None
    sha256: str | None = None

    @property
    def label(self) -> int:
        """The class of an item that has exactly one. Raises TypeError for several classes and for numbers:
        code that counts or stratifies by class must not take them for something else.

        >>> Item(Path("bee.jpg"), 1).label
        1
        """
        if type(self.target) is not int:
            raise TypeError(f"{self.path} has the target {self.target!r}, which is not a single class")
        return self.target

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes that the item has; none of an item whose targets are numbers.

        >>> Item(Path("1.jpg"), 1).labels, Item(Path("2.jpg"), (0, 2)).labels, Item(Path("3.jpg"), 1.5).labels
        ((1,), (0, 2), ())
        """
        several = self.target if isinstance(self.target, tuple) else (self.target,)
        return tuple(target for target in several if isinstance(target, int))

    @property
    def content(self) -> str | None:
        """What equal texts share; capitals and spaces do not count. None for an image."""
        return None if self.text is None else _content_digest(self.text)


@dataclass(frozen=True)
class Split:
    """Which file was used for what: written into the run, so that it can be checked and repeated.

    origin: `folders` or `table` where the user made the split; `made` where zoo drew the validation part,
    with `seed` and `val_fraction` (None otherwise). train, val, test: names relative to the root, sorted.
    group_by: the column or expression whose groups were kept in one part. contents: a digest of each training
    item, by which it is found again wherever it lies; val_contents: of each validation item.
    """

    origin: Origin
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()
    seed: int | None = None
    val_fraction: float | None = None
    contents: tuple[str, ...] = ()
    group_by: str | None = None
    val_contents: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """sha256 over the names of each part: equal for equal splits, wherever the folder lies."""
        return _sha256([part, *getattr(self, part)] for part in PARTS)

    @property
    def names(self) -> frozenset[str]:
        """Every name in any part."""
        return frozenset((*self.train, *self.val, *self.test))

    def facts(self) -> dict[str, Any]:
        """The split as plain JSON values."""
        drawn = {"seed": self.seed, "val_fraction": self.val_fraction} if self.origin == "made" else {}
        contents = {
            name: list(found)
            for name, found in (("contents", self.contents), ("val_contents", self.val_contents))
            if found
        }
        grouped = {} if self.group_by is None else {"group_by": self.group_by}
        names: dict[str, Any] = {part: list(getattr(self, part)) for part in PARTS}
        return {"origin": self.origin, **drawn, **grouped, "hash": self.hash, **names, **contents}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Split:
        """The split that `facts` was made of."""
        parts = {part: tuple(facts.get(part, ())) for part in PARTS}
        return cls(
            facts["origin"],
            **parts,
            seed=facts.get("seed"),
            val_fraction=facts.get("val_fraction"),
            contents=tuple(facts.get("contents", ())),
            group_by=facts.get("group_by"),
            val_contents=tuple(facts.get("val_contents", ())),
        )


@dataclass(frozen=True)
class Dataset:
    """Everything a run needs to know about its items; no image was opened for it yet, texts are read.

    classes: in natural order (1, 2, 10), from the training part alone; of numbers, what they are called.
    task: by its name in zoo/training/tasks. notes: what the scan passed over.
    layout: how texts lie in their files.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    notes: tuple[Note, ...]
    split: Split
    kind: Kind = IMAGES
    layout: Layout | None = None
    task: str = SINGLE

    @property
    def items(self) -> tuple[Item, ...]:
        """Train, validation and test items, in this order."""
        return self.train + self.val + self.test

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over classes, relative names, labels and parts: another dataset has another one."""
        name = relative_to(self.root)
        parts = (
            [
                part,
                *(f"{item.target}\0{name(item.path)}\0{item.content or ''}" for item in getattr(self, part)),
            ]
            for part in PARTS
        )
        return _sha256([list(self.classes), *parts])

    def counts(self, part: Part) -> tuple[int, ...]:
        """Items that have each class, in one part; 0 for numbers."""
        found = Counter(label for item in getattr(self, part) for label in item.labels)
        return tuple(found[label] for label in range(len(self.classes)))

    def without(self, paths: Collection[Path]) -> Dataset:
        """The dataset without some of its files."""
        parts = {part: tuple(i for i in getattr(self, part) if i.path not in paths) for part in PARTS}
        return self.with_parts(**parts)

    def with_parts(self, *, train: Sequence[Item], val: Sequence[Item], test: Sequence[Item] = ()) -> Dataset:
        """The dataset with its items parted in another way; the split says so too."""
        parts = {"train": tuple(train), "val": tuple(val), "test": tuple(test)}
        names = {part: part_names(items, self.root) for part, items in parts.items()}
        texts = tuple(sorted({item.content for item in train if item.content is not None}))
        contents = self.split.contents if self.kind.in_files else texts
        split = replace(self.split, **names, contents=contents)  # type: ignore[arg-type]
        return replace(self, **parts, split=split)  # type: ignore[arg-type]

    def with_notes(self, *notes: Note) -> Dataset:
        """The dataset with more to say."""
        return replace(self, notes=(*self.notes, *notes))


_UNEVEN = 5
"""Times that the largest class must have the items of the smallest to be worth a remark."""


def describe_classes(dataset: Dataset, most: int = 6) -> Note:
    """The classes with their sizes, to be read before training: what was taken for a class, and how uneven
    they are. Of more than `most` classes the largest and the smallest are named. Of numbers, their range."""
    if not any(item.labels for item in dataset.train):
        return _describe_numbers(dataset)
    sizes = {part: dataset.counts(part) for part in PARTS}
    counts = sizes["train"]
    ranked = sorted(range(len(dataset.classes)), key=lambda label: (-counts[label], label))

    def name(label: int) -> str:
        rest = ", ".join(f"{part} {sizes[part][label]:,}" for part in ("val", "test") if sum(sizes[part]))
        return f"{one_line(dataset.classes[label])} {counts[label]:,} ({rest})"

    if len(ranked) <= most:
        shown = ", ".join(map(name, range(len(dataset.classes))))
    else:
        half = most // 2
        largest, smallest = (", ".join(map(name, part)) for part in (ranked[:half], ranked[-half:]))
        shown = f"largest {largest}; smallest {smallest}"
    uneven = max(counts) >= _UNEVEN * max(1, min(counts))
    if dataset.task != SINGLE:
        labels = sum(counts) / len(dataset.train)
        none = sum(not item.labels for item in dataset.train)
        shown += f"; {labels:.1f} of each item" + (f", none of {none:,}" if none else "")
    return Note(
        f"{len(dataset.classes):,} classes: {shown}",
        hint="Their sizes differ much: --balance weighs every class alike." if uneven else None,
    )


def _describe_numbers(dataset: Dataset) -> Note:
    """What numbers are learned: their range and mean in the training part, and how many items there are."""
    described = []
    for place, name in enumerate(dataset.classes):
        values = [float(i.target[place] if isinstance(i.target, tuple) else i.target) for i in dataset.train]
        mean = sum(values) / len(values)
        described.append(f"{one_line(name)} {min(values):.4g} to {max(values):.4g}, mean {mean:.4g}")
    parts = ", ".join(f"{part} {len(getattr(dataset, part)):,}" for part in PARTS if getattr(dataset, part))
    return Note(f"numbers: {'; '.join(described)} ({parts})")


def describe_draw(dataset: Dataset) -> Note:
    """How many items were drawn for validation, and how."""
    kept, split = dataset.kind.count(len(dataset.val)), dataset.split
    how = f"{split.val_fraction or 0:.0%}" + (" of every class" if dataset.task == SINGLE else "")
    if split.group_by is not None:
        how = f"about {how}, in whole groups"
    return Note(f"{kept} ({how}, seed {split.seed}) kept for validation")


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled items to measure a model on. part: which part of a split folder they are; None for all."""

    root: Path
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    part: Part | None
    notes: tuple[Note, ...]


def _content_digest(text: str) -> str:
    """16 hexadecimal digits that equal texts share; capitals and spaces do not count.

    >>> _content_digest("Good  film") == _content_digest("good film")
    True
    """
    plain = " ".join(text.split()).casefold().encode("utf-8", "replace")
    return hashlib.blake2b(plain, digest_size=8).hexdigest()


def part_names(items: Iterable[Item], root: Path) -> tuple[str, ...]:
    """The items' names relative to the root, sorted."""
    name = relative_to(root)
    return tuple(sorted(name(item.path) for item in items))


def relative_name(path: Path, root: Path) -> str:
    """The path below the root with forward slashes, as text that JSON takes; the whole path if not below."""
    return relative_to(root)(path)


def relative_to(root: Path) -> Callable[[Path], str]:
    """`relative_name` for one root: what is the same for a million paths is done once."""
    # Strings: Path.relative_to costs 5 us a call, half a second for 100,000 files.
    base = os.path.join(root, "")  # noqa: PTH118

    def name(path: Path) -> str:
        text = os.fspath(path)
        below = text[len(base) :] if text.startswith(base) else text
        return safe_text(below if os.sep == "/" else below.replace(os.sep, "/"))

    return name


def _sha256(lists: Iterable[Sequence[str]]) -> str:
    """sha256 of lists of strings; no two different inputs are the same bytes."""
    digest = hashlib.sha256()
    for strings in lists:
        for text in strings:
            data = safe_text(text).encode()
            digest.update(b"%d:%b" % (len(data), data))
        digest.update(b";")
    return digest.hexdigest()
