"""`https://host/file` (and plain http to this machine, for mirrors and tests)."""

from __future__ import annotations

from zoo.store.remote import Remote, Wanted
from zoo.store.trust.addresses import parse_address


def resolve(wanted: Wanted) -> Remote:
    """One request for the URL as it is. Raises AddressRefused if it may not be opened."""
    parse_address(wanted.url)
    return Remote((wanted.url,))
