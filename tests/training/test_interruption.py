"""Ctrl-C once ends after the step; twice is immediate."""

from __future__ import annotations

import signal
import threading

import pytest

from zoo.training.interruption import StopSignal, never


@pytest.fixture(autouse=True)
def usual_handlers(monkeypatch: pytest.MonkeyPatch) -> object:
    """A test run in the background of a shell ignores SIGINT, and StopSignal would rightly keep to that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield None
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_only_sets_the_flag(number: signal.Signals, code: int) -> None:
    with StopSignal() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert stop.exit_code == code


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_is_immediate(second: signal.Signals) -> None:
    with StopSignal() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
        assert stop()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_nobody_asks_the_first_signal_is_immediate(number: signal.Signals, code: int) -> None:
    """A download or a feature pass takes minutes, and does not look at the flag."""
    with StopSignal() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.exit_code == code


def test_while_nobody_asks_a_signal_does_what_it_did_before() -> None:
    def leave(number: int, _frame: object) -> None:
        raise SystemExit(number)

    signal.signal(signal.SIGTERM, leave)
    with StopSignal(), pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)


def test_handlers_are_put_back_whatever_happened() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), StopSignal():
        raise RuntimeError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert not stop()


def test_outside_the_main_thread_nothing_is_touched() -> None:
    seen: list[object] = []

    def work() -> None:
        with StopSignal() as stop:
            seen.extend([stop(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, signal.default_int_handler]
    assert not never()
