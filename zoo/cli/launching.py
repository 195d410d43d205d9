"""Several processes of one command on this machine: started together, ended together.

torchrun does it over several machines. Why not here: it prints its own traceback where a process ends with a
sentence, gives every error the exit code 1, and kills what could still keep its best weights.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from zoo.data.contents import count_cpus
from zoo.errors import TrainingStopped, UsageError
from zoo.events import Report
from zoo.training.ranks import MEETING, are_several, is_first, lost_mark

if TYPE_CHECKING:
    from zoo.training.processes import Processes

PARENT = "ZOO_PARENT"
"""Variable: the pipe that closes when whoever started the processes is gone."""
_GRACE = 30.0
"""Seconds that the first process has to keep what it has, once another has ended."""
_LINES = 12


class _Child(NamedTuple):
    rank: int
    process: subprocess.Popen[bytes]
    log: Path | None


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `zoo` with these arguments in so many processes; returns the exit code of the first one.

    The first has this process's streams; what others print is shown where one of them ends badly. Raises
    TrainingStopped, with those lines, where the first one could not say anything itself.
    """
    import tempfile

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-processes-")))
        life, kept_open = os.pipe()
        stack.callback(os.close, kept_open)  # the children see this process end
        children = [_start(rank, count, arguments, folder, life) for rank in range(count)]
        os.close(life)
        stack.callback(_end, children)
        previous = {
            number: signal.signal(number, _pass_on(children)) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            return _wait(children, lost_mark(folder / "meeting"))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def launch_several(asked: int | None) -> None:
    """Leave the work to so many processes, unless this is already one of several."""
    if asked is not None and asked > 1 and not are_several():
        here = click.get_current_context()
        here.exit(launch(asked, here.find_root().obj))


def refuse_several(verb: str) -> None:
    """Raise UsageError where torchrun has started several processes of a command that is the work of one."""
    if are_several():
        count = os.environ["WORLD_SIZE"]
        raise UsageError(
            f"zoo {verb} is the work of one process, and this is one of {count} (WORLD_SIZE)",
            hint="Start it without torchrun; in a program that torchrun started, unset RANK and WORLD_SIZE.",
        )


@contextmanager
def together(device: str, report: Report) -> Iterator[tuple[Processes, str]]:
    """The processes that this one belongs to, and its own device, for a command that only reads.

    Raises TrainingStopped in the first one where another is gone; the others then end without a word, for
    what they say would not be the cause.
    """
    from zoo.training.processes import is_lost_process, lost_process, meet, own_device

    own = own_device(device)
    try:
        with meet(own, report) as processes:
            yield processes, str(own)
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        if not is_first():
            raise click.exceptions.Exit(0) from error
        raise lost_process(error) from error


def check_same_items(processes: Processes, about: str, places: Sequence[Path]) -> None:
    """Raise UsageError, in every process, unless all are asked about the same items. about: which model."""
    if processes.world == 1:
        return
    text = b"\0".join([os.fsencode(about), *map(os.fsencode, places)])
    found = processes.gather(hashlib.sha256(text).digest())
    for rank, digest in enumerate(found):
        if digest != found[0]:
            processes.take_leave()
            raise UsageError(
                f"process {rank} has another model or other files than process 0",
                hint="Every machine needs the same command and the same files, under the same names.",
            )


def _start(rank: int, count: int, arguments: Sequence[str], folder: Path, life: int) -> _Child:
    """One of the processes."""
    threads = max(1, count_cpus() // count)
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        **{name: str(value) for name, value in own.items()},
        MEETING: str(folder / "meeting"),
        PARENT: str(life),
    }
    log = folder / f"{rank}.log" if rank else None
    with ExitStack() as stack:
        streams: dict[str, Any] = {}
        if log is not None:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            streams["stderr"] = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo", *arguments], env=environment, pass_fds=[life], **streams
        )
    return _Child(rank, process, log)


def _pass_on(children: Sequence[_Child]) -> Callable[[int, object], None]:
    """A wish to stop goes to the first process, which agrees on it with the others. (Ctrl-C on a terminal
    reaches all of them anyway.)"""

    def handler(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            children[0].process.send_signal(number)

    return handler


def _wait(children: Sequence[_Child], lost: Path) -> int:
    """Until the first process has ended. Once another has failed, the first one gets some time to notice.

    lost: is there if the first one was left alone.
    """
    first, failed, since = children[0].process, None, 0.0
    while first.poll() is None:
        if failed is None:
            failed = next((c for c in children[1:] if c.process.poll() not in (None, 0)), None)
            since = time.monotonic()
        elif time.monotonic() - since > _GRACE:
            first.terminate() if time.monotonic() - since < 2 * _GRACE else first.kill()
        time.sleep(0.05)
    code = first.returncode
    if failed is not None and (lost.exists() or code < 0):  # else the first one has named the cause
        _show(failed, len(children))
    if code < 0:
        raise TrainingStopped(f"process 0 of {len(children)} was ended by {signal.Signals(-code).name}")
    return code


def _show(child: _Child, count: int) -> None:
    """How a process ended, and its last words, on stderr."""
    code = child.process.returncode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines = child.log.read_text(errors="replace").splitlines()[-_LINES:] if child.log else []
    print(f"process {child.rank} of {count} {how}" + (":" if lines else ""), file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)


def _end(children: Sequence[_Child]) -> None:
    """Nothing stays behind."""
    running = [child.process for child in children]
    deadline = time.monotonic() + 5.0
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def end_with_parent() -> None:
    """In such a process: a wish to stop, once the one that started it is gone."""
    place = os.environ.pop(PARENT, None)
    if place is None:
        return

    def watch() -> None:
        while os.read(int(place), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
