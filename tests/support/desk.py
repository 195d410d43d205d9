"""The folder in which the commands of the documentation run: photos/, photo.jpg, reviews/, words.txt, …

It is laid with the real data, or, where these are absent, with the tiny set under the same names: digits that
are called ants and bees, and a network of 0.4 million parameters that is called mobilenet_v2.
"""

from __future__ import annotations

import hashlib
import random
import re
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
TEXTS = 500  # of each class, the first ones: more would only take longer
WORDS = ["music", "war", "king", "man", "woman", "france", "germany", "italy", "football"]
"""What the documentation asks for; the vectors of the tiny set lack some."""


def lay_desk(folder: Path, data: Path, *, photos: int | None = None) -> None:
    """Put the real data into a folder, under the names that the documentation has for them.

    photos: how many of each class and part; None for all of them.
    """
    for source in sorted((data / "hymenoptera").glob("*/*")):
        lay_photos(folder / "photos" / source.relative_to(data / "hymenoptera"), source, photos)
    shutil.copy(data / "hymenoptera" / PHOTO, folder / "photo.jpg")
    shutil.copy(data / "weights" / "mobilenet_v2-adb27a5a.pth", folder / "weights.pth")
    shutil.copy(data / "words" / "glove.6B.50d.head.txt", folder / "words.txt")
    (folder / "registry.yaml").write_text(REGISTRY)
    finish(folder, data)


def lay_tiny_desk(folder: Path, tiny: Path) -> None:
    """The same with the tiny set of `support.tiny`."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    for part in ("train", "val"):
        for name, label in (("five", "ants"), ("eight", "bees")):
            lay_photos(folder / "photos" / part / label, tiny / "images" / part / name, None)
    Image.open(tiny / "photos" / "zero.png").convert("RGB").save(folder / "photo.jpg")
    torch.save(load_file(tiny / "weights" / "net.safetensors"), folder / "weights.pth")
    vectors = (tiny / "words" / "words.txt").read_text("utf-8")
    known, size = {line.split()[0] for line in vectors.splitlines()}, len(vectors.split("\n")[0].split()) - 1
    draw = random.Random(0)
    for word in sorted({*WORDS} - known):
        vectors += " ".join([word, *(f"{draw.uniform(-1, 1):.4f}" for _ in range(size))]) + "\n"
    (folder / "words.txt").write_text(vectors, "utf-8")
    registry = REGISTRY.replace("torchvision/mobilenet_v2", "timm/test_resnet")
    registry = registry.replace("size: 224, resize: 256", "size: 32, resize: 32")
    registry = registry.replace("imagenet-1k", "[zero, one, two, three, four]")
    registry = registry.replace("dimension: 50", f"dimension: {size}")
    for name in ("weights.pth", "words.txt"):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        registry = re.sub(rf"(url: {re.escape(name)}\n +sha256: )\w+", rf"\g<1>{digest}", registry)
    (folder / "registry.yaml").write_text(registry)
    finish(folder, tiny)


def lay_photos(target: Path, source: Path, count: int | None) -> None:
    """Links to the first images of a folder."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (target / path.name).symlink_to(path)


def finish(folder: Path, data: Path) -> None:
    """labels.csv and reviews/."""
    rows = [f"{path.relative_to(folder)},{path.parent.name}\n" for path in folder.glob("photos/train/*/*")]
    (folder / "labels.csv").write_text("file,kind\n" + "".join(sorted(rows)))
    (folder / "reviews").mkdir()
    for name in ("positive", "negative"):
        lines = (data / "reviews" / f"{name}.txt").read_text("utf-8").split("\n")[:TEXTS]
        (folder / "reviews" / f"{name}.txt").write_text("\n".join(lines), "utf-8")
