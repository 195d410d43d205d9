"""What a run was trained on, found again by content: in a copy, a part, or under another name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zoo.data.contents import read_contents
from zoo.data.dataset import PARTS, SINGLE, Dataset, Item, Split, relative_to
from zoo.data.grouping import split_off_groups
from zoo.data.kinds import Kind
from zoo.data.splits import split_off
from zoo.errors import DatasetError
from zoo.events import Note

_DIGITS = 16  # of sha256, hexadecimal: a list of 100,000 takes 2 MB of run.json


def with_contents(dataset: Dataset, digests: Mapping[Path, bytes] | None = None) -> Dataset:
    """The dataset with a digest of every training and validation item in its split. digests: of all files
    that can be read; None reads them."""
    train, val = (_content_digests(part, dataset.kind, digests) for part in (dataset.train, dataset.val))
    split = replace(dataset.split, contents=_distinct(train), val_contents=_distinct(val))
    return replace(dataset, split=split)


def with_replaced(dataset: Dataset, replaced: Mapping[Path, bytes]) -> Dataset:
    """The dataset whose split also has the digests of what took the place of some files meanwhile, so that
    neither is taken for new. replaced: by path, the sha256 of what is there now."""
    added = [
        [replaced[item.path][: _DIGITS // 2].hex() for item in part if item.path in replaced]
        for part in (dataset.train, dataset.val)
    ]
    split = dataset.split
    contents, val_contents = (
        _distinct([*split.contents, *added[0]]),
        _distinct([*split.val_contents, *added[1]]),
    )
    return replace(dataset, split=replace(split, contents=contents, val_contents=val_contents))


def _distinct(digests: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(sorted({digest for digest in digests if digest is not None}))


def set_apart(
    dataset: Dataset, share: float, seed: int, files: Mapping[Path, bytes] | None = None
) -> tuple[Dataset, tuple[Item, ...]]:
    """The dataset without a share, in 0..1, of the training items of every class, and those items: neither
    training nor the choice of the epoch sees them, nor copies of them. files: the digests of all that can be
    read; None reads them."""
    digests = _content_digests(dataset.train, dataset.kind, files)
    first: dict[str | None, Path] = {}
    copies = {
        item.path: first.setdefault(digest, item.path)
        for item, digest in zip(dataset.train, digests, strict=True)
        if digest is not None
    }
    draw = split_off if dataset.split.group_by is None and dataset.task == SINGLE else split_off_groups
    # another seed than that of the validation part: its hashes are above those that were drawn
    train, apart = draw(dataset.train, root=dataset.root, fraction=share, seed=seed + 1, copies=copies)
    if not apart:
        raise DatasetError(f"no {dataset.kind.noun} can be set apart: there are too few")
    return dataset.with_parts(train=train, val=dataset.val, test=dataset.test), tuple(apart)


def leave_out_validated(
    items: Sequence[Item], root: Path, split: Split, kind: Kind, home: Path | None = None
) -> tuple[list[Item], list[Note]]:
    """The items without those that a run chose its epoch by, or was trained on copies of, and notes that
    count them: what was chosen among many looks better on them than it is.

    Raises DatasetError where nothing is left.
    """
    name = relative_to(root)
    names = [name(item.path) for item in items]
    notes = []
    if split.val_contents:
        contents = frozenset((*split.val_contents, *split.contents))
        found = [digest in contents for digest in content_digests(items, kind, home)]
    else:  # a run of an earlier version: by name
        found = [name in frozenset(split.val) for name in names]
        if not any(found):
            notes.append(
                Note(
                    f"the run is of an earlier version, which does not record the content of the "
                    f"{kind.noun}s that its epoch was chosen by: none of these may be among them",
                    level="warning",
                )
            )
    kept = [item for item, known in zip(items, found, strict=True) if not known]
    if not kept and items:
        raise DatasetError(
            f"the run chose its best epoch by all {kind.count(len(items))}: to it they are not new",
            hint=f"Give labelled {kind.noun}s that neither training nor validation has seen.",
        )
    if len(kept) < len(items):
        count = kind.count(len(items) - len(kept))
        notes.append(Note(f"{count} that the run chose its best epoch by are left out"))
    return kept, notes


def leave_out_trained(
    items: Sequence[Item], root: Path, split: Split, kind: Kind, home: Path | None = None
) -> tuple[list[Item], list[Note]]:
    """The items without those that a run was trained on, and notes that count them.

    The validation and test items of the run itself stay what they were, in a warning if copies of them were
    trained on. Raises DatasetError where nothing is left.
    """
    name = relative_to(root)
    names = [name(item.path) for item in items]
    # The name of a line does not last: a line that is added above moves it to another text.
    whole = kind.in_files and bool(split.names) and split.names <= set(names)
    same_data = whole or _is_part_of(set(names), split)
    own = frozenset((*split.val, *split.test)) if same_data else frozenset()
    if split.contents:
        contents = frozenset(split.contents)
        trained = [digest in contents for digest in content_digests(items, kind, home)]
    else:  # a run of an earlier version: by name, if these are the very data that its split is of
        seen = frozenset(split.train) if same_data else frozenset()
        trained = [name in seen for name in names]
    kept = [item for item, name, found in zip(items, names, trained, strict=True) if name in own or not found]
    copies = sum(found and name in own for name, found in zip(names, trained, strict=True))
    left_out = len(items) - len(kept)
    if not kept and items:
        raise DatasetError(
            f"the run was trained on all {kind.count(len(items))}: nothing is left to measure on",
            hint=f"Give {kind.noun}s that it has not seen.",
        )
    notes = []
    if left_out:
        notes.append(Note(f"{kind.count(left_out)} that the run was trained on are left out"))
    if copies:
        notes.append(
            Note(
                f"{kind.count(copies)} of those measured are copies of training {kind.noun}s: the result "
                "will look better than it is",
                level="warning",
            )
        )
    return kept, notes


def _is_part_of(names: set[str], split: Split) -> bool:
    """Whether the names are those of one part of the data that a split is of."""
    return any(names and names == set(getattr(split, part)) for part in PARTS if part != "train")


def trained_items(dataset: Dataset, split: Split, home: Path | None = None) -> tuple[Item, ...]:
    """The items of data, whatever part they lie in, that a run with this split was trained on: by content,
    so that they may be moved or renamed; of a run that kept no contents, by name."""
    return _items_of(dataset, split.train, frozenset(split.contents), home)


def validated_items(dataset: Dataset, split: Split, home: Path | None = None) -> tuple[Item, ...]:
    """The same of the items that the run was validated with, but for copies of what it was trained on."""
    return _items_of(dataset, split.val, frozenset(split.val_contents) - frozenset(split.contents), home)


def _items_of(
    dataset: Dataset, names: Iterable[str], contents: frozenset[str], home: Path | None
) -> tuple[Item, ...]:
    """The items of these contents; where none were kept, of these names."""
    if not contents:
        own, name = frozenset(names), relative_to(dataset.root)
        return tuple(item for item in dataset.items if name(item.path) in own)
    digests = content_digests(dataset.items, dataset.kind, home)
    return tuple(item for item, digest in zip(dataset.items, digests, strict=True) if digest in contents)


def content_digests(items: Sequence[Item], kind: Kind, home: Path | None = None) -> list[str | None]:
    """What equal items share, of each; None for a file that cannot be read. home: of the store, where hashes
    are remembered, here and above; None reads every file."""
    return _content_digests(items, kind, None, home)


def _content_digests(
    items: Sequence[Item], kind: Kind, digests: Mapping[Path, bytes] | None, home: Path | None = None
) -> list[str | None]:
    if not kind.in_files:
        return [item.content for item in items]
    if any(item.sha256 is not None for item in items):
        return [item.sha256[:_DIGITS] if item.sha256 else None for item in items]
    if digests is None:
        found = read_contents([item.path for item in items], home).list_digests(_DIGITS // 2)
    else:
        found = [digests.get(item.path) for item in items]
    return [None if digest is None else digest[: _DIGITS // 2].hex() for digest in found]
