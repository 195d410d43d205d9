"""The command line as typed, in a process of its own, and the registry file that it is given."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.registry import entry_to_mapping


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Said]
"""A command line, word by word: `call("list", "--json")`."""


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


def start_zoo(
    *arguments: object, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[str]:
    """A command that runs: `with running(start_zoo("fetch", "net")) as process`."""
    return subprocess.Popen(
        [sys.executable, "-m", "zoo", *map(str, arguments)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that another process or thread does; a test that waits in vain fails."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


class Terminal:
    """A terminal that remembers what was written to it, as stdout or stderr of one command."""

    def __init__(self) -> None:
        self.inner, self.outer = pty.openpty()
        os.set_blocking(self.inner, False)
        self.text = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()  # a block may end inside a character

    def read(self) -> str:
        with suppress(BlockingIOError, OSError):  # OSError: nobody has it open any more
            while block := os.read(self.inner, 65536):
                self.text += self.decoder.decode(block)
        return self.text

    @property
    def visible(self) -> list[str]:
        """The lines that are still to be seen: those after the last one that was wiped."""
        last = re.split(r"\x1b\[2K", self.read())[-1]
        return [line for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", last).splitlines() if line.strip()]
