"""Detects a body that is too slow: each byte arrives in time, but the file never does."""

from __future__ import annotations

import time

from zoo.store.settings import Settings


class TooSlow(Exception):
    """Fewer than `Settings.slowest` bytes per second were received over a whole window."""


class Pace:
    """Counts bytes against the clock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since = time.monotonic()
        self._bytes = 0

    def check(self, count: int) -> None:
        """Count some bytes. Raises TooSlow at the end of a window with too few."""
        self._bytes += count
        elapsed = time.monotonic() - self._since
        if elapsed < self._settings.window:
            return
        rate = self._bytes / elapsed
        if rate < self._settings.slowest:
            raise TooSlow(f"only {rate:.0f} bytes per second were received")
        self._since, self._bytes = time.monotonic(), 0
