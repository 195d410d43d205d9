"""`gensim://NAME`: word vectors of gensim-data, from its releases on GitHub.

Only the data file is fetched. gensim's own downloader also fetches, and then executes, a Python module per
data set; this never does.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from zoo.errors import UsageError
from zoo.store.remote import Remote, Wanted

RELEASES = "https://github.com/RaRe-Technologies/gensim-data/releases/download"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def resolve(wanted: Wanted) -> Remote:
    """The release files of `gensim://NAME[/FILE][?parts=N]`.

    FILE is `NAME.gz` unless given. A file in N parts is published as FILE_00, FILE_01, …, to be joined.
    """
    url = urlsplit(wanted.url)
    name, file = url.netloc, url.path.lstrip("/") or f"{url.netloc}.gz"
    parts = parse_qs(url.query).get("parts", ["1"])[-1]
    if not (NAME.fullmatch(name) and NAME.fullmatch(file) and parts.isdigit() and 1 <= int(parts) <= 100):
        raise UsageError(
            f"{wanted.entry.name}: {wanted.url} names no data set of gensim-data",
            hint="Write it as gensim://NAME, for example gensim://glove-wiki-gigaword-50.",
        )
    whole = f"{RELEASES}/{name}/{file}"
    if int(parts) == 1:
        return Remote((whole,))
    return Remote(tuple(f"{whole}_{number:02d}" for number in range(int(parts))))
