"""More processes on one study: each reads what to work on from its standard input."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def helpers(count: int, arguments: dict[str, Any]) -> Iterator[None]:
    """Inside, so many processes work on the study of `help_with(**arguments)`. On the way out they are waited
    for, or ended, if an error goes through.

    They are new interpreters, not forks: torch's threads do not survive a fork, and the user's own program is
    not started again. What they read is what this process wrote; nobody else can write there.
    """
    begun = []
    for _ in range(count):
        command = [sys.executable, "-m", "zoo.choosing.tuning.worker"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        pickle.dump(arguments, process.stdin)
        process.stdin.close()
        begun.append(process)
    try:
        yield
    except BaseException:
        for process in begun:
            process.terminate()
        raise
    finally:
        for process in begun:
            process.wait()
