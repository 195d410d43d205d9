"""The page about a run: what is on it, that it needs nothing, and that no name on it does harm."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import Call
from support.kits import Kit, on_real, on_tiny

import zoo
from zoo.answers.reporting.page import check_report, write_report
from zoo.answers.reporting.repeating import needed_wishes, repeat_command
from zoo.data import scanning
from zoo.data.finding.folder import find_in_folder
from zoo.errors import UsageError
from zoo.events import silent
from zoo.runs.record import RunResult, read_record
from zoo.store.store import Store
from zoo.training.calibration import reliability_bins
from zoo.training.recipe import Recipe, resolve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Finetune = Callable[..., RunResult]


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and what stands between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: str | Path, data: Path | None, store: Store, out: Path) -> str:
    return write_report(run, data, out=out, store=store, report=silent).read_text("utf-8")


def check_alone(page: str) -> None:
    """The page has no script, no handler, and loads nothing."""
    for tag, attributes in Tags(page).tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,")), attributes


def test_the_page_shows_the_run_and_needs_nothing(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    page = page_of(trained.run, kit.images, shared_store, tmp_path / "page.html")
    check_alone(page)
    found = Tags(page)
    for title in (
        "Learning curves",
        "What is taken for what",
        "Each class",
        "Largest losses",
        "Map of the data",
    ):
        assert title in found.text
    assert f"{trained.metrics['accuracy']:.4f}" in found.text
    assert f"{kit.val_images} images: the val part" in found.text
    assert f"0 of {trained.frozen_tensors} frozen tensors changed" in found.text
    assert "linear probe" in found.text
    assert sum(tag == "svg" for tag, _ in found.tags) == 4
    assert sum(tag == "img" for tag, _ in found.tags) >= 18


def test_without_the_data_the_page_has_what_the_run_knows(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    page = page_of(trained.run, None, shared_store, tmp_path / "page.html")
    assert "need the data: zoo report" in Tags(page).text
    assert "Learning curves" in page
    assert "<img" not in page


@on_tiny
def test_names_of_users_are_text_and_nothing_else(
    kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    bad, worse = "<script>alert(1)<", '"><img src=x onerror=alert(1)> $x^2$ {{ 7*7 }}'
    for part, count in (("train", 8), ("val", 6)):
        for name, label in zip(kit.classes, (bad, worse), strict=True):
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for photo in sorted((kit.images / part / name).iterdir())[:count]:
                shutil.copy(photo, folder / f"<script>{photo.name}")
    result = finetune(folder=tmp_path / "data", epochs=3)
    page = page_of(result.run, tmp_path / "data", shared_store, tmp_path / "page.html")
    check_alone(page)
    text = Tags(page).text
    assert bad in text
    assert worse in text


@on_tiny
def test_a_run_on_texts_shows_the_texts(
    kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    for name in ("negative", "positive"):
        lines = (kit.texts / f"{name}.txt").read_text("utf-8").splitlines()[:60]
        texts.mkdir(exist_ok=True)
        (texts / f"{name}.txt").write_text(
            "\n".join([*lines, f"<script>{name}</script> film"]) + "\n", "utf-8"
        )
    for out, unfreeze in (("frozen", None), ("tuned", "all")):
        result = finetune(kit.words, texts, out=tmp_path / out, epochs=2, unfreeze=unfreeze, val_fraction=0.5)
        page = page_of(result.run, texts, shared_store, tmp_path / f"{out}.html")
        check_alone(page)
        assert "<blockquote>" in page
        assert "TF-IDF" in page
        assert page.count('class="word"') > 20


@on_tiny
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_have_a_page(
    task: str, kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    rows = ["path,label,split"]
    for part in ("train", "val"):
        for number, name in enumerate(kit.classes):
            for photo in sorted((kit.images / part / name).iterdir())[:12]:
                label = str(number + 0.5) if task == "regression" else ("a", "a|b")[number]
                rows.append(f"{photo},{label},{part}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n", "utf-8")
    result = finetune(folder=table, task=task, epochs=3)
    page = page_of(result.run, table, shared_store, tmp_path / "page.html")
    check_alone(page)
    assert ("Predicted against true" if task == "regression" else "Each class") in page


@on_real
@pytest.mark.slow
def test_the_suspects_hold_eight_of_ten_labels_that_were_swapped(
    kit: Kit, finetune: Finetune, shared_store: Store, tmp_path: Path
) -> None:
    folder, chance, planted = tmp_path / "data", random.Random(0), []
    shutil.copytree(kit.images, folder)
    one, other = kit.classes
    for name, wrong in ((one, other), (other, one)):
        for photo in chance.sample(sorted((folder / "train" / name).iterdir()), 5):
            planted.append(photo.rename(folder / "train" / wrong / photo.name).name)
    result = finetune(folder=folder)
    page = page_of(result.run, folder, shared_store, tmp_path / "page.html")
    suspects = page[page.index('id="labels"') : page.index('id="certainty"')]
    assert sum(name in suspects for name in planted) >= 8


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"head": "mlp", "hidden": (64, 32), "balance": True},
        {"unfreeze": 1, "tune_lr": 1e-4, "augment": "strong"},
        {"strategy": "lora", "rank": 4, "optimizer": "sgd", "schedule": "cosine"},
        {"standardize": False, "seed": 7, "lr": 0.003},
    ],
)
def test_the_command_makes_the_same_recipe(wishes: dict[str, Any], kit: Kit, trained: RunResult) -> None:
    record = read_record(Path(trained.run))
    record = msgspec.structs.replace(record, recipe=resolve(Recipe(**wishes), record.kind))
    assert resolve(Recipe(**needed_wishes(record)), record.kind) == record.recipe
    assert set(needed_wishes(record)) <= set(wishes)
    assert repeat_command(record).startswith(f"zoo finetune {record.model['name']} DATA")


@on_tiny
def test_finetune_writes_the_page_and_does_without(
    kit: Kit, few: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("--registry", kit.registry_file, "--epochs", 2)
    read: list[Path] = []
    monkeypatch.setattr(
        scanning, "find_in_folder", lambda *a, **k: read.append(a[0]) or find_in_folder(*a, **k)
    )
    done = call("finetune", kit.net, few, "--out", tmp_path / "with", "--report", *common)
    assert done.code == 0
    assert read == [few]  # once, for the run and its page
    assert f"Report: {tmp_path / 'with' / 'report.html'}" in done.err
    assert (tmp_path / "with" / "report.html").is_file()
    with Image.open(tmp_path / "with" / "learning.png") as picture:
        assert min(picture.size) > 200
    call("finetune", kit.net, few, "--out", tmp_path / "without", "--no-report", *common)
    assert not (tmp_path / "without" / "report.html").exists()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("zoo.answers.reporting.page.all_sections", broken)
    done = call("finetune", kit.net, few, "--out", tmp_path / "third", "--report", "--json", *common)
    assert done.code == 0
    assert json.loads(done.out)["run"] == str(tmp_path / "third")
    assert "no report: no ink" in done.err
    assert "zoo report" in done.err


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<p>my own page</p>")
    with pytest.raises(UsageError, match="is not a report"):
        check_report(mine)
    with pytest.raises(UsageError, match=r"ends with \.html"):
        check_report(tmp_path / "page.pdf")


@on_tiny
def test_a_report_of_something_else_is_refused_with_the_next_command(
    kit: Kit, call: Call, tmp_path: Path
) -> None:
    done = call("report", tmp_path / "nothing")
    assert done.code != 0
    done = call("report", kit.net, kit.images, "--registry", kit.registry_file)
    assert done.code == 2
    assert "takes a run" in done.err


def test_probabilities_that_are_right_have_no_calibration_error() -> None:
    chance = np.random.default_rng(0)
    sure = chance.uniform(0.5, 1.0, 200_000)
    right = chance.uniform(size=len(sure)) < sure
    assert all(
        abs(said - is_) < 0.02
        for said, is_, _ in reliability_bins(torch.from_numpy(sure), torch.from_numpy(right))
    )
    assert reliability_bins(torch.full((10,), 0.9), torch.arange(10) < 6) == ((pytest.approx(0.9), 0.6, 10),)


@on_real
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1100, 380])
def test_a_browser_shows_the_page_without_a_complaint(
    width: int, kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    out = tmp_path / "page.html"
    page_of(trained.run, kit.images, shared_store, out)
    asked: list[str] = []
    told: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        view.on("console", lambda message: told.append(message.text))
        view.on("pageerror", lambda error: told.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto(out.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
        assert told == []
        assert view.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
        view.keyboard.press("Tab")
        assert view.evaluate("document.activeElement.getAttribute('href')") == "#score"
        browser.close()


def test_the_figures_take_the_colour_of_the_page() -> None:
    from zoo.answers.reporting.drawing import INK, draw_coverage, to_svg

    svg = to_svg(lambda figure: draw_coverage(figure, [0.5, 1.0], [1.0, 0.9]), "A figure")
    assert "currentColor" in svg
    assert INK not in svg
    assert re.search(r'<svg role="img" aria-label="A figure"', svg)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_each_picture_can_be_had_alone(
    suffix: str, kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    names = ("learning", "confusion", "reliability", "coverage", "map")
    files = [tmp_path / f"{name}{suffix}" for name in names]
    write_report(
        trained.run, kit.images, out=tmp_path / "p.html", plots=files, store=shared_store, report=silent
    )
    assert all(file.stat().st_size > 2_000 for file in files)
    for bad, words in (
        ("numbers.png", "has learned single-label"),
        ("face.png", "no picture"),
        ("map.bmp", "ends with"),
    ):
        with pytest.raises(UsageError, match=words):
            write_report(
                trained.run,
                kit.images,
                out=tmp_path / "q.html",
                plots=[tmp_path / bad],
                store=shared_store,
                report=silent,
            )


@on_tiny
def test_a_run_in_a_notebook_is_a_table_with_escaped_names(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    run = zoo.load_run(trained.run, store=shared_store)
    run.record = msgspec.structs.replace(run.record, classes=("<b>ants</b>", "bees"))
    shown = run._repr_html_()
    assert "&lt;b&gt;ants" in shown
    assert "<b>" not in shown
    assert f"{trained.metrics['accuracy']:.4f} (95 % interval" in shown


@on_tiny
def test_a_calibrated_run_shows_both_curves(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    from zoo.runs.calibration import Calibration, write_calibration

    copy = tmp_path / "copy"
    shutil.copytree(trained.run, copy)
    record = read_record(copy)
    calibration = Calibration(
        created=record.created,
        adapter_sha256=record.adapter_sha256,
        data="x",
        items=9,
        contents=(),
        temperature=2.0,
    )
    write_calibration(calibration, copy)
    run = zoo.load_run(copy, store=shared_store)
    page = run.write_report(kit.images, out=tmp_path / "page.html").read_text("utf-8")
    assert "calibrated" in page[page.index('id="certainty"') :]
    assert "Before the run was calibrated" in page
