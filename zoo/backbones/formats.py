"""What a file of weights is, by its first bytes, and the notes in its header. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from zoo.errors import IntegrityError

Format = Literal["safetensors", "zip", "pickle", "tar", "numpy", "hdf5", "gguf", "unknown", "gone"]
FOREIGN = {
    "numpy": "an array of numpy",
    "hdf5": "an HDF5 file, as Keras writes it",
    "gguf": "a GGUF file of a language model",
}


def detect_format(path: Path) -> Format:
    """What a file is, by its first bytes: names and suffixes prove nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
        size = path.stat().st_size
    except FileNotFoundError:
        return "gone"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith(b"\x93NUMPY"):
        return "numpy"
    if start.startswith(b"\x89HDF\r\n"):
        return "hdf5"
    if start.startswith(b"GGUF"):
        return "gguf"
    header = int.from_bytes(start[:8], "little")
    return "safetensors" if start[8:9] == b"{" or 8 <= header <= size - 8 else "unknown"


def read_metadata(path: Path, what: str) -> dict[str, str]:
    """The notes in the header of a safetensors file: text by name, whatever its author put there."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, ValueError, OSError) as error:
        raise damage(what, f"no proper safetensors file: {first_line(error)}") from error


def damage(what: str, fault: str) -> IntegrityError:
    return IntegrityError(
        f"{what}: {fault}", hint="If its hash is the published one, it was published so: use another file."
    )


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
