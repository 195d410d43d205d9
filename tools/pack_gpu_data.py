"""The real data, small enough to travel: `python tools/pack_gpu_data.py ../shared/data .gpu/data`.

The folder that the tests know, with photographs of at most SIDE pixels on their shorter side, word vectors as
word2vec's binary (which is read without polars), the weights and the texts as they are, and a registry.yaml
with the hashes of what lies there.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

SIDE = 288  # more than any network's crop of 224 needs after a resize to 256
GLOVE = "words/glove.6B.50d.head.txt"


def pack(source: Path, target: Path) -> None:
    """Write the small data set. Raises SystemExit where the source is not the folder of the real data."""
    if not (source / "registry.yaml").is_file():
        raise SystemExit(f"{source} holds no real data (no registry.yaml): name its folder with --data")
    shutil.rmtree(target, ignore_errors=True)
    for folder in ("hymenoptera", "photos"):
        for path in sorted((source / folder).rglob("*")):
            if path.is_file():
                shrink(path, target / path.relative_to(source))
    for folder in ("reviews", "weights"):
        shutil.copytree(source / folder, target / folder)
    vectors = target / "words" / "glove.6B.50d.head.bin"
    write_word2vec(source / GLOVE, vectors)
    registry = yaml.safe_load((source / "registry.yaml").read_text("utf-8"))
    entry = registry["models"]["glove_demo"]
    entry["architecture"] = "words/word2vec-binary"
    digest = hashlib.sha256(vectors.read_bytes()).hexdigest()
    entry["weights"] = {"url": f"words/{vectors.name}", "sha256": digest}
    (target / "registry.yaml").write_text(yaml.safe_dump(registry, sort_keys=False), "utf-8")


def shrink(path: Path, target: Path) -> None:
    """A JPEG of at most SIDE pixels on its shorter side; any other file as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        shutil.copyfile(path, target)
        return
    with Image.open(path) as image:
        factor = min(1.0, SIDE / min(image.size))
        size = (round(image.width * factor), round(image.height * factor))
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, quality=85)


def write_word2vec(source: Path, target: Path) -> None:
    """GloVe text as word2vec's binary: the same words, bytes for bytes, and the same float32 values."""
    lines = [line.split(b" ") for line in source.read_bytes().splitlines()]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(b"%d %d\n" % (len(lines), len(lines[0]) - 1))
        for word, *numbers in lines:
            file.write(word + b" " + np.array(numbers, dtype="float32").tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python tools/pack_gpu_data.py SOURCE TARGET")
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
