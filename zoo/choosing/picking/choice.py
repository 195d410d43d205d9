"""The answer: a ranking with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from zoo.catalogue.entry import ModelEntry
from zoo.choosing.picking.significance import LEVEL
from zoo.data.dataset import Dataset
from zoo.runs.record import Baseline


@dataclass(frozen=True)
class Ranked:
    """A model and how well a linear probe of its features answers items that it has not seen.

    accuracy: in 0..1, of so many items; interval: 95 %. p: the probability that the best one's lead over it
    is chance, corrected for all comparisons; None for the best itself. milliseconds: of the network for an
    item, on this machine; None where it was not measured. bytes: of its file. cut: whether it was shown fewer
    items than the best, because it was far behind or slow. on_front: nothing is both faster and more
    accurate.
    """

    entry: ModelEntry
    name: str
    accuracy: float
    interval: tuple[float, float]
    items: int
    p: float | None
    milliseconds: float | None
    bytes: int | None
    cut: bool
    on_front: bool

    @property
    def verdict(self) -> str:
        """What the comparison with the best says."""
        if self.p is None:
            return "best"
        return f"worse, p {show_p(self.p)}" if self.p < LEVEL else "may be as good"


@dataclass(frozen=True)
class Expected:
    """The accuracy to be expected of the choice on new items; 95 % interval. how: what it was measured by."""

    accuracy: float
    interval: tuple[float, float]
    how: str


@dataclass(frozen=True)
class Choice:
    """The models that were tried, the most accurate first.

    differences: (one name, other name) -> the probability that their difference is chance, corrected for all
    comparisons. expected: of the best, honestly: it was chosen on the items that it is ranked by. untried:
    name -> why a wanted model was shown nothing. classes, items: of the data that were used. majority: what
    always answering the most frequent class reaches. baseline: of texts, what TF-IDF with logistic regression
    reaches on the same items.
    """

    dataset: Dataset
    ranking: tuple[Ranked, ...]
    differences: Mapping[tuple[str, str], float]
    expected: Expected
    untried: Mapping[str, str]
    items: int
    majority: float
    unreadable: int
    baseline: Baseline | None
    seconds: float

    @property
    def best(self) -> Ranked:
        """The most accurate model."""
        return self.ranking[0]

    @property
    def fastest_as_good(self) -> Ranked:
        """The fastest one that may be as good as the best."""
        rivals = [row for row in self.ranking if not row.cut and (row.p is None or row.p >= LEVEL)]
        return min(rivals, key=lambda row: (row.milliseconds is None, row.milliseconds or 0.0))

    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "data": str(self.dataset.root),
            "kind": f"{self.dataset.kind.noun}s",
            "classes": list(self.dataset.classes),
            "items": self.items,
            "unreadable": self.unreadable,
            "best": self.best.name,
            "fastest_as_good": self.fastest_as_good.name,
            "expected_accuracy": self.expected.accuracy,
            "expected_interval": list(self.expected.interval),
            "expected_by": self.expected.how,
            "majority": self.majority,
            "baseline": None if self.baseline is None else msgspec.to_builtins(self.baseline),
            "ranking": [
                {
                    "model": row.name,
                    "family": row.entry.family,
                    "accuracy": row.accuracy,
                    "interval": list(row.interval),
                    "items": row.items,
                    "p": row.p,
                    "verdict": row.verdict,
                    "milliseconds": row.milliseconds,
                    "bytes": row.bytes,
                    "license": row.entry.license,
                    "cut": row.cut,
                    "on_front": row.on_front,
                }
                for row in self.ranking
            ],
            "differences": [{"models": list(pair), "p": p} for pair, p in self.differences.items()],
            "not_tried": dict(self.untried),
            "seconds": self.seconds,
        }


def show_p(p: float) -> str:
    """A probability as people read it.

    >>> show_p(0.00002), show_p(0.034), show_p(0.7)
    ('< 0.001', '0.034', '0.70')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
