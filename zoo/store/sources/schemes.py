"""What finds the file of a URL: a file beside this one, which the scheme's row in zoo/catalogue/schemes.py
names, or a `Scheme` of another package, found through the entry point group `zoo.sources`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import urlsplit

from zoo.catalogue.plugins import SOURCES, guard, load_plugin, plugin_names
from zoo.catalogue.schemes import SCHEMES
from zoo.errors import AddressRefused
from zoo.store.remote import Remote, Scheme


def find_scheme(url: str) -> Scheme:
    """The scheme of a URL. Raises AddressRefused for one that is not known: it is never tried.

    Raises BrokenPlugin for one of a package that does not work.
    """
    name = urlsplit(url).scheme.lower()
    if name in SCHEMES:
        return _own_scheme(name)
    found = load_plugin(SOURCES, name, Scheme) if name else None
    if found is None:
        raise AddressRefused(
            f"{url} is refused: the scheme {name or '(none)'!r} is not known",
            hint=f"Use one of: {', '.join((*SCHEMES, *plugin_names(SOURCES)))}.",
        )
    return replace(found, resolve=guard(SOURCES, name, found.resolve, (Remote, Path)))


@cache
def _own_scheme(name: str) -> Scheme:
    row = SCHEMES[name]
    return Scheme(resolve_name(row.resolver), local=row.local)
