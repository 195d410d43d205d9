"""`run.json`: everything that makes a run readable, repeatable and safe to load, as one frozen value."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from zoo.catalogue.entry import ImageModel, ModelEntry
from zoo.catalogue.registry import entry_from, entry_to_mapping
from zoo.data.dataset import PARTS, Layout, Origin, Part
from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import IntegrityError, UsageError
from zoo.features.engine import Backend, Precision
from zoo.store.disk.homes import path_of_address
from zoo.targets import RECORD, SPLIT
from zoo.training.intervals import accuracy_interval
from zoo.training.recipe import Resolved, from_json, to_json
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Task
from zoo.training.tasks import TASKS

SCHEMA = 3
_AGAIN = "Restore it from a copy, or train again."
_Name = Literal["train", "val", "test", "contents", "val_contents"]
_NAMES: tuple[_Name, ...] = get_args(_Name)  # of a split: a line per item, in a file of its own


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What a simple method reaches on the same split. metrics: as in RunResult."""

    name: str
    metrics: Mapping[str, float]

    @property
    def val_accuracy(self) -> float:
        """The validation accuracy, in 0..1. Raises KeyError for a task that has none."""
        return self.metrics["accuracy"]


class FeatureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the features that a head was trained on were computed, and its validation items measured.

    cosine: the least one to features of torch in fp32 that the run measured, on its first batch; None where
    it computed none, or in that way.
    """

    backend: Backend = "torch"
    precision: Precision = "fp32"
    cosine: float | None = None


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a fine-tuning run.

    task: its name in TASKS. best_epoch, epochs: counted over all phases, from 1. val_loss: the mean loss per
    item; metrics: by name, on the same validation items; both of the weights that were kept. frozen_tensors:
    parameters and buffers that were to stay as they are; frozen_changed: how many did not (always 0, or
    something is broken). seconds: of the whole run. baseline: of a run on texts. val_items: that were
    measured; majority: what is reached on them without looking, as by always answering the class with the
    most training items; None in runs of earlier versions. time_limit: the seconds that training had, if they
    were limited; out_of_time: whether they ended it. views: of each training item, that the head was shown.
    features: None of texts, and in runs of earlier versions.
    """

    run: str
    classes: tuple[str, ...]
    best_epoch: int
    epochs: int
    stopped_early: bool
    val_loss: float
    metrics: Mapping[str, float]
    frozen_tensors: int
    frozen_changed: int
    trained_parameters: int
    seconds: float
    baseline: Baseline | None = None
    task: str = SINGLE_LABEL.name
    val_items: int | None = None
    majority: Baseline | None = None
    time_limit: float | None = None
    out_of_time: bool = False
    views: int = 1
    features: FeatureFacts | None = None

    @property
    def val_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the validation accuracy; None where the items were not counted. It is that of
        one measurement: of the best of many epochs the accuracy itself is a little too good."""
        if self.val_items is None or "accuracy" not in self.metrics:
            return None
        return accuracy_interval(self.metrics["accuracy"], self.val_items)

    @property
    def val_accuracy(self) -> float:
        """The validation accuracy, in 0..1. Raises KeyError for a task that has none."""
        return self.metrics["accuracy"]

    def facts(self) -> dict[str, Any]:
        """The result as plain JSON values, every metric also by a name of its own: val_accuracy."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        facts["val_interval"] = self.val_interval
        for part in (facts, facts["baseline"], facts["majority"]):
            if part is not None:
                part |= {f"val_{name}": value for name, value in part["metrics"].items()}
        return facts


class TextRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a run reads texts. words_sha256: of words.txt, a word per line in the order of their ids, from 1.

    known: how many of them have published vectors; those after them are new. tokenizer: its settings.
    """

    words_sha256: str
    known: int
    policy: str
    longest: int | None
    tokenizer: Mapping[str, Any]


class _SkippedFacts(msgspec.Struct, frozen=True):
    path: str
    reason: str


class _SplitFacts(msgspec.Struct, frozen=True):
    origin: Origin
    hash: str
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    val_contents: tuple[str, ...] = ()
    seed: int | None = None
    val_fraction: float | None = None
    group_by: str | None = None


class _DataFacts(msgspec.Struct, frozen=True):
    """What the data of a record must look like, wherever it came from: the rest of zoo relies on it."""

    root: str
    items: Mapping[str, int]
    skipped: tuple[_SkippedFacts, ...]
    split: _SplitFacts
    fingerprint: str | None = None
    counts: Mapping[Part, tuple[int, ...]] | None = None
    layout: Layout | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """run.json. weights_sha256: of the published file; None for a run from random weights.

    model: the registry entry. classes: in the order of the outputs. data: where the items came from, their
    split with its hash, and what was skipped; the names in the split have a file of their own. text: how they
    are read. data_license: of the training data, as the user named it; None where nobody did. adapter_sha256:
    of adapter.safetensors. thresholds: the probability of each class from which an item has it, where it may
    have several.
    """

    schema: int = SCHEMA
    created: str
    model: Mapping[str, Any]
    weights_sha256: str | None
    classes: tuple[str, ...]
    recipe: Resolved
    data: Mapping[str, Any]
    result: RunResult
    adapter_sha256: str
    versions: Mapping[str, str]
    text: TextRecord | None = None
    data_license: str | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def entry(self) -> ModelEntry:
        """The model that the run began with, as it was then."""
        facts = dict(self.model)
        return entry_from(facts.pop("name"), facts)

    @property
    def guarded(self) -> dict[str, Any]:
        """What decides the meaning of an answer, as plain JSON values: the adapter has it too."""
        facts: dict[str, Any] = {"classes": list(self.classes)}
        if isinstance(self.entry, ImageModel):
            facts["input"] = msgspec.json.decode(msgspec.json.encode(self.entry.input))  # lists, not tuples
        return facts

    @property
    def value_range(self) -> ValueRange | None:
        """Black and white of the training images of 16 bit or floats; None without such images."""
        facts = self.data.get("value_range")
        return None if facts is None else ValueRange.from_facts(facts)

    @property
    def kind(self) -> Kind:
        """What the run was trained on."""
        return IMAGES if self.text is None else TEXTS

    @property
    def task(self) -> Task:
        """How the run's outputs are learned and read. Raises IntegrityError for a task that zoo lacks."""
        name = self.result.task
        if name not in TASKS:
            raise IntegrityError(
                f"the run's task is {name!r}, and this zoo knows {', '.join(TASKS)}",
                hint="Upgrade: pip install -U transfer-zoo",
            )
        return TASKS[name]

    @property
    def tuned(self) -> bool:
        """Whether more than the head was trained."""
        return self.recipe.unfreeze != "none"


def model_facts(entry: ModelEntry) -> dict[str, Any]:
    """The entry as run.json keeps it."""
    return {"name": entry.name, **entry_to_mapping(entry)}


def read_record(folder: Path, *, names: bool = True) -> RunRecord:
    """The record of a run folder. names: with those of the split, which may be a million; without them a run
    cannot leave out what it was trained on.

    Raises IntegrityError if it is not one, damaged, or of a later zoo.
    """
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists():
            raise UsageError(f"no folder {folder}", hint="A run is what zoo finetune wrote.") from error
        raise IntegrityError(
            f"{folder} is not a run: it has no {RECORD}", hint="See: zoo finetune --help"
        ) from error
    try:
        facts = msgspec.json.decode(content)
        schema = facts.get("schema")
        if type(schema) is not int:
            raise TypeError(f"schema is {schema!r}, and a number is expected")
        if schema > SCHEMA:
            raise IntegrityError(
                f"{path}: written by a later zoo (schema {schema}, this one reads {SCHEMA})",
                hint="Upgrade: pip install -U transfer-zoo",
            )
        if schema == 1:
            facts |= {"result": name_metrics(facts["result"])}
        facts["schema"] = SCHEMA
        if names and "sha256" in facts["data"]["split"]:
            facts["data"]["split"] |= _read_names(folder, facts["data"]["split"].pop("sha256"))
        msgspec.convert(facts["data"], _DataFacts)
        facts["model"] = _with_urls(facts["model"], _located, folder)
        kind = IMAGES if facts.get("text") is None else TEXTS
        return msgspec.convert(facts | {"recipe": from_json(facts.get("recipe"), kind)}, RunRecord)
    except UsageError:
        raise
    except (msgspec.DecodeError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", hint=_AGAIN) from error


def _portable(url: str, folder: Path) -> str:
    """A URL as run.json has it: a file of this machine by its way from the run, so that both can be moved or
    passed on together, and the names of private folders are not passed on with them.

    >>> _portable("file:///data/weights/net.pth", Path("/data/runs/one"))
    '../../weights/net.pth'
    """
    if not url.startswith("file://"):
        return url
    path = path_of_address(url)
    home = folder.absolute()
    if len(os.path.commonpath([path, home])) <= len(path.anchor):
        return path.name  # the way would be the whole path; it is found again by its sha256
    return Path(os.path.relpath(path, home)).as_posix()


def _located(url: str, folder: Path) -> str:
    """What `_portable` made of a URL, as a URL again."""
    return url if "://" in url else (folder.absolute() / url).resolve().as_uri()


def _with_urls(model: Mapping[str, Any], change: Callable[[str, Path], str], folder: Path) -> dict[str, Any]:
    """The facts of a model with its URLs changed."""
    weights = dict(model["weights"])
    url = weights["url"]
    weights["url"] = change(url, folder) if isinstance(url, str) else [change(each, folder) for each in url]
    return {**model, "weights": weights}


def name_metrics(facts: dict[str, Any]) -> dict[str, Any]:
    """A result, a baseline or an epoch of schema 1, with its metrics as schema 2 has them: by name.

    >>> name_metrics({"val_loss": 0.2, "val_accuracy": 0.9})
    {'val_loss': 0.2, 'metrics': {'accuracy': 0.9}}
    """
    facts = {**facts, "metrics": {"accuracy": facts["val_accuracy"]}}
    del facts["val_accuracy"]
    if facts.get("baseline"):
        facts["baseline"] = name_metrics(facts["baseline"])
    return facts


def _read_names(folder: Path, sha256: str) -> dict[str, list[str]]:
    """The names of a split, by part, and the digests of what was trained on. Raises IntegrityError where the
    file is missing or not the one that was written: items that were trained on would be measured."""
    path = folder / SPLIT
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing", hint=_AGAIN) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityError(f"{path} has changed: its sha256 is not the one in {RECORD}", hint=_AGAIN)
    found: dict[str, list[str]] = {kind: [] for kind in PARTS}
    try:
        for kind, name in msgspec.json.Decoder(tuple[_Name, str]).decode_lines(content):
            found.setdefault(kind, []).append(name)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", hint=_AGAIN) from error
    return found


def _write_names(split: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the names of a split, a line of JSON each; returns what is left of its facts, and the hash."""
    lines = [(kind, name) for kind in _NAMES for name in split.get(kind, ())]
    content = msgspec.json.Encoder().encode_lines(lines)
    (folder / SPLIT).write_bytes(content)
    rest = {key: value for key, value in split.items() if key not in _NAMES}
    return rest | {"sha256": hashlib.sha256(content).hexdigest()}


def write_record(record: RunRecord, folder: Path) -> None:
    """Write run.json, for people too: indented, a page; the names of the split have a file beside it."""
    facts = msgspec.to_builtins(record) | {
        "schema": SCHEMA,
        "recipe": to_json(record.recipe, record.kind),
        "model": _with_urls(record.model, _portable, folder),
        "data": {**record.data, "split": _write_names(record.data["split"], folder)},
    }
    (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")
