"""Names that every file system can store: a registry, a bundle or a URL may name nothing else."""

from __future__ import annotations

import re

LONGEST = 255
_FORBIDDEN = r'[\0-\x1f\x7f/\\:*?"<>|]'
_RESERVED = r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?"  # by Windows


def is_portable(name: str) -> bool:
    """Whether one part of a path can be stored on Linux, macOS and Windows.

    >>> [is_portable(name) for name in ("net.pth", "..", "a/b", "aux.txt", "net.", "a:b", "")]
    [True, False, False, False, False, False, False]
    """
    return (
        bool(name)
        and not name.endswith((".", " "))
        and re.search(_FORBIDDEN, name) is None
        and re.fullmatch(_RESERVED, name, re.IGNORECASE) is None
    )


def fault_of_path(path: str) -> str | None:
    """What is wrong with a path that must stay inside its folder, on every system."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        return "a path that leaves its folder"
    if any(len(part) > LONGEST for part in parts):
        return f"a file name of more than {LONGEST} characters"
    if not all(map(is_portable, parts)):
        return "a file name that not every system can store"
    return None
