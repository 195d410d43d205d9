"""What Daft raises, prints and does with Ctrl-C, as errors of ours."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.names import one_line, shortened
from zoo.errors import DiskFull, NetworkError, StorageError, TrainingStopped, ZooError
from zoo.store.disk.space import free_bytes, size_text, system_error

if TYPE_CHECKING:
    from types import FrameType


_FULL = 64 << 20
"""Bytes: with less room than that, a file that could not be written is one that the disk had no room for."""
_GENERIC = (
    "error",
    "service error",
    "unhandled error",
    "dispatch failure",
    "io error",
    "caused by the following errors:",
)


@contextmanager
def answered(place: str) -> Iterator[None]:
    """Turn what Daft raises into an error of ours: of a worker, of storage, of the disk. What it prints goes
    nowhere: stdout is for answers."""
    from daft.exceptions import DaftCoreException

    try:
        with _interruptible(), _unprinted():
            yield
    except ZooError:
        raise
    except Exception as error:
        if (found := _beneath(error)) is not None:
            raise found from error
        if isinstance(error, RuntimeError) and "process closed" in str(error):
            raise TrainingStopped(
                "a worker of Daft ended before its work was done: it may have been killed for its memory",
                hint="Try fewer of them, each takes a GB or more: --workers N",
            ) from error
        if not isinstance(error, DaftCoreException) or (system_error(error) and "://" not in place):
            raise
        if "://" not in place:
            raise _unwritten(place, error) from error
        raise NetworkError(
            f"{one_line(place)} does not answer as it should: {_reason_of(error)}",
            hint="Storage is found as by any client: for s3:// by AWS_ENDPOINT_URL, AWS_REGION, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt where SIGINT came, whatever else that led to: a handler of Daft's own, which it
    has even where SIGINT is ignored, ends the work without an error, or with that of a file not yet there."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def _unprinted() -> Iterator[None]:
    """Let nothing reach stdout: Rust prints there where Ctrl-C stops it."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _reason_of(error: Exception) -> str:
    """The line of an error of Daft that says most: it lists what caused what."""
    lines = [line.strip().lstrip("0123456789: ") for line in str(error).splitlines()]
    plain = [line for line in lines if line and line.lower() not in _GENERIC]
    status = re.search(r"StatusCode\((\d+)\)", str(error))
    who = [
        line for line in plain if "credentials" in line
    ]  # whoever was asked for them last is not the cause
    reason = shortened((who or [*reversed(plain)] or ["it does not say why"])[0], 200)
    return f"{reason} (HTTP {status[1]})" if status else reason


def _unwritten(place: str, error: Exception) -> StorageError:
    """The error for files that Daft could not write: it does not say that a disk is full."""
    folder = Path(place).parent
    free, out = free_bytes(folder), one_line(str(folder))
    if free < _FULL:
        return DiskFull(
            f"no room for the features: {size_text(free)} free in {out}",
            hint="Free some space, or name a folder on a larger disk.",
        )
    return StorageError(
        f"the features cannot be written in {out}: {_reason_of(error)}", hint="Name another folder."
    )


def _beneath(error: BaseException) -> ZooError | None:
    """The error of ours that Daft wraps in its own."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, ZooError):
        below = below.__cause__
    return below
