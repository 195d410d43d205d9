"""A checkpoint of PyTorch, opened by an unpickler that runs no code; and why it could not be.

torch's `weights_only` unpickler knows tensors and plain values. What training scripts keep beside the weights
and cannot do harm is read as stand-ins: see zoo.backbones.harmless.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch
from torch.serialization import safe_globals

from zoo.backbones.formats import damage, first_line
from zoo.backbones.harmless import STAND_INS
from zoo.errors import IntegrityError, UnsafeFile

# Bytes of tensors for each byte of file: tied tensors make it 2, packed ones a little more.
MOST_RATIO = 10
FREE_BYTES = 16 << 20  # a small file may hold more
UNSAFE = ("GLOBAL", "Unsupported ", "unrecognized function", "blocked", "TorchScript", "legacy .tar")
ALLOWING = Lock()  # torch's list of allowed names is one for the whole process


def open_checkpoint(path: Path, kind: str, what: str) -> tuple[Any, list[ZipInfo] | None]:
    """(what a file of `torch.save` holds, the members that its tensors are mapped from, if they are).

    kind: "zip" for the new format, "pickle" for the old one. Raises UnsafeFile where opening it could run
    code, IntegrityError where it is damaged.
    """
    mapped = None
    if kind == "zip":
        members = _list_members(path, what)
        check_size(what, path, sum(member.file_size for member in members))
        # torch maps the bytes as they lie in the archive: of a compressed member they are not the numbers.
        if all(member.compress_type == ZIP_STORED and not member.flag_bits & 1 for member in members):
            mapped = members
    try:
        with ALLOWING, safe_globals(STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the formats that are refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped is not None)
    except Exception as error:  # a crafted pickle can make the unpickler raise anything
        raise _explain(error, path, kind, what) from error
    return loaded, mapped


def check_size(what: str, path: Path, count: int) -> None:
    """Raise UnsafeFile if a file turns into far more bytes than it has."""
    size = path.stat().st_size
    if count > FREE_BYTES + MOST_RATIO * size:
        raise UnsafeFile(
            f"{what} is refused: {size:,} bytes turn into {count:,}, as in a decompression bomb",
            hint="Ask its author for safetensors.",
        )


def _list_members(path: Path, what: str) -> list[ZipInfo]:
    """The members of a zip file."""
    try:
        with ZipFile(path) as archive:
            return archive.infolist()
    except (BadZipFile, ValueError, OSError) as error:
        raise damage(what, f"a damaged archive: {first_line(error)}") from error


def _explain(error: Exception, path: Path, kind: str, what: str) -> IntegrityError:
    """Why torch's unpickler gave up: the file would run something, is of another form, or is damaged."""
    text = str(error)
    if not any(word in text for word in UNSAFE):
        return damage(what, f"PyTorch cannot read it: {first_line(error) or type(error).__name__}")
    wanted = re.search(r"GLOBAL (\S+)", text)
    if wanted is not None:
        return UnsafeFile(
            f"{what} is refused: opening it would run {wanted[1].rstrip('.,`')}", hint=_conversion(path)
        )
    if "TorchScript" in text:
        reason = "a TorchScript archive is a program, not weights"
    elif ".tar" in text:
        reason = "the tar format of PyTorch before 1.0 can only be opened by running it"
    elif (protocol := _protocol(path, kind)) > 2:
        return IntegrityError(
            f"{what}: saved with pickle protocol {protocol}, and PyTorch's safe reader knows protocol 2 only",
            hint=_conversion(path),
        )
    else:
        reason = "it holds more than weights"
    return UnsafeFile(f"{what} is refused: {reason}", hint=_conversion(path))


def _conversion(path: Path) -> str:
    """How somebody who trusts a file converts it: whether it holds a module or a dictionary."""
    return f"""\
Ask its author for safetensors. If you trust it, convert it yourself, on a machine that may be lost:
  import torch
  c = torch.load({str(path)!r}, weights_only=False, map_location="cpu")
  parts = [c, *c.values()] if isinstance(c, dict) else [c]
  parts = [p.state_dict() if isinstance(p, torch.nn.Module) else p for p in parts]
  best = max((p for p in parts if isinstance(p, dict)), key=lambda p: sum(map(torch.is_tensor, p.values())))
  torch.save({{k: v for k, v in best.items() if torch.is_tensor(v)}}, "converted.pth")
and use converted.pth."""


def _protocol(path: Path, kind: str) -> int:
    """The protocol of the pickle in a checkpoint; 0 where it cannot be seen."""
    try:
        if kind == "zip":
            with ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                start = archive.open(name).read(2)
        else:
            with path.open("rb") as file:
                start = file.read(2)
    except (BadZipFile, StopIteration, OSError):
        return 0
    return start[1] if start[:1] == b"\x80" and len(start) == 2 else 0
