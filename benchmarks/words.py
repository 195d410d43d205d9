"""Word vectors beside gensim: compile, open, look up, nearest neighbours. Prints one table of ratios.

    python benchmarks/words.py            400,000 words of 100 numbers, about six minutes, 1.5 GB of disk
    python benchmarks/words.py --quick    20,000 words of 50 numbers, about one minute

One run, ours and gensim's turn by turn, every measure in a fresh process of its own. Imports are left out of
the times; the peak memory is that of the whole process, imports included. Times are medians; the first ratio
is that of the medians, the second that of the minima: what a busy machine disturbs least.
Compiling writes the file and syncs it to the disk; gensim's parse only fills its memory. The goals are those
of the full size.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

QUERIES = 64
REPEATS = 15


class Size(NamedTuple):
    """What is generated and how often it is measured."""

    words: int
    dimension: int
    rounds: int


FULL = Size(400_000, 100, 3)
QUICK = Size(20_000, 50, 1)


def generate(path: Path, size: Size, seed: int = 0) -> None:
    """Write a GloVe file: different random words, numbers with five digits as GloVe's have."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"etaoinshrdlcumwfgypbvkjxqz", np.uint8)
    words: dict[bytes, None] = {}
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


# --- what is measured: each function runs alone in a fresh process, and returns (seconds, answer)

Measured = tuple[float, Any]


def timed(work: Callable[[], Any]) -> Measured:
    """Seconds of one run, and what it gave."""
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def median(work: Callable[[], Any]) -> Measured:
    """Median seconds of REPEATS runs after one that warms up, and what the last one gave."""
    work()
    runs = [timed(work) for _ in range(REPEATS)]
    return statistics.median(seconds for seconds, _ in runs), runs[-1][1]


def ours_compile(folder: Path, source: str) -> Measured:
    import polars  # noqa: F401

    from zoo.words.compiling.compiler import compile_vectors

    seconds, report = timed(lambda: compile_vectors(folder / source, folder / "ours.words"))
    return seconds, [report.words, report.dimension]


def gensim_parse(folder: Path, source: str) -> Measured:
    from gensim.models import KeyedVectors

    options: dict[str, Any] = {"binary": True} if source.endswith(".bin") else {"no_header": True}
    seconds, model = timed(lambda: KeyedVectors.load_word2vec_format(str(folder / source), **options))
    return seconds, list(model.vectors.shape)


def ours_open(folder: Path, word: str) -> Measured:
    from zoo.words.vectors.word_vectors import open_vectors

    return timed(lambda: open_vectors(folder / "ours.words")[word].tolist())


def gensim_open(folder: Path, word: str) -> Measured:
    from gensim.models import KeyedVectors

    return timed(lambda: KeyedVectors.load(str(folder / "gensim.kv"), mmap="r")[word].tolist())


def ours_nearest(folder: Path, words: str) -> Measured:
    from zoo.words.vectors.word_vectors import open_vectors

    vectors = open_vectors(folder / "ours.words")
    asked = words.split()
    if len(asked) == 1:
        seconds, answer = median(lambda: vectors.most_similar(asked[0]))
        return seconds, [[word for word, _ in answer]]
    seconds, answers = median(lambda: vectors.most_similar_many(asked))
    return seconds / len(asked), [[word for word, _ in answer] for answer in answers]


def gensim_nearest(folder: Path, words: str) -> Measured:
    from gensim.models import KeyedVectors

    model = KeyedVectors.load(str(folder / "gensim.kv"), mmap="r")
    asked = words.split()
    if len(asked) == 1:
        seconds, answer = median(lambda: model.most_similar(asked[0]))
        return seconds, [[word for word, _ in answer]]
    model.fill_norms()
    seconds, answers = timed(lambda: [model.most_similar(word) for word in asked])
    return seconds / len(asked), [[word for word, _ in answer] for answer in answers]


def gensim_save(folder: Path, source: str) -> Measured:
    """Not a measure: writes gensim's own forms of the generated file."""
    from gensim.models import KeyedVectors

    model = KeyedVectors.load_word2vec_format(str(folder / source), no_header=True)
    model.save(str(folder / "gensim.kv"))
    model.save_word2vec_format(str(folder / "vectors.bin"), binary=True)
    return 0.0, None


MEASURES: dict[str, Callable[[Path, str], Measured]] = {
    function.__name__: function
    for function in (
        ours_compile,
        gensim_parse,
        ours_open,
        gensim_open,
        ours_nearest,
        gensim_nearest,
        gensim_save,
    )
}


class Result(NamedTuple):
    """One measure in one process. peak: bytes of the whole process."""

    seconds: float
    peak: int
    answer: Any


def measure(name: str, folder: Path, argument: str) -> Result:
    """Run one measure in a fresh process."""
    command = [sys.executable, __file__, "--measure", name, str(folder), argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return Result(*json.loads(done.stdout.splitlines()[-1]))


def peak_memory() -> int:
    """Bytes at most in this process. ru_maxrss would count the parent's pages from before exec."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Row(NamedTuple):
    """One line of the table: two measures, their argument, the goals (times as fast, share of memory)."""

    title: str
    ours: str
    theirs: str
    argument: str
    goal_speed: float
    goal_memory: float | None


def compare(row: Row, folder: Path, rounds: int) -> str:
    """Measure a line turn by turn, check that the answers are the same, and format it."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(measure(row.ours, folder, row.argument))
        theirs.append(measure(row.theirs, folder, row.argument))
    if ours[-1].answer != theirs[-1].answer:
        raise SystemExit(f"{row.title}: the answers differ:\n{ours[-1].answer}\n{theirs[-1].answer}")
    seconds = [statistics.median(r.seconds for r in side) for side in (ours, theirs)]
    fastest = min(r.seconds for r in theirs) / min(r.seconds for r in ours)
    peaks = [max(r.peak for r in side) / 1e6 for side in (ours, theirs)]
    speed, memory = seconds[1] / seconds[0], peaks[0] / peaks[1]
    goals = f"≥ {row.goal_speed:g} ×" + (f", ≤ {row.goal_memory:g} ×" if row.goal_memory else "")
    met = speed >= row.goal_speed and (row.goal_memory is None or memory <= row.goal_memory)
    return (
        f"| {row.title} | {show(seconds[0])} | {show(seconds[1])} | **{speed:.3g} ×** | {fastest:.3g} × "
        f"| {peaks[0]:.0f} MB | {peaks[1]:.0f} MB | {memory:.2f} × | {goals} | {'yes' if met else 'no'} |"
    )


def show(seconds: float) -> str:
    """Seconds as a table has them."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def main() -> None:
    """Generate, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small file and one round")
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "FOLDER", "ARGUMENT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder, argument = options.measure
        seconds, answer = MEASURES[name](Path(folder), argument)
        print(json.dumps([seconds, peak_memory(), answer]))
        return
    size = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="zoo-words-") as temporary:
        folder = Path(temporary)
        generate(folder / "vectors.txt", size)
        measure("gensim_save", folder, "vectors.txt")
        with (folder / "vectors.txt").open("rb") as file:
            words = [next(file).split(b" ", 1)[0].decode() for _ in range(QUERIES)]
        several = " ".join(words)
        rows = [
            Row("word2vec .bin, first compile", "ours_compile", "gensim_parse", "vectors.bin", 2, 1.2),
            Row("GloVe text, first compile", "ours_compile", "gensim_parse", "vectors.txt", 20, 1.2),
            Row("open again + one word", "ours_open", "gensim_open", words[-1], 20, 0.25),
            Row("10 nearest of one word", "ours_nearest", "gensim_nearest", words[0], 1, None),
            Row(
                f"10 nearest of {QUERIES} words, per word", "ours_nearest", "gensim_nearest", several, 7, None
            ),
        ]
        megabytes = (folder / "vectors.txt").stat().st_size / 1e6
        print(
            f"{size.words:,} × {size.dimension} ({megabytes:.0f} MB of text, seed 0), {os.cpu_count()} cores "
            f"with load {os.getloadavg()[0]:.1f}, {size.rounds} rounds\n"
        )
        if os.getloadavg()[0] > (os.cpu_count() or 1):
            print("Others are using this machine: what uses several threads (ours, mostly) suffers most.\n")
        print("| | ours | gensim | faster | minima | ours, peak | gensim, peak | memory | goal | met |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for row in rows:
            rounds = size.rounds if "compile" in row.ours else size.rounds * 3
            print(compare(row, folder, rounds), flush=True)


if __name__ == "__main__":
    main()
