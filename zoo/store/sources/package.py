"""`package://PACKAGE/FILE`: a file of an installed Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from zoo.catalogue.schemes import parse_package_url
from zoo.errors import SourceMissing, UsageError
from zoo.store.remote import Wanted


def resolve(wanted: Wanted) -> Path:
    """The path of a file in an installed package. The package is not imported: none of its code runs."""
    named = parse_package_url(wanted.url)
    if named is None or ".." in PurePosixPath(named[1]).parts:
        raise UsageError(
            f"{wanted.entry.name}: {wanted.url} is not a file of a package",
            hint="Write it as package://PACKAGE/FOLDER/FILE.",
        )
    package, file = named[0], PurePosixPath(named[1].lstrip("/"))
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder, *file.parts)
        if path.is_file():
            return path
    if folders:
        raise SourceMissing(
            f"{wanted.entry.name}: the package {package} has no {file}",
            hint=f"Install it again: pip install --force-reinstall {package}",
        )
    raise UsageError(
        f"{wanted.entry.name}: the package {package} is not installed",
        hint=f"Install it: pip install {package}",
    )
