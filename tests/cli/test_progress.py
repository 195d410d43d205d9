"""What a training shows while it runs: few lines for fast epochs, one for each slow one."""

from __future__ import annotations

import fcntl
import re
import struct
import termios
from pathlib import Path

import msgspec
import pytest
from support.commands import Terminal, running, start_zoo

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
    ends = (epoch(1, seconds=2.0), msgspec.structs.replace(epoch(2, seconds=2.0), mixed=True))
    plain, mixed = lines(capsys, Mode.HUMAN, *ends)
    assert "  train loss 0.5000  " in plain
    assert "  train loss of mixed images 0.5000  " in mixed


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_one_line_of_figures_that_fits(tiny: Path, tmp_path: Path, columns: int) -> None:
    terminal = Terminal()
    fcntl.ioctl(terminal.outer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = ("finetune", "tiny_net", tiny / "images", "--out", tmp_path / "run", "--unfreeze", "all")
    more = ("--epochs", 40, "--tune-epochs", 2, "--patience", 0, "--batch-size", 8, "--no-report")
    settings = {"ZOO_REGISTRY": str(tiny / "registry.yaml"), "TERM": "xterm", "COLUMNS": str(columns)}
    with running(start_zoo(*words, *more, "--device", "cpu", stderr=terminal.outer, **settings)) as process:
        while process.poll() is None:
            terminal.read()
    assert process.returncode == 0, terminal.read()
    frames = re.split(r"\x1b\[2K|[\r\n]", terminal.read())
    shown = {re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", frame) for frame in frames}
    live = [line for line in shown if re.match(r"(head|tune) \d+/", line)]
    assert any(line.startswith("tune") for line in live)
    rate, left = (
        (r"[\d,.]+/s", r"<?[\d:]+") if columns == 60 else (r"[\d,.]+ items/s", r"at most [\d:]+|[\d:]+ left")
    )
    whole = rf"tune 2/2 .*loss [\d.]+ .*val .*[\d.]+ .*lr [\d.e-]+ +{rate} +({left}) +[\d.]+ [GM]B"
    assert any(re.fullmatch(whole, line.strip()) for line in live), live
    assert max(map(len, live)) <= columns
    assert len(terminal.visible) == 0 or not re.match(r"(head|tune) \d+/", terminal.visible[-1])
