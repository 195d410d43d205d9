"""The folder in which the commands of the documentation run: photos/, photo.jpg, reviews/, words.txt, …"""

from __future__ import annotations

import shutil
from pathlib import Path

# The models of the documentation under their published names: real files, and no network is needed.
REGISTRY = """\
models:
  mobilenet_v2:
    family: mobilenet
    task: image-classification
    architecture: torchvision/mobilenet_v2
    weights:
      url: weights.pth
      sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: bilinear}
    classes: imagenet-1k
    license: unknown
  mobilenet_v2_100:
    family: mobilenet
    task: image-classification
    architecture: torchvision/mobilenet_v2
    weights:
      url: weights.pth
      sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: bilinear}
    classes: imagenet-1k
    license: apache-2.0
  glove-wiki-gigaword-50:
    family: glove
    task: word-vectors
    architecture: words/glove-text
    weights:
      url: words.txt
      sha256: 2d8fa35506bd7464854734aee496524bd7409e843725203162dcc5b55a726f6b
    input: {dimension: 50, lowercase: true}
    license: pddl-1.0
"""
PHOTO = "val/bees/2321144482_f3785ba7b2.jpg"
TEXTS = 500  # of each class: in the order of the files the first ones, so that every desk has the same


def lay_desk(folder: Path, data: Path, *, photos: int | None = None) -> None:
    """Put the real data into a folder, under the names that the documentation has for them.

    photos: how many of each class and part; None for all of them.
    """
    for source in sorted((data / "hymenoptera").glob("*/*")):
        target = folder / "photos" / source.relative_to(data / "hymenoptera")
        target.mkdir(parents=True)
        for path in sorted(source.iterdir())[:photos]:
            (target / path.name).symlink_to(path)
    (folder / "photo.jpg").symlink_to(data / "hymenoptera" / PHOTO)
    rows = [f"{path.relative_to(folder)},{path.parent.name}\n" for path in folder.glob("photos/train/*/*")]
    (folder / "labels.csv").write_text("file,kind\n" + "".join(sorted(rows)))
    shutil.copy(data / "weights" / "mobilenet_v2-adb27a5a.pth", folder / "weights.pth")
    shutil.copy(data / "words" / "glove.6B.50d.head.txt", folder / "words.txt")
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "reviews").mkdir()
    for name in ("positive", "negative"):
        lines = (data / "reviews" / f"{name}.txt").read_text("utf-8").split("\n")[:TEXTS]
        (folder / "reviews" / f"{name}.txt").write_text("\n".join(lines), "utf-8")
