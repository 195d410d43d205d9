"""The folders of the store, and whether the environment forbids the network."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import StorageError

TRUE = {"1", "true", "yes", "on"}


def find_homes() -> tuple[Path, ...]:
    """The folders of the store, in search order: shared ones first, the user's own last.

    $ZOO_HOME is one folder, or a search path like $PATH: a lab keeps one copy that everyone reads, and
    missing models are stored in the last folder. Without it: `zoo` in the platform's cache folder.
    Raises StorageError if there is no such folder: HOME unset and the user unknown, as in some containers.
    """
    given = [part for part in os.environ.get("ZOO_HOME", "").split(os.pathsep) if part.strip()]
    if given:
        return tuple(expand(part).absolute() for part in given)
    from platformdirs import user_cache_path

    nowhere = StorageError(
        "there is no home folder to keep models in: HOME is not set",
        hint="Choose a folder: export ZOO_HOME=/some/folder",
    )
    try:
        home = user_cache_path("zoo", appauthor=False)
    except RuntimeError as error:
        raise nowhere from error
    if not home.is_absolute():  # platformdirs before 4.5 left "~" as it is
        raise nowhere
    return (home,)


def path_of_address(url: str) -> Path:
    """The path of a `file://` address."""
    from urllib.request import url2pathname  # 20 ms, with http, ssl and email

    return Path(url2pathname(url.removeprefix("file://")))


def expand(path: str | Path) -> Path:
    """A path with ~ expanded if that home exists; else unchanged: a container may have none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - the other one raises


def is_offline() -> bool:
    """Whether $ZOO_OFFLINE or $HF_HUB_OFFLINE forbids the network."""
    return bool(_offline_variables())


def online_again() -> str:
    """How to leave offline mode: which variable to unset, or the option to leave out."""
    names = " and ".join(_offline_variables())
    return f"unset {names}" if names else "without --offline"


def _offline_variables() -> list[str]:
    return [
        name for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(name, "").strip().lower() in TRUE
    ]
