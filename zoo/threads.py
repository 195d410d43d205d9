"""How many threads torch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes on the CPU in one thread: for what is smaller than what threads cost.

    A step of a linear head is 0.3 ms of work. Two threads gain nothing on an idle machine; on a busy one they
    wait for each other at every product: 9 times as slow with a load of 7 on two cores. And one thread adds
    up in the same order whatever the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
