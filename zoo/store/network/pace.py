"""Notices a body that drips: each byte comes in time, the file never."""

from __future__ import annotations

import time

from zoo.store.settings import Settings


class TooSlow(Exception):
    """Fewer than `Settings.slowest` bytes a second came over a whole window."""


class Pace:
    """Counts bytes against the clock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since = time.monotonic()
        self._bytes = 0

    def check(self, count: int) -> None:
        """Count some bytes. Raises TooSlow at the end of a window that brought too few."""
        self._bytes += count
        elapsed = time.monotonic() - self._since
        if elapsed < self._settings.window:
            return
        rate = self._bytes / elapsed
        if rate < self._settings.slowest:
            raise TooSlow(f"only {rate:.0f} bytes a second came")
        self._since, self._bytes = time.monotonic(), 0
