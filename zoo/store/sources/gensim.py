"""`gensim://NAME`: word vectors of gensim-data, from its releases on GitHub.

Only the data file is fetched. gensim's own downloader also fetches, and then executes, a Python module per
data set.
"""

from __future__ import annotations

from zoo.catalogue.schemes import parse_gensim_url
from zoo.errors import UsageError
from zoo.store.remote import Remote, Wanted

RELEASES = "https://github.com/RaRe-Technologies/gensim-data/releases/download"


def resolve(wanted: Wanted) -> Remote:
    """The release files of `gensim://NAME[/FILE][?parts=N]`.

    FILE is `NAME.gz` unless given. A file in N parts is published as FILE_00, FILE_01, …, to be joined.
    """
    named = parse_gensim_url(wanted.url)
    if named is None:
        raise UsageError(
            f"{wanted.entry.name}: {wanted.url} is not a data set of gensim-data",
            hint="Write it as gensim://NAME, for example gensim://glove-wiki-gigaword-50.",
        )
    name, file, parts = named
    whole = f"{RELEASES}/{name}/{file}"
    if parts == 1:
        return Remote((whole,))
    return Remote(tuple(f"{whole}_{number:02d}" for number in range(parts)))
