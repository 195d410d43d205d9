"""zoo pick: the better model is ranked first, real differences are named, the time is kept."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import Call
from support.kits import Kit, real_kit, tiny_kit
from torchvision.models import mobilenet_v2

from zoo.catalogue.entry import Weights, draft_entry
from zoo.catalogue.registry import load_registry
from zoo.choosing.folds import fold_items
from zoo.choosing.item_features import ItemFeatures
from zoo.choosing.picking.candidates import Candidate, in_order
from zoo.choosing.picking.clock import Clock
from zoo.choosing.picking.contest import Contest, fair_order
from zoo.choosing.picking.picker import pick
from zoo.choosing.picking.probe import fit_probe, predict_unseen
from zoo.choosing.picking.significance import compare_all, expect_of_the_best
from zoo.data.dataset import Item
from zoo.errors import DatasetError, TrainingStopped, UsageError
from zoo.events import Progress, Report, silent
from zoo.store.store import Store
from zoo.targets import RegistryModel


@pytest.fixture
def kit(tiny: Path) -> Kit:
    """The tiny set."""
    return tiny_kit(tiny)


def blobs(items: int, width: int, classes: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (items, width) whose classes lie `apart` from each other, and labels (items,)."""
    chance = np.random.default_rng(seed)
    labels = np.arange(items) % classes
    centres = np.random.default_rng(0).normal(size=(classes, width))
    return (apart * centres[labels] + chance.normal(size=(items, width))).astype(np.float32), labels


@pytest.mark.parametrize("shape", [(60, 10, 3), (40, 90, 2)], ids=["more items", "more numbers"])
def test_a_probe_is_the_ridge_regression_with_the_least_error_of_left_out_items(
    shape: tuple[int, int, int],
) -> None:
    from sklearn.linear_model import RidgeCV

    items, width, classes = shape
    features, labels = blobs(items, width, classes, 0.5)
    probe = fit_probe(features, labels, classes)
    rows = (features - features.mean(0)) / features.std(0)
    variances = np.linalg.svd(rows, compute_uv=False) ** 2
    variances = variances[variances > 1e-9 * variances[0]]
    penalties = variances.mean() * np.logspace(-4, 3, 15)
    expected = RidgeCV(penalties).fit(rows, np.eye(classes)[labels])
    np.testing.assert_allclose(probe.weights, expected.coef_.T, atol=1e-4)
    assert (probe(features) == expected.predict(rows).argmax(1)).all()


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_features_that_say_nothing_give_the_most_frequent_class(constant: float) -> None:
    labels = np.array([0] * 6 + [1] * 12)
    features = np.full((18, 4), constant, dtype=np.float32)
    assert (predict_unseen(features, labels, np.arange(18) % 3, 2).found == 1).all()


def test_copies_lie_in_one_fold_and_classes_are_spread() -> None:
    labels = np.arange(60) % 2
    groups = [number // 4 for number in range(60)]
    folds = fold_items(labels, groups)
    assert all(len(set(folds[4 * group : 4 * group + 4])) == 1 for group in range(15))
    assert {int(abs(np.diff(np.bincount(labels[folds == fold]))[0])) for fold in range(5)} == {0}


def test_the_best_of_many_that_guess_is_expected_to_guess() -> None:
    chance = np.random.default_rng(1)
    right = {f"model{number}": chance.random(400) < 0.5 for number in range(50)}
    best = max(answers.mean() for answers in right.values())
    accuracy, low, high = expect_of_the_best(right)
    assert best > 0.55  # what it was chosen by
    assert abs(accuracy - 0.5) < 0.02
    assert low < 0.5 < high
    assert min(compare_all(right).values()) > 0.05  # and none of them is better than another


def test_the_best_of_many_that_guess_is_expected_to_guess_by_nested_folds() -> None:
    race = Race({f"model{'x' * number}": 0.0 for number in range(12)})
    contest = race.run(400)
    assert contest.accuracy(contest.finalists[0]) > 0.53  # what it was chosen by
    assert abs(contest.expect() - 0.5) < 0.03
    alone = Race({"model": 3.0}).run(400)
    assert alone.expect() == alone.accuracy(alone.finalists[0])


class Race:
    """Candidates whose features are made up, and which need so many seconds for an item."""

    def __init__(self, apart: dict[str, float], slowness: dict[str, float] | None = None) -> None:
        self.apart, self.slowness = apart, slowness or {}
        self.shown: dict[str, int] = {}

    def candidates(self) -> list[Candidate]:
        entries = [draft_entry(name, Weights(url=f"https://x.org/{name}"), "mit") for name in self.apart]
        return [Candidate(RegistryModel(entry.name, entry), entry) for entry in entries]

    def see(self, candidate: Candidate, items: Sequence[Item], report: Report) -> ItemFeatures:
        began = time.perf_counter()
        numbers = [int(item.path.stem) for item in items]
        features, _ = blobs(2000, 6, 2, self.apart[candidate.name], seed=len(candidate.name))
        before = self.shown.get(candidate.name, 0)
        for done in range(before, len(items)):
            time.sleep(self.slowness.get(candidate.name, 0.0))
            report(Progress("features", done, len(items), "images"))
        self.shown[candidate.name] = len(items)
        seconds = time.perf_counter() - began
        return ItemFeatures(candidate.entry, tuple(items), features[numbers], {}, (), seconds, before)

    def run(self, items: int = 2000, seconds: float = 60.0) -> Contest:
        labels = np.arange(items) % 2
        contest = Contest(
            [Item(Path(f"{number}.jpg"), int(label)) for number, label in enumerate(labels)],
            labels,
            np.arange(items) // 2 % 5,
            fair_order(labels),
            2,
            Clock(seconds),
            self.see,
            silent,
        )
        contest.run(self.candidates())
        return contest


def test_models_far_behind_see_few_items_and_near_ones_all() -> None:
    race = Race({"best": 1.2, "near": 1.15, "far": 0.05, "further": 0.0})
    contest = race.run()
    assert [standing.name for standing in contest.finalists] == ["best", "near"]
    assert {standing.name for standing in contest.cut} == {"far", "further"}
    assert race.shown["far"] < race.shown["best"] == 2000


def test_the_time_is_kept_and_what_it_cost_is_said() -> None:
    race = Race({"a": 1.2, "bb": 1.0, "ccc": 0.8}, {"a": 0.001, "bb": 0.001, "ccc": 0.05})
    contest = race.run(seconds=2.0)
    assert contest.clock.spent < 2.2
    assert contest.finalists[0].name == "a"
    assert contest.untried == {"ccc": "the time was over (--minutes)"}
    assert contest.finalists[0].shown > 100  # not the first round alone


def test_small_and_good_models_are_tried_first() -> None:
    from zoo.catalogue.entry import ImageInput, ImageModel, Score

    def model(name: str, size: int, top1: float) -> ImageModel:
        return ImageModel(
            name=name,
            family="net",
            task="image-classification",
            architecture="timm/net",
            weights=Weights(url="https://x.org/a", about_bytes=size),
            license="mit",
            input=ImageInput(size=8, resize=8, mean=(0.5,), std=(0.5,)),
            metrics={"imagenet-1k": Score(top1=top1, source="here")},
        )

    order = in_order([model("heavy", 90, 45.0), model("best", 100, 80.0), model("tiny", 5, 50.0)])
    assert [entry.name for entry in order] == ["tiny", "best", "heavy"]


@pytest.fixture
def random_too(data: Path, tmp_path: Path) -> Path:
    """A registry file with the network of the real MobileNetV2 and random weights."""
    torch.manual_seed(0)
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "random.pth")
    sha256 = hashlib.sha256((tmp_path / "random.pth").read_bytes()).hexdigest()
    text = (data / "registry.yaml").read_text()
    entry = text[text.index("  mobilenet_v2_demo:") : text.index("  glove_demo:")]
    entry = re.sub(r"sha256: \w+", f"sha256: {sha256}", re.sub(r"url: \S+", "url: random.pth", entry))
    renamed = entry.replace("mobilenet_v2_demo", "mobilenet_v2_random")
    (tmp_path / "registry.yaml").write_text(f"models:\n{renamed}")
    return tmp_path / "registry.yaml"


@pytest.mark.slow
def test_a_pretrained_network_is_significantly_better_than_random_weights_and_digits(
    data: Path, random_too: Path, store: Store
) -> None:
    real = real_kit(data)
    registry = load_registry([data / "registry.yaml", random_too])
    choice = pick(real.images, registry=registry, store=store, device="cpu", minutes=5)
    assert [row.name for row in choice.ranking] == ["mobilenet_v2_demo", "digits", "mobilenet_v2_random"]
    best, *others = choice.ranking
    assert best.accuracy > 0.94
    assert choice.expected.interval[0] > 0.9
    assert all(row.p is not None and row.p < 1e-6 for row in others)
    assert set(choice.differences) >= {("mobilenet_v2_demo", "digits")}
    assert choice.items == 398  # every item of train and val
    assert choice.seconds < 330


def test_the_command_ranks_draws_and_trains(ask: Call, kit: Kit, tmp_path: Path) -> None:
    plot, out = tmp_path / "models.png", tmp_path / "run"
    arguments = [kit.images, "--device", "cpu", "--plot", plot, "--finetune", "--out", out]
    said = ask("pick", *arguments)
    assert (said.code, said.err.count("error")) == (0, 0)
    assert "BESIDE THE BEST" in said.out
    assert "Next: zoo predict" in said.out
    with Image.open(plot) as picture:
        assert picture.size[0] > 500
    assert (out / "run.json").is_file()
    facts = json.loads(ask("pick", kit.images, "--device", "cpu", "--json").out)
    assert facts["best"] == facts["ranking"][0]["model"]
    assert {row["model"] for row in facts["ranking"]} == {kit.net, "digits"}
    assert facts["ranking"][0]["interval"][0] < facts["ranking"][0]["accuracy"]
    assert set(facts["not_tried"].values()) == {"it is not downloaded (--fetch)"}
    again = ask("pick", kit.images, "--plot", plot)
    assert again.code == 2
    assert "is there already" in again.err


def test_what_is_to_be_typed_next_says_how_the_data_are_read(ask: Call, tmp_path: Path, kit: Kit) -> None:
    data = tmp_path / "a table.csv"
    texts = [path.read_text().splitlines()[:12] for path in sorted(kit.texts.glob("*.txt"))]
    rows = [f'"{text}",{number}' for number, lines in enumerate(texts) for text in lines]
    data.write_text("what,good or bad\n" + "\n".join(row.replace('""', '"') for row in rows) + "\n")
    said = ask("pick", data, "--label-column", "good or bad", "--text-column", "what")
    assert said.code == 0, said.err
    typed = "--text-column what --label-column 'good or bad' --registry "
    assert f"Next: zoo finetune {kit.words} '{data}' {typed}" in said.out
    assert said.out.rstrip().endswith("registry.yaml --out run")


def test_texts_have_their_baseline_beside_them(ask: Call, kit: Kit) -> None:
    facts = json.loads(ask("pick", kit.texts, "--json").out)
    assert facts["kind"] == "texts"
    assert facts["best"] == kit.words
    assert kit.baseline[0] < facts["baseline"]["metrics"]["accuracy"] < 1
    said = ask("pick", kit.texts)
    assert "TF-IDF + logistic regression, without any vectors, on the same items" in said.out


def test_the_test_part_is_measured_once_by_what_the_others_taught(
    kit: Kit, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for part in ("train", "test"):
        for label in kit.classes:
            (folder / part / label).mkdir(parents=True)
    for label in kit.classes:
        for source in (kit.images / "train" / label).iterdir():
            (folder / "train" / label / source.name).write_bytes(source.read_bytes())
        other = kit.classes[1 - kit.classes.index(label)]
        for source in kit.val(label):  # filed as the other class: whoever learned from train is wrong
            (folder / "test" / other / source.name).write_bytes(source.read_bytes())
    choice = pick(folder, models=[kit.net], registry=kit.registry, store=store, device="cpu")
    assert choice.best.accuracy > 0.8
    assert choice.expected.accuracy < 0.3
    assert "test items" in choice.expected.how


def test_files_that_cannot_be_read_are_counted_and_end_nothing(
    kit: Kit, store: Store, tmp_path: Path
) -> None:
    for label in kit.classes:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for source in (kit.images / "train" / label).iterdir():
            (tmp_path / "photos" / label / source.name).write_bytes(source.read_bytes())
        (tmp_path / "photos" / label / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    choice = pick(tmp_path / "photos", models=[kit.net], registry=kit.registry, store=store, device="cpu")
    assert choice.unreadable == 2
    assert choice.best.items == choice.items


def test_items_of_one_group_are_in_one_fold(kit: Kit, store: Store, tmp_path: Path) -> None:
    # Three near copies of each digit, labelled without regard to what they show: whoever has seen one of
    # them knows the others, and whoever has not can only guess.
    for number, source in enumerate(sorted((kit.images / "train" / kit.classes[0]).iterdir())[:24]):
        folder = tmp_path / "photos" / ("odd" if number % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        for again in range(3):
            image = Image.open(source).convert("RGB")
            image.putpixel((again, 0), (9, 9, 9))
            image.save(folder / f"digit{number:02}-{again}.png")
    asked = {"models": [kit.net], "registry": kit.registry, "store": store, "device": "cpu"}
    torn = pick(tmp_path / "photos", **asked)
    whole = pick(tmp_path / "photos", group_by=r"digit\d+", **asked)
    assert torn.best.accuracy > 0.9
    assert whole.best.accuracy < 0.75


def write_folder(folder: Path, classes: dict[str, int]) -> Path:
    """A folder of plain images, so many of each class."""
    for label, count in classes.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (32, 32), (number * 20, 90, 40)).save(folder / label / f"{number}.png")
    return folder


REFUSALS: dict[str, tuple[Callable[[Path, Kit], dict[str, object]], type[Exception], str]] = {
    "texts for images": (lambda f, k: {"data": k.images, "models": [k.words]}, UsageError, "takes texts"),
    "no time": (lambda f, k: {"data": k.images, "minutes": 0}, UsageError, "above 0"),
    "one class": (
        lambda f, k: {"data": write_folder(f / "one", {"ants": 5}), "models": [k.net]},
        DatasetError,
        "one class",
    ),
    "one item of a class": (
        lambda f, k: {"data": write_folder(f / "few", {"ants": 5, "bees": 1}), "models": [k.net]},
        DatasetError,
        "bees",
    ),
    "nothing fits": (lambda f, k: {"data": k.images, "max_bytes": 10}, UsageError, "fits"),
    "nothing is here": (lambda f, k: {"data": k.images, "families": ["vgg"]}, UsageError, "downloaded"),
    "too little time": (
        lambda f, k: {"data": k.images, "models": [k.net], "minutes": 1e-6},
        TrainingStopped,
        "not one model",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_is_said(case: str, kit: Kit, store: Store, tmp_path: Path) -> None:
    make, error, words = REFUSALS[case]
    with pytest.raises(error, match=words):
        pick(**make(tmp_path, kit), registry=kit.registry, store=store, device="cpu")  # type: ignore[arg-type]


def test_finetune_and_out_belong_together(ask: Call, kit: Kit, tmp_path: Path) -> None:
    said = ask("pick", kit.images, "--out", tmp_path / "run")
    assert said.code == 2
    assert "--finetune needs --out" in said.err
