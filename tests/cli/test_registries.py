"""zoo registry: registry files are linted, extended and compared as they are typed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from support.commands import Call, running, start_zoo, wait_until, write_registry
from support.loopback import BODY, Server, entry_for, silent


def test_a_good_file_is_counted_and_a_bad_one_is_told_by_line(call: Call, tiny: Path, tmp_path: Path) -> None:
    good = call("registry", "lint", tiny / "registry.yaml")
    assert good.code == 0
    assert good.out == f"{tiny / 'registry.yaml'}: 2 models, 0 problems, 0 remarks\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text((tiny / "registry.yaml").read_text().replace("dimension: 20", "dimension: none"))
    said = call("registry", "lint", bad)
    assert said.code == 2
    assert f"{bad}:19: models.tiny_words.input.dimension: expected a whole number" in said.out
    found = call("registry", "lint", bad, "--json")
    assert found.code == 2
    fields = {row["field"] for row in found.json["problems"]}
    assert "models.tiny_words.input.dimension" in fields
    assert "models.tiny_net.weights.url" in fields, "its file is not beside this registry"


def test_online_is_refused_offline(call: Call, tiny: Path) -> None:
    said = call("registry", "lint", "--online", "--offline", tiny / "registry.yaml")
    assert said.code == 4
    assert "offline mode is on" in said.err


def test_a_changed_hash_stands_out_in_a_diff(call: Call, tiny: Path, tmp_path: Path) -> None:
    text = (tiny / "registry.yaml").read_text()
    proposed = tmp_path / "proposed.yaml"
    proposed.write_text(
        text.replace("884cb73b46", "084cb73b46")
        .replace("tiny_words", "new_words")
        .replace("apache-2.0", "mit")
    )
    said = call("registry", "diff", tiny / "registry.yaml", proposed)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[:3] == ["+ new_words", "- tiny_words", "~ tiny_net"]
    assert lines[3].startswith("!   weights.sha256: 884cb73b46")
    assert lines[3].endswith("OTHER BYTES")
    assert lines[4:] == ["    license: apache-2.0 → mit"], (
        "the same relative URL in another folder is no change"
    )
    found = call("registry", "diff", tiny / "registry.yaml", proposed, "--json").json
    assert found["added"] == ["new_words"]
    assert found["changed"][0]["other_bytes"] is True
    assert found["changed"][0]["fields"][1] == {
        "field": "license",
        "before": "apache-2.0",
        "after": "mit",
        "is_about_bytes": False,
    }
    assert call("registry", "diff", proposed, proposed).out == "No entry differs.\n"


def test_a_file_that_is_no_registry_is_not_compared(call: Call, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("model: {}\n")
    said = call("registry", "diff", tiny / "registry.yaml", tmp_path / "bad.yaml")
    assert said.code == 2
    assert "bad.yaml:1: model: no such section" in said.err


def test_the_schema_is_printed_for_editors(call: Call) -> None:
    assert call("registry", "schema", "--json").json == json.loads(call("registry", "schema").out)


def test_a_file_is_added_as_it_is_typed(call: Call, tiny: Path, tmp_path: Path) -> None:
    registry = tmp_path / "ours.yaml"
    said = call(
        *("registry", "add", tiny / "weights" / "net.safetensors", "--to", registry, "--json"),
        *("--like", "digits", "--name", "ours", "--license", "apache-2.0"),
        *("--set", "input.mean=[0.5, 0.5, 0.5]", "--set", "input.std=[0.5, 0.5, 0.5]"),
    )
    assert said.code == 0
    assert said.json["written"] is True
    assert said.json["entry"]["input"]["mean"] == [0.5, 0.5, 0.5]
    assert call("registry", "lint", registry).out.endswith("1 model, 0 problems, 0 remarks\n")
    assert call("fetch", "ours", "--registry", registry).code == 0


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("classes", "sets no field"),
        ("input.=7", "sets no field"),
        ("classes=[ants", "not YAML"),
        ("license=no", "means different things"),
        ("license=mit\nname: x", "more than one value"),
    ],
)
def test_a_setting_that_is_none_is_answered_with_an_example(
    call: Call, tmp_path: Path, setting: str, says: str
) -> None:
    said = call("registry", "add", tmp_path / "x", "--to", tmp_path / "r.yaml", "--set", setting)
    assert said.code == 2
    assert says in said.err


def test_ctrl_c_does_not_wait_for_servers_that_say_nothing(server: Server, tmp_path: Path) -> None:
    urls = [server.add(f"/{number}", BODY, *[silent()] * 9) for number in range(12)]
    registry = write_registry(tmp_path / "r.yaml", entry_for(*urls))
    with running(start_zoo("registry", "lint", registry, "--online")) as process:
        wait_until(lambda: server.connections >= 8, 30)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=8)  # each server would be waited for three times 10 s
    assert process.returncode == 130, said


def test_plain_http_is_a_problem_until_the_host_is_allowed(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://models.lab:8000/net"
    path = tmp_path / "r.yaml"
    write_registry(path, entry_for(url))
    said = call("registry", "lint", path)
    assert said.code == 2
    assert f"'{url}' is plain http to another machine, which only ZOO_ALLOW_HOST=models.lab would" in said.out
    for allowed in ("models.lab", "other, MODELS.lab:8000"):
        monkeypatch.setenv("ZOO_ALLOW_HOST", allowed)
        assert call("registry", "lint", path).code == 0
    monkeypatch.setenv("ZOO_ALLOW_HOST", "models.lab:80")
    assert call("registry", "lint", path).code == 2


def test_online_a_url_that_is_gone_is_a_problem_at_its_line(
    call: Call, server: Server, tmp_path: Path
) -> None:
    server.add("/here", b"x" * 10)
    text = (
        "models:\n  net:\n    family: x\n    task: image-features\n    architecture: timm/resnet18\n"
        "    weights:\n      url: [{url}/here, {url}/gone]\n      sha256: {sha256}\n      bytes: 10\n"
        "    input: {{size: 8, resize: 8, mean: [0, 0, 0], std: [1, 1, 1]}}\n    license: mit\n"
    )
    path = tmp_path / "registry.yaml"
    path.write_text(text.format(url=server.url, sha256="ab" * 32))
    assert call("registry", "lint", path).code == 0
    assert server.connections == 0
    said = call("registry", "lint", path, "--online")
    assert said.code == 2
    assert f"{path}:7: models.net.weights.url[1]: {server.url}/gone answers 404" in said.out
    assert "1 model, 1 problem, 0 remarks" in said.out
