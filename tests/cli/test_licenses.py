"""--license and $ZOO_LICENSE_POLICY, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import Call


@pytest.mark.parametrize(
    "command",
    [
        ["fetch", "tiny_net"],
        ["finetune", "tiny_net", ".", "--out", "no-such-run"],
    ],
    ids=["fetch", "finetune"],
)
def test_a_licence_that_is_not_listed_is_refused_with_what_to_type(
    ask: Call, home: Path, command: list[str]
) -> None:
    said = ask(*command, "--license", "mit,bsd-3-clause")
    assert said.code == 2
    assert "tiny_net is under apache-2.0; --license allows mit or bsd-3-clause" in said.err
    assert "--license mit,bsd-3-clause,apache-2.0" in said.err
    assert not list(home.glob("blobs/*"))


def test_a_listed_licence_is_fetched(ask: Call) -> None:
    assert ask("fetch", "tiny_net", "--license", "Apache-2.0", "--license", "mit").code == 0


@pytest.mark.parametrize(
    "command", [["list", "--license", "apachee-2.0"], ["fetch", "resnet18", "--license", "apachee-2.0"]]
)
def test_a_slip_in_a_licence_is_answered_with_what_was_meant(call: Call, command: list[str]) -> None:
    said = call(*command)
    assert said.code == 2
    assert "Did you mean apache-2.0?" in said.err


def test_listing_and_showing_say_what_the_policy_allows(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ALLOWED" not in call("list", "resnet18").out
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    rows = {row["name"]: row["allowed"] for row in call("list", "resnet18*", "--json").json}
    assert (rows["resnet18"], rows["resnet18_a1"]) == (False, True)
    assert "ALLOWED" in call("list", "resnet18").out
    assert call("show", "resnet18", "--json").json["allowed by ZOO_LICENSE_POLICY"] is False


def test_doctor_finds_a_slip_in_the_policy(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apachee-2.0")
    said = call("doctor", "--json")
    assert said.code == 1
    assert any("Did you mean apache-2.0?" in problem for problem in said.json["problems"])
