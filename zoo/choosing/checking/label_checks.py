"""Labels and items that a model takes for something else: see zoo/features/suspects."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Finding
from zoo.data.names import one_line
from zoo.features.suspects import find_unusual


def find_likely_wrong_labels(evidence: Evidence) -> Iterator[Finding]:
    """Items that models which have not seen them take for another class, surer than usual."""
    for found in evidence.labels.wrong:
        item = evidence.judged[found.row]
        other = one_line(evidence.dataset.classes[found.suggested])
        detail = (
            f"is {evidence.label(item)} ({found.probability:.2f}), and looks like {other} "
            f"({found.suggested_probability:.2f})"
        )
        yield Finding(detail, (item,), (item,), found.suggested_probability - found.probability)


def find_unlike_others(evidence: Evidence) -> Iterator[Finding]:
    """Items that are far from every other."""
    if evidence.features is None:
        return
    for row, far in find_unusual(evidence.features):
        yield Finding(f"is unlike all others ({far:.1f})", (evidence.judged[row],), weight=far)
