"""The features of many photographs with Daft: by several workers, from a folder or the storage of a cloud.

Daft lists and reads the storage, sends each worker its photographs and writes Parquet files; on several
machines it needs a cluster of Ray. What a worker does is a `Featurizer`. Where a photograph lies decides its
label and part as in `zoo embed`.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.contents import count_cpus
from zoo.data.listing import address_of
from zoo.data.names import one_line
from zoo.errors import MissingExtra, UsageError, ZooError
from zoo.events import Progress, Report, silent
from zoo.runs.daft.faults import answered
from zoo.runs.daft.photographs import Photographs
from zoo.runs.daft.places import refuse_existing
from zoo.runs.daft.review import Written, review_files
from zoo.runs.folder import new_folder
from zoo.runs.workers import NULL, Featurizer
from zoo.store.disk.space import writing

if TYPE_CHECKING:
    import pyarrow

AT_ONCE = 64
"""Photographs that are sent to a worker together."""
_UNREAD = "cannot be read where it lies"
_LONGEST = 103
"""Bytes that the name of a socket may have, on any system."""
_LEAST = 8
"""Photographs that are sent together at least, of however few."""
_FOLDERS: list[str] = []
"""Where sockets of workers may be."""


@dataclass(frozen=True)
class Workers:
    """count: of processes, or of actors of a cluster. threads, gpus: that each of them has."""

    count: int
    threads: int
    gpus: float


def import_daft() -> None:
    """Import Daft, which then draws no bars, writes no logs and does not report its use to its makers. Raises
    MissingExtra."""
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    os.environ.setdefault("DAFT_SHOW_QUERY_ID", "0")
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    try:
        import daft  # noqa: F401
        import pyarrow  # noqa: F401
        from daft.functions import download  # noqa: F401 - another package is called daft, too
    except ImportError as error:
        raise MissingExtra("daft", "daft") from error
    logging.getLogger().addHandler(logging.NullHandler())  # what fails is raised as well


def plan_workers(device: str, count: int | None, gpus: float | None) -> Workers:
    """So many workers, by default one for each GPU of this machine, or for each CPU where there is none.
    Raises UsageError for GPUs where there is none."""
    import torch
    from daft.runners import get_or_create_runner

    from zoo.training.device import pick_device

    kind = pick_device(device).type
    on_gpu = kind == "cuda"
    if gpus and not on_gpu and get_or_create_runner().name == "native":
        raise UsageError(
            f"--gpus {gpus:g}, and the workers compute on {'the CPU' if kind == 'cpu' else kind}",
            hint="Leave it out, or see zoo doctor for what this machine has.",
        )
    usual = torch.cuda.device_count() if on_gpu else 1 if kind == "mps" else count_cpus()
    count = count or max(1, usual)
    return Workers(count, max(1, count_cpus() // count), float(on_gpu) if gpus is None else gpus)


def embed_photographs(
    featurizer: Featurizer,
    photographs: Photographs,
    out: str | Path,
    workers: Workers,
    *,
    at_once: int = AT_ONCE,
    report: Report = silent,
) -> Written:
    """Write the features of photographs as Parquet files into a new folder, or below an address.

    A folder is there once everything in it is. Below an address Daft writes file by file: where the work
    ends early, some are there. Raises DatasetError where no photograph can be read.
    """
    address = address_of(out)
    if address is None:
        with new_folder(Path(out), refuse=refuse_existing) as draft, writing(Path(out)):
            return _embed(featurizer, photographs, str(draft.absolute()), workers, at_once, report)
    try:
        return _embed(featurizer, photographs, address.rstrip("/"), workers, at_once, report)
    except ZooError as error:
        left = f"Whatever is below {one_line(address)} now is a part: remove it."
        error.hint = f"{error.hint}\n{left}" if error.hint else left
        raise


def _embed(
    featurizer: Featurizer,
    photographs: Photographs,
    place: str,
    workers: Workers,
    at_once: int,
    report: Report,
) -> Written:
    """Compute and write the features, then read what was written but the features."""
    import daft
    from daft import col
    from daft.functions import download

    nothing = featurizer([])  # fetches the model, once, before any worker looks for it
    total = len(photographs.paths)
    at_once = min(at_once, max(_LEAST, total // (4 * workers.count)))  # a small folder is shared out, too
    named = [col(name) for name in photographs.table.column_names if name != "address"]
    compute = _make_worker(featurizer, nothing.frame.to_arrow().schema, workers, at_once)
    features = compute(download(col("address"), on_error="null"))
    with answered(place):
        with _sockets(), _watched(total, report):
            table = daft.from_arrow(photographs.table).into_batches(at_once)
            table.select(*named, features).write_parquet(place, compression="zstd")
        about = nothing.features.shape[1], dict(nothing.licenses), featurizer.precision
        return review_files(place, photographs.paths, *about, report)


def _make_worker(featurizer: Featurizer, columns: Any, workers: Workers, at_once: int) -> Any:
    """A function of Daft from a column of bytes to the columns of the features."""
    import daft
    import pyarrow
    from daft import DataType, Series
    from daft.runners import get_or_create_runner

    row = DataType.from_arrow_type(pyarrow.struct(columns))
    parent = os.getpid() if get_or_create_runner().name == "native" else None  # Ray ends its own workers

    @daft.cls(max_concurrency=workers.count, use_process=True, gpus=workers.gpus)
    class Worker:
        def __init__(self, featurizer: Featurizer) -> None:
            self.featurizer = featurizer
            if parent is not None:
                threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

        @daft.method.batch(return_dtype=row, batch_size=at_once, unnest=True)  # type: ignore[untyped-decorator]
        def __call__(self, photographs: Series) -> pyarrow.Array:
            import polars as pl

            error = pl.col("error").replace(NULL, _UNREAD)
            return self.featurizer(photographs).frame.with_columns(error).to_struct().to_arrow()

    return Worker(featurizer)


def _end_with(parent: int) -> None:
    """End this worker once the process that started it is gone: its answer would reach nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextmanager
def _sockets() -> Iterator[None]:
    """Keep the sockets of Daft's workers in a folder of their own: whatever ends early leaves them. It goes
    when the process ends, after multiprocessing, which complains of a socket that it cannot remove."""
    from multiprocessing.util import Finalize

    before, folder = tempfile.tempdir, tempfile.mkdtemp(prefix="zoo-")
    _FOLDERS.append(folder)
    Finalize(None, drop_sockets, exitpriority=-100)
    if len(os.fsencode(folder)) + len("/tmp01234567") <= _LONGEST:
        tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        with suppress(OSError):  # there are sockets still
            Path(folder).rmdir()


def drop_sockets() -> None:
    """Remove the sockets of workers, before a process ends without saying so to multiprocessing."""
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop(), ignore_errors=True)


@contextmanager
def _watched(total: int, report: Report) -> Iterator[None]:
    """Report how many photographs have features, where Daft says so: its way to say it may change."""
    report(Progress("features", 0, total, "images"))
    watcher = None
    with suppress(Exception):
        watcher = _attach(total, report)
    try:
        yield
    finally:
        if watcher is not None:
            with suppress(Exception):
                watcher()
        report(Progress("features", total, total, "images"))


def _attach(total: int, report: Report) -> Callable[[], None]:
    """Listen to Daft; returns what ends that."""
    from daft.context import get_context
    from daft.subscribers import Subscriber

    computing: set[int] = set()

    class Watcher(Subscriber):  # type: ignore[misc]
        def on_operator_start(self, event: Any) -> None:
            if event.name.startswith("UDF"):
                computing.add(event.node_id)

        def on_stats(self, event: Any) -> None:
            for node, facts in event.stats.items():
                if node in computing and 0 < (done := facts["rows.out"][1]) < total:
                    report(Progress("features", done, total, "images"))

    get_context().attach_subscriber("zoo", Watcher())
    return lambda: get_context().detach_subscriber("zoo")
