"""What explains one answer of a network: frozen values, the same for programs and people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.answers.explaining.placement import Map, place_map


@dataclass(frozen=True)
class Neighbour:
    """A training item that the network sees as alike. path: of the file, or where the text is. label: its
    class, its classes with commas between, or its numbers. distance: the cosine distance of what the head
    sees of both, 0 for equal ones, at most 2. text: of a text, else None."""

    path: Path
    label: str
    distance: float
    text: str | None = None


@dataclass(frozen=True)
class Check:
    """What the network answers once a part of the image is covered with grey: the proof that a map matters.

    share: of the area that is covered, where the map is hottest, then where it is coldest. hot, cold: the
    score afterwards, a probability in 0..1 or a number. hot_fall, cold_fall: by how much the evidence fell:
    the log-odds of the class, or the number itself. confirmed: whether covering the hot part costs clearly
    more than covering the cold one, and than the same area in other places (control_fall, their mean).
    """

    share: float
    hot: float
    cold: float
    hot_fall: float
    cold_fall: float
    control_fall: float
    confirmed: bool


@dataclass(frozen=True)
class WordWeight:
    """What a word adds to an answer, all its occurrences together. weight: of the evidence, as in
    TextExplanation; None for a word that is not read. how: "known", "new" (learned in training), the name of
    the policy that read it as another word, "skipped" (unknown), "cut" (beyond the longest text)."""

    word: str
    weight: float | None
    count: int
    how: str


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a network gives an item a score for one class, or one number.

    path: of the file; item:3 for the third of a list. label: the class, or the name of the number. score: its
    probability in 0..1, or the number. method: how it was found. nearest: the training items that are most
    alike, the nearest first; empty where the training data were not found. error: why the item cannot be
    read; label, score and method are then None.
    """

    path: Path
    label: str | None
    score: float | None
    method: str | None
    nearest: tuple[Neighbour, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        answer = self.error if self.score is None else f"{self.label} {self.score:.4g} by {self.method}"
        return f"{type(self).__name__}({str(self.path)!r}: {answer})"

    @property
    def facts(self) -> dict[str, Any]:
        """As plain JSON values."""
        alike = [
            {"path": str(near.path), "label": near.label, "distance": near.distance}
            | ({} if near.text is None else {"text": near.text})
            for near in self.nearest
        ]
        return {
            "path": str(self.path),
            "label": self.label,
            "score": self.score,
            "method": self.method,
            "nearest": alike,
            "error": self.error,
        }


@dataclass(frozen=True, repr=False)
class ImageExplanation(Explanation):
    """Where in an image a network finds a class.

    map: float32 (size, size), 0 for nothing to 1 for most, over the part of the image that the network sees;
    all 0 where nothing in the image speaks for the class. grid: float32 (h, w), what the map was enlarged
    from, in the network's own unit: below 0 it speaks against the class. box: (left, top, width, height) of
    that part on the upright image, in its pixels; it goes beyond the image where the input is padded. shape:
    (height, width) of the upright image. check: None where the map is all 0. pixels: the image, uint8
    (3, height, width), as it was decoded.
    """

    map: Map | None = None
    grid: Map | None = None
    box: tuple[float, float, float, float] | None = None
    shape: tuple[int, int] | None = None
    check: Check | None = None
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False)

    def on_photograph(self) -> Map:
        """The map over the whole upright image, float32 (height, width) as `shape`; 0 where the network saw
        nothing. Raises ValueError for an image that could not be read."""
        if self.map is None or self.box is None or self.shape is None:
            raise ValueError(f"{self.path} {self.error}")
        return place_map(self.map, self.box, self.shape, *self.shape)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain JSON values; of the map its grid."""
        check: Mapping[str, Any] | None = None if self.check is None else vars(self.check)
        return {
            **super().facts,
            "grid": None if self.grid is None else [[round(float(v), 6) for v in row] for row in self.grid],
            "box": None if self.box is None else [round(edge, 2) for edge in self.box],
            "shape": None if self.shape is None else list(self.shape),
            "check": check and dict(check),
        }


@dataclass(frozen=True, repr=False)
class TextExplanation(Explanation):
    """What each word of a text adds to its score.

    text: as it is. words: in the order of their first occurrence. constant: the evidence of a text without
    words; with the method "exact" the weights and the constant add up to `evidence`: the log-odds of two
    classes, of more the class's output above the mean of the others, the output of one of several labels, or
    the number. With "occlusion" a weight is by how much the evidence falls without the word.
    """

    text: str = ""
    words: tuple[WordWeight, ...] = ()
    evidence: float | None = None
    constant: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **super().facts,
            "text": self.text,
            "evidence": self.evidence,
            "constant": self.constant,
            "words": [dict(vars(word)) for word in self.words],
        }
