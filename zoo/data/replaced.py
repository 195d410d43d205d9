"""Files that hold something else than they did: found by their stamps, and proven by reading them again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo.data.containers import stamp_of
from zoo.data.contents import Contents, read_contents
from zoo.data.hashes import stamp_rows
from zoo.data.names import one_line

_MOST_NAMED = 3


@dataclass
class Watched:
    """Some files as they were. paths: each once; contents: of each, in this order."""

    paths: Sequence[Path]
    contents: Contents

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {os.fspath(path): row for row, path in enumerate(self.paths)}

    def fingerprint(self, paths: Iterable[Path]) -> str:
        """sha256 over what some of the files held, in this order."""
        digest = hashlib.sha256()
        for path in paths:
            digest.update(self.contents.digests[self._rows[os.fspath(path)]].tobytes())
        return digest.hexdigest()

    def find_replaced(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """Those of some of the files that hold something else now, with its sha256. Files that are gone, or
        cannot be read, are not among them.

        A look at the stamp of each (3 us) is enough where nothing was written; else the file is read.
        """
        suspects = [path for path in paths if self._has_another_stamp(path)]
        now = read_contents(suspects)
        replaced = {}
        for row, (path, digest) in enumerate(zip(suspects, now.list_digests(), strict=True)):
            then = self._rows[os.fspath(path)]
            if digest is None:
                continue
            if digest == self.contents.digests[then].tobytes():  # written again, or copied: not read twice
                self.contents.stamps[then] = now.stamps[row]
            else:
                replaced[path] = digest
        return replaced

    def _has_another_stamp(self, path: Path) -> bool:
        stamp = stamp_of(path)
        then = self.contents.stamps[self._rows[os.fspath(path)]]
        return stamp is not None and not (stamp_rows([stamp])[0] == then).all()


def name_replaced(paths: Iterable[Path], root: Path) -> str:
    """The first few of some files, below the root."""
    names = sorted(one_line(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
