"""The table of URL schemes. A new one is a file beside this one and a row here; third parties add theirs
through the entry point group `zoo.sources`, whose values are `Scheme` objects."""

from __future__ import annotations

from urllib.parse import urlsplit

from zoo.errors import AddressRefused
from zoo.store.sources import file, gensim, hf, https, package
from zoo.store.sources.remote import Scheme

GROUP = "zoo.sources"
SCHEMES: dict[str, Scheme] = {
    "https": Scheme(https.resolve),
    "http": Scheme(https.resolve),  # to this machine only: zoo/store/addresses.py
    "hf": Scheme(hf.resolve),
    "gensim": Scheme(gensim.resolve),
    "file": Scheme(file.resolve, local=True),
    "package": Scheme(package.resolve, local=True),
}


def find_scheme(url: str) -> Scheme:
    """The row for a URL. Raises AddressRefused for a scheme that nobody knows: it is never tried."""
    name = urlsplit(url).scheme.lower()
    if name in SCHEMES:
        return SCHEMES[name]
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        scheme: Scheme = point.load()
        return scheme
    raise AddressRefused(
        f"{url} is refused: the scheme {name or '(none)'!r} is not known",
        hint=f"Use one of: {', '.join(SCHEMES)}.",
    )
