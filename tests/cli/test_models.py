"""list, show, fetch, rm, verify: what they print and what they leave alone."""

from __future__ import annotations

from pathlib import Path


def test_list_tells_every_promised_fact_of_every_model(call):
    rows = call("list", "--json").json
    assert len(rows) >= 80
    promised = {"name", "family", "task", "license", "parameters", "bytes", "downloaded"}
    assert all(promised <= row.keys() for row in rows)
    assert not any(row["downloaded"] for row in rows)


def test_list_narrows_and_sorts(call):
    rows = call("list", "resnet*", "--max-size", "100MB", "--sort", "top1", "--json").json
    assert rows
    assert all(row["name"].startswith("resnet") and row["bytes"] <= 100 * 10**6 for row in rows)
    assert [row["top1"] for row in rows] == sorted((row["top1"] for row in rows), reverse=True)
    words = call("list", "--task", "word-vectors", "--family", "glove", "--json").json
    assert {row["family"] for row in words} == {"glove"}


def test_list_all_knows_what_timm_and_torchvision_publish(call):
    assert len(call("list", "--all", "--json").json) > 1_800


def test_list_without_a_match_prints_nothing_and_says_what_to_do(call):
    said = call("list", "resnett")
    assert said.code == 0
    assert said.out == ""
    assert "zoo list --all" in said.err
    assert "Did you mean resnet" in said.err
    assert call("list", "resnett", "--json").json == []


def test_show_prints_the_facts_of_a_model(call):
    assert call("show", "resnet18", "--json").json["input"]["mean"] == [0.485, 0.456, 0.406]
    assert "bsd-3-clause" in call("show", "resnet18").out


def test_a_model_is_fetched_listed_verified_and_removed(call, data: Path):
    registry = ("--registry", data / "registry.yaml")
    fetched = call("fetch", "mobilenet_v2_demo", "--json", *registry)
    assert Path(fetched.json[0]["path"]).stat().st_size == 14_262_987
    here = call("list", "--downloaded", "--json", *registry).json
    assert [row["name"] for row in here] == ["mobilenet_v2_demo"]
    assert call("verify", "--json", *registry).code == 0
    assert "14.3 MB freed" in call("rm", "mobilenet_v2_demo", *registry).out
    assert call("list", "--downloaded", "--json", *registry).json == []
    assert "was not in the store" in call("rm", "mobilenet_v2_demo", *registry).out


def test_verify_finds_a_flipped_byte_and_mends_it(call, data: Path):
    registry = ("--registry", data / "registry.yaml")
    path = Path(call("fetch", "mobilenet_v2_demo", "--json", *registry).json[0]["path"])
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(5_000_000)
        byte = file.read(1)
        file.seek(5_000_000)
        file.write(bytes([byte[0] ^ 1]))
    broken = call("verify", "mobilenet_v2_demo", "--json", *registry)
    assert broken.code == 3
    assert broken.json[0]["state"] == "damaged"
    assert call("verify", "mobilenet_v2_demo", "--fix", *registry).code == 0
    assert call("verify", "mobilenet_v2_demo", *registry).code == 0


def test_a_typo_in_the_last_name_costs_no_download(call, data: Path, home: Path):
    said = call("fetch", "mobilenet_v2_demo", "resnet81", "--registry", data / "registry.yaml")
    assert said.code == 2
    assert "no model 'resnet81'" in said.err
    assert "resnet18" in said.err
    assert not list(home.glob("blobs/*"))
