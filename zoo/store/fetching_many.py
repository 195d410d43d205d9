"""Several models at a time: planned first, then fetched in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from zoo.catalogue.entry import ModelEntry
from zoo.errors import Interrupted, ZooError
from zoo.events import Event, Progress, Report, silent
from zoo.store.disk.partial_files import find_parts
from zoo.store.disk.space import size_text
from zoo.store.fetching import Action, lock_key
from zoo.store.local import LocalModel
from zoo.store.trust.lock_file import Pin, find_pin

if TYPE_CHECKING:
    from zoo.store.store import Store

JOBS = 4
PATIENCE = 0.7  # seconds that threads have to release their files after Ctrl-C


@dataclass(frozen=True)
class Planned:
    """The first step of a fetch (see Step), or the error that it would raise."""

    name: str
    url: str
    action: Action | None = None
    bytes: int | None = None
    error: ZooError | None = None


@dataclass(frozen=True)
class Fetched:
    """The outcome for one name: the model, or an error."""

    name: str
    model: LocalModel | None
    error: ZooError | None = None


def plan_fetch(
    store: Store, entries: Sequence[ModelEntry], *, pins: Mapping[str, Pin] | None = None
) -> list[Planned]:
    """What `fetch_models` would do, without a request: for --dry-run. Raises what it would raise."""
    held = _find_pins(entries, pins)
    return [_plan_one(store, entry, held.get(entry.name)) for entry in entries]


def fetch_models(
    store: Store,
    entries: Sequence[ModelEntry],
    *,
    jobs: int = JOBS,
    pins: Mapping[str, Pin] | None = None,
    report: Report = silent,
) -> list[Fetched]:
    """Fetch each entry, `jobs` at a time; one Fetched per entry, in their order. An error ends only its own.

    pins: of a lock file (see read_lock_file): every name must be in it and match, which is checked before
    anything is downloaded. report: called by one thread at a time; with several models the task "fetch"
    counts the finished ones. Raises Interrupted on Ctrl-C and SIGTERM; what was downloaded is kept.
    """
    held = _find_pins(entries, pins)
    store = copy(store)  # all fetches share its connections and the memory for their parts
    each = store.settings.connections // max(1, min(jobs, len(entries)))
    store.settings = replace(store.settings, connections=max(1, each))
    results: list[Fetched | None] = [None] * len(entries)
    faults: list[BaseException] = []
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(entries)):
        waiting.put(number)
    stop, reporting = threading.Event(), threading.RLock()

    def forward(event: Event) -> None:
        with reporting:
            if stop.is_set():
                raise Interrupted("stopped")
            report(event)

    def count(*ended: Fetched, number: int = 0) -> None:
        with reporting:  # counted and reported under one lock, so that counts arrive in order
            results[number : number + len(ended)] = ended
            if len(entries) > 1:
                done = sum(result is not None for result in results)
                forward(Progress("fetch", done, len(entries), "models"))

    def work() -> None:
        try:
            while not stop.is_set():
                number = waiting.get_nowait()
                entry = entries[number]
                try:
                    ended = Fetched(entry.name, store.fetch(entry, pin=held.get(entry.name), report=forward))
                except ZooError as error:
                    ended = Fetched(entry.name, None, error)
                count(ended, number=number)
        except (Empty, Interrupted):
            return
        except BaseException as fault:  # a bug: the caller raises it, since exceptions of threads are lost
            faults.append(fault)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(entries)))]
    try:
        count()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except (KeyboardInterrupt, Interrupted) as stopped:  # Ctrl-C or SIGTERM, at any line
        stop.set()
        limit = time.monotonic() + PATIENCE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(limit - time.monotonic(), 0.0))
        raise _stopped_error(store, entries, results, getattr(stopped, "exit_code", 130)) from None
    finally:
        stop.set()  # also after a second Ctrl-C
    if faults:
        raise faults[0]
    return [result for result in results if result is not None]


def _plan_one(store: Store, entry: ModelEntry, pin: Pin | None) -> Planned:
    """The plan of one entry."""
    url = entry.weights.urls[0]
    try:
        step = store.plan(entry, pin=pin)
    except Interrupted:
        raise
    except ZooError as error:
        return Planned(entry.name, url, error=error)
    return Planned(entry.name, url, step.action, step.bytes)


def _find_pins(entries: Sequence[ModelEntry], pins: Mapping[str, Pin] | None) -> dict[str, Pin]:
    """The pin of each entry; empty without a lock file. Raises what `find_pin` raises."""
    return {} if pins is None else {entry.name: find_pin(entry, pins) for entry in entries}


def _stopped_error(
    store: Store, entries: Sequence[ModelEntry], results: Sequence[Fetched | None], exit_code: int
) -> Interrupted:
    """The error after a stop: what is finished, what is kept of the rest, and how to continue."""
    here = {result.name for result in results if result is not None and result.model is not None}
    rest = [entry for entry in entries if entry.name not in here]
    kept = sum(p.bytes for entry in rest for p in find_parts(store.blobs.folder, lock_key(entry)))
    of_rest = f"; {size_text(kept)} of the rest kept" if kept else ""
    return Interrupted(
        f"fetch: stopped; {len(here)} of {len(entries)} models are here{of_rest}",
        hint=f"zoo fetch {' '.join(entry.name for entry in rest)} continues from there." if rest else None,
        exit_code=exit_code,
    )
