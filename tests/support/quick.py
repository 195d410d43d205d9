"""`make quick`: the tests that one runs per edit.

Left out are those marked slow or thorough, and those on the real data, for which the tiny set stands. Tests
that draw examples draw a tenth of them. `make test` runs everything.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from support import fuzzing

LEFT_OUT = ("slow", "thorough", "gpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only what one runs per edit: a minute")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(fuzzing.QUICK if config.getoption("--quick") else fuzzing.USUAL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not is_left_out(item)]


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test is too long for every edit, or about the real data."""
    if any(item.get_closest_marker(name) for name in LEFT_OUT):
        return True
    parameters = getattr(item, "callspec", None)
    kits = (
        [value for value in parameters.params.values() if isinstance(value, str) and value == "real"]
        if parameters
        else []
    )
    return "data" in getattr(item, "fixturenames", ()) or bool(kits)
