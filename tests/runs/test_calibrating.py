"""A run learns how far to believe its answers: from new items, kept in its folder, used from then on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from support.commands import Call
from support.kits import Kit, Train, on_tiny

import zoo
from zoo.data.scanning import scan_evaluation
from zoo.errors import DatasetError, IntegrityError, UsageError
from zoo.events import Event, Note
from zoo.runs.calibration import read_calibration, write_calibration
from zoo.runs.modalities.table import modality_of
from zoo.runs.record import read_record, write_record
from zoo.runs.run import load_run
from zoo.runs.using.calibrating import Calibrated
from zoo.runs.using.caution import prediction_sets
from zoo.runs.using.evaluation import ClassEvaluation, answer_items
from zoo.store.store import Store
from zoo.training.calibration import class_scores, conformal_rank

Calibrate = Callable[..., Calibrated]


@pytest.fixture(scope="module")
def new_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cal/ and test/: fives and eights that the tiny network has not seen, 45 of each class and part."""
    from PIL import Image
    from sklearn.datasets import load_digits

    root, digits = tmp_path_factory.mktemp("digits"), load_digits()
    for digit, name in ((5, "five"), (8, "eight")):
        for number, scan in enumerate(digits.images[digits.target == digit][90:170]):
            part = root / ("cal" if number % 2 else "test") / name
            part.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((scan * (255 / 16)).astype("uint8"))
            image.resize((32, 32), Image.Resampling.BICUBIC).save(part / f"{number:03}.png")
    return root


@pytest.fixture
def run(kit: Kit, train_once: Train, tmp_path: Path) -> Path:
    """A copy of the shared run on images, to be calibrated."""
    return shutil.copytree(train_once(kit, kit.net, kit.images).result.run, tmp_path / "copy")


@pytest.fixture
def calibrate(shared_store: Store, kit: Kit) -> Calibrate:
    def call(run: Path, data: Path, **options: Any) -> Calibrated:
        return zoo.calibrate(run, data, store=shared_store, registry=kit.registry, device="cpu", **options)

    return call


@on_tiny
def test_what_a_calibration_finds_is_used_by_every_answer_and_changes_none(
    run: Path, calibrate: Calibrate, new_digits: Path, shared_store: Store
) -> None:
    photos = sorted((new_digits / "test").rglob("*.png"))
    before = load_run(run, store=shared_store).predict(photos, device="cpu")
    found = calibrate(run, new_digits / "cal")
    kept = load_run(run, store=shared_store)
    assert kept.classifier.calibration == found.calibration
    forced = replace(
        kept.classifier,
        calibration=msgspec.structs.replace(found.calibration, temperature=3.0),
    )
    outputs = torch.randn(50, 2)
    assert torch.allclose(forced.calibrated(outputs), outputs.double() / 3)
    write_calibration(forced.calibration, run)  # type: ignore[arg-type]
    after = load_run(run, store=shared_store).predict(photos, device="cpu")
    assert [one.label for one in before] == [one.label for one in after]
    for one, other in zip(before, after, strict=True):
        logit = np.log(one.probability) - np.log1p(-one.probability)  # type: ignore[operator, arg-type]
        assert other.probability == pytest.approx(1 / (1 + np.exp(-logit / 3)), rel=1e-3)


@on_tiny
def test_what_the_run_has_seen_is_never_calibrated_on(
    run: Path, calibrate: Calibrate, kit: Kit, new_digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="chose its best epoch by all 60"):
        calibrate(run, kit.images)
    with pytest.raises(DatasetError, match="was trained on all"):
        calibrate(run, kit.images / "train")
    mixed = shutil.copytree(new_digits / "cal", tmp_path / "mixed")
    for part in ("train", "val"):
        for number, image in enumerate(sorted((kit.images / part / "five").iterdir())[:5]):
            shutil.copy(image, mixed / "five" / f"renamed-{part}-{number}.png")
    told: list[Event] = []
    found = calibrate(run, mixed, report=told.append)
    new = len(list((new_digits / "cal").rglob("*.png")))
    assert found.calibration.items == new
    said = " ".join(event.message for event in told if isinstance(event, Note))
    assert "5 images that the run was trained on are left out" in said
    assert "5 images that the run chose its best epoch by are left out" in said


@on_tiny
def test_a_run_that_does_not_say_what_its_epoch_was_chosen_by_is_calibrated_with_a_warning(
    run: Path, calibrate: Calibrate, kit: Kit, new_digits: Path
) -> None:
    record = read_record(run)
    split = {name: found for name, found in record.data["split"].items() if name != "val_contents"}
    write_record(msgspec.structs.replace(record, data={**record.data, "split": split}), run)
    with pytest.raises(DatasetError, match="chose its best epoch by all 60"):
        calibrate(run, kit.images)
    told: list[Event] = []
    calibrate(run, new_digits / "cal", report=told.append)
    assert any(isinstance(e, Note) and e.level == "warning" and "earlier version" in e.message for e in told)


@on_tiny
def test_copies_count_once_and_one_class_is_not_enough(
    run: Path, calibrate: Calibrate, new_digits: Path, tmp_path: Path
) -> None:
    twice = shutil.copytree(new_digits / "cal", tmp_path / "twice")
    for image in sorted(twice.rglob("*.png")):
        shutil.copy(image, image.with_name(f"again-{image.name}"))
    found, plain = calibrate(run, twice), calibrate(run, new_digits / "cal")
    assert found.calibration.scores == plain.calibration.scores
    shutil.rmtree(twice / "five")
    earlier = (run / "calibration.json").read_bytes()
    with pytest.raises(DatasetError, match="are of the class eight"):
        calibrate(run, twice)
    assert (run / "calibration.json").read_bytes() == earlier


@on_tiny
def test_a_calibration_that_was_changed_damaged_or_of_another_run_is_refused(
    run: Path, calibrate: Calibrate, new_digits: Path
) -> None:
    record = read_record(run)
    assert read_calibration(run, record) is None
    calibrate(run, new_digits / "cal")
    path = run / "calibration.json"
    content = path.read_bytes()
    for changed, why in (
        (content.replace(b'"temperature":', b'"temperature":1'), "wrong bytes"),
        (content[:-9], "damaged"),
        (b"[]", "damaged"),
        (b'{"sha256": 1}', "damaged"),
        (b"\xff\xfe", "damaged"),
    ):
        path.write_bytes(changed)
        with pytest.raises(IntegrityError, match=why):
            read_calibration(run, record)
    path.write_bytes(content)
    found = read_calibration(run, record)
    assert found is not None
    write_calibration(msgspec.structs.replace(found, adapter_sha256="0" * 64), run)
    with pytest.raises(IntegrityError, match="another run"):
        read_calibration(run, record)
    write_calibration(msgspec.structs.replace(found, schema=99), run)
    with pytest.raises(IntegrityError, match="later zoo"):
        read_calibration(run, record)
    assert sorted(file.name for file in run.iterdir() if "calibration" in file.name) == ["calibration.json"]


@on_tiny
def test_abstaining_and_sets_are_fields_beside_the_answer(
    run: Path, calibrate: Calibrate, new_digits: Path, shared_store: Store
) -> None:
    photos = sorted((new_digits / "test").rglob("*.png"))
    with pytest.raises(UsageError, match="not calibrated"):
        load_run(run, store=shared_store).predict(photos, sets=0.9)
    calibrate(run, new_digits / "cal")
    kept = load_run(run, store=shared_store)
    plain = kept.predict(photos, device="cpu")
    found = kept.predict(photos, abstain_below=0.9, sets=0.9, top=1, device="cpu")
    assert any(one.unknown for one in found)
    for one, other in zip(plain, found, strict=True):
        assert other.unknown == (one.probability < 0.9)  # type: ignore[operator]
        assert other.label == (None if other.unknown else one.label)
        assert other.top == one.top[:1]
        assert other.prediction_set is not None
        assert other.prediction_set[0] == one.label
    assert plain[0].unknown is None
    assert plain[0].prediction_set is None
    with pytest.raises(UsageError, match=r"sets of 0\.99 need 99 calibration items, and .* has 80"):
        kept.predict(photos, sets=0.99)
    for wrong in (0, 1, 95, -1):
        with pytest.raises(UsageError, match="between 0 and 1"):
            kept.predict(photos, sets=wrong)
        with pytest.raises(UsageError, match="between 0 and 1"):
            kept.predict(photos, abstain_below=wrong)


def coverage(
    run: Path, store: Store, data: Path, level: float, draws: int = 300
) -> tuple[float, float, float]:
    """How often sets hold the true class over random halves of the validation items; the same without the
    most probable class being always among them; and how often that is to be expected, rank / (n + 1)."""
    kept = load_run(run, store=store)
    kind = modality_of(kept.record.entry).kind
    found = scan_evaluation(data, kept.classes, kind, split=kept.classifier.split)
    answered = answer_items(kept.classifier, found.items, device="cpu")
    truth = torch.tensor([item.label for item in answered.items])
    own = class_scores(answered.outputs).gather(1, truth[:, None])[:, 0]
    chance, with_best, without = torch.Generator().manual_seed(1), [], []
    for _ in range(draws):
        order = torch.randperm(len(truth), generator=chance)
        cal, test = order[: len(truth) // 2], order[len(truth) // 2 :]
        scores = own[cal].sort().values.tolist()
        inside = prediction_sets(answered.outputs[test], scores, level)
        with_best.append(float(inside.gather(1, truth[test][:, None]).double().mean()))
        rank = conformal_rank(len(cal), level)
        assert rank is not None
        without.append(float((own[test] <= scores[rank - 1]).double().mean()))
    return float(np.mean(with_best)), float(np.mean(without)), rank / (len(cal) + 1)


@pytest.mark.parametrize("what", ["images", "texts"])
def test_sets_hold_the_true_class_as_often_as_promised(
    what: str, kit: Kit, train_once: Train, shared_store: Store
) -> None:
    name, data = (kit.net, kit.images) if what == "images" else (kit.words, kit.texts)
    run = Path(train_once(kit, name, data).result.run)
    held, exact, expected = coverage(run, shared_store, data, 0.95)
    assert expected >= 0.95
    assert exact == pytest.approx(expected, abs=0.008)  # of 300 halves
    assert held >= exact


@on_tiny
def test_evaluating_a_calibrated_run_measures_what_it_was_not_calibrated_on(
    run: Path, calibrate: Calibrate, new_digits: Path, shared_store: Store, tmp_path: Path
) -> None:
    calibrate(run, new_digits / "cal")
    found = load_run(run, store=shared_store).evaluate(new_digits / "test", device="cpu")
    assert isinstance(found, ClassEvaluation)
    assert found.calibration is not None
    assert found.calibration_items == found.items
    assert [one.level for one in found.sets] == [0.8, 0.9, 0.95]  # 80 items give 0.987 at most
    assert all(one.coverage_low <= one.coverage <= one.coverage_high for one in found.sets)
    both = shutil.copytree(new_digits / "test", tmp_path / "both")
    shutil.copytree(new_digits / "cal", both, dirs_exist_ok=True)
    told: list[Event] = []
    mixed = load_run(run, store=shared_store, report=told.append).evaluate(both, device="cpu")
    assert isinstance(mixed, ClassEvaluation)
    assert mixed.items == 2 * found.items
    assert mixed.calibration == found.calibration
    told.clear()
    load_run(run, store=shared_store, report=told.append).evaluate(new_digits / "cal", device="cpu")
    assert any(isinstance(e, Note) and "look better" in e.message for e in told)


@on_tiny
def test_numbers_get_intervals_that_hold_the_truth_as_often_as_promised(
    kit: Kit, new_digits: Path, calibrate: Calibrate, finetune: Callable[..., Any], shared_store: Store
) -> None:
    def write(folder: Path) -> Path:
        rows = [
            f"{image},{5 if image.parent.name == 'five' else 8}" for image in sorted(folder.rglob("*.png"))
        ]
        table = folder / "numbers.csv"
        table.write_text("\n".join(["path,digit", *rows]))
        return table

    options = {"task": "regression", "label_column": "digit", "epochs": 10}
    train = shutil.copytree(kit.images / "train", new_digits / "train", dirs_exist_ok=True)
    run = Path(finetune(folder=write(train), **options).run)
    found = calibrate(run, write(new_digits / "cal"), label_column="digit")
    assert (found.before, found.calibration.temperature) == (None, 1)
    kept = load_run(run, store=shared_store)
    photos = sorted((new_digits / "test").rglob("*.png"))
    answers = kept.predict(photos, sets=0.9, device="cpu")
    held = 0
    for path, one in zip(photos, answers, strict=True):
        assert one.intervals is not None
        assert one.values is not None
        low, high = one.intervals["digit"]
        assert low < one.values["digit"] < high
        held += low <= (5 if path.parent.name == "five" else 8) <= high
    assert held / len(photos) == pytest.approx(0.9, abs=0.09)
    with pytest.raises(UsageError, match="answers with numbers"):
        kept.predict(photos, abstain_below=0.9)


@on_tiny
def test_a_run_on_texts_is_calibrated_with_new_texts(
    kit: Kit, train_once: Train, shared_store: Store, calibrate: Calibrate, tmp_path: Path
) -> None:
    from support.tiny import JUDGEMENTS, draw_reviews

    run = shutil.copytree(train_once(kit, kit.words, kit.texts).result.run, tmp_path / "copy")
    for label in JUDGEMENTS:
        lines = {review for review, _ in zip(draw_reviews(label, seed=7), range(150), strict=False)}
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / f"{label}.txt").write_text("\n".join(sorted(lines)), "utf-8")
    found = calibrate(run, tmp_path / "new")
    assert found.calibration.items > 100
    (one,) = load_run(run, store=shared_store).predict(["a very good film"], sets=0.9, device="cpu")
    assert one.prediction_set is not None
    assert one.label in one.prediction_set


@on_tiny
def test_typing_it_shows_a_table_json_and_csv(
    ask: Call, run: Path, new_digits: Path, monkeypatch: pytest.MonkeyPatch, shared_store: Store
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(shared_store.home))
    said = ask("calibrate", run, new_digits / "cal")
    assert said.code == 0, said
    assert "--sets 0.95" in said.out
    assert ask("calibrate", run, new_digits / "cal", "--json").json["items"] == 80
    options = ("--sets", "0.95", "--abstain-below", "0.9")
    rows = ask("predict", run, new_digits / "test", *options, "--json").json
    assert rows[0].keys() == {"path", "label", "probability", "top", "error", "unknown", "prediction_set"}
    assert any(row["unknown"] and row["label"] is None for row in rows)
    out = ask("predict", run, new_digits / "test", *options).out
    assert "SET OF 0.95" in out
    assert out.count("(unknown)") == sum(row["unknown"] for row in rows)
    lines = ask("predict", run, new_digits / "test", *options, "--csv").out.splitlines()
    assert lines[0].startswith("path,label,probability,unknown,prediction_set,")
    assert sum(",true," in line for line in lines) == sum(row["unknown"] for row in rows)
    found = ask("evaluate", run, new_digits / "test")
    assert "CALIBRATION ERROR" in found.out
    assert "ABSTAIN BELOW" in found.out
    assert "HOLD THE CLASS" in found.out
    said = ask("predict", run, new_digits / "test", "--sets", "0.99", "--json")
    assert (said.code, said.out) == (2, "")
    for name, what in (("tiny_net", "is not a run"),):
        said = ask("predict", name, new_digits / "test", "--sets", "0.9")
        assert said.code == 2
        assert what in said.err
