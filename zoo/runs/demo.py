"""`zoo demo`: transfer seen to work, without network: a network that knows digits 0-4 learns 5-9 from a few.

The images are scikit-learn's bundled digits (E. Alpaydin, C. Kaynak, UCI 1998), written out as the folder
that anybody else would have; the training is `finetune_model`, from the shipped weights and from scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.events import Note, Report, silent
from zoo.runs.folder import refuse_existing
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.record import RunResult
from zoo.training.interruption import never
from zoo.training.recipe.wording import as_option

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store

MODEL = "digits"
CLASSES = {5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
TRAIN_IMAGES, VAL_IMAGES = 5, 100  # per class
SIDE = 32  # pixels
COMMON = {"batch_size": 16, "schedule": "cosine", "patience": 0}
EVERYTHING = {"unfreeze": "all", "tune_lr": 0.001, "lr_decay": 1.0, "augment": "none"}
RUNS: dict[str, dict[str, Any]] = {
    "head-only": {"epochs": 60, **COMMON},
    "fine-tuned": {"epochs": 30, "tune_epochs": 30, **EVERYTHING, **COMMON},
    "from-scratch": {"from_scratch": True, "tune_epochs": 60, **EVERYTHING, **COMMON},
}
"""Folder of the run -> its recipe; 60 epochs each, so that no beginning gets more training than another."""


@dataclass(frozen=True)
class Demo:
    """The results of the demo: the same network on the same images, by name of the run."""

    images: Path
    runs: dict[str, RunResult]


def run_demo(
    out: Path,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
) -> Demo:
    """Write the images and the runs below `out`, which must not exist. Takes about half a minute."""
    refuse_existing(out)
    images = out / "digits"
    write_digits(images)
    report(
        Note(f"wrote {TRAIN_IMAGES} training and {VAL_IMAGES} validation images of each digit to {images}")
    )
    results = {}
    for name, recipe in RUNS.items():
        report(Note(f"zoo finetune {MODEL} {images} --out {out / name} {_as_options(recipe)}"))
        results[name] = finetune_model(
            MODEL,
            images,
            out=out / name,
            registry=registry,
            store=store,
            report=report,
            stop_requested=stop_requested,
            **recipe,
        )
    return Demo(images, results)


def _as_options(recipe: dict[str, Any]) -> str:
    """A recipe as it is typed.

    >>> _as_options({"unfreeze": "all", "from_scratch": True})
    '--unfreeze all --from-scratch'
    """
    return " ".join(as_option(name, value) for name, value in recipe.items())


def write_digits(folder: Path) -> None:
    """Digits 5-9 as PNG files in train/ and val/, a folder per class, as people have their photographs."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit, name in CLASSES.items():
        scans = digits.images[digits.target == digit]
        for part, chosen in {
            "train": scans[:TRAIN_IMAGES],
            "val": scans[TRAIN_IMAGES : TRAIN_IMAGES + VAL_IMAGES],
        }.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for number, scan in enumerate(chosen):
                image = Image.fromarray((scan * (255 / 16)).astype("uint8"))
                image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(place / f"{number:03}.png")
