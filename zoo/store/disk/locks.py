"""One process at a time: a lock per source, which reports whom it waits for."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import LockTimeout
from zoo.events import Note, Report, silent

if TYPE_CHECKING:
    from filelock import BaseFileLock

UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
POLL = 0.05
QUIET = 1.0  # seconds to wait before a note


@contextmanager
def hold(path: Path, what: str, *, patience: float = 3600.0, report: Report = silent) -> Iterator[None]:
    """Hold the lock `path` for the length of a with-block.

    The system releases it when its holder dies, however it dies. While another process holds it, a Note names
    that process and since when. Raises LockTimeout after `patience` seconds.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _choose_lock(path)
    started = time.monotonic()
    noted = False
    while True:
        wait = min(QUIET, patience) if not noted else patience - (time.monotonic() - started)
        try:
            lock.acquire(timeout=max(wait, 0.0), poll_interval=POLL)
            break
        except filelock.Timeout:
            holder = describe_holder(path)
            if time.monotonic() - started >= patience:
                raise LockTimeout(
                    f"{what}: {holder} has held the lock for more than {patience:.0f} s",
                    hint="Stop that process, or try again when it is done; --timeout sets how long to wait.",
                ) from None
            report(Note(f"{what}: waiting for {holder}"))
            noted = True
    owner = _owner_file(path)
    try:
        with suppress(OSError):
            owner.write_text(
                json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
            )
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        lock.release()


def _choose_lock(path: Path) -> BaseFileLock:
    """A lock of the file system; where it has none (network drives), one based on a file's existence."""
    import filelock

    if sys.platform != "win32":
        import fcntl

        probe = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # it is held: so locks work
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            # Another name: the empty file just created would look like a held lock.
            return filelock.SoftFileLock(path.with_suffix(".softlock"))
        finally:
            os.close(probe)
    return filelock.FileLock(path)


def _owner_file(path: Path) -> Path:
    return path.with_suffix(".owner")


def describe_holder(path: Path) -> str:
    """The holder of the lock, for messages: "process 4711 (since 12:30:05)"."""
    try:
        owner = json.loads(_owner_file(path).read_text())
        since = time.strftime("%H:%M:%S", time.localtime(float(owner["since"])))
        host = "" if owner["host"] == socket.gethostname() else f" on {owner['host']}"
        return f"process {int(owner['pid'])}{host} (since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
