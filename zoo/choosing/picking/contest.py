"""More and more items for fewer and fewer models: successive halving (Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943), in which nobody is cut whose distance from the best may be chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zoo.choosing.item_features import ItemFeatures
from zoo.choosing.picking.candidates import Candidate
from zoo.choosing.picking.clock import Clock, TimeIsUp
from zoo.choosing.picking.probe import predict_unseen
from zoo.choosing.picking.significance import Right, paired_p
from zoo.data.dataset import Item
from zoo.errors import TrainingStopped, ZooError
from zoo.events import Note, Report
from zoo.features.ridge import Labels

See = Callable[[Candidate, Sequence[Item], Report], ItemFeatures]
"""What a candidate sees of some items."""

_FIRST = 100  # items of the first round, or ten of each class
_GROWTH = 3
_HOPELESS = 0.01  # a model of the worse half is cut if the best one's lead would come by chance that seldom
_FIRST_ROUND = 0.6  # share of the time that the first round may take: the best must see more than that
_ALL_ROUNDS = 0.9  # the rest is for what is measured of the winner


@dataclass
class Standing:
    """How a candidate does. right: (items,) of those that it was shown; shown: how many of the order. inner:
    fold -> how well it does on the other folds alone. per_item: seconds for each that was not known before;
    overhead: of loading it."""

    candidate: Candidate
    right: Right
    shown: int = 0
    inner: dict[int, float] = field(default_factory=dict)
    per_item: float = 0.0
    overhead: float = 0.0

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.candidate.name


@dataclass
class Contest:
    """items: of train and val; labels: (items,). folds: (items,), the same for all. order: rows so that each
    beginning is a fair sample. readable: (items,) False for files that no model can read.

    finalists: who saw the most items, the best first. cut: the others, the last cut first. untried: name ->
    why it was shown nothing.
    """

    items: Sequence[Item]
    labels: Labels
    folds: Labels
    order: Labels
    classes: int
    clock: Clock
    see: See
    report: Report
    readable: NDArray[np.bool_] = field(init=False)
    finalists: list[Standing] = field(default_factory=list)
    cut: list[Standing] = field(default_factory=list)
    untried: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readable = np.ones(len(self.items), dtype=bool)

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Let the candidates see as many items as the time allows."""
        alive = [Standing(candidate, np.zeros(len(self.items), dtype=bool)) for candidate in candidates]
        for number, size in enumerate(round_sizes(len(self.items), self.classes)):
            if number:
                alive, size = self._fit_into_time(alive, size)
            if not self._play(alive, size, first=not number):
                return
            alive = self._ranked(size)
            self.finalists = alive
            if size < len(self.items):
                alive = self._without_hopeless(alive)
            if not alive:
                return

    def accuracy(self, standing: Standing) -> float:
        """Of the items that it was shown."""
        return float(standing.right[self.shown_to(standing)].mean())

    def expect(self) -> float:
        """The accuracy of whichever finalist is best, on items that had no part in the choice.

        Nested cross-validation: of each fold those items count that the candidate answers rightly which does
        best on the other folds alone. Of several equally good ones, their mean. The items are those that the
        best one was shown.
        """
        rows = self.shown_to(self.finalists[0])
        right = 0.0
        for fold in np.unique(self.folds[rows]).tolist():
            held = rows[self.folds[rows] == fold]
            most = max(standing.inner.get(fold, 0.0) for standing in self.finalists)
            best = [s for s in self.finalists if s.inner.get(fold, 0.0) == most]
            right += float(np.mean([s.right[held].sum() for s in best]))
        return right / len(rows)

    def shown_to(self, *standings: Standing) -> Labels:
        """The rows that all of these were shown and that can be read."""
        rows = self.order[: min(standing.shown for standing in standings)]
        return rows[self.readable[rows]]

    def _play(self, alive: list[Standing], size: int, *, first: bool) -> bool:
        """One round. Returns False if the time was over before all had their turn; in the first round those
        that were too late, or fail, are left out."""
        for position, standing in enumerate(alive):
            share = _FIRST_ROUND if first and position else _ALL_ROUNDS
            before = standing.shown
            try:
                self._show(standing, size, self.clock.until(share, self.report))
            except TimeIsUp:
                if not first:
                    return False
                self._leave_out(alive[position:], "the time was over (--minutes)")
                break
            except (ZooError, ValueError) as fault:
                if not first or (isinstance(fault, TrainingStopped) and before):
                    raise
                self._leave_out([standing], str(fault))
                self.report(Note(f"{standing.name} does not take part: {fault}", level="warning"))
        self.finalists = [standing for standing in alive if standing.shown >= size]
        return bool(self.finalists)

    def _leave_out(self, standings: Sequence[Standing], why: str) -> None:
        self.untried |= {standing.name: why for standing in standings}

    def _show(self, standing: Standing, size: int, report: Report) -> None:
        """Let a candidate see the first `size` items, and ask what it learns from them."""
        rows = self.order[:size]
        rows = rows[self.readable[rows]]
        began = self.clock.spent
        seen = self.see(standing.candidate, [self.items[row] for row in rows], report)
        whole = self.clock.spent - began
        if (fresh := len(seen.items) + len(seen.unknown) - seen.from_cache) > 0:
            standing.per_item = seen.seconds / fresh
        standing.overhead = max(0.0, whole - seen.seconds)
        features, readable = _as_table(seen, [self.items[row] for row in rows])
        self.readable[rows[~readable]] = False
        rows, features = rows[readable], features[readable]
        unseen = predict_unseen(features, self.labels[rows], self.folds[rows], self.classes)
        standing.right[rows] = unseen.found == self.labels[rows]
        standing.inner = unseen.inner
        standing.shown = size

    def _ranked(self, size: int) -> list[Standing]:
        """Those that were shown so many items, the most accurate first; of equals, the one that was tried
        first, which is the smaller one."""
        there = [standing for standing in self.finalists if standing.shown >= size]
        return sorted(there, key=self.accuracy, reverse=True)

    def _without_hopeless(self, ranked: list[Standing]) -> list[Standing]:
        """The better half, and whoever's distance from the best may be chance."""
        best, kept = ranked[0], []
        for place, standing in enumerate(ranked):
            rows = self.shown_to(best, standing)
            hopeless = 2 * place >= len(ranked) and (
                paired_p(best.right[rows], standing.right[rows]) < _HOPELESS
            )
            if hopeless:
                self.cut.insert(0, standing)
            else:
                kept.append(standing)
        return kept

    def _fit_into_time(self, alive: list[Standing], size: int) -> tuple[list[Standing], int]:
        """As many of the best as can see so many items in the time that is left; at least two, of as many
        items as they can."""
        left = self.clock.left - (1 - _ALL_ROUNDS) * self.clock.seconds

        def seconds(of: Sequence[Standing]) -> float:
            return sum(s.per_item * (size - s.shown) + s.overhead for s in of)

        while len(alive) > 2 and seconds(alive) > left:
            self.cut.insert(0, alive.pop())
        if seconds(alive) > left:
            shown, rate = alive[0].shown, sum(s.per_item for s in alive)
            more = (left - sum(s.overhead for s in alive)) / max(rate, 1e-9)
            size = min(size, shown + max(0, int(0.9 * more)))
        return alive, size


def round_sizes(items: int, classes: int) -> list[int]:
    """How many items each round shows, three times as many as the one before.

    >>> round_sizes(397, 2), round_sizes(50, 2), round_sizes(10_000, 100)
    ([100, 397], [50], [1000, 3000, 10000])
    """
    size = max(_FIRST, 10 * classes)
    sizes = []
    while 2 * size < items:
        sizes.append(size)
        size *= _GROWTH
    return [*sizes, items]


def fair_order(labels: Labels, *, seed: int = 0) -> Labels:
    """Rows in an order of which every beginning has all classes in the same shares, as far as numbers allow.

    >>> import numpy as np
    >>> labels = np.array([0] * 8 + [1] * 4)
    >>> np.bincount(labels[fair_order(labels)[:6]]).tolist()
    [4, 2]
    """
    chance = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[chance.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((chance.random(len(labels)), place))


def _as_table(seen: ItemFeatures, items: Sequence[Item]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(items, width) with zeros for texts without a known word, and (items,) whether each can be read."""
    row = {id(item): number for number, item in enumerate(items)}
    table = np.zeros((len(items), seen.features.shape[1]), dtype=np.float32)
    if len(seen.items):
        table[[row[id(item)] for item in seen.items]] = seen.features
    readable = np.ones(len(items), dtype=bool)
    readable[[row[id(item)] for item in seen.unreadable]] = False
    return table, readable
