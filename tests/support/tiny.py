"""A data set of a megabyte, made in a second from what is installed: the main job, tested everywhere.

    registry.yaml                tiny_net: the network that ships in the wheel; tiny_words
    weights/net.safetensors      it has seen the digits 0 to 4
    images/{train,val}/{five,eight}/*.png   digits of scikit-learn that it has not seen
    photos/*.png                 six digits that it has
    words/words.txt              word vectors in GloVe's format
    reviews/{negative,positive}.txt        a review per line

The reviews are drawn from lists of words; the vectors are what the words of other such reviews stand beside.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NET, WORDS = "tiny_net", "tiny_words"
CLASSES = {5: "five", 8: "eight"}
NAMES = ["zero", "one", "two", "three", "four"]
TRAIN_IMAGES, VAL_IMAGES = 60, 30  # per class
REVIEWS = 400  # per class
DIMENSION = 20
PHOTOS = {"zero.png": 0, "one.png": 1, "two.png": 2, "three.png": 3, "four.png": 4, "another.png": 0}

REGISTRY = """models:
  tiny_net:
    family: resnet
    task: image-classification
    architecture: timm/test_resnet
    weights:
      url: weights/net.safetensors
      sha256: {net}
    input: {{size: 32, resize: 32, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: bicubic}}
    classes: [zero, one, two, three, four]
    license: apache-2.0
  tiny_words:
    family: glove
    task: word-vectors
    architecture: words/glove-text
    weights:
      url: words/words.txt
      sha256: {words}
    input: {{dimension: {dimension}, lowercase: true}}
    license: pddl
"""

NOUNS = """
film movie story plot script cast acting dialogue scene ending music picture comedy drama director character
hero villain audience kingdom king queen prince man woman family love year
"""
JUDGEMENTS = {
    "positive": """
    good great best wonderful moving funny clever touching brilliant charming fresh honest warm delightful
    powerful beautiful unforgettable
    """,
    "negative": """
    bad worst dull boring stupid lifeless empty clumsy tedious shallow silly noisy predictable pointless ugly
    forced tired
    """,
}
COMPOUNDS = {"positive": "well-made warm-hearted", "negative": "empty-headed ugly-minded"}
PARTS = "well made hearted headed minded"  # what compounds are made of; they themselves have no vector
RARE = {"positive": "spellbinding luminous", "negative": "excruciating turgid"}  # without a vector
# {a} is a judgement, {x} one of the other kind, {n} a noun
FRAMES = """
a very {a} {n} , with a {a} {n}
the {n} is {a} and the {n} is {a}
there is nothing {a} about this {n}
too {a} : the {n} is not what it is about
it is the {a} {n} of the year , about {n} and {n}
one of the most {a} , {a} {n}s that i have seen
this {n} , for all its {n} , is {a} and {a}
not a {x} {n} at all , but a {a} one
{a} , {a} and {a} again
"""


def write_tiny(folder: Path) -> Path:
    """Write the whole data set; returns the folder."""
    write_images(folder)
    (folder / "weights").mkdir()
    shutil.copy(str(files("zoo") / "weights" / "digits.safetensors"), folder / "weights" / "net.safetensors")
    (folder / "reviews").mkdir()
    seen: set[str] = set()
    for label in JUDGEMENTS:
        lines = list(islice((line for line in draw_reviews(label, seed=1) if line not in seen), REVIEWS))
        (folder / "reviews" / f"{label}.txt").write_text("\n".join(lines), "utf-8")
        seen.update(lines)
    (folder / "words").mkdir()
    (folder / "words" / "words.txt").write_text(format_vectors(*learn_vectors()), "utf-8")
    hashes = {
        "net": hashlib.sha256((folder / "weights" / "net.safetensors").read_bytes()).hexdigest(),
        "words": hashlib.sha256((folder / "words" / "words.txt").read_bytes()).hexdigest(),
    }
    (folder / "registry.yaml").write_text(REGISTRY.format(dimension=DIMENSION, **hashes))
    return folder


def write_images(folder: Path) -> None:
    """images/ and photos/: grey digits of 32 pixels, as `zoo demo` writes them."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()

    def write(scan: NDArray[np.float64], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((scan * (255 / 16)).astype("uint8"))
        image.resize((32, 32), Image.Resampling.BICUBIC).save(path)

    for digit, name in CLASSES.items():
        for number, scan in enumerate(digits.images[digits.target == digit][: TRAIN_IMAGES + VAL_IMAGES]):
            part = "train" if number < TRAIN_IMAGES else "val"
            write(scan, folder / "images" / part / name / f"{number:03}.png")
    for number, (name, digit) in enumerate(PHOTOS.items()):
        write(digits.images[digits.target == digit][number], folder / "photos" / name)


def draw_reviews(label: str, *, seed: int) -> Iterator[str]:
    """Endless reviews that praise or blame; every tenth judgement is of the other kind, as in life."""
    source = random.Random(f"{label} {seed}")
    own = JUDGEMENTS[label].split()
    (other,) = (words.split() for name, words in JUDGEMENTS.items() if name != label)
    strange = (COMPOUNDS[label] + " " + RARE[label]).split()

    def draw(kind: str) -> str:
        if kind == "n":
            return source.choice(NOUNS.split())
        if kind == "a" and source.random() < 0.05:
            return source.choice(strange)
        return source.choice(other if kind == "x" or source.random() < 0.1 else own)

    while True:
        frame = source.choice(FRAMES.strip().split("\n"))
        yield re.sub(r"\{(.)\}", lambda found: draw(found[1]), frame)


def learn_vectors() -> tuple[list[str], NDArray[np.float32]]:
    """Words and their vectors: the first singular vectors of the positive pointwise mutual information.

    As Levy and Goldberg (2014) have it: https://papers.nips.cc/paper/5477. Frequent words come first.
    """
    texts = [
        line.split()
        for label in ("positive", "negative")
        for line in islice(draw_reviews(label, seed=0), 1500)
    ]
    texts += [[part, "film"] for part in PARTS.split() for _ in range(9)]
    unknown = set(" ".join((*COMPOUNDS.values(), *RARE.values())).split())
    counts = Counter(word for text in texts for word in text if word not in unknown)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    place = {word: number for number, word in enumerate(words)}
    together = np.zeros((len(words), len(words)))
    for text in texts:
        known = [place[word] for word in text if word in place]
        for one in known:
            together[one, known] += 1
    np.fill_diagonal(together, 0)
    share = together / together.sum()
    with np.errstate(divide="ignore"):
        information = np.log(share / np.outer(share.sum(1), share.sum(0)))
    left, values, _ = np.linalg.svd(np.maximum(information, 0))
    return words, (left[:, :DIMENSION] * np.sqrt(values[:DIMENSION])).astype(np.float32)


def format_vectors(words: list[str], vectors: NDArray[np.float32]) -> str:
    """The text of a GloVe file."""
    return "".join(
        f"{word} {' '.join(f'{value:.4f}' for value in row)}\n"
        for word, row in zip(words, vectors, strict=True)
    )
