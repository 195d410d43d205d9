"""Commands that train, in processes forked from one that has imported torch: a run in less than a second.

    forks = TrainingForks()
    job = forks.start("finetune", …, kill_at=7)
    forks.wait(job)  # Ended(code, out, err)

A job may kill itself at its n-th touch of the disk: before a flush, a renaming, a deletion, or in the middle
of writing a file. It may send itself any signal there, and may be given a limit on the size of its files.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """code: negative for a signal. err: the lines of stderr. touches: of the disk, if it was not killed."""

    code: int
    err: list[str]
    touches: int


class TrainingForks:
    """The parent's side. A with-block: the process ends with it."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "support.training_forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        )
        self._ask({"ready": True})

    def start(self, *arguments: object, **job: Any) -> int:
        """Begin `zoo` with these arguments; returns the process that does it. See `run_job` for the rest."""
        return int(self._ask({"start": [*map(str, arguments)], "folder": str(self.folder), **job})["pid"])

    def wait(self, pid: int) -> Ended:
        """How it ended."""
        code = int(self._ask({"wait": pid})["code"])
        counted = self.folder / f"{pid}.touches"
        touches = int(counted.read_text()) if counted.exists() else -1
        return Ended(code, self.printed(pid), touches)

    def printed(self, pid: int) -> list[str]:
        """What it has written to stderr so far, line by line."""
        path = self.folder / f"{pid}.err"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *arguments: object, **job: Any) -> Ended:
        """Start and wait."""
        return self.wait(self.start(*arguments, **job))

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> TrainingForks:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def serve_jobs() -> None:
    """The process that forks."""
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        if "start" in question:
            pid = os.fork()
            if pid == 0:
                run_job(**question)
            answer = {"pid": pid}
        elif "wait" in question:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])}
        print(json.dumps(answer), flush=True)


def run_job(
    start: list[str],
    folder: str,
    *,
    kill_at: int | None = None,
    in_checkpoint: int | None = None,
    signals: list[int] | None = None,
    kill_after: float | None = None,
    largest: int | None = None,
    home: str | None = None,
) -> None:
    """Run `zoo` in a child. kill_at: the touch of the disk at which the signals come. in_checkpoint: the
    checkpoint in which they come. kill_after: seconds. largest: bytes of a file. home: ZOO_HOME."""
    import resource

    from zoo.cli.main import main

    signal.alarm(100)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if home is not None:
        os.environ["ZOO_HOME"] = home
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    place = Path(folder) / str(os.getpid())
    os.dup2(os.open(place.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    touches = watch_disk(kill_at, in_checkpoint, signals or [signal.SIGKILL])
    if kill_after is not None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, kill_after)
    code: Any = 99
    try:
        main(start)
    except SystemExit as left:
        code = left.code
    finally:
        place.with_suffix(".touches").write_text(str(len(touches)))
        sys.stderr.flush()
        os._exit(int(code or 0))


def watch_disk(kill_at: int | None, in_checkpoint: int | None, signals: list[int]) -> list[str]:
    """Count every touch of the disk from now on; at number `kill_at` the signals come, one by one; so they do
    in the middle of writing checkpoint number `in_checkpoint`."""
    touches: list[str] = []
    saves: list[Path] = []
    write_bytes = Path.write_bytes

    def touch(name: str) -> bool:
        touches.append(name)
        return len(touches) == kill_at

    def strike() -> None:
        for number in signals:
            signal.raise_signal(number) if number != signal.SIGKILL else os.kill(os.getpid(), number)

    def written(path: Path, content: bytes) -> int:
        if path.parent.name.endswith(".partial") and ".safetensors" in path.name:
            saves.append(path)
        if touch("write") or (saves[-1:] == [path] and len(saves) == in_checkpoint):
            write_bytes(path, bytes(content)[: len(content) // 2])
            strike()
        return write_bytes(path, content)

    Path.write_bytes = written  # type: ignore[method-assign,assignment]
    for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
        original = getattr(os, name)

        def before(*given: Any, _original: Any = original, _name: str = name, **options: Any) -> Any:
            if touch(_name):
                strike()
            return _original(*given, **options)

        setattr(os, name, before)
    return touches


if __name__ == "__main__":
    import scipy.ndimage
    import scipy.sparse
    import timm
    import torchvision.transforms.v2

    import zoo.cli.finetuning
    import zoo.features.lookalikes
    import zoo.runs.making.resuming
    import zoo.runs.making.trainer
    import zoo.runs.modalities.images
    import zoo.runs.modalities.table
    import zoo.runs.modalities.texts

    _ = (scipy.ndimage, scipy.sparse, timm, torchvision.transforms.v2, zoo)
    serve_jobs()
