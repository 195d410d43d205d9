"""Weights of other people as named tensors, and never their code.

A `.pth` file is a pickle: opening it with pickle runs what its author put in. It is opened by torch's
`weights_only` unpickler alone, right after it was hashed again, once; what comes out is kept as safetensors,
which hold numbers and nothing else and are mapped into memory, and the pickle is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipInfo

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.backbones.formats import damage, first_line
from zoo.backbones.members import Chosen, choose_weights, take_below
from zoo.backbones.unpickling import check_size, open_checkpoint
from zoo.errors import IntegrityError, StorageError, UsageError
from zoo.events import Event, Note, Report, silent
from zoo.file_formats import detect_format, refuse_foreign
from zoo.store.disk.space import system_errors
from zoo.store.local import LocalModel

if TYPE_CHECKING:
    from zoo.store.store import Store

KIND = "safetensors"  # of what the store derives
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel (AveragedModel too) and torch.compile
COUNTERS = {"n_averaged"}  # what AveragedModel keeps beside the network
INFINITE = "infinity"
# What safetensors keeps and a network can compute with; complex numbers are refused where they do not fit.
DTYPES = frozenset(
    f"torch.{name}"
    for name in (
        *("float64", "float32", "float16", "bfloat16", "complex64", "bool"),
        *("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    )
)


def load_weights(local: LocalModel, store: Store, *, report: Report = silent) -> dict[str, Tensor]:
    """The named tensors of a verified model, mapped from a safetensors file of the store.

    Another format is converted at the first time, under the store's lock, and replaced: no extra disk is
    used, unless the file holds other weights, which an entry may name. Writing to a tensor changes a copy;
    the file stays. Raises UnsafeFile, HashMismatch, IntegrityError; UsageError for a `weights: member` that
    is not in the file.
    """
    name, member = local.entry.name, local.entry.weights.member
    kind = KIND if member is None else f"{KIND}-{member}"
    converted = store.derived(local, kind)
    if converted is not None:
        return read_state_dict(converted, what=name, report=report)
    if local.path in store.derivations(local).values():
        raise UsageError(
            f"{name}: only other weights of its file are kept here, converted",
            hint=f"zoo rm {name}, then fetch it again.",
        )
    if detect_format(local.path) == "safetensors":
        return read_state_dict(local.path, what=name, member=member, report=report)
    try:
        converted = _convert(local, store, kind, report)
    except StorageError as error:
        if not local.path.is_file():
            raise
        report(Note(f"{name} is not kept as safetensors: {error.message}", error.hint))
        store.prove(local)
        return read_state_dict(local.path, what=name, member=member, report=report)
    return read_state_dict(converted, what=name, report=report)


def read_state_dict(
    path: Path, *, what: str | None = None, member: str | None = None, report: Report = silent
) -> dict[str, Tensor]:
    """The named tensors of a safetensors or `.pth` file, on the CPU.

    what: the name that messages use. member: which weights of a checkpoint, or what their names begin with.
    A state dict inside a training checkpoint is unwrapped and `module.` prefixes are stripped: a Note reports
    each. `find_odd_numbers` finds NaN in them.
    Raises UnsafeFile if opening the file could run code, IntegrityError if it is damaged or holds no weights,
    UsageError for a member that is not in it.
    """
    read = _read(path, path.name if what is None else what, member)
    for note in read.notes:
        report(note)
    return read.tensors


def find_odd_numbers(tensor: Tensor) -> str | None:
    """NaN or infinity in a tensor, in words; None where all is well. It is read once."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return None
    low, high = (tensor.float() if tensor.element_size() == 1 else tensor).aminmax()
    if torch.isnan(low):
        return "NaN"
    return None if torch.isfinite(low) and torch.isfinite(high) else INFINITE


def strip_prefixes(tensors: dict[str, Tensor], what: str, report: Report) -> dict[str, Tensor]:
    """The tensors under the names of the bare network."""
    for prefix in PREFIXES * 2:  # both wrap both ways round
        inside = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if inside and set(tensors) - set(inside) <= COUNTERS:
            report(Note(f"{what}: the prefix {prefix!r} of every name is stripped"))
            tensors = {name.removeprefix(prefix): tensor for name, tensor in inside.items()}
    return tensors


def write_state_dict(tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Keep tensors as safetensors. Tensors that share memory become separate: the format knows no sharing.

    what: whose they are. Raises OSError where the disk is at fault, IntegrityError where the tensors are.
    """
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size() and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        separate[name] = tensor.contiguous() if whole else tensor.contiguous().clone()
    try:
        with system_errors():
            save_file(separate, path, metadata={"format": "pt"})
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise damage(what, f"cannot be kept as safetensors: {first_line(error)}") from error


class _HasOthers(Exception):
    """The file holds other weights too: not an error, it ends a conversion that would delete them."""


def _convert(local: LocalModel, store: Store, kind: str, report: Report) -> Path:
    """The safetensors file made from a model's file, which is then deleted, unless it holds more."""

    def write(path: Path, *, alone: bool = True) -> None:
        store.prove(local)  # a stamp can be forged, and the next line unpickles
        read = _read(local.path, local.entry.name, local.entry.weights.member)
        if read.others and alone:
            raise _HasOthers
        for note in read.notes:
            report(note)
        write_state_dict(read.tensors, path, local.entry.name)

    try:
        return store.derive(local, kind, write, keep_source=False, report=report)
    except _HasOthers:
        return store.derive(local, kind, lambda path: write(path, alone=False), report=report)


def _read(path: Path, what: str, member: str | None) -> Chosen:
    """The chosen tensors of a file, whatever its format."""
    kind = detect_format(path)
    if kind == "gone":
        raise IntegrityError(f"{what}: {path} is not there", hint=f"zoo fetch {what} brings it again.")
    refuse_foreign(kind, what, "weights of PyTorch")
    if kind in ("unknown", "fasttext"):
        raise damage(
            what, f"neither safetensors nor a checkpoint of PyTorch (it begins with {_beginning(path)})"
        )
    if kind == "safetensors":
        tensors = _read_safetensors(path, what)
        chosen = Chosen(tensors if member is None else take_below(tensors, member, what))
    else:
        loaded, members = open_checkpoint(path, kind, what)
        chosen = choose_weights(loaded, member, what)
        _check_lengths(what, chosen.tensors.values(), members)
    for name, tensor in chosen.tensors.items():
        if form := _find_form(tensor):
            raise damage(what, f"{name} is {form}, which no network here takes")
    # One stored number can be spread over any shape, and the next step would read or write all of it.
    check_size(what, path, sum(t.numel() * t.element_size() for t in chosen.tensors.values()))
    notes = list[Event](chosen.notes)
    tensors = strip_prefixes(chosen.tensors, what, notes.append)
    return Chosen(tensors, chosen.others, tuple(notes))


def _read_safetensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, mapped: nothing is read before it is used."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, KeyError, AttributeError) as error:
        raise damage(what, f"not a valid safetensors file: {first_line(error)}") from error
    if not tensors:
        raise damage(what, "a safetensors file without tensors")
    return tensors


def _check_lengths(what: str, tensors: Iterable[Tensor], members: Iterable[ZipInfo] | None) -> None:
    """Raise IntegrityError where a mapped tensor reaches beyond its member, into the bytes of the next."""
    if members is None:
        return
    plain = (t for t in tensors if _find_form(t) is None)
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in plain)}
    longer = Counter(storages.values()) - Counter(member.file_size for member in members)
    if any(longer):
        raise damage(what, f"a damaged archive: no member has the {max(longer):,} bytes of a tensor")


def _find_form(tensor: Tensor) -> str | None:
    """What makes a tensor something else than an array of numbers in memory; None for a plain one."""
    if tensor.is_nested:
        return "nested (parts of different lengths)"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_meta:
        return "without its numbers (on the meta device)"
    dtype = str(tensor.dtype)
    return None if dtype in DTYPES else f"of the type {dtype.removeprefix('torch.')}"


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return repr(file.read(8))
