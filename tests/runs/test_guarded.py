"""A run means what it was trained to mean: classes, preprocessing, backbone, whatever run.json says now."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import Call
from support.kits import Kit, on_tiny

from zoo.errors import IntegrityError, WeightsMismatch
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store

pytestmark = on_tiny


@pytest.fixture
def copy(trained: RunResult, tmp_path: Path) -> Path:
    """A copy of a run on images, to be changed."""
    return Path(shutil.copytree(trained.run, tmp_path / "elsewhere" / "run"))


def change(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit run.json by hand."""
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


EDITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "order": (lambda facts: facts["classes"].reverse(), "classes"),
    "name": (lambda facts: facts["classes"].__setitem__(0, "ant"), "classes"),
    "size": (lambda facts: facts["model"]["input"].update(size=64, resize=64), "input"),
    "mean": (lambda facts: facts["model"]["input"].update(mean=[0.4, 0.4, 0.4]), "input"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_run_json_that_was_edited_is_refused_by_what_was_changed(
    kit: Kit, shared_store: Store, copy: Path, edit: str
) -> None:
    how, name = EDITS[edit]
    change(copy, how)
    with pytest.raises(IntegrityError, match=rf"run\.json has been changed\. Its {name}: now"):
        load_run(copy, store=shared_store).predict([kit.photos])


def test_another_backbone_is_refused_by_the_names_of_its_tensors(
    kit: Kit, shared_store: Store, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zoo.backbones.loading as loading

    usual = loading.load_backbone

    def altered(*arguments: Any, **options: Any) -> torch.nn.Module:
        """A library that builds the network in another way."""
        network = usual(*arguments, **options)
        name, buffer = next((n, b) for n, b in network.named_buffers() if n.endswith("running_var"))
        buffer.mul_(1.01)
        altered.name = name  # type: ignore[attr-defined]
        return network

    monkeypatch.setattr(loading, "load_backbone", altered)
    with pytest.raises(WeightsMismatch, match=f"1 of {kit.frozen_tensors} frozen tensors") as caught:
        load_run(copy, store=shared_store).predict([kit.photos])
    assert altered.name in caught.value.message  # type: ignore[attr-defined]


def test_a_run_of_an_earlier_version_has_no_guard_and_loads(
    kit: Kit, shared_store: Store, copy: Path
) -> None:
    import hashlib

    from safetensors.torch import load, save

    plain = save(load((copy / "adapter.safetensors").read_bytes()))
    (copy / "adapter.safetensors").write_bytes(plain)
    change(copy, lambda facts: facts.update(adapter_sha256=hashlib.sha256(plain).hexdigest()))
    assert load_run(copy, store=shared_store).predict([kit.photos])


def test_run_json_names_no_place_of_the_machine(trained: RunResult, tmp_path_factory: Any) -> None:
    text = (Path(trained.run) / "run.json").read_text()
    facts = json.loads(text)
    assert facts["data"]["root"] == "images"
    assert not Path(facts["model"]["weights"]["url"]).is_absolute()
    assert str(tmp_path_factory.getbasetemp()) not in text


def test_weights_are_found_by_their_bytes_where_the_run_had_them_no_longer(
    kit: Kit, copy: Path, call: Call, tmp_path: Path
) -> None:
    """The run is passed on; the other machine has the same file in another place, under another name."""
    place = tmp_path / "other machine"
    place.mkdir()
    shutil.copytree(kit.registry_file.parent / "weights", place / "weights")
    shutil.copytree(kit.registry_file.parent / "words", place / "words")
    listed = kit.registry_file.read_text().replace("tiny_net:", "their_net:")
    (place / "registry.yaml").write_text(listed)
    change(copy, lambda facts: facts["model"]["weights"].update(url="gone.safetensors"))
    found = call("predict", copy, kit.photos, "--registry", place / "registry.yaml", "--json")
    assert found.code == 0, found.err
    assert len(found.json) == len(list(kit.photos.iterdir()))


def test_weights_that_nobody_has_are_named_by_their_hash(kit: Kit, copy: Path, call: Call) -> None:
    def forget(facts: dict[str, Any]) -> None:
        facts["weights_sha256"] = facts["model"]["weights"]["sha256"] = "f0" * 32
        facts["model"]["weights"]["url"] = "gone.safetensors"

    change(copy, forget)
    said = call("predict", copy, kit.photos, "--registry", kit.registry_file)
    assert said.code == 7, said.err
    assert "f0f0f0f0f0f0" in said.err
    assert "--registry FILE" in said.err
