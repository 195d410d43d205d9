"""The policies for words that the vectors lack, by name: one row each. Imports no numpy.

    policy        a word that is not there gets
    skip          no vector
    fold          the vector of its other case, or of its digits folded as the vectors have them
    apostrophe    the mean of the parts that an apostrophe joins, as the vectors write them: l'homme as l' and
                  homme, or l and homme; don't as do and n't, or do and not; o'clock also as o’clock
    hyphen        the mean of its parts that are there
    ngrams        of a fastText .bin: the vector of its character n-grams; of other vectors: the mean of the
                  words that share most of its letters, weighted by how many
    mean          the mean of all vectors

Policies combine in the order to try: `fold+apostrophe+hyphen+ngrams`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from zoo.errors import UnknownName

APOSTROPHES = re.compile("[’ʼ＇‘`´]")
# What English contracts, where it stands for one word only.
SHORT = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'m": "am"}
_CONTRACTION = re.compile(r"(?i)(\w*?)(n't|'(?:s|m|d|re|ve|ll))")
StandIns: TypeAlias = Callable[[str, Container[str]], tuple[str, ...]]


def _folded(word: str, known: Container[str]) -> tuple[str, ...]:
    """The first form of a word that is known."""
    return next(((form,) for form in folded_forms(word) if form in known), ())


def _parted(word: str, known: Container[str]) -> tuple[str, ...]:
    """The parts of a word that are known, in any case; none of a word without parts."""
    parts = [part for part in re.split(r"[-‐‑–/_]+", word) if part]
    if len(parts) < 2:
        return ()
    return tuple(form for part in parts for form in ((part,) if part in known else _folded(part, known)))


def _split_elisions(word: str, known: Container[str]) -> tuple[str, ...]:
    """The known words that an apostrophe joins, in any case; none of a word without an apostrophe.

    >>> _split_elisions("l'homme", {"l'", "l", "homme"}), _split_elisions("L'Été", {"l", "été"})
    (("l'", 'homme'), ('l', 'été'))
    >>> _split_elisions("don't", {"do", "not"}), _split_elisions("n't", {"not"})
    (('do', 'not'), ('not',))
    """
    plain = APOSTROPHES.sub("'", word)
    if "'" not in plain:
        return ()
    whole = next((form for form in (plain.replace("'", "’"), plain) if form != word and form in known), None)
    if whole is not None:
        return (whole,)
    found = _CONTRACTION.fullmatch(plain)
    parts = [found[1], found[2]] if found else re.split(r"(?<=')", plain)
    return tuple(form for part in parts for form in _read_part(part, known))


def _read_part(part: str, known: Container[str]) -> tuple[str, ...]:
    """A part of an elided word: with its apostrophe, without, as what it is short for, or by its hyphens."""
    bare = part.strip("'")
    if not bare:
        return ()
    spelled = SHORT.get(part.lower())
    forms = [part, part.replace("'", "’"), *([spelled] if spelled else [] if _is_ambiguous(part) else [bare])]
    for form in forms:
        if form in known:
            return (form,)
        if folded := _folded(form, known):
            return folded
    return _parted(bare, known)


def _is_ambiguous(part: str) -> bool:
    """Whether a part is what English leaves of a word ('s, 'd), which is not a letter's name."""
    return part.lower() in ("'s", "'d")


@dataclass(frozen=True)
class Policy:
    """What is done with an unknown word; nothing, where both are None.

    stand_ins: the known words that are read in its place: no vectors are needed, only the vocabulary. maker:
    "module:name" of what makes a vector of all the others, (vectors, word) -> Substitute | None.
    """

    stand_ins: StandIns | None = None
    maker: str | None = None


POLICIES: dict[str, Policy] = {
    "skip": Policy(),
    "fold": Policy(stand_ins=_folded),
    "apostrophe": Policy(stand_ins=_split_elisions),
    "hyphen": Policy(stand_ins=_parted),
    "ngrams": Policy(maker="zoo.words.texts.unknown:ngrams"),
    "mean": Policy(maker="zoo.words.texts.unknown:mean"),
}
STAND_INS: dict[str, StandIns] = {name: row.stand_ins for name, row in POLICIES.items() if row.stand_ins}


def parse_policy(policy: str) -> list[str]:
    """The names in `fold+hyphen`, checked.

    >>> parse_policy("fold+hyphen")
    ['fold', 'hyphen']
    """
    names = [name.strip() for name in policy.split("+")]
    for name in names:
        if name not in POLICIES:
            raise UnknownName("policy for unknown words", name, POLICIES)
    return names


def folded_forms(word: str) -> Iterator[str]:
    """Other ways to write a word, the closest first: case, digits as # or 0 (word2vec's news vectors have
    `##`), without accents.

    >>> list(folded_forms("Été24"))[:6]
    ['été24', 'ÉTÉ24', 'Été##', 'Été00', 'été##', 'été00']
    """
    cases = [word.lower(), word.capitalize(), word.title(), word.upper()]
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    digits = [re.sub(r"\d", digit, form) for form in (word, word.lower()) for digit in "#0"]
    seen = {word}
    for form in [*cases, *digits, plain, plain.lower()]:
        if form not in seen:
            seen.add(form)
            yield form
