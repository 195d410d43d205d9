"""Ctrl-C and SIGTERM ask for an end after the step; asking twice, or before there are steps, is immediate."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """While entered, the first SIGINT or SIGTERM only sets a flag; the second raises KeyboardInterrupt.

    Call it to ask: `fit(…, stop_requested=stop)`. Until somebody has asked once, nobody would see the flag: a
    signal then does what it did before, so that a download or a feature pass ends at once. Handlers are put
    back on the way out. A signal that the process was started to ignore (nohup) stays ignored. Outside the
    main thread no handler can be set, and nothing is ever requested.

    >>> with StopSignal() as stop:
    ...     before = stop()
    ...     signal.raise_signal(signal.SIGINT)
    ...     before, stop(), stop.exit_code
    (False, True, 130)
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.asked = False
        self.previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        self.asked = True
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """What the shell expects of a process that this signal ended: 130 or 143."""
        return 128 + int(self.received or signal.SIGINT)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self.receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous.clear()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """What runs when a signal comes in, between two bytecodes of the main thread."""
        again = self.received is not None
        self.received = self.received or signal.Signals(number)
        if not self.asked and callable(before := self.previous[signal.Signals(number)]):
            before(number, frame)
        if again or not self.asked:
            raise KeyboardInterrupt


def never() -> bool:
    """Never ask to stop."""
    return False
