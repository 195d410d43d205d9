"""The licences that a model may have: a policy, set in the environment or for one command.

    ZOO_LICENSE_POLICY=apache-2.0,mit,bsd-3-clause

A policy is an allow-list: names separated by commas or spaces, each an SPDX identifier, one of the names that
the Hub and timm use besides, or `LicenseRef-…` for one of your own (SPDX's form for that). Case does not
matter. There are no patterns: `cc-by*` would admit `cc-by-nc-4.0`. A model under `A or B` needs one of them,
under `A and B` both, with brackets as in SPDX. `unknown` is refused unless it is listed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import msgspec

from zoo.catalogue.entry import ModelEntry
from zoo.errors import LicenseRefused, UnknownName, UsageError, join_names

VARIABLE = "ZOO_LICENSE_POLICY"
UNKNOWN = "unknown"
OWN = "licenseref-"

# SPDX identifiers of licences that models and data are published under, https://spdx.org/licenses/
SPDX = """
0bsd afl-3.0 agpl-3.0 agpl-3.0-only agpl-3.0-or-later apache-2.0 artistic-2.0 blueoak-1.0.0 bsd-2-clause
bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
cecill-2.1 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gfdl-1.3 gpl-2.0 gpl-2.0-only gpl-2.0-or-later gpl-3.0
gpl-3.0-only gpl-3.0-or-later isc lgpl-2.1 lgpl-2.1-only lgpl-2.1-or-later lgpl-3.0 lgpl-3.0-only
lgpl-3.0-or-later lppl-1.3c mit mit-0 mpl-2.0 ms-pl ncsa odbl-1.0 odc-by-1.0 ofl-1.1 osl-3.0 pddl-1.0
postgresql python-2.0 unlicense upl-1.0 wtfpl zlib
"""
# Names of the Hub and timm that SPDX lacks.
OTHERS = """
apple-amlr apple-ascl bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd c-uda cc
cdla-permissive creativeml-openrail-m cvnets-license deepfloyd-if-license dinov3-license etalab-2.0
fair-noncommercial-research-license fastvit-license gemma gfdl gpl h-research intel-research lgpl llama2
llama3 llama3.1 llama3.2 llama3.3 llama4 mobileone-license nvidia-open-model-license odbl odc-by open-mdw
openrail openrail++ other pddl qwen-community-1.0 seer-license unknown
"""
KNOWN = tuple(sorted({*SPDX.split(), *OTHERS.split()}))
SAME = {
    "pddl": "pddl-1.0",
    "odbl": "odbl-1.0",
    "odc-by": "odc-by-1.0",
    "c-uda": "c-uda-1.0",
}  # only one version


class LicensePolicy(msgspec.Struct, frozen=True):
    """The licences that may be used. source: the environment variable or option that set it."""

    names: tuple[str, ...]
    source: str

    def allows(self, license: str) -> bool:  # noqa: A002, the word of the registry
        """Whether something under this licence may be used.

        >>> policy = LicensePolicy(("mit", "apache-2.0"), "--license")
        >>> [policy.allows(name) for name in ("MIT", "unknown", "mit or gpl-3.0", "mit and gpl-3.0")]
        [True, False, True, False]
        """
        listed = {_canonical(name) for name in self.names}
        return any(names <= listed for names in _read_choices(license))

    def check(self, entry: ModelEntry) -> None:
        """Raise LicenseRefused, with what to type, unless the model may be used."""
        if self.allows(entry.license):
            return
        under = (
            "has no stated licence (unknown)"
            if entry.license.lower() == UNKNOWN
            else f"is under {entry.license}"
        )
        raise LicenseRefused(
            f"{entry.name} {under}; {self.source} allows {join_names(self.names)}",
            hint=f"Allowed models: zoo list --license {','.join(self.names)}. {self._widen(entry.license)}",
        )

    def _widen(self, license: str) -> str:  # noqa: A002
        """The option that would allow the model."""
        listed = {_canonical(name) for name in self.names}
        for names in _read_choices(license):
            if all(_is_listable(name) for name in names):
                more = ",".join([*self.names, *sorted(names - listed)])
                wider = f"{VARIABLE}={more}" if self.source == VARIABLE else f"--license {more}"
                return f"If you may use this one: {wider}"
        return f"No policy can name {license!r}: state its SPDX name in a registry file of your own."


def parse_policy(texts: str | Iterable[str], source: str) -> LicensePolicy:
    """The policy that a text describes. Raises UnknownName for an unknown licence, UsageError if it is empty.

    >>> parse_policy("Apache-2.0, MIT", "ZOO_LICENSE_POLICY").names
    ('apache-2.0', 'mit')
    """
    whole = texts if isinstance(texts, str) else ",".join(texts)
    names = tuple(dict.fromkeys(check_license_name(name) for name in re.split(r"[,\s]+", whole) if name))
    if not names:
        raise UsageError(f"{source} names no licence", hint="Like this: apache-2.0,mit,bsd-3-clause")
    return LicensePolicy(names, source)


def environment_policy() -> LicensePolicy | None:
    """The policy of $ZOO_LICENSE_POLICY; None if it is not set or empty."""
    written = os.environ.get(VARIABLE, "")
    return parse_policy(written, VARIABLE) if written.strip() else None


def check_license_name(name: str) -> str:
    """The name in lower case. Raises UnknownName, which suggests close names.

    >>> check_license_name("LicenseRef-Our-Lab")
    'licenseref-our-lab'
    """
    lowered = name.lower()
    if lowered in KNOWN or (lowered.startswith(OWN) and len(lowered) > len(OWN)):
        return lowered
    raise UnknownName("licence", name, KNOWN, see="https://spdx.org/licenses/, or LicenseRef-… for your own")


def unlisted_names(license: str) -> list[str]:  # noqa: A002
    """The parts of a registry's licence that no policy can name.

    >>> unlisted_names("MIT or Apache 2")
    ['apache 2']
    """
    choices = _read_choices(license) or [frozenset({license.lower()})]
    names = dict.fromkeys(name for choice in choices for name in sorted(choice))
    return [name for name in names if not _is_listable(name)]


def join_licenses(earlier: str | None, later: str | None) -> str | None:
    """The licence of a work made of both, as SPDX writes it; None if neither is named.

    Raises UnknownName unless `later` is the name of a licence.

    >>> join_licenses("cc-by-4.0", "MIT"), join_licenses("mit", "mit"), join_licenses("mit", None)
    ('cc-by-4.0 and mit', 'mit', 'mit')
    """
    if later is None:
        return earlier
    later = check_license_name(later)
    parts = [] if earlier is None else earlier.split(" and ")
    return " and ".join(dict.fromkeys([*parts, later]))


def _is_listable(name: str) -> bool:
    """Whether a policy can contain a name."""
    return name in KNOWN or name.startswith(OWN)


def _read_choices(license: str) -> list[frozenset[str]]:  # noqa: A002
    """The alternatives of an SPDX expression, each a set of licences to comply with; [] if it is malformed.

    An exception (`with …`) only permits more, so the licence alone counts.

    >>> [sorted(names) for names in _read_choices("Apache-2.0 AND (MIT OR GPL-2.0+ WITH Bison-exception)")]
    [['apache-2.0', 'mit'], ['apache-2.0', 'gpl-2.0-or-later']]
    >>> _read_choices("(mit or")
    []
    """
    tokens = re.findall(r"[()]|[^\s()]+", license.lower())
    try:
        choices = _read_any(tokens)
    except IndexError:
        return []
    return [] if tokens else choices


def _read_any(tokens: list[str]) -> list[frozenset[str]]:
    """`A or B`: the choices of each. Consumes the tokens it reads; raises IndexError if one is missing."""
    choices = _read_all(tokens)
    while tokens and tokens[0] == "or":
        tokens.pop(0)
        choices += _read_all(tokens)
    return choices


def _read_all(tokens: list[str]) -> list[frozenset[str]]:
    """`A and B`: each choice of the one with each of the other."""
    choices = _read_one(tokens)
    while tokens and tokens[0] == "and":
        tokens.pop(0)
        choices = [one | other for other in _read_one(tokens) for one in choices]
    return choices


def _read_one(tokens: list[str]) -> list[frozenset[str]]:
    """A name, which has several words if it is not SPDX's, or an expression in brackets."""
    if tokens[0] == "(":
        tokens.pop(0)
        inside = _read_any(tokens)
        if tokens.pop(0) != ")":
            raise IndexError
        return inside
    words = []
    while tokens and tokens[0] not in ("(", ")", "and", "or"):
        words.append(tokens.pop(0))
    name = " ".join(words).partition(" with ")[0]
    if not name:
        raise IndexError
    return [frozenset({_canonical(name)})]


def _canonical(name: str) -> str:
    """The name that stands for all of its spellings."""
    lowered = name.lower()
    later = lowered.removesuffix("+") + "-or-later"
    return later if lowered.endswith("+") and later in KNOWN else SAME.get(lowered, lowered)
