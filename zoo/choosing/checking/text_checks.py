"""Texts: empty, wrongly decoded, in another language than the rest, markup left in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Finding
from zoo.data.dataset import Item

_MOJIBAKE = re.compile(
    "\ufffd|[\u00c2-\u00c3][\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u00bf\u2018-\u2122]|\u00d0[\u0080-\u00bf]|"
    "[\x00-\x08\x0e-\x1f\x80-\x9f]"
)
"""What UTF-8 looks like when it is read as Latin-1 or Windows-1252; control characters; what was replaced."""

_MARKUP = re.compile(
    r"</?(?:br|p|div|span|a|b|i|li|ul|td|tr|table|img)\b[^<>]{0,200}/?>|&(?:nbsp|amp|quot|lt|gt);", re.I
)
_RARE = 0.1  # share of the texts below which something is an exception, and not how the data are
_FEWEST_WORDS = 5  # that a text must have for its language to be judged
_FEWEST_HITS = 3  # different words that only that language has among its most frequent ones
_WORD = re.compile(r"[^\W\d_]+")
_COMMON = {
    "English": "the and of to is in that it was for with this but not are have you they be as no on by at an "
    "or if all more most from its his her than who what there when one has do so me he we",
    "German": "der die das und ist nicht ein eine ich zu den mit auf für es sich auch im dem von des so als "
    "wie aber hat war bei man noch nur oder wird sie wir einen einer zum am um",
    "French": "le la les et est une des que pas je dans pour qui sur ce il elle du avec en de un mais plus "
    "nous vous ne se son sa ses cette par comme tout au aux c'est a me te tu sont on",
    "Spanish": "el los las y es una que no por con para se del como pero más muy lo su este la de en un al "
    "esta todo cuando hay ser si ya porque sin sobre también me le yo",
    "Italian": "il gli e è di che non per con una sono della del più ma anche questo si lo ho la le un in al "
    "da come mi ha nel alla dei delle molto se io ci o i a",
    "Portuguese": "o os e é uma que não por com para se do da como mas mais muito em um ele a as no na dos "
    "das ao foi tem seu sua ou quando isso me eu você também",
    "Dutch": "de het een en is niet van ik dat op te zijn voor met maar ook er aan heb was die in je ze "
    "dit bij naar nog om wat deze geen of ik hij wel",
}
"""The most frequent words of each language. Those of several languages count for none of them."""
_COUNTS = Counter(word for words in _COMMON.values() for word in set(words.split()))
_SHARED = {word for word, count in _COUNTS.items() if count > 1}
_OF_LANGUAGE = {name: frozenset(words.split()) - _SHARED for name, words in _COMMON.items()}
_SCRIPTS = (
    ("Cyrillic letters", "\u0400", "\u04ff"),
    ("Greek letters", "\u0370", "\u03ff"),
    ("Hebrew letters", "\u0590", "\u05ff"),
    ("Arabic letters", "\u0600", "\u06ff"),
    ("Devanagari letters", "\u0900", "\u097f"),
    ("Thai letters", "\u0e00", "\u0e7f"),
    ("Japanese kana", "\u3040", "\u30ff"),
    ("Chinese characters", "\u4e00", "\u9fff"),
    ("Korean letters", "\uac00", "\ud7af"),
)


def find_empty(evidence: Evidence) -> Iterator[Finding]:
    """Texts without a letter or a digit."""
    for item in evidence.items:
        if not any(character.isalnum() for character in item.text or ""):
            yield Finding("has no word", (item,), (item,))


def find_wrong_encodings(evidence: Evidence) -> Iterator[Finding]:
    """Texts that were decoded wrongly on their way here."""
    for item in evidence.items:
        if (found := _MOJIBAKE.search(item.text or "")) is not None:
            yield Finding(f"was decoded wrongly: {_around(item, found)}", (item,))


def find_markup(evidence: Evidence) -> Iterator[Finding]:
    """Texts with tags or entities of HTML; one finding where many have."""
    found = [item for item in evidence.items if _MARKUP.search(item.text or "")]
    if len(found) > _RARE * len(evidence.items):
        yield Finding(f"{len(found):,} texts hold tags or entities of HTML")
        return
    yield from (Finding("holds tags or entities of HTML", (item,)) for item in found)


def find_other_languages(evidence: Evidence) -> Iterator[Finding]:
    """Texts in another language or script than most, where few are."""
    spoken = {
        item: language for item in evidence.items if (language := language_of(item.text or "")) is not None
    }
    counts = Counter(spoken.values())
    if not counts:
        return
    usual, most = counts.most_common(1)[0]
    others = [(item, language) for item, language in spoken.items() if language != usual]
    if len(others) > _RARE * len(spoken):
        shares = ", ".join(f"{name} {count / len(spoken):.0%}" for name, count in counts.most_common(4))
        yield Finding(f"texts are in several languages: {shares}")
    elif most > 1:
        yield from (Finding(f"is in {language}, most are in {usual}", (item,)) for item, language in others)


def language_of(text: str) -> str | None:
    """The language of a text by its most frequent words, or its script; None where too little is known.

    >>> language_of("the plot is thin but it works"), language_of("das ist auch nicht gut und zu lang")
    ('English', 'German')
    """
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return None
    for script, first, last in _SCRIPTS:
        if sum(first <= letter <= last for letter in letters) > len(letters) / 2:
            return script
    words = [word.casefold() for word in _WORD.findall(text)]
    if len(words) < _FEWEST_WORDS:
        return None
    hits = Counter({name: len(common.intersection(words)) for name, common in _OF_LANGUAGE.items()})
    (name, most), (_, second) = hits.most_common(2)
    return name if most >= _FEWEST_HITS and most >= 3 * second else None


def _around(item: Item, found: re.Match[str]) -> str:
    """A few letters around what was found."""
    text = item.text or ""
    start, end = max(0, found.start() - 12), found.end() + 12
    return repr(text[start:end])
