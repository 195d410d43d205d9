"""The demo shows transfer at work, with no network and nothing but what the wheel carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import RunExists
from zoo.runs.demo import CLASSES, RUNS, TRAIN_IMAGES, VAL_IMAGES, run_demo, write_digits
from zoo.store.store import Store


@pytest.mark.slow
def test_the_pretrained_network_beats_the_one_from_scratch(tmp_path: Path) -> None:
    found = run_demo(tmp_path / "demo", store=Store(tmp_path / "home", offline=True))
    assert list(found.runs) == list(RUNS)
    head, tuned, scratch = found.runs.values()
    assert head.val_accuracy > scratch.val_accuracy
    assert tuned.val_loss < head.val_loss < scratch.val_loss
    assert head.frozen_changed == tuned.frozen_changed == scratch.frozen_changed == 0
    assert scratch.frozen_tensors == 0
    assert all((Path(run.run) / "run.json").is_file() for run in found.runs.values())


def test_the_digits_are_written_as_people_have_their_photographs(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    for part, count in (("train", TRAIN_IMAGES), ("val", VAL_IMAGES)):
        for name in CLASSES.values():
            assert len(list((tmp_path / "digits" / part / name).glob("*.png"))) == count


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunExists):
        run_demo(tmp_path)
    assert not list(tmp_path.iterdir())
