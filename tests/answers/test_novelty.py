"""What is unlike all training items is called so, and of what is like them no more than was asked."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import Call
from support.kits import Kit, on_tiny

import zoo
from zoo.errors import DatasetError, UsageError
from zoo.runs.record import RunResult
from zoo.store.store import Store
from zoo.targets import SPLIT


@pytest.fixture
def strange(tmp_path: Path) -> list[Path]:
    """Pictures of coloured noise, which are neither digits nor insects."""
    chance, found = np.random.default_rng(0), []
    for number in range(8):
        found.append(tmp_path / f"strange-{number}.png")
        Image.fromarray(chance.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(found[-1])
    return found


def test_noise_is_novel_and_validation_items_are_familiar(
    kit: Kit, trained: RunResult, shared_store: Store, strange: list[Path]
) -> None:
    run = zoo.load_run(trained.run, store=shared_store)
    own = [path for name in kit.classes for path in kit.val(name)]
    found = run.predict([*own, *strange], false_alarms=0.1, data=kit.images, device="cpu")
    assert [answer.novel for answer in found[-len(strange) :]] == [True] * len(strange)
    alarms = sum(bool(answer.novel) for answer in found[: len(own)])
    assert alarms <= 0.1 * (len(own) + 1)
    plain = run.predict(own[:3], device="cpu")
    assert [answer.label for answer in plain] == [answer.label for answer in found[:3]]
    assert plain[0].novel is None
    assert plain[0].distance is None


@on_tiny
def test_the_distance_is_the_cosine_distance_of_the_nearest_training_item(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    run = zoo.load_run(trained.run, store=shared_store)
    training = sorted((kit.images / "train").rglob("*.png"))
    asked = kit.val("eight")[:3]
    [*found] = run.predict([*asked, training[0]], false_alarms=0.1, data=kit.images, device="cpu")

    def unit(items: list[Path]) -> np.ndarray:
        rows = run.embed(items, device="cpu").features
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    expected = 1 - (unit([*asked, training[0]]) @ unit(training).T).max(axis=1)
    assert [answer.distance for answer in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found[-1].distance == pytest.approx(0, abs=1e-6)
    assert found[-1].novel is False


@on_tiny
def test_every_form_of_the_answer_has_it(
    kit: Kit, trained: RunResult, ask: Call, strange: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no picture")
    asked = (trained.run, kit.val("eight")[0], strange[0], broken)
    options = ("--false-alarms", 0.1, "--data", kit.images, "--device", "cpu")
    rows = ask("predict", *asked, *options, "--json").json
    assert [row["novel"] for row in rows] == [False, True, None]
    assert rows[0]["distance"] < rows[1]["distance"]
    assert rows[2]["distance"] is None
    said = ask("predict", *asked, *options)
    assert said.code == 5
    assert "novel: farther than" in said.err
    assert f"novel {rows[1]['distance']:.3f}" in said.out
    ask("predict", *asked, *options, "-o", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open() as file:
        assert [row["novel"] for row in csv.DictReader(file)] == ["false", "true", ""]
    assert "novel" not in ask("predict", *asked, "--device", "cpu", "--json").json[0]


@on_tiny
def test_texts_have_it_too(kit: Kit, train_once: Callable[..., object], shared_store: Store) -> None:
    trained = train_once(kit, kit.words, kit.texts)
    run = zoo.load_run(trained.result.run, store=shared_store)  # type: ignore[attr-defined]
    known = run.predict(["good film", "bad film"], false_alarms=0.1, data=kit.texts, device="cpu")
    assert all(answer.distance is not None for answer in known)


@on_tiny
def test_copies_and_other_names_of_the_data_do(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    shutil.copytree(kit.images / "train", tmp_path / "new" / "train")
    shutil.copytree(kit.images / "val", tmp_path / "new" / "val")
    for path in (tmp_path / "new").rglob("*.png"):
        path.rename(path.with_name(f"x-{path.name}"))
    run, photo = zoo.load_run(trained.run, store=shared_store), kit.val("eight")[:1]
    [here] = run.predict(photo, false_alarms=0.1, data=kit.images, device="cpu")
    [there] = run.predict(photo, false_alarms=0.1, data=tmp_path / "new", device="cpu")
    assert (here.distance, here.novel) == (there.distance, there.novel)


@on_tiny
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--false-alarms", 0.001, "--data", "DATA"),
            "need 999 validation items, and 60 of the run's are there",
        ),
        (("--false-alarms", 0.001, "--data", "DATA"), "The least that they allow: --false-alarms 0.0164"),
        (("--false-alarms", 5), "must lie between 0 and 1, not 5"),
        (("--false-alarms", 0.1, "--data", "OTHER"), "none of the items that the run was trained on"),
        (("--false-alarms", 0.1), "are not here"),
        (("--false-alarms", 0.1), "--data DATA"),
        (("--data", "DATA"), "--data goes with --false-alarms"),
        (("--false-alarms", 0.1, "--processes", 2), "--false-alarms is for one process"),
    ],
)
def test_what_cannot_be_known_is_refused_with_a_sentence(
    kit: Kit, trained: RunResult, ask: Call, few: Path, options: tuple[object, ...], says: str, tmp_path: Path
) -> None:
    (few / "train" / "eight").rename(tmp_path / "away")
    shutil.copytree(kit.images / "val" / "eight", few / "train" / "eight")
    shutil.rmtree(few / "train" / "five")
    shutil.copytree(kit.images / "val" / "five", few / "train" / "five")
    places = {"DATA": kit.images, "OTHER": few}
    said = ask("predict", trained.run, kit.val("eight")[0], *(places.get(str(o), o) for o in options))
    assert said.code != 0
    assert says in said.err
    assert "Traceback" not in said.err


@on_tiny
def test_a_plain_model_knows_no_training_items(kit: Kit, ask: Call) -> None:
    said = ask("predict", kit.net, kit.val("eight")[0], "--false-alarms", 0.1)
    assert said.code == 2
    assert "is not a run: what it was trained on" in said.err


@on_tiny
def test_a_run_without_enough_held_out_items_says_how_many_it_needs(
    kit: Kit, few: Path, finetune: Callable[..., RunResult], shared_store: Store
) -> None:
    run = zoo.load_run(finetune(folder=few, epochs=1).run, store=shared_store)
    assert (run.path / SPLIT).is_file()
    with pytest.raises(DatasetError, match=r"0\.05 false alarms need 19 validation items, and 12 of"):
        run.predict(kit.val("eight")[:1], false_alarms=0.05, data=few)
    with pytest.raises(UsageError, match="between 0 and 1"):
        run.predict(kit.val("eight")[:1], false_alarms=0, data=few)
    assert run.predict(kit.val("eight")[:1], false_alarms=0.1, data=few)[0].novel is not None
