"""What the benchmarks share: ways take turns, answers are held against each other, tables tell the truth."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
from measuring import Disagreement, Goal, Table, Turn, agree, apart, command, duration, here, race, show


def taking(*seconds: float, answer: object = None) -> Callable[[], Turn]:
    """A way that takes so long in its turns."""
    turns = iter([Turn(each, 5_000_000, answer) for each in seconds])
    return lambda: next(turns)


def test_ways_take_turns_and_each_round_has_one_of_each() -> None:
    order: list[str] = []

    def way(name: str) -> Callable[[], Turn]:
        return lambda: Turn(0.0, 0, order.append(name))

    race({"peer": way("peer"), "ours": way("ours")}, 3)
    assert order == ["peer", "ours"] * 3


def test_a_table_has_the_ratios_of_medians_and_of_minima_and_says_whether_a_goal_is_reached() -> None:
    turns = race({"peer": taking(4, 6, 20), "ours": taking(2, 3, 1)}, 3)
    table = Table("job", turns, said={"ours": "accuracy 0.9"}, goals={"ours": Goal(3)})
    peer, ours = table.rows()
    assert (peer["min"], peer["median"], peer["max"]) == (4, 6, 20)
    assert (ours["faster"], ours["faster_by_minima"], ours["met"]) == (3, 4, True)
    assert "accuracy 0.9  goal ≥ 3 × as fast: yes" in str(table)
    table.goals = {"ours": Goal(3.1)}
    assert "goal ≥ 3.1 × as fast: NO" in str(table)


def test_a_goal_of_how_long_is_the_other_way_round() -> None:
    goal = Goal(1.2, slower=True)
    assert str(goal) == "≤ 1.2 × as long"
    assert goal.met(1 / 1.15)
    assert not goal.met(1 / 1.25)


def test_less_work_is_multiplied_and_said() -> None:
    table = Table("job", race({"peer": taking(2), "ours": taking(1)}, 1), factors={"peer": 10})
    assert table.rows()[1]["faster"] == 20
    assert "(from 0.1 of the work)" in str(table)


def test_ways_whose_answers_differ_are_refused_with_both() -> None:
    turns = race({"peer": taking(1, answer=[1, 2]), "ours": taking(1, answer=[1, 3])}, 1)
    with pytest.raises(Disagreement, match=r"job: the answers differ:\npeer: \[1, 2\]\nours: \[1, 3\]"):
        agree("job", turns)
    agree("job", turns, lambda one, other: one[0] == other[0])


def test_a_command_tells_its_seconds_its_memory_and_its_answer() -> None:
    code = "import time; x = bytearray(200_000_000); time.sleep(0.2); print(len(x))"
    turn = command([sys.executable, "-c", code], read=int)
    assert turn.answer == 200_000_000
    assert turn.seconds >= 0.2
    assert turn.memory >= 200_000_000
    assert 0 < turn.processor < turn.seconds


def test_the_processor_seconds_of_a_command_have_those_of_its_own_processes() -> None:
    code = "sum(range(15_000_000))"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    assert (
        command([sys.executable, "-c", child]).processor > here(lambda: exec(code), time.process_time).seconds
    )


def test_the_memory_of_a_command_is_its_own_and_not_that_of_who_starts_it() -> None:
    here_already = bytearray(300_000_000)
    assert command([sys.executable, "-c", "pass"]).memory < 100_000_000
    del here_already


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match="ended with 3:\nno such thing"):
        command([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"])


def add_up(*numbers: str) -> Callable[[], object]:
    """For the next test: preparation, then the work."""
    kept = bytearray(50_000_000)
    return lambda: [sum(map(int, numbers)), len(bytearray(100_000_000)) + len(kept)]


def test_a_function_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    env = {"PYTHONPATH": str(Path(__file__).parent)}
    turn = apart(add_up, 1, 2, 39, beyond=True, env=env)
    assert turn.answer == [42, 150_000_000]
    assert 90_000_000 < turn.memory < 140_000_000
    assert apart(add_up, 1, repeats=3, env=env).memory > 150_000_000


def test_memory_here_is_what_a_function_adds() -> None:
    turn = here(lambda: len(bytearray(100_000_000)))
    if turn.memory == 0:
        pytest.skip("this system lets no process forget its peak")
    assert 90_000_000 < turn.memory < 150_000_000


def test_processor_seconds_do_not_count_waiting() -> None:
    assert here(lambda: time.sleep(0.2)).seconds >= 0.2
    assert here(lambda: time.sleep(0.2), time.process_time).seconds < 0.1


def test_small_ways_have_no_goals_and_the_tables_are_written_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("job", race({"peer": taking(2), "ours": taking(1)}, 1), goals={"ours": Goal(3)})
    options = argparse.Namespace(small=True, json=tmp_path / "found.json")
    show([table], options, "torch", "no-such-package", gensim="9.9")
    assert "goal" not in capsys.readouterr().out
    found = json.loads(options.json.read_text("utf-8"))
    assert found["versions"]["gensim"] == "9.9"
    assert found["versions"]["no-such-package"] == "not installed"
    assert found["cores"] >= 1
    assert [row["way"] for row in found["tables"][0]["rows"]] == ["peer", "ours"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1234.5, "1234 s"), (12.34, "12.3 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 µs")]
)
def test_a_duration_has_the_unit_that_people_would_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_spread_is_the_mean_the_least_and_the_largest() -> None:
    assert measuring.spread([0.9, 1.0, 0.8], ".2f") == "0.90 0.80 1.00"
