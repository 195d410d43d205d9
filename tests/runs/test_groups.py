"""What belongs together stays together: in the split of a run, and when the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.commands import Call
from support.kits import Kit, on_tiny
from support.tiny import NET

from zoo.runs.record import read_record

pytestmark = on_tiny

GROUP = "(patient[0-9]+)-"


def test_a_run_draws_whole_groups_and_goes_on_with_the_same_split(
    kit: Kit, ask: Call, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for name in kit.classes:
        (photos / name).mkdir(parents=True)
        for number, path in enumerate(sorted((kit.images / "train" / name).iterdir())[:24]):
            shutil.copy(path, photos / name / f"patient{number // 3}-{number}{path.suffix}")
    run = tmp_path / "run"
    said = ask("finetune", NET, photos, "--out", run, "--epochs", 1, "--group-by", GROUP)
    assert f"8 groups by {GROUP}" in said.err
    split = read_record(tmp_path / "run").data["split"]
    patients = {
        part: {Path(name).name.partition("-")[0] for name in split[part]} for part in ("train", "val")
    }
    assert patients["val"]
    assert patients["val"].isdisjoint(patients["train"])
    ask("finetune", tmp_path / "run", photos, "--out", tmp_path / "again", "--epochs", 1)
    assert read_record(tmp_path / "again").data["split"] == split
