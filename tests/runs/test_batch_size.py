"""`--batch-size auto`: what is chosen, why, and that it is in the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.commands import Call
from support.kits import Kit, on_tiny
from torch import Tensor, nn

import zoo
from zoo.catalogue.entry import ImageModel
from zoo.errors import UsageError
from zoo.runs.making import batch_size
from zoo.runs.making.batch_size import largest_batch
from zoo.runs.record import RunResult
from zoo.store.store import Store

LACKS_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def holds(most: int, tried: list[int]) -> Callable[[int], None]:
    """An attempt that lacks memory above `most`."""

    def attempt(size: int) -> None:
        tried.append(size)
        if size > most:
            raise LACKS_MEMORY

    return attempt


@pytest.mark.parametrize(
    ("memory", "most", "expected"),
    [(1000, 256, 256), (1000, 100, 64), (70, 256, 64), (64, 256, 64), (3, 256, 2), (1, 256, 1), (9, 1, 1)],
)
def test_the_largest_power_of_two_that_fits_is_found(memory: int, most: int, expected: int) -> None:
    tried: list[int] = []
    assert largest_batch(holds(memory, tried), most) == expected
    assert tried == sorted(set(tried))


def test_another_fault_is_not_a_lack_of_memory() -> None:
    def broken(_size: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(broken, 256)


@on_tiny
@pytest.mark.parametrize("deeper", [(), ("--unfreeze", 1, "--tune-epochs", 1)])
def test_what_was_chosen_is_said_and_kept(
    kit: Kit, ask: Call, tmp_path: Path, deeper: tuple[object, ...]
) -> None:
    run = tmp_path / "run"
    options = ("--batch-size", "auto", "--epochs", 2, "--device", "cpu", *deeper, "--out", run)
    said = ask("finetune", kit.net, kit.images, *options)
    assert said.code == 0, said.err
    assert "batch size 32: " in said.err
    assert json.loads((run / "run.json").read_text())["recipe"]["batch_size"] == 32


@on_tiny
def test_a_device_with_little_memory_gets_what_it_holds(
    kit: Kit, few: Path, finetune: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial itself, on a CPU that lacks memory for more than 4 images of a training step."""
    plain = nn.Conv2d.forward

    def forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
        if layer.training and torch.is_grad_enabled() and len(images) > 4:
            raise LACKS_MEMORY
        return plain(layer, images)

    def try_anywhere(session: batch_size.Session, model: batch_size.PreparedModel) -> batch_size.Session:
        entry = session.plan.entry
        assert isinstance(entry, ImageModel)
        [*_, phase] = batch_size.phases(session.recipe, 1)
        size, _ = batch_size._try_batches(session, model.network, entry.input.size, phase)
        return chosen(session, model, size)

    def chosen(session: batch_size.Session, model: batch_size.PreparedModel, size: int) -> batch_size.Session:
        sizes.append(size)
        return decide(session, model)

    sizes: list[int] = []
    decide = batch_size.decide_batch_size
    monkeypatch.setattr("zoo.runs.making.trainer.decide_batch_size", try_anywhere)
    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    options = {"unfreeze": 1, "epochs": 1, "tune_epochs": 1, "batch_size": 4}
    tried = finetune(folder=few, out=tmp_path / "tried", **options)
    monkeypatch.setattr("zoo.runs.making.trainer.decide_batch_size", decide)
    usual = finetune(folder=few, out=tmp_path / "usual", **options)
    assert sizes == [4]
    assert tried.metrics == usual.metrics  # the trial drew no random numbers of the run's
    weights = "adapter.safetensors"
    assert (tmp_path / "tried" / weights).read_bytes() == (tmp_path / "usual" / weights).read_bytes()


@on_tiny
def test_tuning_refuses_it(kit: Kit, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(UsageError, match="zoo tune does not take batch_size auto"):
        zoo.tune(
            kit.net, kit.images, out=tmp_path / "t", registry=kit.registry, store=store, batch_size="auto"
        )
