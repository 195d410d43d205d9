"""What is measured on: photographs and reviews of the test data (`--data`), all of them, many or a few."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoo import Run

REVIEWS = 500  # of each class, to measure on


def many_photographs(data: Path, folder: Path, files: int) -> Path:
    """A folder of so many copies of the photographs; each ends in a number, so that no two are equal."""
    photographs = sorted((data / "hymenoptera").rglob("*.jpg"))
    (place := folder / "many").mkdir()
    for number in range(files):
        content = photographs[number % len(photographs)].read_bytes()
        (place / f"{number:06}.jpg").write_bytes(content + number.to_bytes(4, "big"))
    return place


class Set(NamedTuple):
    """name: for people. model: by its name. pool, held: items of each class, to learn from and to measure."""

    name: str
    model: str
    pool: dict[str, list[str]]
    held: dict[str, list[str]]


def photographs(data: Path) -> Set:
    """The ants and bees."""
    folder = data / "hymenoptera"
    parts = [
        {kind.name: sorted(map(str, kind.glob("*.jpg"))) for kind in sorted((folder / part).iterdir())}
        for part in ("train", "val")
    ]
    return Set("photos", "mobilenet_v2_demo", *parts)


def reviews(data: Path) -> Set:
    """The reviews; the last of each class, in a random order, are measured."""
    pool, held = {}, {}
    for file in sorted((data / "reviews").glob("*.txt")):
        lines = sorted(set(file.read_text("utf-8", errors="replace").splitlines()))
        random.Random(0).shuffle(lines)
        pool[file.stem], held[file.stem] = lines[:-REVIEWS], lines[-REVIEWS:]
    return Set("reviews", "glove_demo", pool, held)


def write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of labelled items (label, part, item), a line each: paths of images or the texts themselves."""
    column = "path" if rows[0][2].endswith(".jpg") else "text"
    lines = [json.dumps({column: item, "label": name, "split": part}) for name, part, item in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_few(path: Path, each: Set, items: int, seed: int) -> None:
    """A table of so many items of each class to learn from, drawn by the seed, and a quarter as many others
    (one at least) to choose the epoch by."""
    others = max(1, round(items / 4))
    drawn = {name: random.Random(seed).sample(found, items + others) for name, found in each.pool.items()}
    rows = [
        (name, "train" if number < items else "val", item)
        for name, found in drawn.items()
        for number, item in enumerate(found)
    ]
    write(path, rows)


def measure_held(run: Run, each: Set) -> tuple[float, float]:
    """The accuracy and the mean loss of a run on what is held out."""
    import torch  # here: a process that only starts others has their memory to measure
    from torch.nn.functional import cross_entropy

    from adapters import find_classifier

    asked = [(label, item) for label, name in enumerate(run.classes) for item in each.held[name]]
    seen = torch.from_numpy(run.embed([item for _, item in asked], device="cpu").features)
    network = run.classifier.network
    with torch.inference_mode():
        logits = network.get_submodule(find_classifier(network)[0])(seen)
    labels = torch.tensor([label for label, _ in asked])
    return (logits.argmax(1) == labels).float().mean().item(), cross_entropy(logits, labels).item()
