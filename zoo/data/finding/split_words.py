"""Which names stand for parts of the data: train, val, test, parts without labels, folds.

People write train, TRAINING_SET, seg_train, test1, valid_images, fold_3. Words alone do not decide: a class
may be called train, and a test tube is not a test. What decides is the level, all names that lie beside each
other: `read_level`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from zoo.data.dataset import PARTS, Part

Role = Literal["train", "val", "test", "unlabelled", "fold", "chunk"]
"""unlabelled: items without labels. fold: one of several, numbered, each a part once. chunk: a numbered piece
of one part, because it was too large for one archive."""

WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("unsup", "unsupervised", "unlabeled", "unlabelled", "unannotated"), "unlabelled"),
    **dict.fromkeys(
        ("pred", "predict", "prediction", "predictions", "inference", "submission"), "unlabelled"
    ),
    **dict.fromkeys(("fold", "kfold", "cv"), "fold"),
    **dict.fromkeys(("part", "chunk", "shard", "batch"), "chunk"),
}
NEVER_CLASSES = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "unannotated"})
"""Words that say "no label" wherever they stand, also as the name of a class."""

_FILLERS = frozenset(
    {"set", "sets", "data", "dataset", "datasets", "split", "subset", "folder", "dir", "sample", "samples"}
    | {
        "image",
        "images",
        "img",
        "imgs",
        "pic",
        "pics",
        "picture",
        "pictures",
        "photo",
        "photos",
        "jpg",
        "png",
    }
    | {
        "text",
        "texts",
        "txt",
        "file",
        "files",
        "example",
        "examples",
        "review",
        "reviews",
        "class",
        "classes",
    }
    | {"csv", "tsv", "json", "jsonl", "ndjson", "parquet", "xlsx", "gz", "tab", "psv", "table"}
    | {"the", "my", "all", "raw", "new", "final", "clean", "resized", "small", "full"}
)
"""Words that say nothing about what is in a folder."""

_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_JOINED = re.compile(
    f"({'|'.join(sorted(WORDS, key=len, reverse=True))})({'|'.join(sorted(_FILLERS, key=len, reverse=True))})"
)
_TWO_WORDS = (("hold", "out"), ("held", "out"), ("train", "val"), ("un", "labeled"), ("un", "labelled"))


@dataclass(frozen=True)
class PartWord:
    """A name that may stand for a part. word: as it stands in WORDS. rest: other words in the name that say
    something. number: None without one."""

    word: str
    rest: tuple[str, ...]
    number: int | None

    @property
    def role(self) -> Role:
        """The part that the word stands for."""
        return WORDS[self.word]


def read_part(name: str) -> PartWord | None:
    """The part that a name may stand for; None for a name without such a word, and for one with several.

    >>> read_part("Training_Set2"), read_part("seg_test").rest
    (PartWord(word='training', rest=(), number=2), ('seg',))
    >>> read_part("latest"), read_part("strain")
    (None, None)
    """
    tokens = _tokens(name)
    found = [token for token in tokens if token in WORDS]
    words = [token for token in found if WORDS[token] != "chunk"] or found
    if len(set(words)) != 1:
        return None
    word = words[0]
    numbers = [int(token) for token in tokens if token.isdigit()]
    chunk = {"chunk"} if WORDS[word] != "chunk" else set()
    rest = [
        token
        for token in tokens
        if token != word and not token.isdigit() and token not in _FILLERS and WORDS.get(token) not in chunk
    ]
    return PartWord(word, tuple(rest), numbers[0] if numbers else None)


@dataclass(frozen=True)
class Level:
    """What the names on one level stand for.

    parts: the names of each part, more than one where two names stand for it. unlabelled: names
    of parts without labels. folds, chunks: in the order of their numbers. others: names of no part.
    """

    parts: dict[Part, tuple[str, ...]] = field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ambiguous:
    """Names that stand for parts, but not in one way."""

    names: tuple[str, ...]


def read_level(names: Sequence[str]) -> Level | Ambiguous | None:
    """What the names on one level stand for; None where they are classes.

    Names are parts if a training part and another part are among them, or if nothing but parts is there.
    What stands beside the words (seg_, _images) must be the same in all of them. Without a training part,
    `others` holds what may be classes, and only a look below decides.

    >>> read_level(["seg_train", "seg_test", "seg_pred"]).parts
    {'train': ('seg_train',), 'test': ('seg_test',)}
    >>> read_level(["train", "car", "bus"]), read_level(["pregnancy test", "blood test"])
    (None, None)
    """
    words = {name: word for name in names if (word := read_part(name)) is not None}
    folds, chunks = _numbered(words, "fold"), _numbered(words, "chunk")
    others = {name: word for name, word in words.items() if name not in folds + chunks}
    alone = len(words) == len(names)
    if folds and not (alone and not chunks and _roles(others) <= {"test", "unlabelled"}):
        return Ambiguous(folds)
    if folds or (chunks and alone and _roles(others) <= {"test", "unlabelled"}):
        return replace(_level(others), folds=folds, chunks=chunks)
    words = {name: word for name, word in words.items() if word.role not in ("fold", "chunk")}
    if "train" in _roles(words):
        return _with_train(words, names)
    return _without_train(words, names)


def _with_train(words: dict[str, PartWord], names: Sequence[str]) -> Level | Ambiguous | None:
    """A level on which a name has a word for train."""
    alone = len(words) == len(names)
    plain = [name for name, word in words.items() if not word.rest]
    if _roles(words) == {"train"}:  # a class train station beside a class train track
        return _level(words) if alone and len(plain) == len(words) else None
    by_rest = {word.rest: {n: w for n, w in words.items() if w.rest == word.rest} for word in words.values()}
    groups = [group for group in by_rest.values() if "train" in (roles := _roles(group)) and len(roles) > 1]
    if len(groups) == 1:
        return _level(groups[0], others=[name for name in names if name not in groups[0]])
    if not groups and alone and plain and len(_roles(words)) == len(words):
        return _level(words)  # train and my_test
    if not groups and not alone and not plain:
        return None  # classes: train station, test tube, bus
    return Ambiguous(tuple(words))


def _without_train(words: dict[str, PartWord], names: Sequence[str]) -> Level | None:
    """A level on which no name has a word for train."""
    plain = {name: word for name, word in words.items() if not word.rest and word.word not in NEVER_CLASSES}
    if plain:
        return _level(plain, others=[name for name in names if name not in plain])
    alike = len({word.rest for word in words.values()}) == 1 and len(_roles(words)) > 1
    return _level(words) if alike and len(words) == len(names) else None


def _roles(words: dict[str, PartWord]) -> set[Role]:
    return {word.role for word in words.values()}


def _numbered(words: dict[str, PartWord], role: Role) -> tuple[str, ...]:
    """Names with one word of a role and different numbers, in the order of the numbers; at least two."""
    found = {name: word for name, word in words.items() if word.role == role and word.number is not None}
    numbers = [word.number for word in found.values()]
    alike = len({(word.word, word.rest) for word in found.values()}) == 1
    if len(found) < 2 or len(set(numbers)) < len(numbers) or not alike:
        return ()
    return tuple(sorted(found, key=lambda name: found[name].number or 0))


def _level(words: dict[str, PartWord], others: Iterable[str] = ()) -> Level:
    """The level whose names stand for these words."""
    parts: dict[Part, tuple[str, ...]] = {}
    for part in PARTS:
        if named := tuple(name for name, word in words.items() if word.role == part):
            parts[part] = named
    unlabelled = tuple(name for name, word in words.items() if word.role == "unlabelled")
    return Level(parts, unlabelled, others=tuple(others))


def _tokens(name: str) -> list[str]:
    """The words and numbers of a name, in lower case.

    >>> _tokens("TrainImages_2017"), _tokens("hold-out"), _tokens("testset")
    (['train', 'images', '2017'], ['holdout'], ['test', 'set'])
    """
    tokens: list[str] = []
    for token in (match.lower() for match in _TOKENS.findall(name)):
        joined = _JOINED.fullmatch(token)
        tokens.extend(joined.groups() if joined and token not in WORDS else [token])
    for first, second in _TWO_WORDS:
        for place in range(len(tokens) - 1, 0, -1):
            if (tokens[place - 1], tokens[place]) == (first, second):
                tokens[place - 1 : place + 1] = [first + second]
    return tokens
