"""Files that several processes share get the answers that one process gives, once, in their order."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Call, running, wait_until

from zoo.training.batches import ROUND, Rounds, Share

thorough = pytest.mark.thorough  # every process imports torch


@pytest.fixture(scope="module")
def photos(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 images and two that are none: for batches of 4 an odd number, and one batch without any image."""
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(sorted((tiny / "images" / "train" / "five").iterdir())[:21]):
        (folder / f"{number:02}.png").write_bytes(image.read_bytes())
    for number in range(4, 8):
        (folder / f"{number:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    cut = folder / "17.png"
    cut.write_bytes(cut.read_bytes()[:60])
    return folder


def start(settings: dict[str, str], *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def shared(settings: dict[str, str]) -> Callable[..., tuple[int, str, str]]:
    """A command of two processes, to its end: its exit code, and what it printed."""

    def to_its_end(*words: object) -> tuple[int, str, str]:
        with running(start(settings, "zoo", *words, "--processes", 2), 120) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    return to_its_end


Shared = Callable[..., tuple[int, str, str]]


@pytest.fixture
def alone(call: Call, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command of one process, with the same store."""
    for name in ("ZOO_HOME", "ZOO_REGISTRY"):
        monkeypatch.setenv(name, settings[name])
    return call


@thorough
def test_predictions_are_those_of_one_process(photos: Path, alone: Call, shared: Shared) -> None:
    """Five of 21 files cannot be read, four of them are a batch; the last batch has one file. One process
    fills a batch with the next files instead: so the last digits differ."""
    words = ("predict", "tiny_net", photos, "--csv", "--batch-size", 4, "--device", "cpu")
    expected = alone(*words)
    code, out, err = shared(*words)
    assert code == expected.code == 5
    rows, wanted = ([*csv.DictReader(io.StringIO(text))] for text in (out, expected.out))
    assert len(rows) == len(wanted) == 21
    for row, one in zip(rows, wanted, strict=True):
        assert all(row[name] == one[name] for name in ("path", "label", "error"))
        assert float(row["probability"] or 2) == pytest.approx(float(one["probability"] or 2), abs=1e-5)
    assert (
        err.count("5 of 21 files cannot be read") == expected.err.count("5 of 21 files cannot be read") == 1
    )


@thorough
def test_an_evaluation_is_that_of_one_process(
    tiny: Path, alone: Call, shared: Shared, tmp_path: Path
) -> None:
    made = ("finetune", "tiny_net", tiny / "images", "--epochs", 3, "--no-report", "--device", "cpu")
    assert alone(*made, "--out", tmp_path / "run").code == 0
    words = ("evaluate", tmp_path / "run", tiny / "images", "--json", "--batch-size", 7, "--device", "cpu")
    expected = alone(*words)
    code, out, _ = shared(*words)
    assert (code, out) == (0, expected.out)


@thorough
def test_texts_are_shared_too(tiny: Path, alone: Call, shared: Shared, tmp_path: Path) -> None:
    made = ("finetune", "tiny_words", tiny / "reviews", "--epochs", 3, "--no-baseline", "--no-report")
    assert alone(*made, "--out", tmp_path / "run").code == 0
    words = ("predict", tmp_path / "run", next((tiny / "reviews").iterdir()), "--json", "--batch-size", 3)
    expected = alone(*words)
    code, out, _ = shared(*words)
    assert (code, out) == (0, expected.out)


@thorough
def test_features_are_those_of_one_process_and_lie_in_one_cache(
    photos: Path, alone: Call, shared: Shared, settings: dict[str, str], tmp_path: Path
) -> None:
    def embed(command: Any, name: str, *more: object) -> Any:
        words = ("embed", "tiny_net", photos, "--device", "cpu", *more)
        found = command(*words, "--out", tmp_path / name)
        assert (found.code if hasattr(found, "code") else found[0]) == 0, found
        return np.load(tmp_path / name)

    both = embed(shared, "both.npz")
    cache = sorted(Path(settings["ZOO_HOME"], "features").rglob("*.rows"))
    again = embed(alone, "again.npz")
    assert cache == sorted(Path(settings["ZOO_HOME"], "features").rglob("*.rows"))
    assert np.array_equal(both["features"], again["features"])
    assert list(both["paths"]) == list(again["paths"])
    assert len(both["paths"]) == 16
    with pytest.MonkeyPatch.context() as other:
        other.setenv("ZOO_HOME", str(tmp_path / "home"))
        one = embed(alone, "one.npz")
    assert list(both["paths"]) == list(one["paths"])
    np.testing.assert_allclose(both["features"], one["features"], rtol=1e-5, atol=1e-5)


@thorough
@pytest.mark.parametrize("verb", ["predict", "embed"])
def test_a_file_that_ends_it_is_named_once_whichever_process_reads_it(
    photos: Path, shared: Shared, tmp_path: Path, verb: str
) -> None:
    """The first process has the files before 8, the second those after: the only bad one is number 17."""
    files = [
        path for path in sorted(photos.iterdir()) if path.name not in ("04.png", "05.png", "06.png", "07.png")
    ]
    more = ("--out", tmp_path / "features.npz") if verb == "embed" else ()
    code, _, err = shared(verb, "tiny_net", *files, "--on-bad", "stop", "--batch-size", 4, *more)
    assert code == 5
    assert err.count("17.png") == 1
    assert "another process" not in err
    assert not (tmp_path / "features.npz").exists()


@thorough
def test_a_killed_process_ends_the_command_with_the_rows_that_it_has(
    photos: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{photos / '00.png'}\n" * 200_000)
    out = tmp_path / "rows.csv"
    words = ("predict", "tiny_net", "--files-from", names, "--out", out, "--processes", 2, "--device", "cpu")
    with running(start(settings, "zoo", *words), 120) as process:
        wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".rows.csv.partial")), 60)
        os.kill(children(process.pid)[1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert err.count("another process of this run has ended") == 1
    assert "process 1 of 2 was ended by SIGKILL" in err
    rows = out.read_text().splitlines()
    assert 1 < len(rows) < 200_000
    assert all(row.startswith(f"{photos / '00.png'},") for row in rows[1:])


def children(pid: int) -> list[int]:
    """The processes that this one has started, in order."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return sorted(map(int, found.split()))


@thorough
def test_torchrun_starts_the_same_and_one_process_alone_prints(
    photos: Path, settings: dict[str, str]
) -> None:
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m")
    files = [photos / f"{number:02}.png" for number in range(3)]  # one batch: the second process has nothing
    with running(start(settings, *torchrun, "zoo", "predict", "tiny_net", *files, "--csv"), 120) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert [Path(row.split(",")[0]).name for row in out.splitlines()] == [
        "path",
        "00.png",
        "01.png",
        "02.png",
    ]


def test_what_one_process_alone_can_read_is_refused(tmp_path: Path, ask: Call) -> None:
    pipe = tmp_path / "names"
    os.mkfifo(pipe)
    for words, what in ((("--files-from", "-"), "standard input"), (("--files-from", pipe), str(pipe))):
        said = ask("predict", "tiny_net", *words, "--processes", 2)
        assert said.code == 2
        assert f"{what} can be read by one process alone" in said.err


def test_word_vectors_have_no_use_for_processes(tiny: Path, tmp_path: Path, ask: Call) -> None:
    said = ask("embed", "tiny_words", "--text", "a film", "-o", tmp_path / "v.npz", "--processes", 2)
    assert said.code == 2
    assert "vectors of words are looked up" in said.err


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 9, 40, 401])
def test_of_every_round_the_processes_have_every_item_once_in_order(items: int, world: int) -> None:
    shares = [Rounds(items, 4, Share(rank, world)).rounds for rank in range(world)]
    assert len({len(rounds) for rounds in shares}) == 1
    together = [batch for parts in zip(*shares, strict=True) for batches in parts for batch in batches]
    assert together == [range(start, min(start + 4, items)) for start in range(0, items, 4)]
    for parts in zip(*shares, strict=True):
        assert max(map(len, parts)) <= ROUND
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


SLOW = """
import os, sys, time
import torch
from zoo.events import Progress
from zoo.runs import joining
from zoo.training.processes import meet

joining.ALIVE = 0.1
with meet(torch.device("cpu")) as processes:
    def work(report):
        for number in range(40 * processes.rank):
            time.sleep(0.1)
            report(Progress("work", number, None, "images"))
        return b"done"
    assert joining.in_all(processes, work) == [b"done"] * 2
print("together", flush=True)
os._exit(0)  # a thread of gloo that still runs may abort an interpreter that ends, once in eight times
"""


@thorough
def test_who_waits_for_longer_than_the_limit_knows_that_the_other_works(tmp_path: Path) -> None:
    """Four seconds of work; without a sign of life the first process would give up after one."""
    both = {"ZOO_MEETING": str(tmp_path / "meeting"), "WORLD_SIZE": "2", "ZOO_PROCESS_TIMEOUT": "1"}
    with Started([os.environ | both | {"RANK": str(rank)} for rank in range(2)]) as said:
        assert said == ["together", "together"]


class Started:
    """What the program printed, of a process for each environment."""

    def __init__(self, environments: list[Any]) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", SLOW],
                env=one,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for one in environments
        ]

    def __enter__(self) -> list[str]:
        said = [process.communicate(timeout=120) for process in self.processes]
        assert all(process.returncode == 0 for process in self.processes), said
        return [out.strip() for out, _ in said]

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
