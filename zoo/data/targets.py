"""What was found in a table becomes items with several classes, or with numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.data.dataset import Item, Part, Target
from zoo.data.finding.found import Found, class_name
from zoo.data.finding.targets import NUMBERS, labels_of, numbers_of
from zoo.data.names import natural_key, one_line, shortened
from zoo.errors import DatasetError, close_names, join_names
from zoo.events import Note


def output_names(found: Found, part: Part | None, task: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """What the outputs of a model of these data are called: as wanted, else as the columns are, else as the
    labels of a part, in natural order."""
    if wanted is not None:
        return tuple(map(class_name, wanted))
    if found.names is not None or task == NUMBERS:
        return found.names or ()
    return tuple(sorted({name for key in found.parts[part] for name in labels_of(key)}, key=natural_key))


def target_items(found: Found, part: Part | None, names: Sequence[str], task: str, path: Path) -> list[Item]:
    """The items of a part with their targets, by their paths. Raises DatasetError for a label that is not
    among `names`."""
    items, groups = [], found.groups or {}
    for key, files in found.parts[part].items():
        target = _target(key, names, task, part, path)
        items += [
            Item(Path(file), target, found.texts.get(file), groups.get(file), found.contents.get(file))
            for file in files
        ]
    return sorted(items, key=lambda item: str(item.path))


def _target(key: str, names: Sequence[str], task: str, part: Part | None, path: Path) -> Target:
    """What an item is to be answered with."""
    if task == NUMBERS:
        numbers = numbers_of(key)
        return numbers[0] if len(numbers) == 1 else numbers
    labels = labels_of(key)
    if strange := [label for label in labels if label not in names]:
        where = f"the {part} part of {one_line(path)}" if part else one_line(path)
        close = close_names(strange[0], names)
        raise DatasetError(
            f"{where} has a label {shortened(strange[0])!r} that training did not have",
            hint=f"Did you mean {join_names(close)}?" if close else f"There are: {_few(names)}.",
        )
    return tuple(sorted(names.index(label) for label in labels))


def check_targets(train: Sequence[Item], names: Sequence[str], task: str, path: Path) -> Iterator[Note]:
    """Warnings about what cannot be learned well. Raises DatasetError for what cannot be learned at all."""
    if len(train) < 2:
        raise DatasetError(f"{one_line(path)} has {len(train)} item to train on: that is too few")
    if task == NUMBERS:
        yield from _check_numbers(train, names, path)
        return
    counts = Counter(label for item in train for label in item.labels)
    if not names or not counts:
        raise DatasetError(f"no item of {one_line(path)} has a label: there is nothing to learn")
    if absent := [name for place, name in enumerate(names) if not counts[place]]:
        raise DatasetError(
            f"no training item of {one_line(path)} has the label {_few(absent)}: it cannot be learned",
            hint="Leave it out: --label-column with the names of the others.",
        )
    if always := [name for place, name in enumerate(names) if counts[place] == len(train)]:
        yield Note(
            f"every training item has the label {_few(always)}: that is all that will be known of it",
            level="warning",
        )


def _check_numbers(train: Sequence[Item], names: Sequence[str], path: Path) -> Iterator[Note]:
    for place, name in enumerate(names):
        values = {item.target[place] if isinstance(item.target, tuple) else item.target for item in train}
        if len(values) == 1:
            raise DatasetError(
                f"{one_line(name)} is {next(iter(values))} in every training row of {one_line(path)}: there "
                "is nothing to learn"
            )
        if values <= {0.0, 1.0}:
            yield Note(
                f"{one_line(name)} is 0 or 1 everywhere: these look like classes",
                hint="For classes leave out --task, or give --task multi-label.",
                level="warning",
            )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(map(shortened, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
