"""A run that stopped goes on with what it began with, and with nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kits import Kit, on_real_slowly, on_tiny

import zoo
from zoo.errors import DatasetError, Interrupted, ResumeRefused, TrainingStopped, UsageError
from zoo.events import EpochEnd, Event, Note
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store
from zoo.training.schedules import SCHEDULES, Moment, constant

RECIPE: dict[str, Any] = {
    "unfreeze": 1,
    "epochs": 3,
    "tune_epochs": 3,
    "batch_size": 8,
    "dropout": 0.3,
    "patience": 0,
    "tune_patience": 0,
    "checkpoint_every": 1,
}
Stop = Callable[..., Path]


@pytest.fixture
def stopped(kit: Kit, few: Path, finetune: Callable[..., RunResult], tmp_path: Path) -> Stop:
    """`stopped(at=20)`: the folder of a run that was asked to stop at step 20 of 3 + 3 epochs."""

    def stop(at: int = 9, name: str = "run", **options: Any) -> Path:
        out = tmp_path / name
        wishes = _after(at)
        with pytest.raises(Interrupted) as interrupted:
            finetune(folder=few, out=out, stop_requested=wishes.__next__, **{**RECIPE, **options})
        assert interrupted.value.hint == f"Go on: zoo finetune --resume {out}"
        return out

    return stop


def _after(steps: int) -> Iterator[bool]:
    for _ in range(steps):
        yield False
    while True:
        yield True


@pytest.mark.fault("T7")
@on_real_slowly
def test_a_run_that_stops_again_and_again_is_the_uninterrupted_one(
    few: Path, finetune: Callable[..., RunResult], shared_store: Store, tmp_path: Path
) -> None:
    """On real photographs too: every two epochs it is stopped, in both phases."""
    whole, out, wishes = tmp_path / "whole", tmp_path / "run", _after(7)
    finetune(folder=few, out=whole, **RECIPE)
    with pytest.raises(Interrupted):
        finetune(folder=few, out=out, stop_requested=wishes.__next__, **RECIPE)
    for _ in range(9):
        wishes = _after(7)
        try:
            result = zoo.resume(out, store=shared_store, stop_requested=wishes.__next__)
            break
        except Interrupted:
            load_run(out, store=shared_store)
    assert (out / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()
    expected = load_run(whole, store=shared_store).record
    assert result.metrics == expected.result.metrics
    assert result.frozen_changed == 0
    assert load_run(out, store=shared_store).record.data == expected.data
    assert not out.with_name("run.partial").exists()


@pytest.mark.fault("T7")
@on_tiny
@pytest.mark.parametrize("strategy", ["full", "lp-ft", "norms", "l2-sp", "lora", "gradual"])
def test_every_strategy_goes_on_bit_for_bit(
    few: Path, finetune: Callable[..., RunResult], shared_store: Store, tmp_path: Path, strategy: str
) -> None:
    depth = {"gradual": 2, "l2-sp": 2}.get(strategy)
    recipe = RECIPE | {"strategy": strategy, "unfreeze": depth, "tune_epochs": 2, "tune_lr": 0.003}
    whole, out, wishes = tmp_path / "whole", tmp_path / "run", _after(5)
    finetune(folder=few, out=whole, **recipe)
    with pytest.raises(Interrupted):
        finetune(folder=few, out=out, stop_requested=wishes.__next__, **recipe)
    for _ in range(30):
        wishes = _after(5)
        try:
            assert zoo.resume(out, store=shared_store, stop_requested=wishes.__next__).frozen_changed == 0
            break
        except Interrupted:
            load_run(out, store=shared_store)
    assert (out / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()


@pytest.mark.fault("T7")
@on_tiny
@pytest.mark.parametrize("strategy", ["norms", "lora"])
def test_what_the_last_phase_trained_is_there_after_a_kill_before_it_was_saved(
    few: Path,
    finetune: Callable[..., RunResult],
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:
    recipe = RECIPE | {"strategy": strategy, "unfreeze": None, "epochs": 0, "tune_epochs": 2}
    whole, out = tmp_path / "whole", tmp_path / "run"
    finetune(folder=few, out=whole, **recipe)

    def killed(*_: object) -> RunResult:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("zoo.runs.making.trainer.save", killed)
        with pytest.raises(RuntimeError, match="killed"):
            finetune(folder=few, out=out, **recipe)
    zoo.resume(out, store=shared_store)
    assert (out / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()


@on_tiny
@pytest.mark.fault("T8")
def test_other_data_are_refused_by_the_names_of_the_items(
    stopped: Stop, few: Path, shared_store: Store
) -> None:
    out = stopped()
    gone = min((few / "train" / "five").iterdir())
    gone.rename(gone.with_name("new.png"))
    with pytest.raises(ResumeRefused) as refused:
        zoo.resume(out, store=shared_store)
    assert refused.value.differences == (
        f"the data: train has no longer five/{gone.name}; train has new five/new.png".replace(
            "five/", "train/five/"
        ),
    )
    assert "--force" in (refused.value.hint or "")
    notes: list[Event] = []
    zoo.resume(out, store=shared_store, force=True, report=notes.append)
    warnings = [note.message for note in notes if isinstance(note, Note) and note.level == "warning"]
    assert [text.split(":")[0] for text in warnings] == ["going on all the same"]


@on_tiny
@pytest.mark.fault("T8")
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_picture_with_another_content_is_refused(
    stopped: Stop, few: Path, shared_store: Store, part: str
) -> None:
    out = stopped()
    first, second, *_ = sorted((few / part / "five").iterdir())
    content = second.read_bytes()
    first.unlink()
    first.write_bytes(content)
    with pytest.raises(ResumeRefused, match="hold something else" if part == "train" else "was changed"):
        zoo.resume(out, store=shared_store)


@on_tiny
@pytest.mark.fault("T8")
@pytest.mark.parametrize("force", [False, True])
def test_other_classes_and_another_order_of_them_are_refused_whatever_is_asked(
    stopped: Stop, few: Path, shared_store: Store, force: bool
) -> None:
    out = stopped()
    for part in ("train", "val"):
        (few / part / "five").rename(few / part / "nine")
    with pytest.raises(ResumeRefused, match="the classes: they were eight, five, now eight, nine"):
        zoo.resume(out, store=shared_store, force=force)
    for part in ("train", "val"):
        (few / part / "nine").rename(few / part / "five")
    edit(out, lambda facts: facts["classes"].reverse())
    with pytest.raises(ResumeRefused, match="in another order: they were five, eight, now eight, five"):
        zoo.resume(out, store=shared_store, force=force)


def edit(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the run says that it began with: as good as changing what is there now."""
    path = out.with_name(f"{out.name}.partial") / "plan.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


@on_tiny
@pytest.mark.fault("T8")
@pytest.mark.parametrize(
    ("change", "words", "forced"),
    [
        ({"weights_sha256": "0" * 64}, "the weights of tiny_net: their sha256 was 0000", False),
        ({"device": "cuda"}, "the device: it was cuda, now cpu", True),
        ({"versions": {"torch": "1.0"}}, "the version of torch: it was 1.0, now ", True),
        ({"task": "multi-label"}, "the task: it was multi-label, now single-label", False),
    ],
)
def test_another_model_device_or_version_is_refused(
    stopped: Stop, shared_store: Store, change: dict[str, Any], words: str, forced: bool
) -> None:
    out = stopped()
    edit(out, lambda facts: facts.update(change))
    with pytest.raises(ResumeRefused) as refused:
        zoo.resume(out, store=shared_store)
    assert any(difference.startswith(words) for difference in refused.value.differences)
    if forced:
        zoo.resume(out, store=shared_store, force=True)
        assert load_run(out, store=shared_store).record.result.epochs == 6
    else:
        with pytest.raises(ResumeRefused):
            zoo.resume(out, store=shared_store, force=True)


@on_tiny
@pytest.mark.fault("T8")
def test_another_recipe_is_refused_option_by_option_and_longer_training_can_be_forced(
    stopped: Stop, shared_store: Store
) -> None:
    out = stopped()
    with pytest.raises(ResumeRefused) as refused:
        zoo.resume(out, store=shared_store, tune_epochs=5, lr=0.5)
    assert [difference.split(": it was")[0] for difference in refused.value.differences] == [
        "the recipe's lr",
        "the recipe's tune_epochs",
    ]
    result = zoo.resume(out, store=shared_store, tune_epochs=5, force=True)
    assert result.epochs == 8


@on_tiny
def test_data_that_were_moved_can_be_named_again(
    kit: Kit, stopped: Stop, few: Path, shared_store: Store, tmp_path: Path
) -> None:
    out = stopped()
    few.rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match="not there any more") as gone:
        zoo.resume(out, store=shared_store)
    assert gone.value.hint == f"Say where they are now: zoo finetune MODEL DATA --resume {out}"
    result = zoo.resume(out, name=kit.net, data=tmp_path / "moved", registry=kit.registry, store=shared_store)
    assert result.epochs == 6


@on_tiny
def test_a_run_is_found_from_another_folder_without_its_registry(
    stopped: Stop, shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stopped()
    monkeypatch.chdir(tmp_path)
    assert zoo.resume("run.partial", store=shared_store).epochs == 6
    assert not out.with_name("run.partial").exists()


@on_tiny
def test_going_on_from_an_earlier_run_can_be_interrupted_too(
    stopped: Stop, finetune: Callable[..., RunResult], few: Path, shared_store: Store, tmp_path: Path
) -> None:
    first, whole = tmp_path / "first", tmp_path / "whole"
    finetune(folder=few, out=first, epochs=2)
    finetune(first, few, out=whole, **RECIPE)
    out, wishes = tmp_path / "run", _after(9)
    with pytest.raises(Interrupted):
        finetune(first, few, out=out, stop_requested=wishes.__next__, **RECIPE)
    zoo.resume(out, store=shared_store)
    assert (out / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()


@on_tiny
@pytest.mark.fault("T2")
def test_a_run_that_lacked_memory_once_goes_on_when_there_is_more(
    finetune: Callable[..., RunResult],
    few: Path,
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    finetune(folder=few, out=whole, **RECIPE)

    def lack(moment: Moment) -> float:
        if len(moment.losses) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    monkeypatch.setitem(SCHEDULES, "constant", lack)
    with pytest.raises(TrainingStopped) as stopped:
        finetune(folder=few, out=out, **RECIPE)
    monkeypatch.setitem(SCHEDULES, "constant", constant)
    assert f"Epoch 2 is in {out}. It goes on: zoo finetune --resume {out}" in (stopped.value.hint or "")
    zoo.resume(out, store=shared_store)
    assert (out / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()


@on_tiny
@pytest.mark.fault("T1")
def test_a_run_that_blew_up_goes_on_with_a_smaller_rate(
    finetune: Callable[..., RunResult],
    few: Path,
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    monkeypatch.setitem(SCHEDULES, "constant", lambda moment: 1e38 if len(moment.losses) == 2 else 1.0)
    with pytest.raises(TrainingStopped):
        finetune(folder=few, out=out, **RECIPE)
    monkeypatch.setitem(SCHEDULES, "constant", constant)
    result = zoo.resume(out, store=shared_store, lr=1e-4, force=True)
    assert (result.epochs, result.frozen_changed) == (6, 0)
    assert load_run(out, store=shared_store).record.recipe.lr == 1e-4


@on_tiny
@pytest.mark.fault("T12")
def test_what_else_is_in_a_folder_of_the_name_of_the_partial_one_is_left_alone(
    finetune: Callable[..., RunResult], stopped: Stop, few: Path, shared_store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "run.partial" / "precious.tmp"
    mine.parent.mkdir()
    mine.write_text("mine")
    finetune(folder=few, epochs=1)
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]
    shutil.rmtree(tmp_path / "run")
    zoo.resume(stopped(), store=shared_store)
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]


@on_tiny
def test_another_number_of_threads_is_a_remark(stopped: Stop, shared_store: Store) -> None:
    out, notes = stopped(), list[Event]()
    edit(out, lambda facts: facts.update(threads=64))
    zoo.resume(out, store=shared_store, report=notes.append)
    assert any(isinstance(note, Note) and "torch had 64 threads" in note.message for note in notes)


@on_tiny
@pytest.mark.parametrize("name", ["run", "run.partial"])
def test_a_verb_that_is_given_an_unfinished_run_says_how_to_finish_it(
    stopped: Stop, shared_store: Store, tmp_path: Path, name: str
) -> None:
    out = stopped()
    shutil.rmtree(out)  # as after a kill
    with pytest.raises(UsageError, match="is a run that is not finished") as refused:
        load_run(tmp_path / name, store=shared_store)
    assert refused.value.hint == f"Go on with it: zoo finetune --resume {out}"


@on_tiny
@pytest.mark.parametrize("file", ["run.partial/plan.json", "run.partial"])
def test_what_lies_in_an_unfinished_run_stands_for_it(stopped: Stop, shared_store: Store, file: str) -> None:
    assert zoo.resume(stopped().parent / file, store=shared_store).epochs == 6


@on_tiny
def test_what_cannot_be_resumed_is_answered_with_a_sentence(
    stopped: Stop, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"is finished: .* epochs, epoch .* was best"):
        zoo.resume(trained.run, store=shared_store)
    with pytest.raises(UsageError, match=r"is finished: .* epochs, epoch .* was best"):
        zoo.resume(Path(trained.run) / "run.json", store=shared_store)
    with pytest.raises(UsageError, match=r"nothing to go on from: there is no checkpoint"):
        zoo.resume(tmp_path / "nowhere", store=shared_store)
    out = stopped()
    (out.with_name("run.partial") / "plan.json").write_text("{")
    with pytest.raises(zoo.ZooError, match=r"plan\.json cannot be read"):
        zoo.resume(out, store=shared_store)


@on_tiny
@pytest.mark.parametrize("every", [0, -1, 1.5, True, "0steps", "2 hours", ""])
def test_epochs_between_checkpoints_are_a_whole_number(
    finetune: Callable[..., RunResult], every: Any
) -> None:
    with pytest.raises(UsageError, match="checkpoint_every is"):
        finetune(checkpoint_every=every)


def _lines(history: Path) -> list[tuple[str, int]]:
    """The phase and the number of each epoch in a history; every line has to be whole."""
    epochs = [json.loads(line) for line in history.read_text().splitlines()]
    return [(end["phase"], end["epoch"]) for end in epochs]


WHOLE = [(phase, epoch) for phase in ("head", "tune") for epoch in (1, 2, 3)]


@on_tiny
def test_the_history_grows_while_the_run_is_trained(
    few: Path, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    out, seen = tmp_path / "run", []

    def look(event: Event) -> None:
        if isinstance(event, EpochEnd):
            seen.append(_lines(tmp_path / "run.partial" / "history.jsonl"))

    finetune(folder=few, out=out, report=look, **RECIPE)
    assert seen == [WHOLE[:count] for count in range(6)]  # an epoch is reported before it is written
    assert _lines(out / "history.jsonl") == WHOLE
    assert not out.with_name("run.partial").exists()


@on_tiny
@pytest.mark.parametrize("lost", ["nothing", "a line", "the file", "a torn line", "two epochs more"])
def test_a_run_that_goes_on_has_every_epoch_once_in_its_live_history(
    stopped: Stop, shared_store: Store, tmp_path: Path, lost: str
) -> None:
    """As it is after Ctrl-C, and as a kill or a power cut may leave it. Whoever follows the file keeps it."""
    out = stopped(at=14, checkpoint_every=1)
    live = out.with_name("run.partial") / "history.jsonl"
    before = live.read_bytes()
    done = len(_lines(live))
    assert 3 < done < 6
    assert _lines(live) == WHOLE[:done]
    file = live.stat().st_ino
    match lost:
        case "a line":
            live.write_bytes(b"".join(before.splitlines(keepends=True)[:-1]))
        case "the file":
            live.unlink()
        case "a torn line":
            live.write_bytes(before + b'{"phase":"tu')
        case "two epochs more":
            live.write_bytes(before + before.splitlines(keepends=True)[-1] * 2)
    seen: list[list[tuple[str, int]]] = []

    def look(event: Event) -> None:
        if isinstance(event, EpochEnd):
            seen.append(_lines(live))
            assert live.read_bytes().startswith(before)
            assert lost == "the file" or live.stat().st_ino == file

    zoo.resume(out, store=shared_store, report=look)
    assert seen == [WHOLE[:count] for count in range(done, 6)]
    assert _lines(out / "history.jsonl") == WHOLE


@on_tiny
def test_a_history_that_cannot_be_written_is_said_once_and_training_goes_on(
    few: Path, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    out, notes = tmp_path / "run", []

    def spoil(event: Event) -> None:
        if isinstance(event, EpochEnd) and (event.phase, event.epoch) == ("head", 2):
            live = tmp_path / "run.partial" / "history.jsonl"
            live.unlink()
            live.mkdir()
        if isinstance(event, Note) and event.level == "warning" and "history" in event.message:
            notes.append(event.message)
        if isinstance(event, EpochEnd) and (event.phase, event.epoch) == ("tune", 3):
            (tmp_path / "run.partial" / "history.jsonl").rmdir()

    finetune(folder=few, out=out, report=spoil, **RECIPE)
    assert len(notes) == 1
    assert "training goes on" in notes[0]
    assert _lines(out / "history.jsonl") == WHOLE
