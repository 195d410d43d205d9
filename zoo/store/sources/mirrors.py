"""Other places to ask first: `$ZOO_MIRROR`, rules of the form FROM=TO separated by spaces.

    ZOO_MIRROR="https://github.com/=https://mirror.lab/github/ https://huggingface.co/=https://mirror.lab/hf/"

A URL that begins with FROM is asked at TO plus its rest, then where it comes from. What a mirror sends is
verified like everything else, so that it need not be trusted. No token goes to a mirror.
"""

from __future__ import annotations

import os
from dataclasses import replace

from zoo.errors import UsageError
from zoo.store.remote import Remote


def mirror_rules() -> tuple[tuple[str, str], ...]:
    """The (FROM, TO) pairs of $ZOO_MIRROR. Raises UsageError for a rule that is none."""
    rules = []
    for rule in os.environ.get("ZOO_MIRROR", "").split():
        source, equals, target = rule.partition("=")
        if not (equals and source and target):
            raise UsageError(
                f"ZOO_MIRROR: {rule!r} is no rule",
                hint="Write FROM=TO: https://github.com/=https://mirror.lab/",
            )
        rules.append((source, target))
    return tuple(rules)


def with_mirrors(remote: Remote, rules: tuple[tuple[str, str], ...]) -> tuple[Remote, ...]:
    """What to ask, in order: each mirror whose rule fits, then the source itself.

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
