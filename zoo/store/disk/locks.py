"""One process at a time: a lock per source, with a word about whom one waits for."""

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
QUIET = 1.0  # seconds to wait before saying so


@contextmanager
def hold(path: Path, what: str, *, patience: float = 3600.0, report: Report = silent) -> Iterator[None]:
    """Hold the lock `path` for the length of a with-block.

    The system frees it when its holder dies, however it dies. While another process has it, a Note says which
    one and since when. Raises LockTimeout after `patience` seconds.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _choose_lock(path)
    started = time.monotonic()
    told = False
    while True:
        wait = min(QUIET, patience) if not told else patience - (time.monotonic() - started)
        try:
            lock.acquire(timeout=max(wait, 0.0), poll_interval=POLL)
            break
        except filelock.Timeout:
            holder = _describe_holder(path)
            if time.monotonic() - started >= patience:
                raise LockTimeout(
                    f"{what}: {holder} holds the lock for more than {patience:.0f} s",
                    hint="Stop that process, or try again when it is done; --timeout says how long to wait.",
                ) from None
            report(Note(f"{what}: waiting for {holder}"))
            told = True
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
    """A lock that the file system keeps; one made of a file's existence where it cannot (network drives)."""
    import filelock

    if sys.platform != "win32":
        import fcntl

        probe = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody holds it: so it works
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            # Another name: the empty file that was just made would look like a lock that is held.
            return filelock.SoftFileLock(path.with_suffix(".softlock"))
        finally:
            os.close(probe)
    return filelock.FileLock(path)


def _owner_file(path: Path) -> Path:
    return path.with_suffix(".owner")


def _describe_holder(path: Path) -> str:
    """Who holds the lock, for people: "process 4711 (since 12:30:05)"."""
    try:
        owner = json.loads(_owner_file(path).read_text())
        since = time.strftime("%H:%M:%S", time.localtime(float(owner["since"])))
        host = "" if owner["host"] == socket.gethostname() else f" on {owner['host']}"
        return f"process {int(owner['pid'])}{host} (since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
