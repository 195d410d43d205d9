"""Weights of other people as named tensors, and never their code.

A `.pth` file is a pickle: opening it with pickle runs what its author put in. It is opened by torch's
`weights_only` unpickler alone, right after it was hashed again, once; what comes out is kept as safetensors,
which hold numbers and nothing else and are mapped into memory, and the pickle is deleted.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.serialization import safe_globals

from zoo.backbones.formats import FOREIGN, Format, damage, detect_format, first_line
from zoo.errors import IntegrityError, StorageError, UnsafeFile
from zoo.events import Note, Report, silent
from zoo.store.local import LocalModel

if TYPE_CHECKING:
    from zoo.store.store import Store

KIND = "safetensors"
# Where training scripts put weights among other things; of two, the averaged ones, as timm does.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "params_ema",
    "params",
    "weights",
    "network",
    "net",
)
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel (AveragedModel too) and torch.compile
COUNTERS = {"n_averaged"}  # what AveragedModel keeps beside the network
INFINITE = "infinity"
# Bytes of tensors for each byte of file: tied tensors make it 2, packed ones a little more.
MOST_RATIO = 10
FREE_BYTES = 16 << 20  # a small file may hold more
UNSAFE = ("GLOBAL", "Unsupported ", "unrecognized function", "blocked", "TorchScript", "legacy .tar")
CONVERT = (
    "Ask its author for safetensors. If you trust it, convert it yourself, on a machine that may be lost:"
    " torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW), and register NEW."
)


def load_weights(local: LocalModel, store: Store, *, report: Report = silent) -> dict[str, Tensor]:
    """The named tensors of a verified model, mapped from a safetensors file of the store.

    Another format is converted at the first time, under the store's lock, and replaced: no extra disk is
    used. Writing to a tensor changes a copy; the file stays. Raises UnsafeFile, HashMismatch, IntegrityError.
    """
    converted = store.derived(local, KIND)
    if converted is None and detect_format(local.path) == "safetensors":
        converted = local.path
    if converted is None:
        try:
            converted = _convert(local, store, report)
        except StorageError as error:
            if not local.path.is_file():
                raise
            report(Note(f"{local.entry.name} is not kept as safetensors: {error.message}", error.hint))
            store.prove(local)
            return read_state_dict(local.path, what=local.entry.name, report=report)
    return read_state_dict(converted, what=local.entry.name, report=report)


def read_state_dict(path: Path, *, what: str | None = None, report: Report = silent) -> dict[str, Tensor]:
    """The named tensors of a safetensors or `.pth` file, on the CPU.

    what: the name that messages use. A state dict inside a training checkpoint is unwrapped and `module.`
    prefixes are stripped: a Note tells each. `find_odd_numbers` looks for NaN in them.
    Raises UnsafeFile if opening the file could run code, IntegrityError if it is damaged or holds no weights.
    """
    what = path.name if what is None else what
    kind = detect_format(path)
    if kind == "gone":
        raise IntegrityError(f"{what}: {path} is not there", hint=f"zoo fetch {what} brings it again.")
    if kind in FOREIGN:
        raise IntegrityError(
            f"{what}: {FOREIGN[kind]}, not weights of PyTorch", hint="Convert it to safetensors."
        )
    if kind == "safetensors":
        return _read_safetensors(path, what)
    return _read_checkpoint(path, kind, what, report)


def strip_prefixes(tensors: dict[str, Tensor], what: str, report: Report) -> dict[str, Tensor]:
    """The tensors under the names of the bare network."""
    for prefix in PREFIXES * 2:  # both wrap both ways round
        inside = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if inside and set(tensors) - set(inside) <= COUNTERS:
            report(Note(f"{what}: the prefix {prefix!r} of every name is stripped"))
            tensors = {name.removeprefix(prefix): tensor for name, tensor in inside.items()}
    return tensors


def write_state_dict(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Keep tensors as safetensors. Tensors that share memory become separate: the format knows no sharing."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size() and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        separate[name] = tensor.contiguous() if whole else tensor.contiguous().clone()
    try:
        save_file(separate, path, metadata={"format": "pt"})
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise damage(path.name, f"cannot be kept as safetensors: {first_line(error)}") from error


def find_odd_numbers(tensor: Tensor) -> str | None:
    """NaN or infinity in a tensor, in words; None where all is well. It is read once."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return None
    low, high = (tensor.float() if tensor.element_size() == 1 else tensor).aminmax()
    if torch.isnan(low):
        return "NaN"
    return None if torch.isfinite(low) and torch.isfinite(high) else INFINITE


def _convert(local: LocalModel, store: Store, report: Report) -> Path:
    """The safetensors file made from a model's file, which is deleted once it is there."""

    def write(path: Path) -> None:
        store.prove(local)  # a stamp can be forged, and the next line unpickles
        write_state_dict(read_state_dict(local.path, what=local.entry.name, report=report), path)

    return store.derive(local, KIND, write, keep_source=False, report=report)


def _read_safetensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, mapped: nothing is read before it is used."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, KeyError, AttributeError) as error:
        raise damage(what, f"no proper safetensors file: {first_line(error)}") from error
    if not tensors:
        raise damage(what, "a safetensors file without tensors")
    return tensors


def _read_checkpoint(path: Path, kind: Format, what: str, report: Report) -> dict[str, Tensor]:
    """The tensors of a file of `torch.save`, new (zip) or old (pickle), by an unpickler that runs no code."""
    mapped = False
    if kind == "zip":
        members = _list_members(path, what)
        _check_size(what, path, sum(member.file_size for member in members))
        # torch maps the bytes as they lie in the archive: of a compressed member they are not the numbers.
        mapped = all(member.compress_type == ZIP_STORED and not member.flag_bits & 1 for member in members)
    if kind == "unknown":
        raise damage(
            what, f"neither safetensors nor a checkpoint of PyTorch (it begins with {_beginning(path)})"
        )
    try:
        # Training scripts save their options in a Namespace, which holds values only.
        with safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the formats that are refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a crafted pickle can make the unpickler raise anything
        if any(word in str(error) for word in UNSAFE):
            raise _refusal(what, error) from error
        reason = first_line(error) or type(error).__name__
        raise damage(what, f"PyTorch cannot read it: {reason}") from error
    tensors = _unwrap(loaded, what, report)
    for name, tensor in tensors.items():
        if form := _find_form(tensor):
            raise damage(what, f"{name} is {form}, which no network here takes")
    if mapped:
        _check_lengths(what, tensors.values(), members)
    # One stored number can be spread over any shape, and the next step would read or write all of it.
    _check_size(what, path, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
    return strip_prefixes(tensors, what, report)


def _list_members(path: Path, what: str) -> list[ZipInfo]:
    """The members of a zip file."""
    try:
        with ZipFile(path) as archive:
            return archive.infolist()
    except (BadZipFile, ValueError, OSError) as error:
        raise damage(what, f"a damaged archive: {first_line(error)}") from error


def _check_lengths(what: str, tensors: Iterable[Tensor], members: Iterable[ZipInfo]) -> None:
    """Raise IntegrityError where a mapped tensor reaches beyond its member, into the bytes of the next."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in tensors)}
    longer = Counter(storages.values()) - Counter(member.file_size for member in members)
    if any(longer):
        raise damage(what, f"a damaged archive: no member has the {max(longer):,} bytes of a tensor")


def _check_size(what: str, path: Path, count: int) -> None:
    """Raise UnsafeFile if a file turns into far more bytes than it has."""
    size = path.stat().st_size
    if count > FREE_BYTES + MOST_RATIO * size:
        raise UnsafeFile(
            f"{what} is refused: {size:,} bytes turn into {count:,}, as in a decompression bomb",
            hint="Ask its author for safetensors.",
        )


def _unwrap(loaded: Any, what: str, report: Report) -> dict[str, Tensor]:
    """The state dict inside whatever a training script saved."""
    path: list[str] = []
    while isinstance(loaded, Mapping):
        tensors = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
        inner = next((k for k in WRAPPERS if isinstance(loaded.get(k), Mapping) and loaded[k]), None)
        if inner is not None and len(tensors) <= len(loaded[inner]) and len(path) < 4:
            path.append(inner)
            loaded = loaded[inner]
            continue
        tensors = tensors or _gather(loaded)
        if not tensors or not all(isinstance(name, str) for name in tensors):
            break
        others = [str(n) for n in loaded if not any(key == n or key.startswith(f"{n}.") for key in tensors)]
        if path:
            report(Note(f"{what}: the weights are taken from {'.'.join(path)!r} of the checkpoint"))
        if others:
            report(Note(f"{what}: left out, as no tensors: {', '.join(others[:5])}"))
        return tensors
    is_mapping = isinstance(loaded, Mapping)
    found = f"{', '.join(map(repr, list(loaded)[:5]))}" if is_mapping else type(loaded).__name__
    raise damage(what, f"no weights in it, but {found or 'nothing'}")


def _gather(parts: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of several state dicts side by side, named as if they were parts of one network."""
    return {
        f"{part}.{name}": value
        for part, inside in parts.items()
        if isinstance(inside, Mapping)
        for name, value in inside.items()
        if isinstance(value, Tensor)
    }


def _find_form(tensor: Tensor) -> str | None:
    """What makes a tensor another thing than an array of numbers in memory; None for a plain one."""
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return "quantized"
    return "without its numbers (on the meta device)" if tensor.is_meta else None


def _refusal(what: str, error: Exception) -> UnsafeFile:
    """The error that names what a file wanted to call."""
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted is not None:
        reason = f"opening it would run {wanted[1].rstrip('.,`')}"
    elif "TorchScript" in str(error):
        reason = "a TorchScript archive is a program, not weights"
    elif ".tar" in str(error):
        reason = "the tar format of PyTorch before 1.0 can only be opened by running it"
    else:
        reason = "it holds more than weights"
    return UnsafeFile(f"{what} is refused: {reason}", hint=CONVERT)


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return repr(file.read(8))
