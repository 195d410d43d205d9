"""Which strategy and which head suit the items, their classes and the device, with the reason."""

from __future__ import annotations

from typing import NamedTuple

from zoo.data.kinds import TEXTS, Kind

FEW_IMAGES = 20  # of a class: below it, deeper layers learn the photographs by heart
MANY_IMAGES = 200  # from here on the whole network is worth its time
MANY_TEXTS = 200  # below it trained words are no better than frozen ones: docs/texts.md, benchmarks/texts.py
SLOW = 5_000  # photographs that a CPU reads and passes through a network in every epoch: minutes each


FEWEST = 10  # of a class: up to here the nearest mean is better than what learns, benchmarks/few_shot.py


class Suggestion(NamedTuple):
    """strategy: its name. why: for people."""

    strategy: str
    why: str


class HeadSuggestion(NamedTuple):
    """head: its name. why: for people."""

    head: str
    why: str


def suggest_head(items: int, classes: int, kind: Kind) -> HeadSuggestion:
    """The head for that many training items of that many classes, on features of a pretrained network.

    >>> from zoo.data.kinds import IMAGES
    >>> suggest_head(10, 2, IMAGES)
    HeadSuggestion(head='nearest-mean', why='5 images of a class are too few to learn from')
    >>> suggest_head(245, 2, IMAGES).head
    'linear'
    """
    each = items // max(1, classes)
    if each <= FEWEST:
        return HeadSuggestion("nearest-mean", f"{_known(each, kind)} too few to learn from")
    return HeadSuggestion("linear", f"{_known(each, kind)} enough to learn from")


def _known(each: int, kind: Kind) -> str:
    return f"{each:,} {kind.noun}{' of a class is' if each == 1 else 's of a class are'}"


def suggest_strategy(items: int, classes: int, device: str, kind: Kind) -> Suggestion:
    """The strategy for that many training items of that many classes. device: cpu, cuda, mps.

    >>> from zoo.data.kinds import IMAGES
    >>> suggest_strategy(24, 2, "cuda", IMAGES)
    Suggestion(strategy='head', why='12 images of a class are too few to train more than the head')
    >>> [suggest_strategy(90_000, 10, device, IMAGES).strategy for device in ("cpu", "cuda")]
    ['head', 'lp-ft']
    """
    each = items // max(1, classes)
    known = f"{each:,} {kind.noun}s of a class"
    if kind is TEXTS:
        if each < MANY_TEXTS:
            return Suggestion("head", f"{known} are too few to train words as well")
        return Suggestion("lp-ft", f"{known} are enough to train words as well")
    if each < FEW_IMAGES:
        return Suggestion("head", f"{known} are too few to train more than the head")
    if device == "cpu" and items > SLOW:
        return Suggestion("head", f"{items:,} images take a CPU minutes in every epoch; their features once")
    if each < MANY_IMAGES:
        return Suggestion("partial", f"{known} are enough for the last stage, not for the whole network")
    return Suggestion("lp-ft", f"{known} are enough for the whole network, after its head")
