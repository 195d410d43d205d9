"""A network as a function of a list of photographs, for workers of other engines: Featurizer, Predictor.

Either is a value of less than 20 kB that names a network, without its weights: it is pickled and
sent to other processes and machines, and each of them loads the network once, when the first photographs
come. What spreads the work (a pool of processes, Daft, Ray) is not here.
"""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.catalogue.classifiers import check_classifier
from zoo.catalogue.entry import ModelEntry
from zoo.data.finding.vector_table import COLUMN
from zoo.data.listing import listed, local_path
from zoo.errors import UnknownName, UsageError, WeightsMismatch
from zoo.events import Note
from zoo.features.engine import Engine
from zoo.features.provenance import KEY, provenance_of
from zoo.runs.classifier import Classifier, image_model, load_classifier
from zoo.runs.record import read_record
from zoo.store.names import default_store
from zoo.targets import CALIBRATION, RECORD, RegistryModel, RunFolder, accept, describe_target, find_target

if TYPE_CHECKING:
    import polars as pl
    import torch
    from torch import Tensor

    from zoo.catalogue.registry import Registry
    from zoo.events import Event
    from zoo.features.network import Precision
    from zoo.runs.modalities.image_items import ImageItems
    from zoo.store.store import Store

MOST = 2
"""Networks that a process keeps loaded: those that were used last."""

NULL = "is null: nothing was read"
NOT_FINITE = "gives numbers that are not finite"

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Answers:
    """What came out of a list of photographs, in its order.

    errors: why a photograph could not be used, worded to follow its name; None where it could. licenses: the
    model and its licence, and of a run that of its data. notes: what was reported while the network was
    loaded and used, such as a precision that was not kept.
    """

    errors: tuple[str | None, ...]
    licenses: Mapping[str, str]
    notes: tuple[Note, ...]

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def columns(self) -> Columns:
        """A list per column, a value per photograph, for an engine's table: `error`, `model`,
        `model_license`, of a run `data_license`."""
        return {
            "error": [*self.errors],
            **{name: [value] * len(self) for name, value in self.licenses.items()},
        }

    def _or_null(self, rows: Iterable[Any]) -> list[Any]:
        return [row if error is None else None for row, error in zip(rows, self.errors, strict=True)]


@dataclass(frozen=True)
class Features(Answers):
    """features: (photographs, width) float32, what the head sees; NaN where there is an error. sha256: of
    each file; None of pixels. provenance: what the features depend on besides the photographs, as JSON."""

    features: NDArray[np.float32]
    sha256: tuple[str | None, ...]
    provenance: str

    @property
    def columns(self) -> Columns:
        """`features`, each float32 (width,) or None, `sha256`, `zoo_features` (the provenance, beside each
        features: `zoo finetune` refuses those without), and the columns of all answers."""
        return {
            COLUMN: self._or_null(self.features),
            "sha256": [*self.sha256],
            KEY: self._or_null([self.provenance] * len(self)),
            **super().columns,
        }

    @property
    def frame(self) -> pl.DataFrame:
        """The columns as a table of polars: `features` arrays of float32, the others texts, whatever could be
        read."""
        import polars as pl

        texts = {
            name: pl.Series(cells, dtype=pl.String) for name, cells in self.columns.items() if name != COLUMN
        }
        vectors = pl.Series(self.features, dtype=pl.Array(pl.Float32, self.features.shape[1]))
        can_be_read = pl.Series([error is None for error in self.errors], dtype=pl.Boolean)
        table = pl.DataFrame({COLUMN: vectors, **texts})
        return table.with_columns(pl.when(can_be_read).then(pl.col(COLUMN)).alias(COLUMN))


@dataclass(frozen=True)
class Probabilities(Answers):
    """probabilities: (photographs, classes) float32 in 0..1, those of `predict`; of a run that learned
    numbers these instead; NaN where there is an error. classes: the names of their columns. labels: of each
    photograph the most probable class; where it may have several, those that it has; of numbers none."""

    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    labels: tuple[str | tuple[str, ...] | None, ...]

    @property
    def columns(self) -> Columns:
        """`label` (where a photograph may have several, their list; None for numbers), `probabilities`, each
        float32 (classes,) or None, and the columns of all answers."""
        labels = [list(label) if isinstance(label, tuple) else label for label in self.labels]
        return {"label": labels, "probabilities": self._or_null(self.probabilities), **super().columns}


Found = TypeVar("Found", bound=Answers)


class Worker(Generic[Found]):
    """A function from a list of photographs to their answers, which can be pickled.

    It pins what it means: the registry's entry, with its licence and hash, or the adapter of a run. Whatever
    another process would find under the same name instead is refused.
    """

    verb: ClassVar[str]

    def __init__(
        self,
        name: str | Path,
        *,
        registry: Registry | None = None,
        store: Store | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise UsageError(f"{what} must be at least 1, not {number}")
        self.name = str(name)
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.threads = threads
        here = store or default_store()
        target = accept(find_target(name, registry=registry, store=here), self.verb)
        if isinstance(target, RunFolder):
            self._run: Path | None = target.path.absolute()
            self._entry: ModelEntry = image_model(read_record(target.path).entry)
            self._pin = self._pin_of(self._run)
        else:
            self._run = None
            self._entry = image_model(describe_target(target, here))  # type: ignore[arg-type]
            self._pin = ""
        here.check_license(self._entry)
        self._check()

    def _check(self) -> None:
        """Raise UsageError for a network that cannot do this."""

    def _pin_of(self, run: Path) -> str:
        """What a run's answers depend on."""
        return read_record(run).adapter_sha256

    @property
    def _key(self) -> tuple[object, ...]:
        """What the loaded network depends on."""
        place = None if self.store is None else str(self.store.home)
        about = self._run or repr(self._entry)
        return type(self), about, self._pin, place, self.device, self._speed

    @property
    def _speed(self) -> str:
        """How the network is computed."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, device={self.device!r})"

    def __call__(self, items: Iterable[object]) -> Found:
        """The answers to photographs, in their order.

        items: the bytes of a file each, or a path; also all else that `Run.predict` takes; None stands for
        what another step could not read. A list, an array, a column of Arrow or Daft. What cannot be decoded
        is in `errors` and stops nothing. Raises UsageError for what is not an image at all, such as a number
        or an address, and for a set, a dict or a table; WeightsMismatch if the run was replaced.
        """
        things = listed(items)
        loaded = _load(self._key, self._open)
        with loaded.lock, _threads(self.threads):
            loaded.notes.clear()
            source = self._read(things, loaded)
            rows: NDArray[np.float32] | None = None
            for positions, images in source.batches(loaded.device):
                outputs = loaded(images).flatten(1).numpy()
                if rows is None:
                    rows = np.full((len(things), outputs.shape[1]), np.nan, np.float32)
                rows[positions] = outputs
            if rows is None:  # nothing can be read
                rows = np.full((len(things), loaded.width), np.nan, np.float32)
            errors = [source.failures.get(position) for position in range(len(things))]
            for position, thing in enumerate(things):
                if thing is None:
                    errors[position] = NULL
                elif errors[position] is None and not np.isfinite(rows[position]).all():
                    errors[position], rows[position] = NOT_FINITE, np.nan
            return self._answers(loaded, things, rows, tuple(errors))

    def _read(self, things: Sequence[object], loaded: _Loaded) -> ImageItems:
        """The photographs as the network takes them."""
        from zoo.data.pixels.memory import as_image
        from zoo.features.extraction import BATCH_SIZES
        from zoo.runs.modalities.image_items import read

        usual = BATCH_SIZES.get(loaded.device.type, BATCH_SIZES["cpu"])
        images = [as_image(b"" if thing is None else thing, at) for at, thing in enumerate(things, start=1)]
        return read(images, loaded.classifier, batch_size=self.batch_size or usual, workers=self.threads)

    def _open(self) -> _Loaded:
        """Load the network, every byte verified, and be ready to freeze it."""
        from zoo.training.device import pick_device

        store = self.store or default_store()
        if self._run is None:
            target: Any = RegistryModel(self._entry.name, self._entry)
        else:
            self._check_pin(self._run)
            target = RunFolder(str(self._run), self._run)
        device = pick_device(self.device)
        classifier = load_classifier(target, store=store)
        return _Loaded(classifier, device, self._freezer(classifier, device, store))

    def _check_pin(self, run: Path) -> None:
        """Raise UsageError where the run is not on this machine, and WeightsMismatch where it is another."""
        if not (run / RECORD).is_file():
            raise UsageError(
                f"{run}: there is no run here on {socket.gethostname()}",
                hint="Put it where every machine has it under that path: a shared folder, or a copy.",
            )
        if self._pin_of(run) != self._pin:
            raise WeightsMismatch(
                f"{run} is not the run any more that this {type(self).__name__} was made of",
                hint=f"Make it again: zoo.{type(self).__name__}({str(run)!r})",
            )

    def _freezer(self, classifier: Classifier, device: Any, store: Store) -> _Freezer:
        """What makes the fastest network that agrees with the plain one on some images."""
        raise NotImplementedError

    def _answers(
        self,
        loaded: _Loaded,
        things: Sequence[object],
        rows: NDArray[np.float32],
        errors: tuple[str | None, ...],
    ) -> Found:
        """What rows (photographs, width) of the network's outputs mean; NaN where there is an error. things:
        the photographs as they were given."""
        raise NotImplementedError


class Featurizer(Worker[Features]):
    """What a frozen network sees of photographs: `Featurizer("mobilenet_v2")(list_of_bytes).features`.

    Args:
        name: A model for images, or the folder of a run.
        registry: The registry to find the model in; None for the default one. Workers do not need it.
        store: The store to keep the weights in; None for the default one of each process.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "fp32", or "bf16" where it agrees with fp32 on the first photographs; a note says which.
        batch_size: Photographs at a time; None for what suits the device.
        threads: Threads that decode, and that torch computes with on a CPU; None for one per CPU. Where
            workers share a machine, give each its share.

    Raises:
        UsageError: The name is not one of a model for images.
    """

    verb = "zoo.Featurizer"

    def __init__(self, name: str | Path, *, precision: Precision = "fp32", **options: Any) -> None:
        if precision not in ("fp32", "bf16"):
            raise UnknownName("precision", precision, ("fp32", "bf16"))
        self.precision = precision
        super().__init__(name, **options)

    def _check(self) -> None:
        check_classifier(self._entry)

    @property
    def width(self) -> int:
        """How many features a photograph has. Loads the network."""
        return _load(self._key, self._open).width

    @property
    def _speed(self) -> str:
        return self.precision

    def _freezer(self, classifier: Classifier, device: Any, store: Store) -> _Freezer:
        from zoo.features.network import freeze_network

        def freeze(example: Tensor, report: Callable[[Event], None]) -> Callable[[Tensor], Tensor]:
            return freeze_network(
                classifier.network, example, device=device, precision=self.precision, report=report
            )

        return freeze

    def _answers(
        self,
        loaded: _Loaded,
        things: Sequence[object],
        rows: NDArray[np.float32],
        errors: tuple[str | None, ...],
    ) -> Features:
        licenses, notes = loaded.classifier.licenses, tuple(loaded.notes)
        digests = tuple(map(_digest_of, things))
        return Features(errors, licenses, notes, rows, digests, loaded.provenance)


class Predictor(Worker[Probabilities]):
    """How probable each class of a photograph is: `Predictor("run")(list_of_bytes).probabilities`.

    Args:
        name: The folder of a run, or a model for images that has classes.
        registry: The registry to find the model in; None for the default one. Workers do not need it.
        store: The store to keep the weights in; None for the default one of each process.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        backend: "torch", or "onnx" for ONNX Runtime on a CPU, where it agrees on the first photographs.
        batch_size: Photographs at a time; None for what suits the device.
        threads: Threads that decode, and that torch computes with on a CPU; None for one per CPU. Where
            workers share a machine, give each its share.

    Raises:
        UsageError: The name is not one of a model for images with classes.
    """

    verb = "zoo.Predictor"

    def __init__(self, name: str | Path, *, backend: str = "torch", **options: Any) -> None:
        if backend not in ("torch", "onnx"):  # "auto" would depend on what each machine has exported before
            raise UnknownName("backend", backend, ("torch", "onnx"))
        self.backend = backend
        super().__init__(name, **options)

    def _check(self) -> None:
        Engine(self.backend).check(self.device)
        if self._run is None and image_model(self._entry).classes is None:
            raise UsageError(
                f"{self.name} gives features and has no classes",
                hint=f"Its features: zoo.Featurizer({self.name!r}). Train it: zoo finetune {self.name} DATA",
            )

    def _pin_of(self, run: Path) -> str:
        fitted = run / CALIBRATION
        return super()._pin_of(run) + (sha256(fitted.read_bytes()).hexdigest() if fitted.exists() else "")

    @property
    def _speed(self) -> str:
        return self.backend

    def _freezer(self, classifier: Classifier, device: Any, store: Store) -> _Freezer:
        from zoo.features.exported import choose_engine
        from zoo.features.network import freeze_classifier

        engine = Engine(self.backend, store.home / "onnx")

        def freeze(example: Tensor, report: Callable[[Event], None]) -> Callable[[Tensor], Tensor]:
            frozen = freeze_classifier(classifier.network, example, device=device, report=report)
            return choose_engine(frozen, example, engine, report)

        return freeze

    def _answers(
        self,
        loaded: _Loaded,
        things: Sequence[object],
        rows: NDArray[np.float32],
        errors: tuple[str | None, ...],
    ) -> Probabilities:
        import torch

        classifier, notes = loaded.classifier, tuple(loaded.notes)
        task, read = classifier.task, [at for at, error in enumerate(errors) if error is None]
        outputs = classifier.calibrated(torch.from_numpy(rows[read]))
        labels: list[str | tuple[str, ...] | None] = [None] * len(rows)
        if task.probabilities is not None:
            rows[read] = task.probabilities(outputs).numpy()
            answers = task.decide(outputs, classifier.classes, 1, classifier.thresholds) if read else []
            for at, answer in zip(read, answers, strict=True):
                several = classifier.thresholds is not None
                labels[at] = answer.labels if several else answer.ranking[0][0]
        return Probabilities(errors, classifier.licenses, notes, rows, classifier.classes, tuple(labels))


_Freezer = Callable[["Tensor", "Callable[[Event], None]"], "Callable[[Tensor], Tensor]"]


class _Loaded:
    """A network in this process. It is frozen for speed when the first photographs come, which are what its
    shortcuts are compared on. lock: one list of photographs at a time, since it takes all threads."""

    def __init__(self, classifier: Classifier, device: torch.device, freeze: _Freezer) -> None:
        self.classifier = classifier
        self.device = device
        self.lock = RLock()
        self.notes: list[Note] = []
        self._freeze = freeze
        self._fast: Callable[[Tensor], Tensor] | None = None
        self._width: int | None = None
        self._provenance: dict[str, str] = {}  # by precision; a read of all weights

    def __call__(self, images: Tensor) -> Tensor:
        """The outputs (photographs, …) float32 on the CPU."""
        from zoo.features.extraction import EXAMPLES

        if self._fast is None:
            self._fast = self._freeze(images[:EXAMPLES], self._report)
        return self._fast(images)

    @property
    def width(self) -> int:
        """How many numbers there are for a photograph."""
        import torch

        with self.lock:
            if self._width is None:
                size = self.classifier.input.size
                grey = torch.zeros(1, 3, size, size)
                with torch.inference_mode():
                    self._width = (self._fast or self._freeze(grey, lambda _: None))(grey).flatten(1).shape[1]
            return self._width

    @property
    def provenance(self) -> str:
        """What features depend on besides their photographs; the precision is the one that was kept."""
        from zoo.features.network import FrozenNetwork

        half = isinstance(self._fast, FrozenNetwork) and self._fast.dtype.itemsize == 2
        precision: Precision = "bf16" if half else "fp32"
        if precision not in self._provenance:
            classifier = self.classifier
            about = provenance_of(
                image_model(classifier.entry),
                classifier.network,
                values=classifier.values,
                device=self.device.type,
                precision=precision,
            )
            self._provenance[precision] = about.encoded()
        return self._provenance[precision]

    def _report(self, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(event)


_LOADED: OrderedDict[tuple[object, ...], _Loaded] = OrderedDict()
_LOCK = RLock()
_FORKED = False
"""Whether this process was forked from one that had computed."""


def _load(key: tuple[object, ...], open_network: Callable[[], _Loaded]) -> _Loaded:
    """The network of a key, loaded once in a process however many threads ask at once."""
    with _LOCK:
        if key not in _LOADED:
            _LOADED[key] = open_network()
            while len(_LOADED) > MOST:
                _LOADED.popitem(last=False)
        _LOADED.move_to_end(key)
        return _LOADED[key]


def _after_fork() -> None:
    """A forked process has no use for locks that a thread of its parent may hold, and the threads that torch
    computed with are not in it: with more than one it would wait for them for ever, as in a DataLoader."""
    global _LOCK, _FORKED
    _LOCK = RLock()
    if _LOADED:
        _FORKED = True
        import torch

        _LOADED.clear()
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch with so many threads, and as many as before when the block ends."""
    import torch

    before = torch.get_num_threads()
    if count is None or count == before or _FORKED:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _digest_of(thing: object) -> str | None:
    """The sha256 of a file that was given as bytes or by its path, in hexadecimal."""
    if isinstance(thing, bytes | bytearray | memoryview):
        return sha256(thing).hexdigest()
    if isinstance(thing, str | Path):
        path = local_path(thing)
        with suppress(OSError):
            if path.is_file():  # a pipe would be waited for
                with path.open("rb") as file:
                    return file_digest(file, "sha256").hexdigest()
    return None
