"""Vectors of pieces of words: how texts are cut into pieces, and a word as the mean of its own.

Static embedding models (https://github.com/MinishLab/model2vec) have a vector for each piece of the
vocabulary of a transformer. The tokenizer is Hugging Face's, defined by the model's tokenizer.json.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.words.vectors.layout import CompiledFile
from zoo.words.vectors.vocabulary import Vocabulary

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pieces:
    """How texts are cut. definition: the tokenizer as JSON. longest: pieces of a text to read; None: all."""

    definition: str
    longest: int | None

    def cut(self, text: str) -> list[str]:
        """The pieces of a text that are in the vocabulary, in order.

        As model2vec: no special tokens; what is too long is cut before unknown pieces are left out, and
        before that at so many characters as `longest` pieces of the median length have.
        """
        if self.longest is not None:
            text = text[: self.longest * self._median]
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [self.names[number] for number in encoding.ids if number != self._unknown]

    def parts(self, word: str) -> list[str | None]:
        """The pieces of one word, None for each that is not in the vocabulary."""
        found = self._tokenizer.encode(word, add_special_tokens=False).ids
        return [None if number == self._unknown else self.names[number] for number in found]

    @cached_property
    def names(self) -> Mapping[int, str]:
        """number -> piece."""
        return {number: piece for piece, number in self._tokenizer.get_vocab().items()}

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.definition)
        tokenizer.no_padding()
        if self.longest is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(self.longest)
        return tokenizer

    @cached_property
    def _median(self) -> int:
        return int(statistics.median(map(len, self.names.values())))

    @cached_property
    def _unknown(self) -> int | None:
        """The number of the unknown piece; None where there is none."""
        model = json.loads(self.definition)["model"]
        if "unk_token" not in model:
            unknown: int | None = model.get("unk_id")
            return unknown
        token = model["unk_token"]
        return None if token is None else self._tokenizer.token_to_id(token)


@dataclass(frozen=True)
class PieceVectors:
    """What makes a vector of a word that is not a piece: the mean of its own. matrix: (pieces, dimension)."""

    pieces: Pieces
    vocabulary: Vocabulary
    matrix: NDArray[Any]

    def __str__(self) -> str:
        return f"their pieces, of {len(self.vocabulary):,}"

    def has_ngrams(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """(n,): whether each word has any piece."""
        return np.array([bool(self.pieces.cut(word)) for word in words], np.bool_)

    def vectors(self, words: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        """((n, dimension), (n,)): the mean of the pieces of each word, and whether it has any."""
        found = np.zeros(len(words), np.bool_)
        means = np.zeros((len(words), self.matrix.shape[1]), np.float32)
        for number, word in enumerate(words):
            rows = self.vocabulary.find_many(self.pieces.cut(word))
            if len(rows := rows[rows >= 0]):
                means[number] = self.matrix[rows].mean(axis=0, dtype=np.float32)
                found[number] = True
        return means, found


def pieces_of(compiled: CompiledFile) -> Pieces | None:
    """How the texts of a compiled file are cut into pieces; None where its rows are words."""
    definition = compiled.arrays.get("tokenizer")
    if definition is None:
        return None
    longest = compiled.metadata["longest_text"]
    return Pieces(definition.tobytes().decode(), int(longest) if longest else None)
