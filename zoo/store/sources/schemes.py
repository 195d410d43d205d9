"""The table of URL schemes. A new one is a file beside this one and a row here; third parties add theirs
through the entry point group `zoo.sources`, whose values are `Scheme` objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from zoo.catalogue.plugins import SOURCES, guard, load_plugin, plugin_names
from zoo.errors import AddressRefused
from zoo.store.remote import Remote, Scheme
from zoo.store.sources import file, gensim, hf, https, package

SCHEMES: dict[str, Scheme] = {
    "https": Scheme(https.resolve),
    "http": Scheme(https.resolve),  # to this machine only: zoo/store/trust/addresses.py
    "hf": Scheme(hf.resolve),
    "gensim": Scheme(gensim.resolve),
    "file": Scheme(file.resolve, local=True),
    "package": Scheme(package.resolve, local=True),
}


def find_scheme(url: str) -> Scheme:
    """The row for a URL. Raises AddressRefused for a scheme that nobody knows: it is never tried.

    Raises BrokenPlugin for one of a package that does not work.
    """
    name = urlsplit(url).scheme.lower()
    if name in SCHEMES:
        return SCHEMES[name]
    found = load_plugin(SOURCES, name, Scheme) if name else None
    if found is None:
        raise AddressRefused(
            f"{url} is refused: the scheme {name or '(none)'!r} is not known",
            hint=f"Use one of: {', '.join((*SCHEMES, *plugin_names(SOURCES)))}.",
        )
    return replace(found, resolve=guard(SOURCES, name, found.resolve, (Remote, Path)))
