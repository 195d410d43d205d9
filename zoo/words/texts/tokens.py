"""The words of a text, cut as the corpora were that word vectors come from.

GloVe's and most others were cut as the Penn Treebank is: "it's" is two words, "don't" is "do" and "n't",
punctuation stands alone. The work is done by Hugging Face's tokenizers (https://huggingface.co/docs/tokenizers),
whose settings are JSON: a run keeps them, and cuts texts in the same way whatever the defaults are then.
Vectors that have "don't" and lack "n't" come from a corpus that was cut otherwise: `fitting_tokenizer`.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from zoo.errors import IntegrityError, UnknownName
from zoo.events import Note
from zoo.words.vectors.pieces import Pieces
from zoo.words.vectors.word_vectors import WordVectors

# Tried from left to right at each place of the text; Oniguruma syntax. (?i) because case is folded apart.
TREEBANK = "|".join(
    [
        r"<\w+>",  # <user>, <unk>: words of some vocabularies
        r"(?i)n't(?!\w)",
        r"(?i)'(?:s|m|d|re|ve|ll)(?!\w)",
        r"(?i)\w+?(?=n't(?!\w))",
        r"(?:\p{L}\.){2,}",  # u.s.
        r"\d+(?:[.,:/]\d+)*(?!\w)",
        r"(?i)\w+(?:-\w+|'(?!(?:s|m|d|re|ve|ll)(?!\w))(?!t(?!\w))\w+)*",  # too-tepid, o'brien
        r"\.{2,}|-{2,}",
        r"[^\w\s]",
    ]
)
# The same, but "don't" and "it's" are one word each.
WHOLE = "|".join(
    [
        r"<\w+>",
        r"(?:\p{L}\.){2,}",
        r"\d+(?:[.,:/]\d+)*(?!\w)",
        r"\w+(?:[-']\w+)*",
        r"\.{2,}|-{2,}",
        r"[^\w\s]",
    ]
)
# name -> the pattern that words match
TOKENIZERS: dict[str, str] = {"treebank": TREEBANK, "whole": WHOLE, "whitespace": r"\S+"}
PIECES = "pieces"  # the name of a tokenizer that is a model's own
CONTRACTIONS = ("don't", "it's", "can't", "i'm")  # whose vectors show how a corpus was cut
OTHER_APOSTROPHES = "’ʼ＇"  # corpora have the plain one
# Scripts that put no blanks between words, and the names of their characters in Unicode.
BLANKLESS = {
    "CJK": "Chinese or Japanese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "THAI": "Thai",
    "LAO": "Lao",
    "KHMER": "Khmer",
    "MYANMAR": "Burmese",
    "TIBETAN": "Tibetan",
}


class WordTokenizer:
    """Cuts texts into words. `settings` is all that is needed to cut in the same way again.

    lowercase: fold the case, for vectors that have no upper-case letter (`WordVectors.lowercase`).

    >>> WordTokenizer(lowercase=True)("It's too-tepid; don't go (to the U.S.)...")
    ['it', "'s", 'too-tepid', ';', 'do', "n't", 'go', '(', 'to', 'the', 'u.s.', ')', '...']
    """

    def __init__(self, *, lowercase: bool, name: str = "treebank") -> None:
        if name not in TOKENIZERS:
            raise UnknownName("tokenizer", name, TOKENIZERS)
        self.settings: Mapping[str, Any] = _tokenizer_settings(name, lowercase)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> WordTokenizer:
        """The tokenizer of a run, from the `settings` that it kept.

        Raises IntegrityError where they are not settings of this library.
        """
        kind = PieceTokenizer if settings.get("name") == PIECES else WordTokenizer
        tokenizer = kind.__new__(kind)
        tokenizer.settings = dict(settings)
        try:
            tokenizer("a word")
        except Exception as error:  # the library raises bare Exceptions on a bad definition
            raise IntegrityError(f"these are not settings of a tokenizer: {error}") from error
        return tokenizer

    def __call__(self, text: str) -> list[str]:
        """The words of one text, in order."""
        definition = self._definition
        normalized = definition.normalizer.normalize_str(text)
        return [word for word, _ in definition.pre_tokenizer.pre_tokenize_str(normalized)]

    unit: ClassVar[str] = "words"

    def __repr__(self) -> str:
        return f"<WordTokenizer {self.settings['name']}, lowercase={self.settings['lowercase']}>"

    @cached_property
    def _definition(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.settings["definition"])


class PieceTokenizer(WordTokenizer):
    """Cuts texts into the pieces of a static embedding model, as the model itself does."""

    unit = "pieces of words"

    def __init__(self, pieces: Pieces) -> None:
        import tokenizers

        self.settings = {
            "library": "tokenizers",
            "version": tokenizers.__version__,
            "name": PIECES,
            "longest": pieces.longest,
            "definition": pieces.definition,
        }

    def __call__(self, text: str) -> list[str]:
        """The pieces of one text that are known, in order."""
        return self._pieces.cut(text)

    def __repr__(self) -> str:
        return f"<PieceTokenizer of {len(self._pieces.names):,} pieces>"

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.settings["definition"], self.settings["longest"])


def tokenizer_of(vectors: WordVectors) -> WordTokenizer:
    """The tokenizer that cuts texts into what has vectors: words as their corpus had them, or pieces."""
    if vectors.pieces is not None:
        return PieceTokenizer(vectors.pieces)
    return fitting_tokenizer(vectors.key_to_index, vectors.lowercase)


@lru_cache(maxsize=8)
def usual_tokenizer(lowercase: bool, name: str = "treebank") -> WordTokenizer:
    """A tokenizer of that name, built once."""
    return WordTokenizer(lowercase=lowercase, name=name)


def fitting_tokenizer(known: Container[str], lowercase: bool) -> WordTokenizer:
    """The tokenizer that cuts as the corpus of some vectors was: contractions stay whole where the vectors
    have them, and do not have "n't".

    >>> fitting_tokenizer({"don't"}, True)("I don't"), fitting_tokenizer({"n't", "don't"}, True)("I don't")
    (['i', "don't"], ['i', 'do', "n't"])
    """
    whole = "n't" not in known and any(word in known for word in CONTRACTIONS)
    return usual_tokenizer(lowercase, "whole" if whole else "treebank")


def script_without_blanks(unknown: Mapping[str, int], words: int) -> str | None:
    """The script of most of some texts' words, where it has no blanks between words and they are unknown.

    unknown: how often each unknown word comes. words: how many all are.

    >>> script_without_blanks({"我喜歡電影": 3, "kino": 1}, 5), script_without_blanks({"我": 1}, 9)
    ('Chinese or Japanese', None)
    """
    counts: Counter[str] = Counter()
    for word, count in unknown.items():
        if not word.isascii():
            scripts = {unicodedata.name(c, "?").split()[0] for c in word}
            counts += Counter({name: count for name in dict.fromkeys(map(BLANKLESS.get, scripts)) if name})
    if not counts:
        return None
    name, count = max(counts.items(), key=lambda item: (item[1], -len(item[0])))
    return name if count * 2 > words else None


def blankless_note(script: str, has_ngrams: bool) -> Note:
    """The warning about texts in a script without blanks, whose words are unknown for that."""
    ngrams = (
        "Or read every piece by its character n-grams: --unknown ngrams"
        if has_ngrams
        else "Or use a fastText .bin of the language, which knows character n-grams."
    )
    return Note(
        f"most words are unknown, for these texts are {script}, which has no blanks between words: "
        "each piece between two signs was looked up as one word",
        hint=f"Put blanks between the words first (jieba, MeCab, PyThaiNLP, …).\n{ngrams}",
        level="warning",
    )


def tokenize(text: str, lowercase: bool) -> list[str]:
    """The words of a text by the default tokenizer."""
    return usual_tokenizer(lowercase)(text)


def tokenize_all(texts: Iterable[str], lowercase: bool) -> list[list[str]]:
    """The words of each of many texts by the default tokenizer."""
    tokenizer = usual_tokenizer(lowercase)
    return [tokenizer(text) for text in texts]


def _tokenizer_settings(name: str, lowercase: bool) -> dict[str, Any]:
    """Library, version and definition of a tokenizer of TOKENIZERS, as plain JSON values."""
    import tokenizers
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    definition = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    plain = [normalizers.Replace(other, "'") for other in OTHER_APOSTROPHES]
    steps: list[Any] = [normalizers.NFC(), *plain]
    definition.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lowercase else steps)
    definition.pre_tokenizer = pre_tokenizers.Split(Regex(TOKENIZERS[name]), behavior="removed", invert=True)
    return {
        "library": "tokenizers",
        "version": tokenizers.__version__,
        "name": name,
        "lowercase": lowercase,
        "definition": json.dumps(json.loads(definition.to_str())),
    }
