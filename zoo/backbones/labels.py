"""The names of a model's classes, in the order of its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from zoo.catalogue.entry import ImageModel
from zoo.errors import DatasetError, UnknownName
from zoo.vision import import_torchvision


def class_names(entry: ImageModel) -> tuple[str, ...]:
    """One name per output of the network, no two alike; numbers as text where no names were published.

    Empty for a model without classes. Raises UnknownName for a label set that is not in LABEL_SETS.
    """
    classes = entry.classes
    if isinstance(classes, str):
        return read_label_set(classes)
    if isinstance(classes, int):
        return tuple(str(index) for index in range(classes))
    return classes or ()


def count_classes(entry: ImageModel) -> int | None:
    """Outputs of the entry's network; None where it has no classes."""
    if isinstance(entry.classes, int):
        return entry.classes
    return len(class_names(entry)) or None


@cache
def read_label_set(name: str) -> tuple[str, ...]:
    """The labels of a set that has a name.

    >>> read_label_set("imagenet-1k")[285]
    'Egyptian cat'
    """
    if name not in LABEL_SETS:
        raise UnknownName("label set", name, LABEL_SETS)
    return LABEL_SETS[name]()


def _imagenet_1k() -> tuple[str, ...]:
    """The 1,000 names that torchvision publishes with its weights; timm's are the same with synonyms."""
    return tuple(import_torchvision().models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def _imagenet(subset: str) -> Callable[[], tuple[str, ...]]:
    """The names of one of timm's sets of WordNet synsets; where two share a name, their numbers are added."""

    def read() -> tuple[str, ...]:
        from timm.data import ImageNetInfo

        info = ImageNetInfo(subset)
        names, synsets = info.label_descriptions(), info.label_names()
        times = Counter(names)
        return tuple(n if times[n] == 1 else f"{n} ({s})" for n, s in zip(names, synsets, strict=True))

    return read


LABEL_SETS: dict[str, Callable[[], tuple[str, ...]]] = {
    "imagenet-1k": _imagenet_1k,
    "imagenet-12k": _imagenet("imagenet-12k"),
    "imagenet-21k": _imagenet("imagenet-21k"),
    "imagenet-21k-goog": _imagenet("imagenet-21k-goog"),
    "imagenet-21k-miil": _imagenet("imagenet-21k-miil"),
    "imagenet-22k": _imagenet("imagenet-22k"),
    "imagenet-22k-ms": _imagenet("imagenet-22k-ms"),
}


@cache
def synset_ids(label_set: str) -> tuple[str, ...]:
    """The WordNet ids of a set's classes, n01440764 …, in the order of the outputs, from timm's lists; none
    for a set that has none.

    >>> synset_ids("imagenet-1k")[285]
    'n02124075'
    """
    if label_set not in LABEL_SETS:
        return ()
    ids = _synsets_1k() if label_set == "imagenet-1k" else _synsets(label_set)
    return ids if len(ids) == len(read_label_set(label_set)) else ()


def _synsets_1k() -> tuple[str, ...]:
    """ImageNet's synsets from the file that timm has of them: importing timm takes a second."""
    found = find_spec("timm")
    for folder in (found.submodule_search_locations if found else None) or ():
        path = Path(folder) / "data" / "_info" / "imagenet_synsets.txt"
        if path.is_file():
            return tuple(path.read_text("utf-8").splitlines())
    return _synsets("imagenet-1k")


def _synsets(label_set: str) -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo(label_set).label_names())


def known_name(label_set: str, name: str) -> str:
    """The class that somebody means by a name: by its id, by one of its synonyms, whatever its capitals, with
    blanks or underscores; the name itself where no class of the set is called so.

    Raises DatasetError for a name of several classes: a crane is a bird and a machine.

    >>> known_name("imagenet-1k", "n02124075"), known_name("imagenet-1k", "egyptian_cat")
    ('Egyptian cat', 'Egyptian cat')
    """
    for level, key in enumerate((name, name, _plain(name), _plain(name))):
        meant = sorted(_outputs_by_name(label_set)[level].get(key, ())) if synset_ids(label_set) else []
        if len(meant) > 1:
            names, ids = read_label_set(label_set), synset_ids(label_set)
            several = " and ".join(f"{names[output]} ({ids[output]})" for output in meant)
            raise DatasetError(f"{name!r} may be {several}", hint="Call it by its id.")
        if meant:
            return read_label_set(label_set)[meant[0]]
    return name


@cache
def _outputs_by_name(label_set: str) -> tuple[dict[str, set[int]], ...]:
    """The outputs that have a name, the surest names first: ids, names that are published or stand first in
    timm's description, the same without regard to capitals and underscores, all synonyms."""
    from timm.data import ImageNetInfo

    described = ImageNetInfo(label_set).label_descriptions()
    levels: tuple[dict[str, set[int]], ...] = ({}, {}, {}, {})
    classes = zip(synset_ids(label_set), read_label_set(label_set), described, strict=True)
    for output, (synset, published, description) in enumerate(classes):
        names = {published, description.split(",")[0]}
        synonyms = {description, *description.split(",")}
        for level, found in enumerate(({synset}, names, map(_plain, names), map(_plain, synonyms))):
            for each in found:
                levels[level].setdefault(each, set()).add(output)
    return levels


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
