"""zoo registry: registry files are linted, extended and compared as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("home")


def test_a_good_file_is_counted_and_a_bad_one_is_told_by_line(zoo, data: Path, tmp_path: Path):
    good = zoo("registry", "lint", data / "registry.yaml")
    assert good.code == 0
    assert good.out == f"{data / 'registry.yaml'}: 2 models, 0 problems, 0 remarks\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text((data / "registry.yaml").read_text().replace("dimension: 50", "dimension: none"))
    said = zoo("registry", "lint", bad)
    assert said.code == 2
    assert f"{bad}:19: models.glove_demo.input.dimension: expected a whole number" in said.out
    found = zoo("registry", "lint", bad, "--json")
    assert found.code == 2
    fields = {row["field"] for row in found.json["problems"]}
    assert "models.glove_demo.input.dimension" in fields
    assert "models.mobilenet_v2_demo.weights.url" in fields, "its file is not beside this registry"


def test_online_is_refused_offline(zoo, data: Path):
    said = zoo("registry", "lint", "--online", "--offline", data / "registry.yaml")
    assert said.code == 4
    assert "offline mode is on" in said.err
