"""Mirrors: `$ZOO_MIRROR`, rules of the form FROM=TO, separated by spaces.

    ZOO_MIRROR="https://github.com/=https://mirror.lab/github/ https://huggingface.co/=https://mirror.lab/hf/"

A URL that begins with FROM is requested from TO plus its rest first, then from its source. A mirror need not
be trusted: its bytes are verified like all others. A mirror never gets a token.
"""

from __future__ import annotations

import os
from dataclasses import replace

from zoo.errors import UsageError
from zoo.store.remote import Remote


def mirror_rules() -> tuple[tuple[str, str], ...]:
    """The (FROM, TO) pairs of $ZOO_MIRROR. Raises UsageError for a malformed rule."""
    rules = []
    for rule in os.environ.get("ZOO_MIRROR", "").split():
        source, equals, target = rule.partition("=")
        if not (equals and source and target):
            raise UsageError(
                f"ZOO_MIRROR: {rule!r} is not a rule",
                hint="Write FROM=TO: https://github.com/=https://mirror.lab/",
            )
        rules.append((source, target))
    return tuple(rules)


def with_mirrors(remote: Remote, rules: tuple[tuple[str, str], ...]) -> tuple[Remote, ...]:
    """The places to ask, in order: each mirror whose rule matches, then the source.

    >>> ask = with_mirrors(Remote(("https://a.org/x",), token="t"), (("https://a.org/", "https://m.lab/a/"),))
    >>> [(r.urls, r.token) for r in ask]
    [(('https://m.lab/a/x',), None), (('https://a.org/x',), 't')]
    """
    mirrored = [
        replace(remote, urls=tuple(target + url.removeprefix(source) for url in remote.urls), token=None)
        for source, target in rules
        if all(url.startswith(source) for url in remote.urls)
    ]
    return (*mirrored, remote)
