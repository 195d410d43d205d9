"""The features of many photographs with Daft: by several workers, from a folder or the storage of a cloud.

Daft lists and reads the storage, sends each worker its photographs and writes Parquet files; on several
machines it needs a cluster of Ray. What a worker does is a `Featurizer`. Where a photograph lies decides its
label and part as in `zoo embed`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.data.contents import count_cpus
from zoo.data.finding.folder import find_in_tree
from zoo.data.finding.found import Found
from zoo.data.finding.name_tree import NameTree
from zoo.data.finding.vector_table import holds_features
from zoo.data.finding.walking import Tally, conversion_hint, describe_others
from zoo.data.kinds import IMAGES, Kind
from zoo.data.listing import address_of, files_in_tree, is_of_web, list_images, no_such_path
from zoo.data.names import natural_key, one_line, safe_text, shortened
from zoo.data.scanning import find_labels
from zoo.errors import (
    DatasetError,
    DiskFull,
    MissingExtra,
    NetworkError,
    StorageError,
    TrainingStopped,
    UsageError,
    ZooError,
)
from zoo.events import Note, Progress, Report, silent
from zoo.features.provenance import KEY, Provenance
from zoo.runs.folder import new_folder
from zoo.runs.workers import NULL, Featurizer
from zoo.store.disk.space import FULL, free_bytes, nearest_folder, size_text, system_error, writing

if TYPE_CHECKING:
    from types import FrameType

    import polars as pl
    import pyarrow

AT_ONCE = 64
"""Photographs that are sent to a worker together."""
_TRIES = 4
_NAMED = 20
"""Photographs without features that are named; the files say it of all."""
_UNREAD = "cannot be read where it lies"
_PATTERN = "*?[]{}\\"
_OF_FILES = (".parquet", ".npz")
_LONGEST = 103
"""Bytes that the name of a socket may have, on any system."""
_LEAST = 8
"""Photographs that are sent together at least, of however few."""
_FOLDERS: list[str] = []
"""Where sockets of workers may be."""
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


@dataclass(frozen=True)
class Photographs:
    """Photographs to read. addresses: where each lies. paths: what it is called in a table. labels, parts:
    None where none has one."""

    addresses: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str | None, ...] | None = None
    parts: tuple[str | None, ...] | None = None

    @property
    def table(self) -> pyarrow.Table:
        """A row for each."""
        import pyarrow

        columns = {"address": self.addresses, "path": self.paths, "label": self.labels, "split": self.parts}
        return pyarrow.table(
            {
                name: pyarrow.array(cells, pyarrow.string())
                for name, cells in columns.items()
                if cells is not None
            }
        )


@dataclass(frozen=True)
class Workers:
    """count: of processes, or of actors of a cluster. threads, gpus: that each of them has."""

    count: int
    threads: int
    gpus: float


@dataclass(frozen=True)
class Written:
    """What the files of features have. rows: photographs; failed: those without features among them."""

    rows: int
    failed: int
    width: int
    precision: str
    classes: tuple[str, ...]
    licenses: dict[str, str]


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


def check_places(data: str | Path, out: str | Path) -> None:
    """Raise UsageError where nothing could be read or nothing may be written, before anything heavy is
    imported."""
    source = address_of(data)
    if source is None:
        _check_folder(Path(data))
    elif is_of_web(source):
        raise UsageError(
            f"{one_line(source)} is an address of the web, which has no list of its files",
            hint="Daft reads folders and storage: s3://BUCKET/FOLDER, gs://…, az://…",
        )
    for place in filter(None, (source, address_of(out))):
        if odd := next((character for character in place if character in _PATTERN), None):
            raise UsageError(
                f"{one_line(place)} has a {odd} in it, which Daft would take for a pattern",
                hint="Name a folder of the storage, without a pattern.",
            )
    _check_name(out)
    for folder in (Path(place).absolute() for place in (data, out) if address_of(place) is None):
        if not _is_utf8(folder):
            raise UsageError(
                f"{one_line(safe_text(folder))} is not UTF-8, and Daft takes no other names",
                hint="Name another folder, or leave out --engine.",
            )
    if address_of(out) is None:
        refuse_existing(Path(out))
    here, inside = (_absolute(place) for place in (data, out))
    if inside == here or inside.startswith(f"{here}/"):
        raise UsageError(
            f"{one_line(str(out))} lies in {one_line(str(data))}: features among photographs would be taken "
            "for a class of them",
            hint="Name a folder beside it.",
        )
    if address_of(out) is None:
        _check_writable(Path(out))


def _check_name(out: str | Path) -> None:
    """Raise UsageError for a name that the other writers take for that of a file."""
    if str(out) == "-" or str(out).lower().rstrip("/").endswith(_OF_FILES):
        raise UsageError(
            f"{one_line(str(out))} is what a file is called, and workers write a folder of files",
            hint="Name a folder, --out features/, or leave out --engine.",
        )


def _is_utf8(path: Path) -> bool:
    """Whether Daft takes the name: Python keeps other bytes as what no text in UTF-8 has."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_writable(out: Path) -> None:
    """Raise StorageError where no folder of that name can be made."""
    try:
        folder = nearest_folder(out.absolute().parent)
        blocked = next((each for each in out.absolute().parents if os.path.lexists(each)), folder)
        if blocked != folder:
            raise NotADirectoryError(f"{blocked} is not a folder")
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=folder):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise
        raise StorageError(
            f"the features cannot be written in {one_line(str(out.parent))}: {error.strerror or error}",
            hint="Name another folder.",
        ) from error


def _check_folder(data: Path) -> None:
    """Raise UsageError or DatasetError unless it is a folder of photographs."""
    if not data.exists():
        raise no_such_path(data)
    if not data.is_dir():
        raise UsageError(
            f"{one_line(data)} is a file, and workers read a folder or storage: s3://BUCKET/FOLDER",
            hint="Leave out --engine: zoo embed takes files, archives and tables.",
        )
    if holds_features(data, IMAGES):
        raise UsageError(
            f"{one_line(data)} has features already, and workers compute them",
            hint="Leave out --engine: zoo embed makes one file of them, --out FILE.parquet.",
        )


def _absolute(place: str | Path) -> str:
    """A folder or an address in one form."""
    address = address_of(place)
    return (str(Path(place).resolve()) if address is None else address).rstrip("/")


def refuse_existing(out: Path) -> None:
    """Raise UsageError if there is anything at `out`."""
    if os.path.lexists(out):
        raise UsageError(
            f"{one_line(out)} exists already, and is never overwritten", hint="Name another folder."
        )


def list_photographs(data: str | Path, report: Report = silent) -> Photographs:
    """The photographs in and below a folder, or below an address. Raises DatasetError where there are none,
    and NetworkError where nobody answers."""
    address = address_of(data)
    if address is not None:
        report(Progress("list", 0, None, "images"))
        return list_names(address, _names_below(address), report)
    paths = _readable(list_images([Path(data)]), report)
    names = tuple(map(safe_text, paths))
    places = tuple(safe_text(path.absolute()) for path in paths)
    return Photographs(places, names, *_labels_of(map(os.fspath, paths), find_labels(Path(data), IMAGES)))


def _readable(paths: Sequence[Path], report: Report) -> list[Path]:
    """Those whose names Daft takes; the others are named, some of many. Raises DatasetError where there are
    only others. Text made of the bytes of a name may be the name of another photograph."""
    good = [path for path in paths if _is_utf8(path)]
    if len(good) == len(paths):
        return good
    odd = [path for path in paths if not _is_utf8(path)]
    why = "has a name that is not UTF-8, and Daft takes no other names"
    for path in odd[:_NAMED]:
        report(Note(f"skipped: {shortened(safe_text(path), 300)} {why}", level="warning"))
    hint = "Rename them, or leave out --engine: zoo embed takes such names."
    if not good:
        raise DatasetError("no photograph has a name that is UTF-8", hint=hint)
    more = f"; {_NAMED} of them are named" if len(odd) > _NAMED else ""
    count = f"{len(odd):,} of {len(paths):,} files"
    report(Note(f"passed over, by their names: {count}{more}. {hint}", level="warning"))
    return good


def list_names(address: str, names: Sequence[str], report: Report = silent) -> Photographs:
    """The photographs among the names of files below an address, with the labels and parts that a folder with
    these names would have. Raises DatasetError where there are none.

    >>> found = list_names("s3://b/p", ["train/bee/1.jpg", "train/ant/1.jpg", "val/ant/2.jpg", "list.txt"])
    >>> found.paths[0], found.labels, found.parts
    ('s3://b/p/train/ant/1.jpg', ('ant', 'bee', 'ant'), ('train', 'train', 'val'))
    """
    root, tally, count = ".", Tally(IMAGES), len(names)
    names = [name for name in names if "//" not in f"/{name}"]
    if count > len(names):
        report(Note(f"passed over, with // in their names: {count - len(names):,} files", level="warning"))
    paths = [*files_in_tree(NameTree(tally, root, names), root)]
    if not paths:
        held = describe_others(tally.others) or "nothing"
        raise DatasetError(
            f"no image below {one_line(address)}: it holds {held}", hint=conversion_hint(tally.others)
        )

    def tree(kind: Kind) -> NameTree:
        return NameTree(Tally(kind), root, names)

    found: Found | None = None
    with suppress(DatasetError):
        found = find_in_tree(Path(root), tree, IMAGES)
    places = tuple(f"{address.rstrip('/')}/{path.removeprefix('./')}" for path in paths)
    return Photographs(places, places, *_labels_of(paths, found))


def _labels_of(
    paths: Iterable[str], found: Found | None
) -> tuple[tuple[str | None, ...] | None, tuple[str | None, ...] | None]:
    """The class and the part of each photograph, where they lie as labelled data do."""
    if found is None:
        return None, None
    known: dict[str, tuple[str, str | None]] = {}
    for part, classes in found.parts.items():
        for name, files in classes.items():
            known |= dict.fromkeys((os.fspath(Path(file)) for file in files), (name, part))
    here = [known.get(os.fspath(Path(path)), (None, None)) for path in paths]
    divided = set(found.parts) != {None}
    return tuple(name for name, _ in here), tuple(part for _, part in here) if divided else None


def _names_below(address: str) -> list[str]:
    """The names of all files below an address."""
    import daft

    prefix = f"{address.rstrip('/')}/"
    with _answered(address):
        listed = daft.from_glob_path(f"{prefix}**", io_config=_impatient(address)).select("path")
        return [place.removeprefix(prefix) for place in listed.to_arrow()["path"].to_pylist()]


def _impatient(address: str) -> Any:
    """How to ask storage for the first time: Daft by itself knocks for three minutes where nobody is."""
    from daft.exceptions import DaftCoreException
    from daft.io import IOConfig, S3Config

    with suppress(DaftCoreException):  # nobody says who asks: what Daft does then is its own affair
        if address.lower().startswith(("s3:", "s3a:")):
            return IOConfig(s3=S3Config.from_env().replace(num_tries=_TRIES))
    return None


def check_free(out: str | Path) -> None:
    """Raise UsageError where features are to be written below an address that has files already."""
    address = address_of(out)
    if address is not None and _names_below(address):
        raise UsageError(
            f"{one_line(address)} has files already, and nothing is overwritten",
            hint="Name another folder of the storage, or remove what is there.",
        )


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
    with _answered(place):
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


def review_files(
    place: str, paths: Sequence[str], width: int, licenses: dict[str, str], precision: str, report: Report
) -> Written:
    """What was written of `paths`; photographs without features are named, some of many, and a precision that
    no worker kept. Raises TrainingStopped unless the files have a row for each, and DatasetError where no
    photograph has features, and where they have two number formats."""
    import polars as pl

    table = _read_back(place)
    try:
        names = table.collect_schema().names()
        found = table.select("path").collect()["path"] if names else pl.Series([], dtype=pl.String)
    except pl.exceptions.ComputeError as error:
        raise _unfinished("a file of features is not whole") from error
    _check_whole(found, paths)
    label = "label" if "label" in names else "model"
    kinds = table.group_by(label, KEY, pl.col("error").is_null().alias("read")).agg(rows=pl.len())
    groups = kinds.collect().to_dicts()
    rows, read = sum(group["rows"] for group in groups), [group for group in groups if group["read"]]
    failed = rows - sum(group["rows"] for group in read)
    if failed:
        some = table.filter(pl.col("error").is_not_null()).select("path", "error").sort("path").head(_NAMED)
        for path, why in some.collect().rows():
            report(Note(f"skipped: {shortened(path, 300)} {why}", level="warning"))
        more = f"; {_NAMED} of them are named, the column error has all" if failed > _NAMED else ""
        report(Note(f"{failed:,} of {rows:,} files cannot be read{more}", level="warning"))
    if not read:
        raise DatasetError(
            f"none of the {rows:,} files can be read", hint="The reasons are above, a line for each."
        )
    abouts = {group[KEY] for group in read}
    formats = sorted({msgspec.json.decode(about, type=Provenance).precision for about in abouts})
    if len(formats) > 1:
        raise DatasetError(
            f"the features are in {' and '.join(formats)}: not all workers found that these agree",
            hint="Leave out --precision.",
        )
    if formats != [precision]:
        report(Note(f"features in {formats[0]}: {precision} does not agree with it on the workers"))
    classes = {group["label"] for group in read} - {None} if label == "label" else ()
    return Written(rows, failed, width, formats[0], tuple(sorted(classes, key=natural_key)), licenses)


def _read_back(place: str) -> pl.LazyFrame:
    """The columns of the files that were written, but the features; none where there are no files.

    Those of a folder are listed here, for Daft would take its name for a pattern.
    """
    import daft
    import polars as pl

    wanted = ("path", "label", "model", KEY, "error")
    if "://" not in place:
        files = sorted(Path(place).glob("*.parquet"))
        return pl.scan_parquet(files, glob=False) if files else pl.LazyFrame()
    try:
        table = daft.read_parquet(f"{place}/*.parquet")
        rows = table.select(*(name for name in wanted if name in table.column_names)).to_arrow()
    except FileNotFoundError:
        return pl.LazyFrame()
    return pl.DataFrame(pl.from_arrow(rows)).lazy()


def _check_whole(found: pl.Series, paths: Sequence[str]) -> None:
    """Raise TrainingStopped unless the names found are those asked for, each once: Daft ends without an error
    where it is interrupted."""
    import polars as pl

    asked = pl.Series("path", paths, dtype=pl.String)
    if found.sort().equals(asked.sort()):
        return
    lacking = asked.len() - asked.is_in(found.unique().implode()).sum()
    raise _unfinished(f"{found.len():,} rows for {asked.len():,} photographs, {lacking:,} of which have none")


def _unfinished(what: str) -> TrainingStopped:
    return TrainingStopped(
        f"Daft ended before its work was done: {what}", hint="The same command begins again."
    )


@contextmanager
def _answered(place: str) -> Iterator[None]:
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
