"""Early stopping on series that were written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest

from zoo.training.single_label import SINGLE_LABEL
from zoo.training.stopping import EarlyStopping, Score


def follow(
    stopping: EarlyStopping, losses: Sequence[float], accuracies: Sequence[float] = ()
) -> tuple[EarlyStopping, int]:
    """Where stopping ends, and after how many epochs."""
    scores = [
        Score(loss, {"accuracy": accuracies[n] if accuracies else 0.5}) for n, loss in enumerate(losses)
    ]
    for epoch, score in enumerate(scores, 1):
        stopping = stopping.after(epoch, score)
        if stopping.stop:
            return stopping, epoch
    return stopping, len(scores)


@pytest.mark.parametrize(
    ("settings", "losses", "best_epoch", "ended"),
    [
        ({"patience": 2}, [3, 2, 1, 1.5, 1.2, 0.1], 3, 5),
        ({"patience": 3}, [3, 2, 1, 1.5, 1.2, 0.1], 6, 6),
        ({"patience": 1}, [3, 3, 1], 1, 2),
        ({"patience": 0}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], 1, 13),
    ],
)
def test_it_stops_when_the_patience_is_used_up(
    settings: dict[str, int], losses: list[float], best_epoch: int, ended: int
) -> None:
    stopping, epochs = follow(EarlyStopping(**settings), losses)
    assert (stopping.best_epoch, epochs) == (best_epoch, ended)


def test_a_creep_below_min_delta_ends_but_its_best_weights_are_kept() -> None:
    stopping, epochs = follow(EarlyStopping(patience=3, min_delta=0.1), [1.0, 0.99, 0.98, 0.97, 0.5])
    assert epochs == 4
    assert stopping.best_epoch == 4


def test_many_small_steps_that_add_up_to_min_delta_go_on() -> None:
    stopping, epochs = follow(EarlyStopping(patience=3, min_delta=0.1), [1.0, 0.94, 0.88, 0.82, 0.76])
    assert (stopping.best_epoch, epochs) == (5, 5)


def test_the_first_of_equal_losses_is_the_best() -> None:
    assert follow(EarlyStopping(patience=9), [2, 1, 1, 1])[0].best_epoch == 2


def test_a_nan_first_epoch_does_not_block_the_best_for_ever() -> None:
    for monitor, better in SINGLE_LABEL.monitors.items():
        stopping = EarlyStopping(patience=5, monitor=monitor, better=better)
        stopping, _ = follow(stopping, [math.nan, 2.0, math.nan, 1.0], [1.0, 0.6, 1.0, 0.7])
        assert stopping.best_epoch == 4
        assert stopping.waited == 0


def test_only_nan_ends_by_patience() -> None:
    assert follow(EarlyStopping(patience=3), [math.nan] * 9)[1] == 3


def test_equal_accuracies_are_told_apart_by_the_loss_but_use_up_patience() -> None:
    stopping = EarlyStopping(patience=2, monitor="accuracy", better="higher")
    stopping, epochs = follow(stopping, [1.0, 0.9, 0.8, 0.7], [0.9, 0.9, 0.9, 0.9])
    assert (stopping.best_epoch, epochs) == (3, 3)


def test_the_weights_that_training_began_with_count_as_epoch_0() -> None:
    stopping = EarlyStopping(patience=2).after(0, Score(0.5))
    stopping, epochs = follow(stopping, [0.6, 0.55])
    assert (stopping.best_epoch, epochs) == (0, 2)
    assert stopping.best == Score(0.5)


def test_what_is_known_so_far_survives_json() -> None:
    stopping, _ = follow(
        EarlyStopping(patience=5, monitor="accuracy", better="higher"), [1.0, 0.4], [0.5, 0.7]
    )
    assert msgspec.json.decode(msgspec.json.encode(stopping), type=EarlyStopping) == stopping


def test_nothing_known_yet_survives_json_too() -> None:
    stopping = EarlyStopping(patience=5)
    assert msgspec.json.decode(msgspec.json.encode(stopping), type=EarlyStopping) == stopping


def test_an_error_is_better_when_it_is_smaller_and_a_score_when_it_is_higher() -> None:
    for better, best_epoch in (("lower", 2), ("higher", 3)):
        stopping = EarlyStopping(patience=9, monitor="figure", better=better)
        for epoch, figure in enumerate([0.5, 0.3, 0.6], 1):
            stopping = stopping.after(epoch, Score(1.0, {"figure": figure}))
        assert stopping.best_epoch == best_epoch


def test_a_metric_that_is_not_defined_in_an_epoch_is_the_worst() -> None:
    stopping = EarlyStopping(patience=9, monitor="figure", better="lower")
    for epoch, metrics in enumerate([{}, {"figure": 5.0}, {}], 1):
        stopping = stopping.after(epoch, Score(1.0, metrics))
    assert stopping.best_epoch == 2
