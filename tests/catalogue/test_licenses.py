"""Licence policies: how they are written, what they let through, what a slip is answered with."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from zoo.catalogue.licenses import KNOWN, environment_policy, join_licenses, parse_policy
from zoo.catalogue.registry import load_registry
from zoo.errors import LicenseRefused, UnknownName, UsageError


@pytest.mark.parametrize(
    "text", ["apache-2.0,mit", "MIT Apache-2.0", " mit ,, apache-2.0\n", "mit,MIT,Apache-2.0"]
)
def test_names_are_separated_by_commas_or_spaces_and_case_does_not_matter(text: str) -> None:
    assert set(parse_policy(text, "--license").names) == {"apache-2.0", "mit"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("apache2.0", "apache-2.0"), ("bsd3-clause", "bsd-3-clause"), ("unkown", "unknown")],
)
def test_a_slip_is_answered_with_what_was_meant(written: str, meant: str) -> None:
    with pytest.raises(UnknownName) as caught:
        parse_policy(f"mit,{written}", "ZOO_LICENSE_POLICY")
    assert caught.value.close[0] == meant
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["cc-by*", "*", "licenseref-"])
def test_patterns_are_no_names(text: str) -> None:
    with pytest.raises(UnknownName):
        parse_policy(text, "--license")


def test_a_policy_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="names no licence"):
        parse_policy([", "], "--license")


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        ("MIT", True),
        ("pddl", True),
        ("pddl-1.0", True),
        ("LicenseRef-Lab", True),
        ("gpl-3.0 or mit", True),
        ("mit and pddl", True),
        ("gpl-3.0 and mit", False),
        ("gpl-3.0 or agpl-3.0", False),
        ("(mit)", True),
        ("(MIT OR Apache-2.0)", True),
        ("pddl and (mit or gpl-3.0)", True),
        ("pddl and (agpl-3.0 or gpl-3.0)", False),
        ("mit with classpath-exception-2.0", True),
        ("gpl-3.0 with gcc-exception-3.1", False),
        ("(mit", False),
        ("mit or", False),
        ("mit) or gpl-3.0", False),
        ("unknown", False),
        ("UNKNOWN", False),
        ("unknown or mit", True),
        ("other", False),
    ],
)
def test_what_a_policy_lets_through(written: str, allowed: bool) -> None:
    assert parse_policy("mit pddl-1.0 licenseref-lab", "--license").allows(written) is allowed


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("mit or apache-2.0", "--license bsd-3-clause,mit"),
        ("apache-2.0 and (gpl-2.0+ or strange)", "--license bsd-3-clause,apache-2.0,gpl-2.0-or-later"),
    ],
)
def test_what_a_refusal_says_to_type_can_be_typed(written: str, typed: str) -> None:
    entry = replace(load_registry()["resnet18"], license=written)
    policy = parse_policy("bsd-3-clause", "--license")
    with pytest.raises(LicenseRefused) as caught:
        policy.check(entry)
    assert (caught.value.hint or "").endswith(f"If you may use this one: {typed}")
    parse_policy(typed.removeprefix("--license "), "--license").check(entry)


def test_a_refusal_of_what_no_policy_can_name_says_so() -> None:
    entry = replace(load_registry()["resnet18"], license="apache 2")
    with pytest.raises(LicenseRefused, match="No policy can name 'apache 2': state its SPDX name"):
        parse_policy("mit", "--license").check(entry)


def test_unknown_is_allowed_where_it_is_listed_and_only_there() -> None:
    assert parse_policy("mit,unknown", "--license").allows("unknown")


def test_a_refusal_says_which_model_which_licence_which_policy_and_what_to_type() -> None:
    registry = load_registry()
    with pytest.raises(LicenseRefused) as caught:
        parse_policy("apache-2.0,mit", "ZOO_LICENSE_POLICY").check(registry["resnet18"])
    assert caught.value.message == (
        "resnet18 is under bsd-3-clause; ZOO_LICENSE_POLICY allows apache-2.0 or mit"
    )
    assert "zoo list --license apache-2.0,mit" in str(caught.value.hint)
    assert "ZOO_LICENSE_POLICY=apache-2.0,mit,bsd-3-clause" in str(caught.value.hint)


def test_every_licence_of_every_model_has_a_name_that_a_policy_can_have() -> None:
    assert {entry.license for entry in load_registry().everything()} <= set(KNOWN)


def test_the_environment_says_nothing_when_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", " ")
    assert environment_policy() is None
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "MIT")
    policy = environment_policy()
    assert policy is not None
    assert policy.names == ("mit",)


@pytest.mark.parametrize(
    ("earlier", "later", "both"),
    [
        (None, None, None),
        (None, "CC0-1.0", "cc0-1.0"),
        ("mit", None, "mit"),
        ("mit and cc0-1.0", "mit", "mit and cc0-1.0"),
        ("mit", "cc0-1.0", "mit and cc0-1.0"),
    ],
)
def test_what_is_made_of_two_data_sets_is_under_both_licences(
    earlier: str | None, later: str | None, both: str | None
) -> None:
    assert join_licenses(earlier, later) == both
