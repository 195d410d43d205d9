"""A run of two processes is the run of one, up to rounding; it stops, fails and goes on as one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.commands import Call, wait_until

from zoo.events import MEASURED

pytestmark = pytest.mark.thorough  # every process imports torch
CASES: dict[str, tuple[str, tuple[object, ...]]] = {
    # 7 items a step for two, batch norms that learn, weighted classes
    "images": ("tiny_net", ("--unfreeze", "all", "--balance", "--batch-size", 7, "--clip-norm", 1)),
    "one stage": ("tiny_net", ("--unfreeze", 1, "--batch-size", 3)),
    "averaged": ("tiny_net", ("--unfreeze", 1, "--batch-size", 7, "--ema", 0.9, "--sampling", "balanced")),
    "texts": ("tiny_words", ("--unfreeze", "all", "--no-baseline", "--batch-size", 8)),
}
EXACT = ("--epochs", 2, "--tune-epochs", 3, "--dropout", 0, "--patience", 0, "--tune-patience", 0)
Zoo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def items(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """21 images to train on and 9 to validate with; 40 reviews."""
    folder = tmp_path_factory.mktemp("few")
    for part, counts in (("train", (10, 11)), ("val", (4, 5))):
        for label, count in zip(("five", "eight"), counts, strict=True):
            (folder / "images" / part / label).mkdir(parents=True)
            for image in sorted((tiny / "images" / part / label).iterdir())[:count]:
                (folder / "images" / part / label / image.name).write_bytes(image.read_bytes())
    (folder / "reviews").mkdir()
    for path in (tiny / "reviews").iterdir():
        (folder / "reviews" / path.name).write_text("\n".join(path.read_text().splitlines()[:20]))
    return {"tiny_net": folder / "images", "tiny_words": folder / "reviews"}


@pytest.fixture(scope="module")
def start(settings: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a command; whatever still runs in the end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: object, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def run(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """A command from its beginning to its end: its exit code, and what it printed."""

    def to_its_end(*words: object) -> tuple[int, str, str]:
        process = start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return to_its_end


Run = Callable[..., tuple[int, str, str]]


def command(name: str, items: dict[str, Path], out: Path, *more: object) -> tuple[object, ...]:
    model, options = CASES[name]
    return ("zoo", "finetune", model, items[model], "--out", out, *EXACT, *options, *more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in load_file(folder / "adapter.safetensors").items()}


def history(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def assert_alike(one: Path, other: Path, *, tolerance: float) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(
    name: str, items: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    for count in (1, 2):
        code, out, err = run(*command(name, items, tmp_path / str(count), "--processes", count))
        assert code == 0, err
        assert out.count("Next: ") == err.count("train loss") / len(history(tmp_path / str(count)))
    assert_alike(tmp_path / "1", tmp_path / "2", tolerance=1e-4)
    for alone, both in zip(history(tmp_path / "1"), history(tmp_path / "2"), strict=True):
        for key in ("train_loss", "val_loss"):
            assert both[key] == pytest.approx(alone[key], rel=1e-4)
        assert both["metrics"] == pytest.approx(alone["metrics"], abs=1e-6)


def test_views_that_two_processes_have_computed_train_what_those_of_one_train(
    items: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    """The two come first: what they keep is what the one finds."""
    for count, there in ((2, 0), (1, 42)):
        words = ("zoo", "finetune", "tiny_net", items["tiny_net"], "--views", 3, "--epochs", 3)
        code, _, err = run(*words, "--out", tmp_path / str(count), "--processes", count)
        assert code == 0, err
        assert f"2 varied ones (strong), {there} of 42 from the store" in err
    assert_alike(tmp_path / "1", tmp_path / "2", tolerance=0)
    assert history(tmp_path / "1") == history(tmp_path / "2")


SHARDED = ("--shard", "--processes", 2, "--dropout", 0.3, "--mixup", 0.2)


def test_a_network_in_parts_trains_as_a_whole_one(items: dict[str, Path], run: Run, tmp_path: Path) -> None:
    """Its run can be used as any other, and goes on in one process."""
    for name, more in (("whole", SHARDED[1:]), ("parts", SHARDED)):
        code, _, err = run(*command("images", items, tmp_path / name, *more))
        assert code == 0, err
    assert_alike(tmp_path / "whole", tmp_path / "parts", tolerance=1e-4)
    for whole, parts in zip(history(tmp_path / "whole"), history(tmp_path / "parts"), strict=True):
        assert parts["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-4)
        assert parts["metrics"] == pytest.approx(whole["metrics"], abs=1e-6)
    results = [
        json.loads((tmp_path / name / "run.json").read_text())["result"] for name in ("whole", "parts")
    ]
    assert [result["frozen_changed"] for result in results] == [0, 0]
    assert results[0]["frozen_tensors"] == results[1]["frozen_tensors"]


@pytest.mark.parametrize("every", ["1", "2steps"])
def test_a_network_in_parts_that_was_killed_goes_on_bit_for_bit(
    items: dict[str, Path], run: Run, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, every: str
) -> None:
    more = (*SHARDED, "--checkpoint-every", every)
    assert run(*command("one stage", items, tmp_path / "whole", *more))[0] == 0
    cut = start(*command("one stage", items, tmp_path / "cut", *more))
    least = 4 if every == "1" else 10  # of the head's epochs and its phase; of its 7 steps an epoch as well
    partial = tmp_path / "cut.partial"
    wait_until(lambda: any(int(path.name[:8]) >= least for path in partial.glob("*.safetensors")), 60)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    code, _, err = run("zoo", "finetune", "--resume", tmp_path / "cut")
    assert code == 0, err
    assert_alike(tmp_path / "whole", tmp_path / "cut", tolerance=0)
    assert history(tmp_path / "whole") == history(tmp_path / "cut")


def test_a_wish_to_stop_keeps_the_best_of_a_network_in_parts(
    items: dict[str, Path], start: Callable[..., subprocess.Popen[str]], run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = start(*command("one stage", items, out, *SHARDED, "--tune-epochs", 500))
    assert running.stderr is not None
    next(line for line in running.stderr if re.match(r"tune +\d", line))
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143, err
    assert (out / "run.json").is_file()
    assert not alive(running.pid)


def test_one_process_has_nothing_to_divide_a_network_among(
    ask: Call, items: dict[str, Path], tmp_path: Path
) -> None:
    words = ("finetune", "tiny_net", items["tiny_net"], "--unfreeze", 1, "--shard", "--out", tmp_path / "run")
    said = ask(*words)
    assert said.code == 2
    assert "--shard divides a network among several processes, and this is one alone" in said.err
    for more in (("--ema", 0.9), ("--l1", 0.1), ("--strategy", "lora"), ("--precision", "fp16")):
        said = ask(*words, *more)
        assert said.code == 2
        assert "--shard" in said.err
        assert more[0] in said.err


def test_torchrun_starts_the_same_run(items: dict[str, Path], run: Run, tmp_path: Path) -> None:
    code, _, err = run(*command("one stage", items, tmp_path / "own", "--processes", 2))
    assert code == 0, err
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m")
    code, out, err = run(*torchrun, *command("one stage", items, tmp_path / "theirs"))
    assert code == 0, err
    assert out.count("Next: ") == 1
    assert_alike(tmp_path / "own", tmp_path / "theirs", tolerance=0)


@pytest.mark.parametrize("every", ["1", "2steps"])
def test_a_run_that_was_killed_goes_on_with_as_many_processes_bit_for_bit(
    items: dict[str, Path], run: Run, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, every: str
) -> None:
    """7 items a step: every second of three steps too, where the shares of the two differ."""
    more = ("--checkpoint-every", every, "--processes", 2, "--dropout", 0.3, "--augment", "strong")
    more += ("--mixup", 0.2, "--cutmix", 1, "--erase", 0.25, "--ema", 0.9)
    assert run(*command("images", items, tmp_path / "whole", *more))[0] == 0
    cut = start(*command("images", items, tmp_path / "cut", *more, "--tune-epochs", 3))
    partial = tmp_path / "cut.partial"
    least = 1 if every == "1" else 5  # two epochs of the head have three, and one after its phase
    wait_until(lambda: any(int(path.name[:8]) >= least for path in partial.glob("*.safetensors")), 60)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    code, _, err = run("zoo", "finetune", "--resume", tmp_path / "cut")
    assert code == 0, err
    assert every == "1" or re.search(r"going on after step [123] of epoch [345]", err)
    assert_alike(tmp_path / "whole", tmp_path / "cut", tolerance=0)
    assert history(tmp_path / "whole") == history(tmp_path / "cut")


def test_a_killed_process_ends_the_run_with_what_it_has(
    items: dict[str, Path], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    long = command("images", items, out, "--tune-epochs", 500, "--checkpoint-every", 1, "--processes", 2)
    running = start(*long)
    wait_until(lambda: len([*(tmp_path / "run.partial").glob("*.safetensors")]) > 1, 60)
    second = children(running.pid)[1]
    os.kill(second, signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 6
    assert "another process of this run has ended" in err
    assert "process 1 of 2 was ended by SIGKILL" in err
    assert f"zoo finetune --resume {out}" in err
    assert (out / "run.json").is_file()
    assert not alive(running.pid)


@pytest.mark.parametrize(("victim", "seed"), [(1, 0), (0, 1), (1, 2), (0, 3)])
def test_killed_at_any_moment_the_run_ends_in_time_and_names_who_was(
    victim: int,
    seed: int,
    items: dict[str, Path],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """While torch is imported, features are computed, the head or stages are trained: as it comes."""
    out, patience, grace = tmp_path / "run", 60, 30
    running = start(*command("images", items, out, "--tune-epochs", 500, "--processes", 2))
    wait_until(lambda: len(children(running.pid)) == 2, 60)
    time.sleep(random.Random(seed).uniform(0, 15))
    os.kill(children(running.pid)[victim], signal.SIGKILL)
    began = time.monotonic()
    _, err = running.communicate(timeout=patience + grace + 30)
    assert time.monotonic() - began < patience + grace + 10
    assert running.returncode == 6
    assert f"process {victim} of 2 was ended by SIGKILL" in err
    assert not alive(running.pid)
    if any((tmp_path / "run.partial").glob("*.safetensors")) and victim == 1:
        assert f"zoo finetune --resume {out}" in err


@pytest.mark.parametrize("phase", ["head", "tune"])
def test_a_wish_to_stop_reaches_all_of_them(
    phase: str, items: dict[str, Path], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    long = ("--epochs", 100_000) if phase == "head" else ("--tune-epochs", 500)
    running = start(*command("images", items, out, *long, "--processes", 2))
    assert running.stderr is not None
    for line in running.stderr:
        if re.match(rf"{phase} +\d", line):
            break
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "Go on: zoo finetune --resume" in err
    assert (out / "run.json").is_file()
    assert not alive(running.pid)


def test_a_mistake_is_named_once(items: dict[str, Path], run: Run, tmp_path: Path) -> None:
    code, _, err = run(*command("images", items, tmp_path / "run", "--processes", 2, "--lr", -1))
    assert code == 2
    assert err.count("lr") == err.count("--lr") == 1
    assert "process 1" not in err


def test_what_another_process_cannot_read_is_named(items: dict[str, Path], run: Run, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "images"
    shutil.copytree(items["tiny_net"], folder)
    last = sorted((folder / "val" / "five").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:60])
    places = {**items, "tiny_net": folder}
    code, _, err = run(*command("images", places, tmp_path / "run", "--processes", 2, "--on-bad", "stop"))
    assert code != 0
    assert last.name in err


def test_a_head_alone_is_trained_by_one_of_them(items: dict[str, Path], run: Run, tmp_path: Path) -> None:
    for count in (1, 2):
        words = (
            "zoo",
            "finetune",
            "tiny_net",
            items["tiny_net"],
            "--epochs",
            3,
            "--out",
            tmp_path / str(count),
        )
        code, _, err = run(*words, "--processes", count)
        assert code == 0, err
        assert ("only the head is trained" in err) is (count == 2)
    assert_alike(tmp_path / "1", tmp_path / "2", tolerance=1e-4)


def children(pid: int) -> list[int]:
    """The processes that this one has started, in order."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return sorted(map(int, found.split()))


def alive(group: int) -> bool:
    """Whether anything of that session still runs, after a moment."""
    time.sleep(0.2)
    found = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    return bool(re.search(r"\d", found))


@pytest.mark.parametrize(
    "options",
    [("--epochs", 1_000_000, "--time", "1s"), ("--unfreeze", 1, "--epochs", 0, "--time", "0.001s")],
    ids=["a head on features", "the first epoch of a stage"],
)
def test_two_processes_end_together_when_the_time_is_up(
    items: dict[str, Path], tmp_path: Path, run: Run, options: tuple[object, ...]
) -> None:
    model = ("zoo", "finetune", "tiny_net", items["tiny_net"], "--out", tmp_path / "run")
    code, out, err = run(*model, "--patience", 0, "--batch-size", 3, "--processes", 2, *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["out_of_time"], result["frozen_changed"]) == (True, 0)
    assert 1 <= result["epochs"] < 1_000_000


def test_who_waits_for_processes_that_nobody_started_says_so(
    settings: dict[str, str], items: dict[str, Path]
) -> None:
    """As where a program that torchrun started starts zoo."""
    lonely = {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "predict", "tiny_net", items["tiny_net"], "--device", "cpu"],
        env=settings | lonely | {"ZOO_PROCESS_TIMEOUT": "3"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 6
    assert "this is process 0 of 4 (RANK and WORLD_SIZE), and waits for the others" in done.stderr
    assert "If there are no others, unset RANK and WORLD_SIZE." in done.stderr
    assert "the 4 processes of this run did not find each other" in done.stderr


@pytest.mark.parametrize("verb", ["lr-find", "tune", "calibrate"])
def test_what_one_process_does_is_refused_under_torchrun(
    verb: str, ask: Call, items: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    more = ("--out", tmp_path / "study") if verb == "tune" else ()
    said = ask(verb, "tiny_net", items["tiny_net"], *more)
    assert said.code == 2
    assert f"zoo {verb} is the work of one process, and this is one of 2 (WORLD_SIZE)" in said.err
