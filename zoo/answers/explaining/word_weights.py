"""What each word of a text adds to an answer: exact where the network is a mean and a linear head.

Where the vector of a text is a weighted mean of those of its words (mean, tfidf, sif) and the head is linear,
the evidence is a sum: gradient times input is each word's share of it, and the shares and a constant add
up. Elsewhere a word's weight is by how much the evidence falls without it, all its occurrences at once: Li,
Monroe and Jurafsky 2016, https://arxiv.org/abs/1612.08220.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapters import Head, TextClassifier, pad_ids
from adapters.texts import PADDING
from zoo.answers.explaining.evidence import linear_evidence, no_grad_outputs
from zoo.answers.explaining.explanations import WordWeight
from zoo.runs.classifier import Classifier
from zoo.words.texts.selection import TextReader

EXACT, OCCLUSION = "exact", "occlusion"
ADDITIVE = ("mean", "tfidf", "sif")
WORDS_AT_ONCE = 1 << 16
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ReadWord:
    """A word of a text, with the ids that are read for it."""

    word: str
    ids: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Weights:
    """words, as in TextExplanation; method; the evidence of the whole text, and of one without words."""

    words: tuple[WordWeight, ...]
    method: str
    evidence: float
    constant: float


def read_words(reader: TextReader, text: str) -> list[ReadWord]:
    """Every word of a text, with what is read for it: the ids of the reader, in the same order."""
    whole = reader.tokenizer(text)
    longest = len(whole) if reader.longest is None else reader.longest
    return [
        ReadWord(word, *(reader.look_up(word) if place < longest else ((), "cut")))
        for place, word in enumerate(whole)
    ]


def is_additive(network: nn.Module) -> bool:
    """Whether the evidence is a sum over the words."""
    if not isinstance(network, TextClassifier) or network.encoder.name not in ADDITIVE:
        return False
    head: nn.Module = network.classifier
    return head.kind == "linear" if isinstance(head, Head) else isinstance(head, nn.Linear)


def weigh_words(
    classifier: Classifier, words: Sequence[ReadWord], target: int, method: str | None = None
) -> Weights:
    """The weight of each distinct word for one output. method: EXACT, OCCLUSION, or None for the best."""
    network = classifier.network
    ids = [number for word in words for number in word.ids]
    batch = pad_ids([ids, []])
    whole, constant = linear_evidence(classifier, no_grad_outputs(network, batch), target).tolist()
    by_word: dict[str, float] | None = None
    if method != OCCLUSION and is_additive(network):
        by_word = _exact_weights(classifier, words, ids, target)
        lost = abs(whole - constant - sum(by_word.values()))
        by_word = by_word if lost <= _TOLERANCE * max(1.0, abs(whole), abs(constant)) else None
    found = EXACT if by_word is not None else OCCLUSION
    if by_word is None:
        by_word = _falls(classifier, words, target, whole)
    counts: dict[str, int] = {}
    for word in words:
        counts[word.word] = counts.get(word.word, 0) + 1
    read = {word.word: word for word in reversed(words)}
    return Weights(
        tuple(
            WordWeight(name, by_word.get(name) if read[name].ids else None, count, read[name].how)
            for name, count in counts.items()
        ),
        found,
        whole,
        constant,
    )


def _exact_weights(
    classifier: Classifier, words: Sequence[ReadWord], ids: Sequence[int], target: int
) -> dict[str, float]:
    """Gradient times input of each word's vector, which is its share where all that follows is linear."""
    network = classifier.network
    assert isinstance(network, TextClassifier)
    encoder, batch = network.encoder, pad_ids([list(ids)])
    mask = batch != PADDING
    weights = encoder.get_buffer("weights")[batch] if encoder.is_weighted else mask.float()
    with torch.enable_grad():
        vectors = encoder.embedding(batch).detach().requires_grad_()
        outputs = network.classifier(encoder.encoder(vectors, mask, weights))
        (gradient,) = torch.autograd.grad(linear_evidence(classifier, outputs, target).sum(), vectors)
    shares = (gradient * vectors.detach()).sum(2)[0].tolist()
    found: dict[str, float] = {}
    place = 0
    for word in words:
        own = sum(shares[place : place + len(word.ids)])
        found[word.word] = found.get(word.word, 0.0) + own
        place += len(word.ids)
    return found


def _falls(classifier: Classifier, words: Sequence[ReadWord], target: int, whole: float) -> dict[str, float]:
    """By how much the evidence falls without each word."""
    names = list(dict.fromkeys(word.word for word in words if word.ids))
    without = [[n for word in words if word.word != name for n in word.ids] for name in names]
    step = max(1, WORDS_AT_ONCE // max(1, len(words)))
    parts: list[Tensor] = []
    for start in range(0, len(names), step):
        outputs = no_grad_outputs(classifier.network, pad_ids(without[start : start + step]))
        parts.append(linear_evidence(classifier, outputs, target))
    left = torch.cat(parts).tolist() if parts else []
    return {name: whole - value for name, value in zip(names, left, strict=True)}
