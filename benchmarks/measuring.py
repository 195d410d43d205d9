"""What every benchmark needs: its options, ways that take turns, seconds and memory, and one form of table.

A way is a function that does the whole job once and returns a Turn. `race` lets the ways take turns, so that
what else the machine does meets all of them; `Table` prints the minimum, the median and the maximum of each,
how many times as fast as the first way it is (by medians, and by minima, which others disturb least), the
seconds that processors computed, its most memory, what it answered, and the goal. There are
three kinds of ways: `command` (a whole process, its imports included), `apart` (a function in a fresh
process, what it imports not counted) and `here`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import operator
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ZOO_TEST_DATA", ROOT.parent / "shared" / "data"))


class Turn(NamedTuple):
    """One job, done once. memory: bytes at most, of the largest process. answer: what it gave. processor:
    seconds that all its processes computed, or those of a function that its own process did; 0 if unknown."""

    seconds: float
    memory: int
    answer: Any = None
    processor: float = 0.0


Way = Callable[[], Turn]
Turns = dict[str, list[Turn]]


class Disagreement(SystemExit):
    """Ways whose answers differ: a ratio of their times would mean nothing."""


# --- options


def new_parser(doc: str | None, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share. rounds: the usual number; None: there are none."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="photographs, weights, words, reviews")
    parser.add_argument("--small", action="store_true", help="the least that shows that it works: seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there too")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="turns of each way")
    return parser


# --- ways


# The peak of a command is asked of a process as small as this: a child begins with the peak of its parent.
_LAUNCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
with open(sys.argv[1], "wb") as out, open(sys.argv[1] + ".said", "wb") as said:
    code = subprocess.run(sys.argv[2:], stdout=out, stderr=said).returncode
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def command(
    words: Sequence[object], env: Mapping[str, str] | None = None, read: Callable[[str], Any] | None = None
) -> Turn:
    """Run a command from its start to its end. read: makes the answer of what it printed."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(out), *map(str, words)]
        done = subprocess.run(
            launch, env=None if env is None else {**os.environ, **env}, stdout=subprocess.PIPE, check=True
        )
        code, seconds, processor, kilobytes = json.loads(done.stdout)
        printed = out.read_text("utf-8", errors="replace")
        if code:
            said = Path(f"{out}.said").read_text("utf-8", errors="replace")
            asked = " ".join(map(str, words))
            raise SystemExit(f"{asked}\nended with {code}:\n{printed[-1000:]}{said[-4000:]}")
    return Turn(seconds, kilobytes * 1024, printed if read is None else read(printed), processor)


def zoo(*words: object, home: Path, registry: Path | None = None) -> Turn:
    """A command of zoo with a home of its own; its answer is the JSON that it printed."""
    env = {"ZOO_HOME": str(home)} | ({} if registry is None else {"ZOO_REGISTRY": str(registry)})
    return command([sys.executable, "-m", "zoo", *words, "--json"], env, json.loads)


def apart(
    prepare: Callable[..., Callable[[], Any]],
    *arguments: object,
    repeats: int = 1,
    beyond: bool = False,
    python: Path = Path(sys.executable),
    env: Mapping[str, str] | None = None,
) -> Turn:
    """What prepare(*arguments) returns, done in a fresh process.

    The seconds are the median of the repeats, after one that does not count if there are many; imports and
    what else `prepare` does are not in them. The memory is that of the whole process, or what was added
    beyond the preparation. The arguments arrive as texts, the answer through JSON.
    """
    module = Path(sys.modules[prepare.__module__].__file__ or "").stem
    words = [__file__, module, prepare.__qualname__, repeats, int(beyond)]
    done = command([python, *words, *arguments], env, lambda printed: json.loads(printed.splitlines()[-1]))
    return Turn(*done.answer)


def _done_apart(module: str, name: str, repeats: str, beyond: str, *arguments: str) -> None:
    """The other end of `apart`."""
    work = getattr(importlib.import_module(module), name)(*arguments)
    if int(repeats) > 1:
        work()
    turns = [here(work) for _ in range(int(repeats))]
    seconds = statistics.median(turn.seconds for turn in turns)
    memory = max(turn.memory for turn in turns) if int(beyond) else peak_memory()
    processor = statistics.median(turn.processor for turn in turns)
    print("\n" + json.dumps([seconds, memory, turns[-1].answer, processor]))


def here(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> Turn:
    """A function in this process. memory: what was added at most; 0 where the system does not tell. clock:
    time.process_time counts what all threads of this process computed, whatever else the machine does."""
    before, computed = _forget_peak(), time.process_time()
    began = clock()
    answer = work()
    seconds, computed = clock() - began, time.process_time() - computed
    return Turn(seconds, max(peak_memory() - before, 0) if before else 0, answer, computed)


def peak_memory() -> int:
    """Bytes at most in this process. ru_maxrss would count the parent's pages from before exec."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> int:
    """Let the peak begin at what is in use now, which is returned; 0 where that cannot be."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return peak_memory()


# --- turns


def race(ways: Mapping[str, Way], rounds: int) -> Turns:
    """Turns of every way, one of each in every round."""
    turns: Turns = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            turns[name].append(way())
    return turns


def agree(title: str, turns: Turns, same: Callable[[Any, Any], object] = operator.eq) -> None:
    """Refuse ways whose answers differ from the first one's. same: whether two are the same."""
    (peer, first), *others = ((name, found[-1].answer) for name, found in turns.items())
    for name, answer in others:
        if not same(first, answer):
            both = f"{peer}: {short(first)}\n{name}: {short(answer)}"
            raise Disagreement(f"{title}: the answers differ:\n{both}")


def short(answer: object) -> str:
    """The beginning of what a way answered."""
    text = str(answer)
    return text if len(text) <= 500 else f"{text[:500]} …"


# --- tables


class Goal(NamedTuple):
    """ratio: of times to be reached. slower: how many times as long a way may take; else how many times as
    fast it is to be."""

    ratio: float
    slower: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.slower else '≥'} {self.ratio:g} × as {'long' if self.slower else 'fast'}"

    def met(self, faster: float) -> bool:
        """Whether it is reached by a way that is so many times as fast as its peer."""
        return 1 / faster <= self.ratio if self.slower else faster >= self.ratio


@dataclass
class Table:
    """What ways took. The first is the peer of the others.

    said: by the name of a way, what it answered, such as its accuracy. factors: by the name of a way, what
    its seconds are multiplied by because it did less than the others; the table says so. memory: what it
    is of.
    """

    title: str
    turns: Turns
    said: Mapping[str, str] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    memory: str = "of the largest process"

    def seconds(self, name: str) -> tuple[float, float, float]:
        """Minimum, median, maximum."""
        taken = [turn.seconds * self.factors.get(name, 1.0) for turn in self.turns[name]]
        return min(taken), statistics.median(taken), max(taken)

    def faster(self, name: str, which: int = 1) -> float:
        """How many times as fast as the peer; which: 0 by minima, 1 by medians."""
        peer = next(iter(self.turns))
        return self.seconds(peer)[which] / self.seconds(name)[which]

    def processor(self, name: str) -> float:
        """The median of the processor's seconds."""
        return statistics.median(turn.processor for turn in self.turns[name]) * self.factors.get(name, 1.0)

    def rows(self) -> list[dict[str, Any]]:
        """A row of facts per way."""
        found = []
        for name, turns in self.turns.items():
            low, middle, high = self.seconds(name)
            goal = self.goals.get(name)
            found.append(
                {"way": name, "min": low, "median": middle, "max": high, "faster": self.faster(name)}
                | {"faster_by_minima": self.faster(name, 0), "memory": max(turn.memory for turn in turns)}
                | {"processor": self.processor(name), "rounds": len(turns), "said": self.said.get(name, "")}
                | {"factor": self.factors.get(name, 1.0)}
                | ({} if goal is None else {"goal": str(goal), "met": goal.met(self.faster(name))})
            )
        return found

    def __str__(self) -> str:
        wide = max(len(name) for name in self.turns)
        head = f"{'way':<{wide}} {'min':>9} {'median':>9} {'max':>9} {'ratio':>7} {'minima':>7}"
        head += f" {'cpu':>8} {'MB':>6}"
        lines = [f"{self.title} ({rounds_of(self.turns)}; MB {self.memory})", head]
        for row in self.rows():
            times = " ".join(f"{duration(row[key]):>9}" for key in ("min", "median", "max"))
            words = [row["said"], f"(from {1 / row['factor']:.3g} of the work)" if row["factor"] != 1 else ""]
            words += [f"goal {row['goal']}: {'yes' if row['met'] else 'NO'}" if "goal" in row else ""]
            processor = duration(row["processor"]) if row["processor"] else ""
            ratios = f"{row['faster']:>7.3g} {row['faster_by_minima']:>7.3g} {processor:>8}"
            ratios += f" {row['memory'] / 1e6:>6.0f}"
            lines.append(f"{row['way']:<{wide}} {times} {ratios}  {'  '.join(filter(None, words))}".rstrip())
        return "\n".join(lines)


def rounds_of(turns: Turns) -> str:
    """How many turns each way had."""
    counts = sorted({len(found) for found in turns.values()})
    return f"{'/'.join(map(str, counts))} round{'' if counts == [1] else 's'}"


def duration(seconds: float) -> str:
    """Seconds as a table has them."""
    for least, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= least:
            number = seconds / least
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def show(tables: Iterable[Table], options: argparse.Namespace, *packages: str, **versions: str) -> None:
    """Print the machine, the versions of packages and each table as it comes; write them to --json too."""
    about = machine() | {"versions": {"Python": platform.python_version()} | versions_of(packages) | versions}
    named = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    print(f"{about['processor']}, {about['cores']} cores, load {about['load']:.1f}; {named}", flush=True)
    shown = []
    for table in tables:
        if options.small:
            table.goals = {}  # they are those of the full size
        print(f"\n{table}", flush=True)
        shown.append({"title": table.title, "memory": table.memory, "rows": table.rows()})
    if options.json is not None:
        found = json.dumps({**about, "tables": shown}, indent=1, ensure_ascii=False)
        options.json.write_text(found + "\n", "utf-8")


def machine() -> dict[str, Any]:
    """The processor, the cores, and how busy they are."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.+)", facts)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = found[1] if found else platform.machine()
    return {"processor": name, "cores": cores, "load": os.getloadavg()[0]}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of packages that are installed here."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def spread(values: Sequence[float], form: str = "7.3f") -> str:
    """The mean, the least and the largest of what several runs gave."""
    return " ".join(format(value, form) for value in (statistics.mean(values), min(values), max(values)))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    _done_apart(*sys.argv[1:])
