"""The minutes that there are."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from zoo.events import Event, Report


class TimeIsUp(Exception):
    """The minutes are over in the middle of a step."""


@dataclass
class Clock:
    """seconds: how many there are, from now on."""

    seconds: float
    began: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds until the end; below 0 after it."""
        return self.seconds - self.spent

    def until(self, share: float, report: Report) -> Report:
        """A report that raises TimeIsUp at the first event after this share of the time.

        Whoever computes for long reports every batch; what was computed until then is kept.
        """

        def watched(event: Event) -> None:
            report(event)
            if self.spent > share * self.seconds:
                raise TimeIsUp

        return watched
