"""What a file is, by its first bytes: the formats that people have, and what to do with those not read here.

Names and suffixes prove nothing. Nothing is unpacked or unpickled; of archives the names of members are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from zoo.errors import IntegrityError

BEGINNING = 512


class Foreign(NamedTuple):
    """A format that does not hold weights for a network of PyTorch: what it is, and what to do."""

    what: str
    hint: str


EXPORT = "Save the weights where the model was made: torch.save(model.state_dict(), FILE), and use that file."
UNPACK = "Unpack it, and use the file inside."
JOIN = (
    "Download its parts, join them, and use that file:\n"
    "  from safetensors.torch import load_file, save_file\n"
    "  save_file({k: t for part in PARTS for k, t in load_file(part).items()}, 'whole.safetensors')"
)
FOREIGN: dict[str, Foreign] = {
    "onnx": Foreign("an ONNX model, a graph", EXPORT),
    "tflite": Foreign("a TensorFlow Lite model", EXPORT),
    "hdf5": Foreign("an HDF5 file, as Keras writes it (.h5)", EXPORT),
    "keras": Foreign("a model of Keras (.keras)", EXPORT),
    "torch-export": Foreign("a program of torch.export (.pt2)", EXPORT),
    "numpy": Foreign("an array of numpy (.npy)", "Convert it to safetensors: safetensors.numpy.save_file."),
    "npz": Foreign("arrays of numpy (.npz)", "Convert it to safetensors: safetensors.numpy.save_file."),
    "gguf": Foreign("a GGUF file of a language model", "Convert it to safetensors."),
    "msgpack": Foreign("weights of Flax (msgpack)", "Convert it to safetensors: safetensors.flax.save_file."),
    "packed": Foreign("a .zip with a file of weights in it", UNPACK),
    "archive": Foreign("a .zip archive without weights of PyTorch", "Use the file of weights itself."),
    "tarball": Foreign("a tar archive", UNPACK),
    "gzip": Foreign("compressed with gzip", "Decompress it (gunzip), and use the file inside."),
    "bzip2": Foreign("compressed with bzip2", "Decompress it (bunzip2), and use the file inside."),
    "xz": Foreign("compressed with xz", "Decompress it (unxz), and use the file inside."),
    "zstd": Foreign("compressed with Zstandard", "Decompress it (unzstd), and use the file inside."),
    "lfs-pointer": Foreign(
        "a pointer of Git LFS",
        "The file itself was not downloaded: run `git lfs pull` in its repository, or download it.",
    ),
    "web-page": Foreign("a web page", "The address is of a page about the file: use that of the download."),
    "index": Foreign("the index of weights in several files (index.json)", JOIN),
    "json": Foreign("JSON text", "Use the file of weights beside it."),
}
MAYBE_VECTORS = ("unknown", "fasttext", "archive", "gzip", "bzip2", "xz", "zstd")  # of words: their room says
_SIGNATURES = (  # format, where its bytes begin, the bytes
    ("zip", 0, b"PK\x03\x04"),
    ("tar", 257, b"ustar"),
    ("numpy", 0, b"\x93NUMPY"),
    ("hdf5", 0, b"\x89HDF\r\n"),
    ("gguf", 0, b"GGUF"),
    ("tflite", 4, b"TFL3"),
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 4, b"1AY&SY"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("fasttext", 0, b"\xba\x16\x4f\x2f"),
    ("lfs-pointer", 0, b"version https://git-lfs.github.com/spec/"),
    *(("pickle", 0, b"\x80" + bytes([protocol])) for protocol in range(2, 6)),
)
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42]")  # ir_version, then another field's tag
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml|head)", re.IGNORECASE)
_VECTORS = re.compile(rb"\S+(?: -?\d[\d.e-]*)+ ?\r?\n")  # of words: `{` and `<html` are words too
_FLAX = re.compile(rb"[\x81-\x8f]\xa6params|[\x81-\x8f][\xa1-\xbf][a-z_]+[\x81-\x8f\xde]")


def detect_format(path: Path) -> str:
    """What a file is.

    A key of FOREIGN; "safetensors"; "zip" or "pickle" for a checkpoint of PyTorch, new or old; "tar" for one
    from before its version 1.0; "fasttext"; "unknown"; or "gone" where there is no file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(BEGINNING)
        size = path.stat().st_size
    except FileNotFoundError:
        return "gone"
    found = detect_bytes(start, size)
    if found == "zip":
        return _look_into_zip(path)
    if found == "tar":
        return _look_into_tar(path)
    if found == "json":
        return "index" if b'"weight_map"' in _read(path, 1 << 22) else "json"
    return found


def detect_bytes(start: bytes, size: int) -> str:
    """What a file of `size` bytes is that begins with `start` (BEGINNING bytes are enough).

    As far as they show: "zip" for every zip archive, "tar" for every tar archive, "json" for any JSON.

    >>> detect_bytes(b"PK\\x03\\x04...", 100), detect_bytes(b"the 0.1 0.2", 100)
    ('zip', 'unknown')
    """
    for name, at, magic in _SIGNATURES:
        if start[at : at + len(magic)] == magic:
            return name
    if start[8:9] == b"{":
        return "safetensors"
    if _VECTORS.match(start):
        return "unknown"
    if _WEB_PAGE.match(start):
        return "web-page"
    if start.lstrip()[:1] in (b"{", b"["):
        return "json"
    if _ONNX.match(start):
        return "onnx"
    if _FLAX.match(start):
        return "msgpack"
    return "safetensors" if 8 <= int.from_bytes(start[:8], "little") <= size - 8 else "unknown"


def refuse_foreign(kind: str, what: str, wanted: str) -> None:
    """Raise IntegrityError for a format of FOREIGN. what: whose file it is. wanted: what it should be."""
    if kind in FOREIGN:
        foreign = FOREIGN[kind]
        raise IntegrityError(f"{what} is {foreign.what}, not {wanted}", hint=foreign.hint)


def _look_into_zip(path: Path) -> str:
    """Which of the formats that are zip archives a file is; "zip" for checkpoints, and for damaged ones."""
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, ValueError, OSError):
        return "zip"  # the reader of checkpoints says what is wrong with it
    if _ends(names, ("archive_format", "serialized_exported_program.json")):
        return "torch-export"
    if _ends(names, ("data.pkl", "constants.pkl")):
        return "zip"
    if _ends(names, ("model.weights.h5",)):
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    weights = (".pth", ".pt", ".ckpt", ".safetensors", "pytorch_model.bin", ".pth.tar")
    return "packed" if any(name.lower().endswith(weights) for name in names) else "archive"


def _look_into_tar(path: Path) -> str:
    """ "tar" for the format of PyTorch before 1.0, which has three members of these names."""
    return "tar" if b"storages" in _read(path, 1 << 20) else "tarball"


def _ends(names: Collection[str], last: Collection[str]) -> bool:
    return any(name.rpartition("/")[2] in last for name in names)


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)
