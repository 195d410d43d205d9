"""path, cache, prune, lock, bundle, unbundle on the real MobileNetV2."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def call(zoo, home: Path, data: Path):
    return lambda *arguments: zoo(*arguments, "--registry", data / "registry.yaml")


def test_path_prints_the_file_alone(call):
    printed = call("path", "mobilenet_v2_demo").out.strip()
    assert Path(printed).stat().st_size == 14_262_987


def test_cache_counts_and_prune_takes_only_what_is_old(call):
    call("fetch", "mobilenet_v2_demo")
    assert call("cache", "--json").json["bytes"] >= 14_262_987
    assert call("prune").out.strip() == "Nothing to prune."
    assert [row["why"] for row in call("prune", "--older-than", "0", "--dry-run", "--json").json] == [
        "unused"
    ]
    assert call("cache", "--json").json["models"]
    call("prune", "--older-than", "0")
    assert call("cache", "--json").json["models"] == []


def test_a_lock_file_admits_what_it_pins_and_nothing_else(call, tmp_path: Path):
    lock = tmp_path / "zoo.lock"
    lock.write_text(call("lock", "mobilenet_v2_demo").out)
    assert call("fetch", "mobilenet_v2_demo", "--locked", lock).code == 0
    assert call("fetch", "glove_demo", "--locked", lock).code == 2
    lock.write_text(lock.read_text().replace("adb27a5a", "00000000"))
    refused = call("fetch", "mobilenet_v2_demo", "--locked", lock)
    assert refused.code in (2, 3)
    assert "adb27a5a" in refused.err


def test_a_bundle_travels_to_a_machine_without_network(
    call, zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert "1 models" in call("bundle", "mobilenet_v2_demo", "-o", tmp_path / "m.tar").out
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    assert zoo("unbundle", tmp_path / "m.tar", "--offline", "--json").json["models"] == ["mobilenet_v2_demo"]
    assert zoo("path", "mobilenet_v2_demo", "--offline").code == 0
