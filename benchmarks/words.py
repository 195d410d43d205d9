"""Word vectors beside gensim: compile, open, look up, nearest neighbours.

    python benchmarks/words.py            400,000 words of 100 numbers, about six minutes, 1.5 GB of disk
    python benchmarks/words.py --small    4,000 words of 50 numbers, seconds

Every measure is made in a fresh process of its own, imports left out of the times; the peak memory is that of
the whole process. Compiling writes the file and syncs it to the disk; gensim's parse only fills its memory.
The nearest of several words are asked for at once from zoo, and one by one from gensim, which has no other
way. The goals are those of the full size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import Goal, Table, agree, apart, new_parser, race, show
from peers import python_of, version_of

QUERIES = 64
REPEATS = 15


class Size(NamedTuple):
    """What is generated."""

    words: int
    dimension: int


FULL = Size(400_000, 100)
SMALL = Size(4_000, 50)


def real_words(data: Path) -> dict[bytes, None]:
    """Words of GloVe, the most frequent ones first, then others of the reviews."""
    lines = (data / "words" / "glove.6B.50d.head.txt").read_bytes().splitlines()
    words = dict.fromkeys(line.split(b" ", 1)[0] for line in lines)
    for file in sorted((data / "reviews").glob("*.txt")):
        words |= dict.fromkeys(file.read_bytes().split())
    return {word: None for word in words if word.decode("utf-8", "ignore").encode() == word}


def generate(path: Path, size: Size, data: Path, seed: int = 0) -> None:
    """Write a GloVe file: real words, then random ones, all with random numbers of five digits as GloVe's."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"etaoinshrdlcumwfgypbvkjxqz", np.uint8)
    words = real_words(data)
    while len(words) < size.words:
        lengths = rng.integers(2, 13, size=size.words)
        drawn = letters[np.minimum(*rng.integers(0, 26, size=(2, size.words, 12)))]
        for length, row in zip(lengths, drawn, strict=True):
            words.setdefault(row[:length].tobytes())
    names = list(words)[: size.words]
    form = " ".join(["%.5g"] * size.dimension)
    with path.open("wb") as file:
        for start in range(0, size.words, 10_000):
            block = rng.normal(0, 0.4, size=(min(10_000, size.words - start), size.dimension))
            file.writelines(
                word + b" " + (form % tuple(row)).encode() + b"\n"
                for word, row in zip(names[start : start + 10_000], block.tolist(), strict=True)
            )


# --- what is measured: each function prepares, in a fresh process, and returns the work

Work = Callable[[], Any]


def ours_compile(folder: str, source: str) -> Work:
    import polars  # noqa: F401

    from zoo.words.compiling.compiler import compile_vectors

    def compile_file() -> list[int]:
        report = compile_vectors(Path(folder, source), Path(folder, "ours.words"))
        return [report.words, report.dimension]

    return compile_file


def gensim_parse(folder: str, source: str) -> Work:
    from gensim.models import KeyedVectors

    options: dict[str, Any] = {"binary": True} if source.endswith(".bin") else {"no_header": True}
    path = str(Path(folder, source))
    return lambda: list(KeyedVectors.load_word2vec_format(path, **options).vectors.shape)


def ours_open(folder: str, word: str) -> Work:
    from zoo.words.vectors.word_vectors import open_vectors

    return lambda: open_vectors(Path(folder, "ours.words"))[word].tolist()


def gensim_open(folder: str, word: str) -> Work:
    from gensim.models import KeyedVectors

    return lambda: KeyedVectors.load(str(Path(folder, "gensim.kv")), mmap="r")[word].tolist()


def ours_nearest(folder: str, *words: str) -> Work:
    from zoo.words.vectors.word_vectors import open_vectors

    vectors = open_vectors(Path(folder, "ours.words"))
    if len(words) == 1:
        return lambda: [names(vectors.most_similar(words[0]))]
    return lambda: [names(found) for found in vectors.most_similar_many(list(words))]


def indexed_nearest(folder: str, word: str) -> Work:
    from zoo.words.vectors.rounded import ExactIndex
    from zoo.words.vectors.word_vectors import open_vectors

    vectors = open_vectors(Path(folder, "ours.words"))
    index = ExactIndex(vectors)
    return lambda: [names(vectors.most_similar(word, indexer=index))]


def gensim_nearest(folder: str, *words: str) -> Work:
    from gensim.models import KeyedVectors

    model = KeyedVectors.load(str(Path(folder, "gensim.kv")), mmap="r")
    model.fill_norms()
    return lambda: [names(model.most_similar(word)) for word in words]


def names(found: list[tuple[str, float]]) -> list[str]:
    """The words alone."""
    return [word for word, _ in found]


def gensim_save(folder: str, source: str) -> Work:
    """Not a measure: writes gensim's own forms of the generated file."""
    from gensim.models import KeyedVectors

    model = KeyedVectors.load_word2vec_format(str(Path(folder, source)), no_header=True)
    model.save(str(Path(folder, "gensim.kv")))
    model.save_word2vec_format(str(Path(folder, "vectors.bin")), binary=True)
    return lambda: None


class Measure(NamedTuple):
    """Two ways of one job. goal: how many times as fast. repeats: in each process."""

    title: str
    theirs: Callable[..., Work]
    ours: Callable[..., Work]
    arguments: tuple[str, ...]
    goal: float
    repeats: int = 1


def measures(words: list[str]) -> list[Measure]:
    """A row each."""
    return [
        Measure("word2vec .bin, first compile", gensim_parse, ours_compile, ("vectors.bin",), 2),
        Measure("GloVe text, first compile", gensim_parse, ours_compile, ("vectors.txt",), 20),
        Measure("open again + one word", gensim_open, ours_open, (words[-1],), 20),
        Measure("10 nearest of one word", gensim_nearest, ours_nearest, (words[0],), 1, REPEATS),
        Measure("the same with an ExactIndex", gensim_nearest, indexed_nearest, (words[0],), 2, REPEATS),
        Measure(f"10 nearest of {QUERIES} words", gensim_nearest, ours_nearest, tuple(words), 7),
    ]


def compare(folder: Path, size: Size, data: Path, rounds: int) -> Iterator[Table]:
    """A table for each measure."""
    python = python_of("gensim")
    generate(folder / "vectors.txt", size, data)
    apart(gensim_save, folder, "vectors.txt", python=python)
    with (folder / "vectors.txt").open("rb") as file:
        words = [next(file).split(b" ", 1)[0].decode() for _ in range(QUERIES)]
    for measure in measures(words):
        more: dict[str, Any] = {"repeats": measure.repeats}
        ways = {
            "gensim": partial(apart, measure.theirs, folder, *measure.arguments, python=python, **more),
            "zoo": partial(apart, measure.ours, folder, *measure.arguments, **more),
        }
        turns = race(ways, rounds)
        agree(measure.title, turns)
        yield Table(measure.title, turns, said={"zoo": "same answer"}, goals={"zoo": Goal(measure.goal)})


def main() -> None:
    """Generate, measure, print the tables."""
    options = new_parser(__doc__, rounds=3).parse_args()
    size = SMALL if options.small else FULL
    with tempfile.TemporaryDirectory(prefix="zoo-words-") as place:
        tables = compare(Path(place), size, options.data, 1 if options.small else options.rounds)
        show(tables, options, "numpy", gensim=version_of("gensim", python_of("gensim")))


if __name__ == "__main__":
    main()
