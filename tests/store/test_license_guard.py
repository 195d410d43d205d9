"""The licence guard: what a policy does not name is refused before anything is asked or opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from support.loopback import BODY, Server, entry_for

import zoo
from zoo.catalogue.licenses import parse_policy
from zoo.catalogue.registry import Registry
from zoo.errors import LicenseRefused, UnknownName
from zoo.store.bundles.packing import bundle
from zoo.store.store import Store


def test_a_licence_outside_the_policy_is_refused_without_a_connection(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    with pytest.raises(LicenseRefused, match="net is under mit"):
        store.fetch(entry_for(server.add("/net", BODY)))
    assert server.connections == 0
    assert not store.home.exists()


def test_unknown_is_refused_unless_it_is_listed(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(entry_for(server.add("/net", BODY)), license="unknown")
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0 mit")
    with pytest.raises(LicenseRefused, match="has no stated licence"):
        store.fetch(entry)
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0 mit unknown")
    assert store.fetch(entry).path.is_file()


def test_a_model_that_is_here_already_is_refused_as_well(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_for(server.add("/net", BODY))
    store.fetch(entry)
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    with pytest.raises(LicenseRefused):
        store.fetch(entry)
    with pytest.raises(LicenseRefused):
        bundle(store, [entry], tmp_path / "models.tar")


def test_the_policy_of_a_command_narrows_that_of_the_environment_and_never_widens_it(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_for(server.add("/net", BODY))
    store.policy = parse_policy("mit", "--license")
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    with pytest.raises(LicenseRefused, match="ZOO_LICENSE_POLICY"):
        store.fetch(entry)
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "mit,apache-2.0")
    assert store.fetch(entry).path.is_file()


@pytest.mark.parametrize("verb", ["fetch_model", "load_model", "finetune_model"])
def test_the_library_obeys_the_environment(
    verb: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    registry = Registry({"net": entry_for(server.add("/net", BODY))})
    more = {"data": tmp_path, "out": tmp_path / "run"} if verb == "finetune_model" else {}
    with pytest.raises(LicenseRefused):
        getattr(zoo, verb)("net", registry=registry, **more)
    assert server.connections == 0


def test_a_policy_with_a_slip_lets_nothing_through(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "mitt")
    with pytest.raises(UnknownName, match="mitt"):
        store.fetch(entry_for(server.add("/net", BODY)))
    assert server.connections == 0
