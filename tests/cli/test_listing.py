"""list, show, fetch, rm, verify: what they print and what they leave alone."""

from __future__ import annotations

from pathlib import Path

from support.commands import Call, write_registry
from support.loopback import BODY, entry_for

from zoo.cli.listing import _fact_lines


def test_list_tells_every_promised_fact_of_every_model(call: Call) -> None:
    rows = call("list", "--json").json
    assert len(rows) >= 80
    promised = {"name", "family", "task", "license", "parameters", "bytes", "downloaded"}
    assert all(promised <= row.keys() for row in rows)
    assert not any(row["downloaded"] for row in rows)


def test_list_narrows_and_sorts(call: Call) -> None:
    rows = call("list", "resnet*", "--max-size", "100MB", "--sort", "top1", "--json").json
    assert rows
    assert all(row["name"].startswith("resnet") and row["bytes"] <= 100 * 10**6 for row in rows)
    assert [row["top1"] for row in rows] == sorted((row["top1"] for row in rows), reverse=True)
    words = call("list", "--task", "word-vectors", "--family", "glove", "--json").json
    assert {row["family"] for row in words} == {"glove"}


def test_list_all_knows_what_timm_and_torchvision_publish(call: Call) -> None:
    assert len(call("list", "--all", "--json").json) > 1_800


def test_list_without_a_match_prints_nothing_and_says_what_to_do(call: Call) -> None:
    said = call("list", "resnett")
    assert said.code == 0
    assert said.out == ""
    assert "zoo list --all" in said.err
    assert "Did you mean resnet" in said.err
    assert call("list", "resnett", "--json").json == []


def test_show_prints_the_facts_of_a_model(call: Call) -> None:
    assert call("show", "resnet18", "--json").json["input"]["mean"] == [0.485, 0.456, 0.406]
    assert "bsd-3-clause" in call("show", "resnet18").out


def test_a_model_whose_weights_are_a_file_here_has_its_size(call: Call, tmp_path: Path) -> None:
    weights = tmp_path / "net.bin"
    weights.write_bytes(BODY)
    entries = [entry_for(weights.as_uri(), name="mine"), entry_for((tmp_path / "no").as_uri(), name="gone")]
    registry = ("--registry", write_registry(tmp_path / "r.yaml", *entries))
    rows = {row["name"]: row["bytes"] for row in call("list", "--json", *registry).json}
    assert (rows["mine"], rows["gone"]) == (300_000, None)
    assert "300,000 (300 kB)" in call("show", "mine", *registry).out


def test_figures_are_shown_with_four_digits_and_kept_whole_for_programs() -> None:
    lines = _fact_lines({"result": {"accuracy": 0.9346405228758169, "epochs": 12}})
    assert lines == ["result:", "  accuracy: 0.9346", "  epochs:   12"]


def test_a_model_is_fetched_listed_verified_and_removed(ask: Call) -> None:
    fetched = ask("fetch", "tiny_net", "--json")
    assert Path(fetched.json[0]["path"]).stat().st_size == 757_042
    here = ask("list", "--downloaded", "--json").json
    assert [row["name"] for row in here] == ["tiny_net"]
    assert ask("verify", "--json").code == 0
    assert "757 kB freed" in ask("rm", "tiny_net").out
    assert ask("list", "--downloaded", "--json").json == []
    assert "was not in the store" in ask("rm", "tiny_net").out


def test_verify_finds_a_flipped_byte_and_mends_it(ask: Call) -> None:
    path = Path(ask("fetch", "tiny_net", "--json").json[0]["path"])
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(500_000)
        byte = file.read(1)
        file.seek(500_000)
        file.write(bytes([byte[0] ^ 1]))
    broken = ask("verify", "tiny_net", "--json")
    assert broken.code == 3
    assert broken.json[0]["state"] == "damaged"
    assert ask("verify", "tiny_net", "--fix").code == 0
    assert ask("verify", "tiny_net").code == 0


def test_a_typo_in_the_last_name_costs_no_download(ask: Call, home: Path) -> None:
    said = ask("fetch", "tiny_net", "resnet81")
    assert said.code == 2
    assert "no model 'resnet81'" in said.err
    assert "resnet18" in said.err
    assert not list(home.glob("blobs/*"))
