"""The command line as typed, in a process of its own, and the registry file that it is given."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.registry import entry_to_mapping


def write_registry(path: Path, *entries: ModelEntry) -> Path:
    """A registry file of these entries."""
    path.write_text(yaml.safe_dump({"models": {entry.name: entry_to_mapping(entry) for entry in entries}}))
    return path


@contextmanager
def running(process: subprocess.Popen[str], seconds: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end of the block, and after some seconds: so that no read waits on."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.communicate(timeout=10)


def start_zoo(*arguments: object, stderr: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """A command that runs: `with running(start_zoo("fetch", "net")) as process`."""
    return subprocess.Popen(
        [sys.executable, "-m", "zoo", *map(str, arguments)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that another process or thread does; a test that waits in vain fails."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)
