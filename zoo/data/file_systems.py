"""Which file systems can be trusted to change a file's ctime and inode with its bytes."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

LOCAL = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"}
)
"""Those whose inodes and ctimes this machine's kernel gives. Not those of a network or of FUSE, where they
are made up or come from another clock, and not images like squashfs: two of them may have the same."""

_MOUNTS = "/proc/self/mountinfo"


def identify(path: str, device: int) -> str | None:
    """64 hexadecimal digits for the file system of a file; None where stamps cannot be trusted, and wherever
    that is not known: on Windows and macOS.

    device: its number, as the file's stamp has it. After a restart it may be another one: then this is
    another file system.
    """
    if sys.platform != "linux":
        return None
    try:
        kind, now, system = kind_of(path), Path(path).stat().st_dev, os.statvfs(path).f_fsid
    except (OSError, ValueError):
        return None
    if kind not in LOCAL or now != device:
        return None
    return hashlib.sha256(f"{kind} {device} {system}".encode()).hexdigest()


def kind_of(path: str, mounts: str = _MOUNTS) -> str | None:
    """The type of the file system that a file is on, as the kernel calls it. Raises OSError."""
    real, kind, longest = os.path.realpath(path), None, 0
    with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            top = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split(" ")[4])
            inside = real == top or real.startswith(top.rstrip("/") + "/")
            if inside and len(top) >= longest:  # the last of equals lies over the others
                kind, longest = after.split(" ", 1)[0], len(top)
    return kind
