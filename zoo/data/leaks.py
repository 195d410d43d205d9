"""Items that are in two parts at once: a model that has seen the validation items looks better than it is.

Equal texts are copies, whatever their capitals and spaces. Images are found by their bytes, before anything
is decoded. Copies that were saved again, smaller or with
more compression, are found by how they look: 16 x 16 grey values of the very tensors that go through the
model, so that it costs no decoding of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.containers import size_of
from zoo.data.contents import digest_files
from zoo.data.dataset import SINGLE, Dataset, Item, describe_draw
from zoo.data.grouping import split_off_groups
from zoo.data.kinds import IMAGES, Kind
from zoo.data.names import one_line, shortened
from zoo.data.splits import split_off
from zoo.errors import DatasetError
from zoo.events import Note

if TYPE_CHECKING:
    import torch

_SIDE = 16
LOOK_ALIKE = 0.99
"""Correlation of two thumbnails above which they are one photograph. Measured on hymenoptera: different
photographs reach 0.82 at most; the same one, at 0.4 of its size and JPEG quality 30, more than 0.994 in 99 of
100 cases. Scanned digits, which are all alike, exceed it in 9 of 1.6 million pairs."""

_EMPTY = sha256().digest()
_BLOCK = 12_500_000  # correlations computed at a time, 50 MB


def keep_copies_together(dataset: Dataset, digests: Mapping[Path, bytes] | None = None) -> Dataset:
    """The dataset with its exact copies reported in notes, and without leaks that zoo itself would have made.

    Where zoo drew the validation part it is drawn again so that copies stay together. Where the user made the
    split it stays, and the leak is counted in a warning. So are copies that lie in several classes: they are
    never drawn, for the model would be measured on what it was taught both ways. digests: of all files that
    can be read; None reads those that may be copies. Raises DatasetError where nothing else is left to
    validate with.
    """
    items, kind = dataset.items, dataset.kind
    known = any(item.sha256 is not None for item in items)
    if kind.in_files and not known:
        same = find_copies([item.path for item in items], digests)
    else:
        same = _find_equal(item.sha256 or None if known else item.content for item in items)
    groups = [[items[i] for i in group] for group in same]
    if not groups:
        return dataset
    notes = list(_conflicts(groups, kind))
    if dataset.split.origin == "made" and _leaks(dataset.train, dataset.val, groups):
        drawn = describe_draw(dataset)
        dataset = _draw_again(dataset, groups)
        after = tuple(describe_draw(dataset) if note == drawn else note for note in dataset.notes)
        dataset = replace(dataset, notes=after)
        notes.append(Note(f"copies of one {kind.noun} are kept on one side of the drawn split"))
    if dataset.split.origin == "made" and dataset.task == SINGLE:
        notes += _classes_without_validation(dataset, groups)
    for part, held_out in (("val", dataset.val), ("test", dataset.test)):
        if pairs := _leaks(dataset.train, held_out, groups):
            notes.append(describe_leak(pairs, part, len(held_out), "are copies of", kind))
    return dataset.with_notes(*notes)


def _leaks(
    train: Sequence[Item], held_out: Sequence[Item], groups: Iterable[Sequence[Item]]
) -> list[tuple[Path, Path]]:
    """(in train, in the other part) for every file of the other part that is a copy of one in train."""
    seen, other = set(train), set(held_out)
    return [
        (first.path, item.path)
        for group in groups
        for first in [item for item in group if item in seen][:1]
        for item in group
        if item in other
    ]


def _draw_again(dataset: Dataset, groups: Iterable[Sequence[Item]]) -> Dataset:
    """The dataset with its validation part drawn by the same seed, copies together."""
    split = dataset.split
    if split.seed is None or split.val_fraction is None:
        return dataset
    copies = {item.path: min(other.path for other in group) for group in groups for item in group}
    items = sorted((*dataset.train, *dataset.val), key=lambda item: (item.labels, str(item.path)))
    draw = split_off if split.group_by is None and dataset.task == SINGLE else split_off_groups
    train, val = draw(items, root=dataset.root, fraction=split.val_fraction, seed=split.seed, copies=copies)
    return dataset.with_parts(train=train, val=val, test=dataset.test)


def _classes_without_validation(dataset: Dataset, groups: Iterable[Sequence[Item]]) -> Iterable[Note]:
    """A warning about classes that lost every item of a drawn validation part, for all their items lie in
    other classes too. Raises DatasetError where that is so of every class."""
    kind, counts = dataset.kind, dataset.counts("val")
    empty = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    torn = next((group for group in groups if len({item.target for item in group}) > 1), None)
    if not empty or torn is None:
        return
    both = " and ".join(one_line(item.path) for item in _of_two_classes(torn))
    names = ", ".join(shortened(name, 60) for name in empty[:8]) + (", …" if len(empty) > 8 else "")
    if not dataset.val:
        raise DatasetError(
            f"nothing is left to validate with: all {kind.noun}s of {names} lie in several classes ({both})",
            hint=f"Keep each {kind.noun} in one class only.",
        )
    yield Note(
        f"no {kind.noun} of {names} is kept for validation, for all of them lie in other classes too "
        f"({both}): the results say nothing about such a class",
        hint=f"Keep each {kind.noun} in one class only.",
        level="warning",
    )


def find_copies(paths: Sequence[Path], digests: Mapping[Path, bytes] | None = None) -> list[list[int]]:
    """Groups of positions whose files hold the same bytes. Empty files and those that cannot be read are in
    none. digests: of all that can be read; None reads those whose size is not theirs alone."""
    if digests is None:
        digests = digest_files(_of_one_size(paths))
    firsts: dict[bytes, int] = {}
    groups: dict[int, list[int]] = {}  # by the first position: most files are in none
    for position, path in enumerate(paths):
        if (digest := digests.get(path)) is not None and digest != _EMPTY:
            first = firsts.setdefault(digest, position)
            if first != position:
                groups.setdefault(first, [first]).append(position)
    return [groups[first] for first in sorted(groups)]


def _of_one_size(paths: Sequence[Path]) -> list[Path]:
    """The files that are as large as another one."""
    sizes: dict[int, list[Path]] = {}
    for path in paths:
        with suppress(OSError):  # it will be named when it is decoded
            sizes.setdefault(size_of(path), []).append(path)
    return [path for size, group in sizes.items() if size and len(group) > 1 for path in group]


def _find_equal(contents: Iterable[str | None]) -> list[list[int]]:
    """Groups of positions whose digests are the same; None is like no other."""
    groups: dict[str, list[int]] = {}
    for position, digest in enumerate(contents):
        if digest is not None:
            groups.setdefault(digest, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def thumbnails(images: torch.Tensor) -> torch.Tensor:
    """What images look like, as unit vectors (batch, 256) on the CPU, for `find_lookalikes`.

    images: (batch, channels, height, width), normalised or not: brightness and contrast do not count.
    """
    import torch.nn.functional as F

    # eps: what is left of a flat image is rounding, and must not be blown up to a picture.
    grey = F.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), _SIDE).flatten(1)
    return F.normalize(grey - grey.mean(1, keepdim=True), dim=1, eps=1e-3).cpu()


def find_lookalikes(train: torch.Tensor, held_out: torch.Tensor) -> list[tuple[int, int]]:
    """Pairs of positions (in train, in held_out) of thumbnails that show one photograph; for each held-out
    image at most the closest one. 100,000 against 20,000 is a product of 1 Tflop in blocks of 50 MB: a minute
    on two busy cores, less where the thumbnails are on a GPU."""
    if not len(train) or not len(held_out):
        return []
    pairs: list[tuple[int, int]] = []
    block = max(1, _BLOCK // len(train))
    for start in range(0, len(held_out), block):
        best, position = (held_out[start : start + block] @ train.T).max(dim=1)
        close = (best > LOOK_ALIKE).nonzero().flatten().tolist()
        pairs.extend((int(position[i]), start + i) for i in close)
    return pairs


def describe_leak(
    pairs: Sequence[tuple[Path, Path]],
    part: str,
    total: int,
    how: str = "look just like",
    kind: Kind = IMAGES,
) -> Note:
    """A warning that items of a part are in train too. pairs: (in train, in the part); total: of a part."""
    seen, held_out = pairs[0]
    return Note(
        f"{len(pairs):,} of the {total:,} {kind.noun}s in {part} {how} training {kind.noun}s "
        f"({one_line(held_out)} and {one_line(seen)}): results on {part} will look better than they are",
        hint=f"Keep each {kind.noun} in one part only.",
        level="warning",
    )


def _conflicts(groups: Iterable[Sequence[Item]], kind: Kind) -> Iterable[Note]:
    """A warning about copies that lie in different classes: one of the labels is wrong."""
    torn = [group for group in groups if len({item.target for item in group}) > 1]
    if torn:
        both = " and ".join(one_line(item.path) for item in _of_two_classes(torn[0]))
        yield Note(
            f"{kind.count(len(torn))} {'lies' if len(torn) == 1 else 'lie'} in several classes ({both})",
            hint="Remove the copies from the wrong class.",
            level="warning",
        )


def _of_two_classes(group: Sequence[Item]) -> tuple[Item, Item]:
    """The first item of a group and the first with another target."""
    return group[0], next(item for item in group if item.target != group[0].target)
