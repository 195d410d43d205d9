"""The encoding of a text file of vectors: named by its user, or guessed where most words are not UTF-8."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from zoo.errors import UnknownName

# What is tried; of equally good ones the first wins, so that what fits fewer files comes before what fits
# more: Hebrew before Cyrillic, Korean before Chinese.
GUESSES: dict[str, str] = {
    "cp1252": "Western European, Windows-1252",
    "cp1250": "Central European, Windows-1250",
    "cp1255": "Hebrew, Windows-1255",
    "cp1251": "Cyrillic, Windows-1251",
    "koi8-r": "Cyrillic, KOI8-R",
    "cp1253": "Greek, Windows-1253",
    "cp1256": "Arabic, Windows-1256",
    "euc_kr": "Korean, EUC-KR",
    "shift_jis": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC-JP",
    "gb18030": "Chinese, GB 18030",
    "big5": "Chinese, Big5",
}
_ACCENTS = re.compile(r"[^\x00-\x7f]{3}")  # no Latin word has so many in a row
FEWEST = 3  # words beyond ASCII from which a guess is made
_FINAL = re.compile("[ךםןףץ](?=[א-ת])|ς(?=[α-ώ])")  # letters that have this form only at the end of a word
_JAPANESE = ("shift_jis", "euc_jp")
_KANA = frozenset(("HIRAGANA", "KATAKANA"))
# Where an encoding can write more than its language does.
_SCRIPTS = {"euc_kr": frozenset(("HANGUL",)), "gb18030": frozenset(("CJK",)), "big5": frozenset(("CJK",))}


class Guess(NamedTuple):
    """An encoding that was guessed. wrong, words: of so many words beyond ASCII so many are not UTF-8.
    rivals: other encodings in which as many look like words."""

    encoding: str
    wrong: int
    words: int
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        as_good = ", ".join(f"{name} ({GUESSES[name]})" for name in self.rivals)
        return (
            f"{self.wrong:,} of the first {self.words:,} words beyond ASCII are not UTF-8, "
            f"read as {self.encoding} ({GUESSES[self.encoding]})"
            + (f"; {as_good} would fit as well" if as_good else "")
        )


def check_encoding(name: str | None) -> str | None:
    """The name as Python has it. Raises UnknownName for none of its text encodings.

    >>> check_encoding("Latin1"), check_encoding("UTF8"), check_encoding(None)
    ('iso8859_1', 'utf_8', None)
    """
    if name is None:
        return None
    try:
        known = codecs.lookup(name)
        "a".encode(name)
    except (LookupError, ValueError, TypeError) as error:
        raise UnknownName("encoding", name, ["utf-8", "latin-1", *GUESSES]) from error
    return known.name.replace("-", "_")


def guess_encoding(lines: Sequence[bytes]) -> Guess | None:
    """The encoding in which most words beyond ASCII look like words; None where most of them are UTF-8, or
    look like words in no encoding.

    >>> guess_encoding([f"{word} 0.5".encode("cp1251") for word in ("и", "не", "что", "Москва")])
    Guess(encoding='cp1251', wrong=4, words=4, rivals=())
    """
    words = [line.lstrip().partition(b" ")[0].partition(b"\t")[0] for line in lines if not line.isascii()]
    words = [word for word in words if not word.isascii()]
    wrong = [word for word in words if _decode(word, "utf-8") is None]
    if len(words) < FEWEST or len(wrong) * 2 <= len(words):
        return None
    scores = {name: _count_words(wrong, name) for name in GUESSES}
    most = max(scores.values())
    best, *rivals = [name for name, score in scores.items() if score == most]
    return Guess(best, len(wrong), len(words), tuple(rivals)) if most * 2 > len(words) else None


def _count_words(words: Sequence[bytes], encoding: str) -> float:
    """How many look like words in an encoding; none in a Japanese one where no word has kana.

    One in capitals counts for two thirds: KOI8-R has its capitals where Windows-1251 has small letters.
    """
    decoded = [_decode(word, encoding) for word in words]
    if encoding in _JAPANESE and not any(scripts_of(word or "") & _KANA for word in decoded):
        return 0
    fit = [word for word in decoded if word is not None and _is_word(word, encoding)]
    return sum(2 / 3 if len(word) > 1 and word.isupper() else 1.0 for word in fit)


def _decode(word: bytes, encoding: str) -> str | None:
    try:
        return word.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_word(word: str, encoding: str) -> bool:
    """Whether all that is not ASCII is letters, of one script, in the case of a word."""
    beyond = [c for c in word if ord(c) > 127]
    scripts = scripts_of(word)
    latin = scripts == {"LATIN"}
    letters = "".join(c for c in word if c.isalpha())
    return (
        all(unicodedata.category(c)[0] in "LM" and not 0xFF61 <= ord(c) < 0xFFA0 for c in beyond)
        and unicodedata.category(word[0])[0] != "M"  # nothing begins with an accent or a vowel sign
        and (latin or not any(c.isascii() for c in letters))
        and not (latin and _ACCENTS.search(word))
        and not _FINAL.search(word)
        and (len(scripts) == 1 or (encoding in _JAPANESE and scripts <= _KANA | {"CJK"}))
        and scripts <= _SCRIPTS.get(encoding, scripts)
        and letters in (letters.lower(), letters.upper(), letters.title())
    )


def scripts_of(word: str) -> frozenset[str]:
    """The scripts of what is not ASCII in a word, by the names of its characters; a long vowel has none.

    >>> sorted(scripts_of("データ時")), scripts_of("café")
    (['CJK', 'KATAKANA'], frozenset({'LATIN'}))
    """
    return frozenset(unicodedata.name(c, "?").split()[0] for c in word if ord(c) > 127 and c != "ー")
