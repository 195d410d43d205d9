"""zoo check: every planted defect is found, and nothing else of its kind is accused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import Call
from support.kits import Kit, real_kit, tiny_kit
from support.tiny import REVIEWS

from zoo.choosing.checking.checker import DataCheck, check
from zoo.choosing.checking.manifest import write_manifest
from zoo.choosing.data_kind import scan_any
from zoo.errors import DatasetError, UsageError
from zoo.store.store import Store


def found_items(result: DataCheck, name: str) -> set[str]:
    """The names of the items that a check points at."""
    evidence = result.evidence
    return {
        evidence.name(item)
        for finding in result.findings[name]
        for item in finding.culprits or finding.items[:1]
    }


class Planted:
    """A copy of a data set in which defects are planted, by the name of the check that must find them."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.root = folder / "photos"
        shutil.copytree(source, self.root)
        self.defects: dict[str, set[str]] = {}

    def expect(self, check: str, name: str) -> None:
        self.defects.setdefault(check, set()).add(name)

    def path(self, name: str) -> Path:
        return self.root / name

    def open(self, name: str) -> Image.Image:
        return Image.open(self.path(name)).convert("RGB")


def plant(planted: Planted, ants: list[str], bees: list[str], val: list[str]) -> None:
    """Twenty defects, two or more of each kind; ants, bees: names of training photographs, val: of ants."""
    for name in ants[:2]:  # cut off
        data = planted.path(name).read_bytes()
        planted.path(name).write_bytes(data[: len(data) // 3])
        planted.expect("unreadable", name)
    for number, colour in enumerate([(250, 250, 250), (10, 20, 40)]):
        name = f"train/bees/empty{number}.jpg"
        Image.new("RGB", (320, 240), colour).save(planted.path(name))
        planted.expect("flat", name)
    for name in ants[2:4]:  # the same file under another name
        copy = name.replace("train/ants/", "train/ants/zz-")
        shutil.copy(planted.path(name), planted.path(copy))
        planted.expect("copy", copy)
    for name in bees[:2]:  # smaller, and compressed again
        copy = name.replace("train/bees/", "train/bees/zz-")
        image = planted.open(name)
        image.resize((image.width // 2, image.height // 2)).save(planted.path(copy), quality=40)
        planted.expect("near-copy", copy)
    shutil.copy(planted.path(val[0]), planted.path("train/ants/zz-leak.jpg"))
    planted.expect("leak", "train/ants/zz-leak.jpg")
    planted.open(val[1]).save(planted.path("train/ants/zz-leak.png"))
    planted.expect("leak", "train/ants/zz-leak.png")
    for name in ants[4:6]:  # one photograph, two labels
        copy = name.replace("train/ants/", "train/bees/")
        shutil.copy(planted.path(name), planted.path(copy))
        planted.expect("two-labels", name)
        planted.expect("two-labels", copy)
    for name in bees[2:4]:
        planted.open(name).resize((20, 16)).save(planted.path(name))
        planted.expect("tiny", name)
    for name in ants[6:8]:
        wrong = name.removesuffix(".jpg") + ".png"
        planted.path(name).rename(planted.path(wrong))
        planted.expect("suffix", wrong)
    for name in bees[4:6]:
        exif = Image.Exif()
        exif[0x0112] = 6
        planted.open(name).save(planted.path(name), exif=exif, quality=95)
        planted.expect("rotated", name)
    for name in (bees[6], bees[7]):
        planted.open(name).convert("CMYK").save(planted.path(name), quality=95)
        planted.expect("mode", name)


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Kit:
    """The photographs of ants and bees, and a pretrained MobileNetV2."""
    return real_kit(request.getfixturevalue("data"))


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataCheck]:
    """`checked(kit, folder)`: the check with the kit's model, features kept for the whole session."""
    store = Store(tmp_path_factory.mktemp("checking"))

    def run(kit: Kit, folder: Path, **options: Any) -> DataCheck:
        settings = {"model": kit.net, "registry": kit.registry, "store": store, "device": "cpu", **options}
        return check(folder, **settings)

    return run


def test_the_placeholder_among_the_ants_is_among_the_first_five_suspects(
    real: Kit, checked: Callable[..., DataCheck]
) -> None:
    result = checked(real, real.images)
    names = [result.evidence.name(suspect.item) for suspect in result.suspects]
    assert "train/ants/imageNotFound.gif" in names[:5]
    assert result.culprits == {item for item in result.dataset.items if item.path.name == "imageNotFound.gif"}
    assert len(result.findings["unusual"]) < 10


@pytest.mark.slow
def test_twenty_planted_defects_are_found_and_nothing_else_is_accused(
    real: Kit, checked: Callable[..., DataCheck], tmp_path: Path
) -> None:
    planted = Planted(tmp_path, real.images)
    planted.path("train/ants/imageNotFound.gif").unlink()  # a defect that is there already
    ants, bees, val = (
        sorted(f"{part}/{path.name}" for path in (planted.root / part).iterdir())
        for part in ("train/ants", "train/bees", "val/ants")
    )
    plant(planted, ants, bees, val)
    swapped = {
        "train/bees/zz-ant.jpg": "train/ants/998118368_6ac1d91f81.jpg",
        "train/ants/zz-bee.jpg": "train/bees/444532809_9e931e2279.jpg",
    }
    for new, old in swapped.items():  # plain photographs of each, filed as the other
        planted.path(old).rename(planted.path(new))
        planted.expect("wrong-label", new)
    result = checked(real, planted.root)
    assert {name: found_items(result, name) for name in planted.defects} == planted.defects
    assert sum(len(names) for names in planted.defects.values()) >= 20
    others = {name for name, found in result.findings.items() if found} - planted.defects.keys()
    assert others <= {"unusual"}


@pytest.fixture
def kit(tiny: Path) -> Kit:
    """The tiny set."""
    return tiny_kit(tiny)


def test_sound_images_are_not_accused(kit: Kit, checked: Callable[..., DataCheck]) -> None:
    result = checked(kit, kit.images)
    assert {check.name for check in result.checks} <= {"unusual"}
    assert not result.culprits


def test_texts_are_checked_without_any_model(tmp_path: Path) -> None:
    rows = [f"the film number {i} is good and it was worth the money,positive" for i in range(30)]
    rows += [f"the plot of number {i} is thin and that was the end of it,negative" for i in range(30)]
    wrong = [  # the checks that must point at a row, and at no other
        ("A gem of a Film!,positive", "two-labels"),
        ("a gem of  a film!,negative", "two-labels"),
        ("seen once and never forgotten,positive", ""),
        ("Seen once and never forgotten,positive", "copy"),
        ("it is in the cafÃ© that the story ends,positive", "encoding"),
        ("der Film ist nicht gut und auch zu lang für mich,negative", "language"),
        ("...,negative", "empty"),
        ("what a film <br /> it is the best,positive", "markup"),
    ]
    table = tmp_path / "reviews.csv"
    table.write_text("\n".join(["text,label", *rows, *(row for row, _ in wrong)]), encoding="utf-8")
    result = check(table, store=Store(tmp_path / "home"))
    first = len(rows) + 1
    for name in {row[1] for row in wrong if row[1]}:
        expected = {f"reviews.csv:{first + at}" for at, row in enumerate(wrong) if row[1] == name}
        assert {item.rpartition("/")[2] for item in found_items(result, name)} == expected, name
    assert {c.name for c in result.checks} - {name for _, name in wrong} <= {"unusual", "wrong-label"}


def test_images_that_are_all_small_are_not_accused_one_by_one(tmp_path: Path) -> None:
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 255, (28, 28, 3), np.uint8)
        path = tmp_path / "digits" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    result = check(tmp_path / "digits", store=Store(tmp_path / "home"))
    (small,) = result.findings["tiny"]
    assert "is 28 pixels" in small.detail
    assert not small.items
    assert not result.culprits


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_the_manifest_is_what_finetune_takes_and_lacks_the_culprits(
    kit: Kit, checked: Callable[..., DataCheck], tmp_path: Path, kind: str
) -> None:
    source = kit.images if kind == "images" else kit.texts
    shutil.copytree(source, tmp_path / "data")
    if kind == "images":
        (tmp_path / "data/train/five/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    else:
        with (tmp_path / "data/positive.txt").open("a") as file:
            file.write("\n…\n")
    result = checked(kit, tmp_path / "data", model=kit.net if kind == "images" else None)
    added = {result.evidence.name(item) for item in result.culprits}
    assert ("train/five/cut.png" if kind == "images" else f"positive.txt:{REVIEWS + 1}") in added
    assert (len(added) == 1) is (kind == "images")  # of the drawn reviews some are equal
    out = tmp_path / "lists" / "cleaned.csv"
    kept = write_manifest(result.evidence, result.culprits, out)
    again = scan_any(out)
    assert kept == len(again.items) == len(result.dataset.items) - len(result.culprits)
    assert again.classes == result.dataset.classes
    if kind == "images":
        assert [len(part) for part in (again.train, again.val)] == [120, 60]
        assert {i.path.resolve() for i in again.items} == {
            i.path.resolve() for i in result.dataset.items if i not in result.culprits
        }
    with pytest.raises(UsageError, match="is there already"):
        write_manifest(result.evidence, result.culprits, out)


def test_class_names_that_are_one_few_items_and_uneven_sizes(tmp_path: Path) -> None:
    colours = iter(range(1000))
    for name, count in {"Bee": 3, "bee_": 60, "wasp": 12}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(next(colours)).integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    result = check(tmp_path / "photos", store=Store(tmp_path / "home"))
    assert [f.detail for f in result.findings["twin-names"]] == ["'Bee' and 'bee_'"]
    assert [f.detail for f in result.findings["small-class"]] == ["Bee has 3 images"]
    assert "bee_ has 60, Bee 3" in result.findings["imbalance"][0].detail
    assert set(result.unmade) == {"wrong-label", "unusual"}
    assert "--model" in result.unmade["wrong-label"]


def test_labels_are_not_judged_by_a_model_that_knows_nothing(tmp_path: Path) -> None:
    words = np.random.default_rng(0).choice(["a", "red", "big", "old", "film", "play", "cat"], (200, 6))
    rows = [f"{' '.join(line)},{'ab'[number % 2]}" for number, line in enumerate(words)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]))
    result = check(tmp_path / "t.csv", store=Store(tmp_path / "home"))
    assert "agrees with" in result.unmade["wrong-label"]
    assert "wrong-label" not in result.findings


def test_the_verb_prints_a_table_writes_a_page_and_never_overwrites(
    kit: Kit, ask: Call, tmp_path: Path
) -> None:
    shutil.copytree(kit.images, tmp_path / "photos")
    odd = tmp_path / "photos/train/five/<b>&x.png"
    Image.new("RGB", (40, 40), "white").save(odd)
    page = tmp_path / "check.html"
    said = ask("check", tmp_path / "photos", "--model", kit.net, "--page", page)
    assert said.code == 0, said.err
    assert "flat or a placeholder" in said.out
    html = page.read_text()
    assert "&lt;b&gt;&amp;x.png" in html
    assert "<b>&x" not in html
    assert html.count("data:image/jpeg;base64,") >= 1
    assert ask("check", tmp_path / "photos", "--page", page).code == 2
    facts = ask("check", tmp_path / "photos", "--model", kit.net, "--json", "--skip", "flat").json
    assert "flat" not in {finding["check"] for finding in facts["findings"]}
    assert ask("check", tmp_path / "photos", "--skip", "flatt").code == 2


def test_items_of_one_group_in_two_parts_are_found(kit: Kit, ask: Call, tmp_path: Path) -> None:
    photos = (
        sorted((kit.images / "train" / "five").iterdir()),
        sorted((kit.images / "train" / "eight").iterdir()),
    )
    for name, files in zip(("five", "eight"), photos, strict=True):
        for number, path in enumerate(files[:12]):
            part = "val" if number in (3, 4) else "train"
            place = tmp_path / "photos" / part / name / f"patient{number // 4}-{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    found = ask("check", tmp_path / "photos", "--group-by", r"\w+/(patient\d)-", "--json").json
    torn = [one for one in found["findings"] if one["check"] == "torn-group"]
    assert len(torn) == 2  # two patients, whatever the class
    assert {name for one in torn for name in one["culprits"]} == {
        f"train/{name}/patient{n // 4}-{n}.png" for name in ("five", "eight") for n in (0, 1, 2, 5, 6, 7)
    }
    assert ask("check", tmp_path / "photos", "--group-by", "(").code == 2
    said = ask("check", tmp_path / "photos", "--group-by", "video")
    assert said.code == 2
    assert "train/" in said.err


def test_a_model_for_the_other_kind_is_refused(kit: Kit, ask: Call) -> None:
    said = ask("check", kit.images, "--model", kit.words)
    assert said.code == 2
    assert "takes texts" in said.err


def test_names_of_images_that_are_not_there_are_not_taken_for_texts(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"pic{i}.jpg,{'ab'[i % 2]}\n" for i in range(20)))
    with pytest.raises(DatasetError, match="pic"):
        scan_any(table)
