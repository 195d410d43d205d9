"""Every limit of a fetch, in one frozen value: so that a test runs in a second what takes a minute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How long and how often a fetch tries, in seconds and bytes.

    Two kinds of counters bound it: `fruitless`, tries in a row that each bring less than `gain` bytes; and
    `tries` and `surplus`, which progress does not reset, so that a server that sends a byte per try ends too.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 10.0
    slowest: int = 1024  # bytes per second over one `window`; a slower connection is closed
    window: float = 10.0
    tries: int = 50
    fruitless: int = 4
    gain: int = 1 << 20
    surplus: float = 3.0  # limit of the bytes received, as a multiple of the file's size, plus 64 MiB
    backoff: float = 0.5  # before the second try; doubles
    longest_backoff: float = 8.0
    largest: int = 64 << 30  # limit for a file of unknown size
    longest_wait: float = 120.0  # accepted from a Retry-After header
    redirects: int = 10
    lock_patience: float = 3600.0
    report_every: float = 0.1
    connections: int = 4  # at a time, for one file, where that is faster (see network/byte_ranges.py)
    part: int = 8 << 20  # bytes of a part; up to `connections` parts are in memory
    trial: float = 2.0  # seconds to measure one connection, and then several
    enough: float = 100e6  # bytes per second at which one connection is fast enough

    def pause(self, fruitless: int) -> float:
        """Seconds to wait before the next try, after a number of fruitless ones in a row."""
        return min(self.backoff * 2.0 ** max(fruitless - 1, 0), self.longest_backoff)

    @property
    def longest_silence(self) -> float:
        """Seconds until a fetch gives up on a server that accepts connections and sends nothing."""
        tries = max(self.read_timeout, self.window) * self.fruitless
        return tries + sum(self.pause(n) for n in range(1, self.fruitless))
