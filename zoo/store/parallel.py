"""Several models at once: planned first, then each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from zoo.catalogue.entry import ModelEntry
from zoo.errors import Interrupted, ZooError
from zoo.events import Event, Report, silent
from zoo.store.local import LocalModel
from zoo.store.pins import Pin, find_pin
from zoo.store.sources.schemes import find_scheme

if TYPE_CHECKING:
    from zoo.store.store import Store

JOBS = 4
PATIENCE = 0.7  # seconds that threads have to let go of their files after Ctrl-C


@dataclass(frozen=True)
class Planned:
    """What a fetch would do. bytes: that it would bring, exact or about; None where nobody knows."""

    name: str
    action: Literal["keep", "copy", "download"]
    url: str
    bytes: int | None


@dataclass(frozen=True)
class Fetched:
    """What became of one name: the model, or the error in its place."""

    name: str
    model: LocalModel | None
    error: ZooError | None = None


def plan_fetch(store: Store, entries: Sequence[ModelEntry]) -> list[Planned]:
    """What `fetch_models` would do, without asking anybody: for --dry-run, or a total before the start."""
    plan = []
    for entry in entries:
        url = entry.weights.urls[0]
        if store.find(entry) is not None:
            plan.append(Planned(entry.name, "keep", url, 0))
        else:
            action: Literal["copy", "download"] = "copy" if find_scheme(url).local else "download"
            plan.append(Planned(entry.name, action, url, entry.bytes))
    return plan


def fetch_models(
    store: Store,
    entries: Sequence[ModelEntry],
    *,
    jobs: int = JOBS,
    pins: Mapping[str, Pin] | None = None,
    report: Report = silent,
) -> list[Fetched]:
    """Fetch each entry, `jobs` at a time; one Fetched per entry, in their order. An error ends only its own.

    pins: of a lock file (see pins.read_lock_file): every name must be there, and match; checked before
    anything is downloaded. report: called by one thread at a time. Raises Interrupted on Ctrl-C; what came is
    kept.
    """
    held = {entry.name: find_pin(entry, pins) for entry in entries} if pins is not None else {}
    results: list[Fetched | None] = [None] * len(entries)
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(entries)):
        waiting.put(number)
    stop, telling = threading.Event(), threading.Lock()

    def tell(event: Event) -> None:
        if stop.is_set():
            raise Interrupted("stopped")
        with telling:
            report(event)

    def work() -> None:
        while not stop.is_set():
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            entry = entries[number]
            try:
                model = store.fetch(entry, pin=held.get(entry.name), report=tell)
                results[number] = Fetched(entry.name, model)
            except ZooError as error:
                results[number] = Fetched(entry.name, None, error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(entries)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop.set()
        limit = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(limit - time.monotonic(), 0.0))
        done = sum(1 for result in results if result is not None and result.model is not None)
        raise Interrupted(
            f"fetch: stopped; {done} of {len(entries)} models are here, parts of the others are kept",
            hint="The same command goes on from there.",
        ) from None
    return [result for result in results if result is not None]
