"""Rows T3 to T8 and T12: a run that is interrupted in any way goes on as if it had not been, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.commands import wait_until
from support.training_forks import Ended, TrainingForks

from zoo.events import MEASURED

pytestmark = pytest.mark.thorough  # a second or more per process that is killed
IMAGES = ("--unfreeze", 1, "--epochs", 3, "--tune-epochs", 4, "--dropout", 0.3, "--augment", "strong")
TEXTS = ("--unfreeze", "all", "--epochs", 3, "--tune-epochs", 3, "--dropout", 0.3, "--no-baseline")
SHARED = ("--batch-size", 8, "--patience", 0, "--tune-patience", 0, "--checkpoint-every", 1)


@dataclass
class Bench:
    """Runs of one command, which differ in how they are interrupted. whole: the one that is not."""

    forks: TrainingForks
    folder: Path
    home: Path
    command: tuple[object, ...]

    def run(self, out: Path, *more: object, **job: Any) -> Ended:
        """The command from its beginning."""
        return self.forks.run(*self.arguments(out, *more), home=str(self.home), **job)

    def arguments(self, out: Path, *more: object) -> tuple[object, ...]:
        return ("finetune", *self.command, "--out", out, *more)

    def resume(self, out: Path, *more: object, **job: Any) -> Ended:
        """Go on."""
        return self.forks.run("finetune", "--resume", out, *more, home=str(self.home), **job)

    def go_on(self, out: Path, **job: Any) -> bool:
        """Go on where there is something to go on from; else begin. Returns whether the run is finished."""
        if out.exists() and not checkpoints(out):
            return True
        ended = self.resume(out, **job) if checkpoints(out) else self.run(out, **job)
        assert ended.code in (0, -signal.SIGKILL), ended.err
        return ended.code == 0

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    def assert_as_whole(self, out: Path) -> None:
        """The finished run has the weights and the history of the one that was never interrupted."""
        assert not checkpoints(out)
        assert sha256(out / "adapter.safetensors") == sha256(self.whole / "adapter.safetensors")
        assert history(out) == history(self.whole)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def history(run: Path) -> list[dict[str, Any]]:
    """Every epoch, but for how long it took."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def checkpoints(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.partial").glob("*-*.safetensors"))


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingForks]:
    with TrainingForks(tmp_path_factory.mktemp("jobs")) as running:
        yield running


def few_images(tiny: Path, folder: Path) -> Path:
    """20 images to train on, 8 to validate with."""
    for part, count in (("train", 10), ("val", 4)):
        for label in ("five", "eight"):
            (folder / part / label).mkdir(parents=True)
            for image in sorted((tiny / "images" / part / label).iterdir())[:count]:
                (folder / part / label / image.name).write_bytes(image.read_bytes())
    return folder


def few_texts(tiny: Path, folder: Path) -> Path:
    """60 reviews."""
    folder.mkdir()
    for path in (tiny / "reviews").iterdir():
        (folder / path.name).write_text("\n".join(path.read_text().splitlines()[:30]))
    return folder


@pytest.fixture(scope="module")
def benches(tiny: Path, forks: TrainingForks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """Of images and of texts, each with a whole run."""
    place = tmp_path_factory.mktemp("benches")
    registry = ("--registry", tiny / "registry.yaml")
    commands = {
        "images": ("tiny_net", few_images(tiny, place / "few-images"), *IMAGES, *SHARED, *registry),
        "texts": ("tiny_words", few_texts(tiny, place / "few-texts"), *TEXTS, *SHARED, *registry),
    }
    made = {}
    for name, command in commands.items():
        (place / name).mkdir()
        made[name] = Bench(forks, place / name, place / "home", command)
        ended = made[name].run(made[name].whole)
        assert ended.code == 0, ended.err
    return made


@pytest.fixture(params=["images", "texts"])
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Bench:
    return benches[request.param]


@pytest.fixture
def images(benches: dict[str, Bench]) -> Bench:
    return benches["images"]


@pytest.mark.fault("T5")
@pytest.mark.fault("T7")
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_many_touches_of_the_disk_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    """Each time at another one: in the middle of a checkpoint, between its parts, while the run is named."""
    moments, out = random.Random(seed), tmp_path / "run"
    assert not bench.go_on(out, kill_at=moments.randint(20, 40))
    while not bench.go_on(out, kill_at=moments.randint(10, 40)):
        pass
    bench.assert_as_whole(out)


@pytest.mark.fault("T5")
@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_any_time_ends_as_if_it_had_not_been(bench: Bench, tmp_path: Path, seed: int) -> None:
    moments, out = random.Random(seed), tmp_path / "run"
    for _ in range(4):
        bench.go_on(out, kill_after=moments.uniform(0.05, 0.6))
    assert bench.go_on(out)
    bench.assert_as_whole(out)


WITHIN = ("--batch-size", 4, "--checkpoint-every", "2steps", "--dropout", 0.3, "--ema", 0.9, "--balance")
DEEPER = ("--augment", "strong", "--precision", "bf16", "--accumulate", 2, "--tune-epochs", 2)
STRATEGIES: dict[str, tuple[object, ...]] = {
    "head": ("--views", 3),
    "partial": ("--unfreeze", 1, *DEEPER),
    "full": DEEPER,
    "gradual": ("--unfreeze", 2, *DEEPER),
    "lp-ft": DEEPER,
    "norms": ("--augment", "strong", "--accumulate", 2, "--tune-epochs", 2),
    "lora": DEEPER,
    "l2-sp": ("--unfreeze", 2, *DEEPER),
}


@pytest.mark.slow
@pytest.mark.fault("T5")
@pytest.mark.fault("T7")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_killed_in_the_middle_of_epochs_ends_as_if_it_had_not_been(
    forks: TrainingForks, benches: dict[str, Bench], tmp_path: Path, strategy: str
) -> None:
    """A checkpoint every two of five steps: each resume takes up the very next batch."""
    images = benches["images"]
    model, items, *_ = images.command
    registry = images.command[-2:]
    command = (model, items, "--strategy", strategy, "--epochs", 2, *WITHIN, *STRATEGIES[strategy], *registry)
    bench = Bench(forks, tmp_path, images.home, command)
    assert bench.run(bench.whole).code == 0
    moments, out = random.Random(strategy), tmp_path / "run"
    places = set[str]()
    killed = 0
    while not bench.go_on(out, **({"kill_at": moments.randint(12, 24)} if killed < 5 else {})):
        killed += 1
        places |= {path.name for path in checkpoints(out)}
    bench.assert_as_whole(out)
    assert killed >= 2
    assert len(places) > 2


@pytest.mark.fault("T3")
def test_ctrl_c_keeps_the_step_that_was_finished(images: Bench, tmp_path: Path) -> None:
    out = tmp_path / "run"
    rare = ("--checkpoint-every", 1000, "--batch-size", 2)
    assert images.run(images.folder / "small", *rare).code == 0
    pid = images.forks.start(*images.arguments(out, *rare), home=str(images.home))
    wait_until(lambda: any(line.startswith("tune ") for line in images.forks.printed(pid)), 60)
    os.kill(pid, signal.SIGINT)
    assert images.forks.wait(pid).code == 130
    ended = images.resume(out)
    assert ended.code == 0
    assert sha256(out / "adapter.safetensors") == sha256(images.folder / "small" / "adapter.safetensors")
    assert history(out) == history(images.folder / "small")


@pytest.mark.fault("T5")
def test_a_run_killed_at_each_touch_of_its_last_save_goes_on(images: Bench, tmp_path: Path) -> None:
    """Until the checkpoints are gone, the run can be resumed; then it is there, whole."""
    out = tmp_path / "run"
    total = images.run(tmp_path / "counted").touches
    for touch in range(total, total - 16, -4):
        images.run(out, kill_at=touch)
        assert images.go_on(out)
        images.assert_as_whole(out)
        out = out.with_name(f"run{touch}")


@pytest.mark.fault("T3")
@pytest.mark.fault("T4")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_save_leaves_a_whole_checkpoint_and_says_how_to_go_on(
    bench: Bench, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "run"
    ended = bench.run(out, in_checkpoint=6, signals=[number])
    assert ended.code == code
    assert ended.err[-1] == f"Go on: zoo finetune --resume {out}"
    assert len([line for line in ended.err if line.startswith(("stopping", "error", "Go on"))]) == 3
    assert history(out) == history(bench.whole)[: len(history(out))], "the best so far is a run already"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.partial"]
    assert bench.resume(out).code == 0
    bench.assert_as_whole(out)


@pytest.mark.fault("T3")
def test_a_second_ctrl_c_in_a_save_is_immediate_and_the_checkpoint_before_stays(
    images: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ended = images.run(out, in_checkpoint=6, signals=[signal.SIGINT] * 2)
    assert ended.code == 130
    assert checkpoints(out)
    assert not list(out.with_name("run.partial").glob("*.tmp"))
    assert images.resume(out).code == 0
    images.assert_as_whole(out)


@pytest.mark.fault("T4")
def test_a_signal_between_two_checkpoints_keeps_what_was_finished_all_the_same(
    images: Bench, tmp_path: Path
) -> None:
    """Checkpoints are rare here; what the last one lacks was copied in memory, where that costs little."""
    out, rare = tmp_path / "run", ("--checkpoint-every", 1000, "--tune-epochs", 1000, "--tune-patience", 0)
    pid = images.forks.start(*images.arguments(out, *rare), home=str(images.home))
    wait_until(lambda: any(line.startswith("tune ") for line in images.forks.printed(pid)[-1:]), 60)
    os.kill(pid, signal.SIGTERM)
    ended = images.forks.wait(pid)
    assert ended.code == 143
    stopped = re.search(r"stopped in epoch (\d+)", "\n".join(ended.err))
    assert stopped is not None
    ended = images.resume(out, "--tune-epochs", 1, "--force")  # it has more than that behind it already
    assert ended.code == 0
    assert 3 < len(history(out)) < int(stopped[1])
    assert f"going on after epoch {len(history(out))}" in ended.err


@pytest.mark.fault("T5")
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_one_warning(
    images: Bench, tmp_path: Path, how: str
) -> None:
    out = tmp_path / "run"
    images.run(out, in_checkpoint=7)
    *_, newest = checkpoints(out)
    damage(newest, how)
    ended = images.resume(out)
    assert ended.code == 0
    (warning,) = [line for line in ended.err if line.startswith("warning")]
    assert f"{newest.name[:17]}….safetensors is damaged" in warning
    images.assert_as_whole(out)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"flipped": content, "cut": content[:-100], "emptied": b""}[how])


@pytest.mark.fault("T5")
def test_with_every_checkpoint_damaged_the_run_is_refused_and_nothing_is_deleted(
    images: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    images.run(out, in_checkpoint=7)
    for path in checkpoints(out):
        damage(path, "flipped")
    ended = images.resume(out)
    assert ended.code == 3
    assert "every checkpoint is damaged" in ended.err[-2]
    assert len(checkpoints(out)) == 2


@pytest.mark.fault("T6")
def test_where_checkpoints_do_not_fit_training_goes_on_with_one_warning(
    images: Bench, tmp_path: Path
) -> None:
    """A checkpoint of the stage has its weights four times, the run once."""
    out, weights = tmp_path / "run", (images.whole / "adapter.safetensors").stat().st_size
    ended = images.run(out, largest=2 * weights)
    assert ended.code == 0, ended.err
    (warning,) = [line for line in ended.err if line.startswith("warning")]
    assert re.search(r"it needs 4\.\d MB, and .* free; training goes on, and the one before stays", warning)
    images.assert_as_whole(out)


@pytest.mark.fault("T6")
def test_where_the_run_does_not_fit_it_ends_with_7_and_can_be_resumed(images: Bench, tmp_path: Path) -> None:
    out, weights = tmp_path / "run", (images.whole / "adapter.safetensors").stat().st_size
    ended = images.run(out, largest=weights // 2)
    assert ended.code == 7
    assert ended.err[-2].startswith(f"error: {out} needs 1.1 MB, ")
    assert ended.err[-1] == f"Free some space, then: zoo finetune --resume {out}"
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    assert images.resume(out).code == 0
    images.assert_as_whole(out)


@pytest.mark.fault("T6")
def test_a_disk_that_is_really_full_ends_with_7_and_keeps_its_checkpoint(
    images: Bench, tmp_path: Path
) -> None:
    """1 MB holds the checkpoint of the head, but neither those of the stage nor the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs '{disk}' && exec \"$@\""
    prefix = ("unshare", "-Urm", "sh", "-c", mount, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here: a small disk cannot be mounted")
    with TrainingForks(tmp_path, prefix) as inside:
        ended = inside.run(*images.arguments(disk / "run"), home=str(images.home))
        assert ended.code == 7, ended.err
        (warning,) = [line for line in ended.err if line.startswith("warning")]
        assert "training goes on, and the one before stays" in warning
        ended = inside.run("finetune", "--resume", disk / "run", home=str(images.home))
        assert ended.code == 7, ended.err  # nothing of it was lost: it goes on, and does not fit again
        assert "going on after epoch 3" in ended.err


@pytest.mark.fault("T7")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("epoch", [1, 3, 4, 6])
def test_a_run_that_is_killed_within_an_epoch_is_resumed_bit_for_bit(
    images: Bench, tmp_path: Path, workers: int, epoch: int
) -> None:
    """In the head phase, at the change to the tune phase, and in it."""
    out = tmp_path / "run"
    images.run(out, "--workers", workers, in_checkpoint=epoch + 1)
    assert images.resume(out).code == 0
    images.assert_as_whole(out)


@pytest.mark.fault("T12")
def test_two_runs_of_one_name_at_once_are_one_run_and_one_refusal(images: Bench, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pid = images.forks.start(*images.arguments(out, "--tune-epochs", 1000), home=str(images.home))
    wait_until(lambda: checkpoints(out), 60)
    for refused in (images.run(out), images.resume(out)):
        assert refused.code == 2
        assert f"{out} is being trained by process {pid} (since " in refused.err[-2]
        assert refused.err[-1] == f"Try: --out {out}-2"
    os.kill(pid, signal.SIGKILL)
    images.forks.wait(pid)
    refused = images.run(out)
    assert refused.code == 2
    assert refused.err[-3:] == [
        f"error: {out} is not finished: {out}.partial holds its checkpoints",
        f"Go on with it: zoo finetune --resume {out}",
        f"Or begin another: --out {out}-2",
    ]
    assert checkpoints(out)


@pytest.mark.fault("T12")
def test_a_run_folder_that_appears_while_a_run_is_trained_is_not_overwritten(
    images: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    images.run(out, in_checkpoint=5)
    out.mkdir()
    (out / "mine").write_text("precious")
    refused = images.resume(out)
    assert refused.code == 2
    assert refused.err[-1] == f"Move it away, then: zoo finetune --resume {out}"
    assert (out / "mine").read_text() == "precious"
    out.rename(tmp_path / "elsewhere")
    assert images.resume(out).code == 0
    images.assert_as_whole(out)
    finished = images.resume(out)
    assert finished.code == 2
    assert finished.err[-2] == f"error: {out} is finished: 7 epochs, epoch {best_epoch(out)} was best"


def best_epoch(run: Path) -> int:
    return int(json.loads((run / "run.json").read_text())["result"]["best_epoch"])
