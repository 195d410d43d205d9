"""Files are called by what their bytes are, whatever they are named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zoo.errors import IntegrityError
from zoo.file_formats import FOREIGN, detect_format, refuse_foreign


def archive_of(**members: bytes) -> bytes:
    """A zip archive."""
    written = io.BytesIO()
    with ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return written.getvalue()


def tar_of(*names: str) -> bytes:
    """A tar archive of empty files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return written.getvalue()


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    """What a library writes."""
    written = io.BytesIO()
    write(written)
    return written.getvalue()


WEIGHTS = {"conv.weight": torch.ones(3)}
# What ONNX's and TensorFlow Lite's own writers begin with; Flax's, by msgpack's specification.
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x8d\x03"
TFLITE = struct.pack("<I", 28) + b"TFL3" + bytes(20)
FLAX = b"\x81\xa6params\x82\xa5Dense"
SHARDS = {"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
FILES: dict[str, list[bytes]] = {
    "onnx": [ONNX, b"\x08\x08\x3a\x90\x02\x0a\x11"],
    "tflite": [TFLITE],
    "hdf5": [b"\x89HDF\r\n\x1a\n" + bytes(100)],
    "keras": [archive_of(config_DOT_json=b"{}", metadata_DOT_json=b"{}", model_DOT_weights_DOT_h5=b"x")],
    "numpy": [saved(lambda f: np.save(f, np.ones(3)))],
    "npz": [
        saved(lambda f: np.savez(f, a=np.ones(3))),
        saved(lambda f: np.savez_compressed(f, a=np.ones(3))),
    ],
    "gguf": [b"GGUF\x03" + bytes(100)],
    "msgpack": [FLAX],
    "packed": [archive_of(resnet18_DOT_pth=b"x"), archive_of(release__model_DOT_safetensors=b"x")],
    "archive": [archive_of(vectors_DOT_txt=b"the 0.1 0.2\n")],
    "tarball": [tar_of("model.pth"), tar_of("a", "b")],
    "gzip": [gzip.compress(b"x" * 100)],
    "bzip2": [bz2.compress(b"x" * 100)],
    "xz": [lzma.compress(b"x" * 100)],
    "zstd": [b"\x28\xb5\x2f\xfd" + bytes(50)],
    "lfs-pointer": [b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 98\n"],
    "web-page": [b"<!DOCTYPE html>\n<html>", b"\n <HTML lang=en>", b"<?xml version='1.0'?>"],
    "index": [json.dumps(SHARDS).encode(), json.dumps(SHARDS, indent=2).encode()],
    "json": [b'{"architectures": ["ResNet"]}', b"[1, 2]"],
    "fasttext": [b"\xba\x16\x4f\x2f\x0c\x00\x00\x00" + bytes(100)],
    "zip": [saved(lambda f: torch.save(WEIGHTS, f))],
    "pickle": [saved(lambda f: torch.save(WEIGHTS, f, _use_new_zipfile_serialization=False))],
    "tar": [tar_of("storages", "tensors", "pickle")],
    "unknown": [b"", b"hello", b"{ 0.1 0.2 0.3\n} 0.2 0.1 0.3\n", b"<html> -0.1 2e-05\nb 1 2\n", bytes(600)],
}


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind, files in FILES.items() for number in range(len(files))]
)
def test_a_file_is_called_by_what_its_bytes_are(tmp_path: Path, kind: str, number: int) -> None:
    (tmp_path / "model.pth").write_bytes(FILES[kind][number])
    assert detect_format(tmp_path / "model.pth") == kind
    if kind in FOREIGN:
        with pytest.raises(IntegrityError, match=r"model\.pth is ") as raised:
            refuse_foreign(kind, "model.pth", "weights")
        assert raised.value.hint
        assert raised.value.exit_code == 3


def test_every_foreign_format_is_tried() -> None:
    assert set(FOREIGN) - {"torch-export"} <= set(FILES)


def test_safetensors_and_programs_of_torch_are_called_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_file(WEIGHTS, path)
    assert detect_format(path) == "safetensors"
    save_file(WEIGHTS, path, metadata={"note": "x" * 5000})
    assert detect_format(path) == "safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
        torch.export.save(program, tmp_path / "net.pt2")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "net.pt")
    assert detect_format(tmp_path / "net.pt2") == "torch-export"
    assert detect_format(tmp_path / "net.pt") == "zip", "refused by the reader of checkpoints, as a program"
    assert detect_format(tmp_path / "nothing") == "gone"
