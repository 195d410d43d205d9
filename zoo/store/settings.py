"""Every limit and patience of a fetch, in one frozen value: a test runs in a second what takes a minute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How long and how often a fetch tries. Seconds and bytes.

    Two kinds of counters bound it: `fruitless` tries in a row, each of which brought less than `gain` bytes,
    and `tries` and `surplus` in all, which no progress resets: a server that drips a byte per try ends too.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 10.0
    slowest: int = 1024  # bytes per second, over one `window`: below that, a connection is given up
    window: float = 10.0
    tries: int = 50
    fruitless: int = 4
    gain: int = 1 << 20
    surplus: float = 3.0  # bytes received may be this many times the size of the file, and 64 MiB
    backoff: float = 0.5  # before the second try; doubles
    longest_backoff: float = 8.0
    largest: int = 64 << 30  # of a file whose size nobody states
    longest_wait: float = 120.0  # that a server may ask for with Retry-After
    redirects: int = 10
    lock_patience: float = 3600.0
    report_every: float = 0.1
    connections: int = 4  # at a time, for one file where that is faster (see parts.py)
    part: int = 8 << 20  # bytes of a part; `connections` of them may be in memory
    trial: float = 2.0  # seconds to measure one connection, and then several
    enough: float = 100e6  # bytes per second of one connection that nobody needs more than

    def pause(self, fruitless: int) -> float:
        """Seconds to wait before the next try, after so many fruitless ones in a row."""
        return min(self.backoff * 2.0 ** max(fruitless - 1, 0), self.longest_backoff)

    @property
    def longest_silence(self) -> float:
        """Seconds after which a server that accepts and then says nothing was given up for good."""
        tries = max(self.read_timeout, self.window) * self.fruitless
        return tries + sum(self.pause(n) for n in range(1, self.fruitless))
