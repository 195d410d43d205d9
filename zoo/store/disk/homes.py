"""Where the store is on disk, and what the environment says about the network."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import StorageError

TRUE = {"1", "true", "yes", "on"}


def find_homes() -> tuple[Path, ...]:
    """The folders of the store, in the order to look: shared ones first, the user's own last.

    $ZOO_HOME is one folder, or a search path as $PATH is: a lab keeps one copy that everybody reads, and what
    is missing there goes into the last folder. Without it: the platform's cache folder + `zoo`.
    Raises StorageError when there is no such folder to name: HOME unset, for a user that the system does not
    know, as containers have it.
    """
    given = [part for part in os.environ.get("ZOO_HOME", "").split(os.pathsep) if part.strip()]
    if given:
        return tuple(expand(part).absolute() for part in given)
    from platformdirs import user_cache_path

    nowhere = StorageError(
        "there is no home folder to keep models in: HOME is not set",
        hint="Say where: export ZOO_HOME=/some/folder",
    )
    try:
        home = user_cache_path("zoo", appauthor=False)
    except RuntimeError as error:
        raise nowhere from error
    if not home.is_absolute():  # platformdirs before 4.5 left "~" as it is
        raise nowhere
    return (home,)


def expand(path: str | Path) -> Path:
    """A path with ~ filled in where there is such a home; else as written: a container may have none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - the other one raises


def is_offline() -> bool:
    """Whether $ZOO_OFFLINE or $HF_HUB_OFFLINE forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in TRUE for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE"))
