"""Checkpoints with a pickle of the test's own making in them."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile


def write_raw(path: Path, code: bytes) -> None:
    """A file of torch.save's zip format whose pickle is `code`."""
    with ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", code)
        archive.writestr("net/byteorder", "little")
        archive.writestr("net/version", "3\n")
