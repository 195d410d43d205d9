"""Many processes for little: one that has imported the store already and forks for each job.

    forks = Forks()
    pid = forks.start(home=..., url=..., sha256=...)
    forks.wait(pid)  # ("fetched" | name of the error, exit code)

A job may lower its rights (`uid`) and its file size limit (`largest`) first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class Forks:
    """The parent's side. A with-block: the process ends with it."""

    def __init__(self, prefix: tuple[str, ...] = ()) -> None:
        self._results: dict[int, Any] = {}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "support.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self._ask({"ready": True})

    def start(self, **job: Any) -> int:
        """Begin a job; returns the process that does it."""
        return int(self._ask({"start": job})["pid"])

    def wait(self, pid: int) -> tuple[str, int, str]:
        """(what happened, exit code, message); the code is negative for a signal."""
        found = self._ask({"wait": pid})
        return found["what"], found["code"], found["message"]

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def serve_jobs() -> None:
    """The process that forks."""
    results: dict[int, int] = {}
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        if "start" in question:
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                run_job(question["start"], writer)
            os.close(writer)
            results[pid] = reader
            answer = {"pid": pid}
        elif "wait" in question:
            pid = question["wait"]
            with os.fdopen(results.pop(pid)) as file:
                text = file.read()
            _, status = os.waitpid(pid, 0)
            answer = {"code": os.waitstatus_to_exitcode(status), "what": "killed", "message": ""}
            answer |= json.loads(text) if text else {}
        print(json.dumps(answer), flush=True)


def run_job(job: dict[str, Any], writer: int) -> None:
    """Fetch, in a child, and leave without the parent's clean-up; one that hangs is ended by the clock."""
    import resource

    from support.loopback import IMPATIENT, entry_for
    from zoo.errors import ZooError
    from zoo.store.store import Store

    signal.alarm(60)
    if "largest" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"], job["largest"]))
    if "uid" in job:
        os.setgroups([])
        os.setgid(job["uid"])
        os.setuid(job["uid"])
    what, code, message = "fetched", 0, ""
    try:
        shared = tuple(map(Path, job.get("shared", ())))
        store = Store(Path(job["home"]), settings=IMPATIENT, shared=shared, offline=job.get("offline", False))
        store.fetch(entry_for(job["url"], **job.get("facts", {})))
    except ZooError as error:
        what, code, message = type(error).__name__, error.exit_code, str(error)
    except BaseException as error:
        what, code, message = type(error).__name__, 99, repr(error)
    os.write(writer, json.dumps({"what": what, "message": message}).encode())
    os._exit(code)


if __name__ == "__main__":
    import email.message
    import encodings.idna
    import http.client
    import ssl
    import urllib.request

    import filelock

    import support.loopback
    import zoo.store.fetching
    import zoo.store.network.connection
    import zoo.store.network.download
    import zoo.store.store

    _ = (  # a child that is another user may not be able to read the files of modules
        email.message,
        encodings.idna,
        http.client,
        ssl,
        urllib.request,
        filelock.FileLock,
        filelock.SoftFileLock,
        support.loopback,
        zoo.store,
    )
    serve_jobs()
