"""`make faults`: what became of every fault that the project survives, a line per row.

A test says which rows it proves: @pytest.mark.fault("D6"). With --faults the table is printed at the end, and
the run is red if a row has no test, unless it is one of NOT_YET.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

ROWS = {
    "D1": "the body of a download is cut once",
    "D2": "the body is cut every time",
    "D3": "the connection is reset",
    "D4": "the server goes silent",
    "D5": "the server drips a byte now and then",
    "D6": "wrong bytes, of the right number",
    "D7": "a sign-in page instead of the file",
    "D8": "no Content-Length, and cut early",
    "D9": "ranges ignored or wrong, the file replaced between two parts",
    "D10": "junk in a partial file",
    "D11": "gone, or private",
    "D12": "come again later: in a second, in a day, on a date, nonsense",
    "D13": "redirects: in a loop, to plain http, to another host",
    "D14": "addresses that are never opened",
    "D15": "eight processes fetch one model",
    "D16": "killed at any moment",
    "D17": "the holder of a lock is killed, or hangs",
    "D18": "a file system without locks, or with locks that do nothing",
    "D19": "a full disk, before and during a fetch",
    "D20": "a store that may not be written",
    "D21": "offline",
    "D22": "hostile headers",
    "D23": "Ctrl-C in a fetch",
    "K1": "a stored file cut, changed or emptied",
    "K2": "a stored file replaced by an evil pickle, its times put back",
    "K3": "prune while a fetch runs; times from another age",
    "K4": "the store on another device than the temporary folder",
    "K5": "odd folders: spaces, unicode, links, no HOME",
    "S1": "registry files that are hostile or sloppy",
    "S2": "names that could become a path",
    "S3": "archives that reach out of their folder, or explode",
    "S4": "checkpoints with code in them",
    "S5": "word vectors in a pickle",
    "S6": "safetensors files that lie",
    "S7": "word-vector files that lie",
    "S8": "weights that do not fit the network",
    "I1": "images that are broken",
    "I2": "images of other modes and depths",
    "I3": "images that are turned",
    "I4": "images that move or have pages",
    "I5": "images that are bombs",
    "I6": "links in a loop, pipes and devices among the images",
    "I7": "hidden files, junk, twins",
    "I8": "folders that are no data set",
    "I9": "file names of every kind",
    "I10": "the same image in train and val",
    "I11": "a file that goes or changes during training",
    "T1": "a loss that is no number",
    "T2": "out of memory",
    "T3": "Ctrl-C in training",
    "T4": "SIGTERM in training",
    "T5": "killed in training",
    "T6": "a full disk in a save",
    "T7": "a resumed run that is not the uninterrupted one",
    "T8": "resumed with something else",
    "T9": "a last batch of one",
    "T10": "frozen layers that move",
    "T11": "workers that die, devices that are not there",
    "T12": "a run folder that exists",
    "U1": "closed pipes, no terminal, no colours, 40 columns",
    "U2": "heavy imports where nobody needs them",
    "U3": "typing errors",
}
NOT_YET: set[str] = set()


@dataclass
class Row:
    """How the tests of one row ended. reasons: why some were skipped."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return told + "".join(f" ({reason})" for reason in sorted(self.reasons))


class FaultTable:
    """Counts the reports of all tests, wherever they run, and draws the table."""

    def __init__(self) -> None:
        self.rows = {number: Row() for number in ROWS}

    @property
    def missing(self) -> list[str]:
        return [number for number, row in self.rows.items() if not row.outcomes and number not in NOT_YET]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for row in (self.rows[value] for key, value in report.user_properties if key == "fault"):
            row.outcomes[report.outcome] += 1
            if report.skipped and isinstance(report.longrepr, tuple):
                row.reasons.add(str(report.longrepr[2]).removeprefix("Skipped: "))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("faults")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        width = max(map(len, ROWS.values()))
        for number, title in ROWS.items():
            none = "no test yet" if number in NOT_YET else "NO TEST"
            yield f"{number:<4} {title:<{width}}  {self.rows[number] if self.rows[number].outcomes else none}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", action="store_true", help="print what became of every row of the fault table"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--faults") and not hasattr(config, "workerinput"):  # the workers send their reports
        config.pluginmanager.register(FaultTable(), "fault-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every report say which rows its test proves."""
    for item in items:
        for number in {mark.args[0] for mark in item.iter_markers("fault")}:
            if number not in ROWS:
                raise pytest.UsageError(
                    f"{item.nodeid}: there is no fault {number!r} in tests/support/fault_table.py"
                )
            item.user_properties.append(("fault", number))
