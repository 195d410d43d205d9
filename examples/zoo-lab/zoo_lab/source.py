"""`lab://FOLDER/FILE`: a file of the lab's own server, which $LAB_SERVER names."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from zoo.plugins import Remote, Scheme, UsageError, Wanted


def resolve(wanted: Wanted) -> Remote:
    """The one URL to download. Raises UsageError where nobody said which server."""
    server = os.environ.get("LAB_SERVER")
    if not server:
        raise UsageError(
            f"{wanted.entry.name}: {wanted.url} is on the lab's server, and LAB_SERVER is not set",
            hint="Say where it is: export LAB_SERVER=https://models.our-lab.example",
        )
    url = urlsplit(wanted.url)
    return Remote((f"{server.rstrip('/')}/{url.netloc}{url.path}",))


SCHEME = Scheme(resolve)
