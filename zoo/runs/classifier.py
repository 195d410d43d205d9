"""A network with the names of its classes: a run or a plain zoo model, used in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.catalogue.entry import ImageInput, ImageModel, ModelEntry
from zoo.catalogue.licenses import UNKNOWN
from zoo.data.dataset import Layout, Split
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import HashMismatch, NetworkError, StorageError, UsageError, WeightsMismatch, ZooError
from zoo.events import Report, silent
from zoo.features.engine import ENOUGH, TORCH, Backend, Engine, Precision
from zoo.runs.calibration import Calibration, read_calibration
from zoo.runs.folder import read_adapter, read_words
from zoo.runs.record import RunRecord, read_record
from zoo.store.names import default_registry, default_store
from zoo.targets import Model, RunFolder, fetch_target
from zoo.training.calibration import scaled
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from adapters import Head, TextClassifier
    from zoo.catalogue.registry import Registry
    from zoo.store.local import LocalModel
    from zoo.store.store import Store
    from zoo.training.recipe import Resolved
    from zoo.words.texts.selection import TextReader


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode and what its outputs mean.

    classes: names in the order of the outputs; empty for a model that gives features only. identity: sha256
    that no other network has, so that features of it can be kept. split, layout: of the data that a run was
    trained on. reader: how texts become the network's input; None for images. data_license: of the data that
    a run was trained on; None if unknown, and for a plain model. task: what outputs mean. values: black and
    white of the training images of 16 bit or floats. label_set: the name of a plain model's classes as a
    whole. thresholds: the probability of each class from which an item has it; None where it has exactly one.
    calibration: of a run that was calibrated. backend: what computed the features that the head of a run was
    trained on, where they can be had again. precision: the number format in which a run was trained, as far
    as it was asked for; answers are given in fp32.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...]
    entry: ModelEntry
    identity: str
    split: Split | None = None
    layout: Layout | None = None
    reader: TextReader | None = None
    data_license: str | None = None
    task: Task = SINGLE_LABEL
    values: ValueRange | None = None
    label_set: str | None = None
    thresholds: tuple[float, ...] | None = None
    calibration: Calibration | None = None
    backend: Backend = "torch"
    precision: Precision = "fp32"

    def engine(self, store: Store) -> Engine:
        """What is to compute features: what the run was trained on by, so that those of its data are found in
        the store; torch where that cannot be had, which it agreed with."""
        if self.backend == "torch":
            return TORCH
        return Engine("auto", store.home / "onnx", items=ENOUGH)

    @property
    def ids(self) -> tuple[str, ...]:
        """The WordNet ids of the classes, in the order of the outputs; none but for ImageNet's."""
        from zoo.backbones.labels import synset_ids

        return () if self.label_set is None else synset_ids(self.label_set)

    @property
    def rename(self) -> Callable[[str], str] | None:
        """The model's own name of a class that data call otherwise; None where it knows no other names."""
        from zoo.backbones.labels import known_name

        return None if self.label_set is None else partial(known_name, self.label_set)

    def calibrated(self, outputs: Tensor) -> Tensor:
        """Outputs (items, width) at the temperature of the run, from which probabilities are to be made; as
        they are without one. The most probable class stays the same."""
        if self.calibration is None or self.calibration.temperature == 1:
            return outputs
        return scaled(outputs, self.calibration.temperature)

    @property
    def licenses(self) -> dict[str, str]:
        """What goes into everything that is made with it: the model, its licence, that of a run's data."""
        return model_licenses(self.entry) | (
            {} if self.split is None else {"data_license": self.data_license or UNKNOWN}
        )

    @property
    def input(self) -> ImageInput:
        """How a photograph becomes the network's input. Raises UsageError for a run on texts."""
        return image_model(self.entry).input


def model_licenses(entry: ModelEntry) -> dict[str, str]:
    """A model and its licence, as an export says them."""
    return {"model": entry.name, "model_license": entry.license}


def load_classifier(
    target: RunFolder | Model,
    *,
    store: Store | None = None,
    registry: Registry | None = None,
    report: Report = silent,
) -> Classifier:
    """The classifier of a run, or of a model for images: what `accept` lets through for `zoo predict`."""
    store = store or default_store()
    if isinstance(target, RunFolder):
        record = read_record(target.path)
        return load_run_classifier(target.path, record, store=store, registry=registry, report=report)
    from zoo.backbones.labels import class_names
    from zoo.backbones.loading import load_backbone

    local = fetch_target(target, store, report=report)
    model = image_model(local.entry)
    network = load_backbone(local, store, report=report)
    label_set = model.classes if isinstance(model.classes, str) else None
    names = tuple(class_names(model))
    return Classifier(target.name, network, names, model, local.sha256, label_set=label_set)


def load_run_classifier(
    folder: Path,
    record: RunRecord,
    *,
    store: Store | None = None,
    registry: Registry | None = None,
    report: Report = silent,
) -> Classifier:
    """The network of a run: the same backbone by its sha256, its head, everything that was trained.

    Raises WeightsMismatch if the backbone's bytes, or the tensors of the adapter, are not those of the run:
    labels would be silently wrong.
    """
    from adapters import freeze, merge_low_rank

    adapter = read_adapter(folder, record)
    state = adapter.state
    reader = None if record.text is None else read_words(folder, record.text)
    store = store or default_store()
    if record.weights_sha256 is not None:
        store.check_license(record.entry)
    if reader is None:
        network = build_start(
            record.entry, record.weights_sha256, store=store, registry=registry, report=report
        )
    else:
        network = build_text_network(state, record.recipe, len(record.classes))
    freeze(network)
    attach_recipe_head(network, record.classes, record.recipe, record.task, tried=True)  # when it was trained
    put_adapter(network, state, record, folder)
    _refuse_other_backbone(network, adapter.frozen, record, folder)
    if put_low_rank(network, state, record, folder):
        merge_low_rank(network)  # an ordinary network again, with the same answers
    identity = (
        record.adapter_sha256 if record.tuned or record.weights_sha256 is None else record.weights_sha256
    )
    return Classifier(
        str(folder),
        network.eval(),
        record.classes,
        record.entry,
        identity,
        Split.from_facts(record.data["split"]),
        record.data.get("layout"),
        reader,
        record.data_license,
        record.task,
        record.value_range,
        thresholds=record.thresholds,
        calibration=read_calibration(folder, record),
        backend="torch" if record.tuned or record.result.features is None else record.result.features.backend,
        precision=_precision_of(record),
    )


def _precision_of(record: RunRecord) -> Precision:
    """In which format a run was trained: that of its features; where more than the head learned, what was
    asked for."""
    if record.tuned or record.result.features is None:
        return "bf16" if record.recipe.precision == "bf16" else "fp32"
    return record.result.features.precision


def build_start(
    entry: ModelEntry,
    sha256: str | None,
    *,
    store: Store,
    registry: Registry | None = None,
    report: Report = silent,
) -> nn.Module:
    """The network that a run begins with: verified weights, or random ones where sha256 is None."""
    from zoo.backbones.architectures import build_network
    from zoo.backbones.loading import load_backbone

    model = image_model(entry)
    if sha256 is None:
        return build_network(model)
    return load_backbone(_find_weights(model, sha256, store, registry, report), store, report=report)


def _find_weights(
    model: ImageModel, sha256: str, store: Store, registry: Registry | None, report: Report
) -> LocalModel:
    """The weights with that sha256: from where the run had them, else from where the store or a registry
    knows the same bytes, under whatever name. Raises what the first place did, and WeightsMismatch for other
    bytes."""
    try:
        local = store.fetch(model, report=report)
    except (StorageError, NetworkError, HashMismatch) as missing:
        for other in _same_weights(model, sha256, store, registry):
            with suppress(ZooError):
                if (local := store.fetch(other, report=report)).sha256 == sha256:
                    return local
        missing.hint = (
            f"{missing.hint or ''}\nThe run needs the file with the sha256 {sha256[:12]}…: name a registry "
            "file that has it with --registry FILE."
        ).strip()
        raise
    if local.sha256 != sha256:
        raise WeightsMismatch(
            f"{model.name}: the run was trained on weights {sha256[:12]}…, these are {local.sha256[:12]}…",
            hint="The published file has changed: train again, or put the old one into a registry file.",
        )
    return local


def _same_weights(
    model: ImageModel, sha256: str, store: Store, registry: Registry | None
) -> Iterator[ImageModel]:
    """The model with other places for the same bytes: what the store remembers, then what registries list."""
    registry = default_registry(store) if registry is None else registry
    remembered = store.recall(model.name)
    for entry in [*([] if remembered is None else [remembered]), *registry.everything()]:
        proof = entry.weights.sha256 or entry.weights.sha256_prefix
        if sha256.startswith(proof) if proof else entry is remembered:
            weights = msgspec.structs.replace(entry.weights, member=model.weights.member)
            yield msgspec.structs.replace(model, weights=weights)


def build_text_network(state: Mapping[str, Tensor], recipe: Resolved, classes: int) -> TextClassifier:
    """The network of a run on texts, as large as its tensors say; their values come by `put_adapter`.

    Raises WeightsMismatch where the tensors of the words are missing.
    """
    import torch

    from adapters import ENCODERS, TextClassifier, TextEncoder

    try:
        known, new = (state[f"encoder.embedding.{part}.weight"] for part in ("known", "new"))
    except KeyError as error:
        raise WeightsMismatch(f"the run has no {error.args[0]}", hint="Train again.") from error
    name = recipe.encoder
    encoder = TextEncoder(
        known[1:],
        encoder=name,
        new_words=new[1:],
        weights=torch.ones(len(known) + len(new) - 2) if ENCODERS[name].needs else None,
        component=torch.zeros(known.shape[1]) if name == "sif" else None,
        hidden=recipe.encoder_width,
    )
    return TextClassifier(encoder, classes)


def attach_recipe_head(
    network: nn.Module,
    classes: tuple[str, ...],
    recipe: Resolved,
    task: Task = SINGLE_LABEL,
    *,
    tried: bool = False,
) -> Head:
    """Attach the head that a recipe asks for; the same for training and for loading. tried: see attach_head.

    Its weights depend on the recipe's seed and nothing else: not on what the network drew while it was built.
    """
    from adapters import attach_head

    return attach_head(
        network,
        len(classes),
        head=recipe.head,
        dropout=recipe.dropout,
        hidden=recipe.hidden,
        activation=recipe.activation,
        batch_norm=recipe.batch_norm,
        standardize=recipe.standardize,
        rescale=task.scale is not None,
        aux=task.scale is None,  # an auxiliary classifier answers in no unit
        tried=tried,
        seed=recipe.seed,
    )


def put_adapter(network: nn.Module, state: dict[str, Any], record: RunRecord, folder: Path) -> None:
    """Load what was trained into the network; every tensor must find its place, and the head be whole.

    Low-rank parts are left for `put_low_rank`.
    """
    from adapters import find_classifier
    from adapters.low_rank import is_low_rank

    state = {name: tensor for name, tensor in state.items() if not is_low_rank(name)}
    own = network.state_dict()
    head = find_classifier(network)[0]
    unmatched = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
    empty = [name for name in own if name.startswith(f"{head}.") and name not in state]
    if unmatched or empty:
        named = ", ".join((unmatched + empty)[:3])
        raise WeightsMismatch(
            f"{folder}: the adapter does not fit {record.model['name']}: {named}",
            hint=f"The run was made with {dict(record.versions)}; `zoo doctor` shows what is installed.",
        )
    network.load_state_dict(state, strict=False)  # strict=False: the backbone is not in it


def put_low_rank(
    network: nn.Module, state: Mapping[str, Tensor], record: RunRecord, folder: Path
) -> list[str]:
    """Give the network the low-rank parts that a run has trained; returns the names of their layers.

    Raises WeightsMismatch where they do not fit.
    """
    from adapters import AdapterError, load_low_rank

    try:
        return load_low_rank(network, state)
    except AdapterError as error:
        raise WeightsMismatch(
            f"{folder}: the adapter does not fit {record.model['name']}: {error.message}",
            hint=f"The run was made with {dict(record.versions)}; `zoo doctor` shows what is installed.",
        ) from error


def take_over_low_rank(
    network: nn.Module, state: Mapping[str, Tensor], record: RunRecord, folder: Path, recipe: Resolved
) -> frozenset[str]:
    """Put the low-rank parts of an earlier run into the network: to learn on, where the recipe has the same,
    else merged into the weights. Returns the names of the weights that merging has changed."""
    from adapters import merge_low_rank

    put_low_rank(network, state, record, folder)
    if (recipe.strategy, recipe.rank) == (record.recipe.strategy, record.recipe.rank):
        return frozenset()
    return frozenset(f"{layer}.weight" for layer in merge_low_rank(network))


DIGITS = 16
"""Hexadecimal digits of a tensor's sha256 that a run keeps: 300 tensors take 12 kB."""


def _refuse_other_backbone(
    network: nn.Module, frozen: Mapping[str, str], record: RunRecord, folder: Path
) -> None:
    """Raise WeightsMismatch where a tensor that was frozen in training is now another one: a library may
    build the network in another way than it did."""
    from adapters import frozen_fingerprint

    now = frozen_fingerprint(network) if frozen else {}
    changed = [name for name, digest in frozen.items() if now.get(name, "")[:DIGITS] != digest]
    if changed:
        raise WeightsMismatch(
            f"{folder}: {len(changed):,} of {len(frozen):,} frozen tensors of {record.model['name']} are not "
            f"those that the run was trained with: {', '.join(changed[:3])}",
            hint=f"The run was made with {dict(record.versions)}; `zoo doctor` shows what is installed.",
        )


def image_model(entry: ModelEntry) -> ImageModel:
    """The entry, if it takes images. Raises UsageError for word vectors."""
    if not isinstance(entry, ImageModel):
        raise UsageError(
            f"{entry.name} holds word vectors, and these files are images",
            hint="Models for images: zoo list --task image-classification",
        )
    return entry
