"""The licences of the backbone and of the training data travel with a run, and into a bundle."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.kits import Kit, on_tiny

from zoo.cli.listing import _run_facts
from zoo.errors import UnknownName
from zoo.events import Event, Note
from zoo.runs.record import RunResult, read_record, write_record
from zoo.store.bundles.packing import bundle
from zoo.store.store import Store

pytestmark = on_tiny


@pytest.fixture
def licensed(trained: RunResult, tmp_path: Path) -> Path:
    """The shared run, as it would be with the licence of its data named."""
    folder = tmp_path / "licensed" / "run"
    folder.mkdir(parents=True)
    for path in Path(trained.run).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write_record(msgspec.structs.replace(read_record(folder), data_license="cc-by-4.0"), folder)
    return folder


def test_a_run_goes_on_under_the_licences_of_both_data_sets(
    licensed: Path, finetune: Callable[..., RunResult]
) -> None:
    result = finetune(licensed, epochs=1, data_license="CC0-1.0")
    record = read_record(Path(result.run))
    assert record.data_license == "cc-by-4.0 and cc0-1.0"
    assert record.model["license"] == "apache-2.0"


def test_a_run_that_goes_on_with_data_that_nobody_named_is_partly_unknown(
    licensed: Path,
    trained: RunResult,
    finetune: Callable[..., RunResult],
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other data make it so, the same ones do not; a policy hears of it."""

    def license_after(start: object, **options: object) -> tuple[str | None, bool]:
        told: list[Event] = []
        out = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        found = finetune(start, epochs=1, out=out, report=told.append, **options)
        warned = any(isinstance(event, Note) and "training data" in event.message for event in told)
        return read_record(Path(found.run)).data_license, warned

    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    assert license_after(licensed) == ("cc-by-4.0", False)
    assert license_after(licensed, folder=few) == ("cc-by-4.0 and unknown", True)
    assert license_after(trained.run, folder=few, data_license="mit") == ("unknown and mit", True)
    assert license_after(trained.run, folder=few) == (None, True)


def test_a_run_of_an_earlier_zoo_still_loads(trained: RunResult, tmp_path: Path) -> None:
    facts = json.loads((Path(trained.run) / "run.json").read_text())
    del facts["data_license"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert read_record(tmp_path, names=False).data_license is None


def test_a_licence_that_is_none_is_refused_before_anything_is_read(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="no licence 'cc-by-4'"):
        finetune(folder=tmp_path / "no-such-folder", data_license="cc-by-4")


def test_under_a_policy_data_of_an_unknown_licence_are_never_silently_fine(
    finetune: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warnings(**options: object) -> int:
        told: list[Event] = []
        finetune(epochs=1, report=told.append, **options)
        return sum(isinstance(event, Note) and "training data" in event.message for event in told)

    assert warnings(out=tmp_path / "free") == 0
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    assert warnings(out=tmp_path / "silent") == 1
    assert warnings(out=tmp_path / "named", data_license="LicenseRef-our-photographs") == 0


def test_showing_a_run_prints_both_licences(licensed: Path, trained: RunResult) -> None:
    facts = _run_facts(licensed)
    assert (facts["model license"], facts["data license"]) == ("apache-2.0", "cc-by-4.0")
    assert facts["result"]["val_accuracy"] == trained.val_accuracy
    assert _run_facts(Path(trained.run))["data license"] == "unknown"


def test_a_bundle_names_the_licences_of_its_runs(
    kit: Kit, licensed: Path, shared_store: Store, tmp_path: Path
) -> None:
    target = bundle(shared_store, [read_record(licensed).entry], tmp_path / "models.tar", runs=[licensed])
    with tarfile.open(target) as archive:
        member = archive.extractfile("LICENSES")
        assert member is not None
        lines = member.read().decode().splitlines()
    assert lines == [f"{kit.net}: apache-2.0", "runs/run: model apache-2.0, training data cc-by-4.0"]
