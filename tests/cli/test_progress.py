"""What a training shows while it runs: few lines for fast epochs, one for each slow one."""

from __future__ import annotations

import dataclasses

import pytest

from zoo.cli.sink import Mode, Sink
from zoo.events import EpochEnd


def epoch(number: int, *, seconds: float, of: int = 100, best: bool = False) -> EpochEnd:
    return EpochEnd("head", number, of, 0.5, 0.4, {"accuracy": 0.9}, 1e-3, seconds, best)


def lines(capsys: pytest.CaptureFixture[str], mode: Mode, *ends: EpochEnd) -> list[str]:
    sink = Sink(mode)
    for end in ends:
        sink.report(end)
    return capsys.readouterr().err.splitlines()


def test_fast_epochs_get_a_line_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, Mode.HUMAN, *(epoch(n, seconds=0.01) for n in range(1, 101)))
    assert [line.split()[1] for line in shown] == [
        f"{number}/100" for number in (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    ]


def test_every_slow_epoch_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines(capsys, Mode.HUMAN, *(epoch(n, seconds=1.5) for n in range(1, 13)))) == 12


def test_the_best_epoch_so_far_is_named_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lines(capsys, Mode.HUMAN, epoch(1, seconds=2, best=True, of=2), epoch(2, seconds=2, of=2))
    assert first.endswith("val accuracy 0.9000  best so far")
    assert second.endswith("val accuracy 0.9000")


@pytest.mark.parametrize("mode", [Mode.QUIET, Mode.JSON])
def test_a_program_gets_no_epochs(capsys: pytest.CaptureFixture[str], mode: Mode) -> None:
    assert lines(capsys, mode, epoch(1, seconds=2)) == []


def test_the_loss_of_mixed_images_is_not_called_the_training_loss(capsys: pytest.CaptureFixture[str]) -> None:
    ends = (epoch(1, seconds=2.0), dataclasses.replace(epoch(2, seconds=2.0), mixed=True))
    plain, mixed = lines(capsys, Mode.HUMAN, *ends)
    assert "  train loss 0.5000  " in plain
    assert "  train loss of mixed images 0.5000  " in mixed
