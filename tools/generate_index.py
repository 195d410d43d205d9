"""Write zoo/catalogue/index.jsonl: every pretrained tag of timm and every image classifier of torchvision.

    python tools/generate_index.py --data ../shared/data           # write it: about four minutes
    python tools/generate_index.py --data ../shared/data --check   # say whether it is what this writes

--data: the folder with timm-results-imagenet.csv and timm-benchmark-cpu-i7_12700h.csv. Of torchvision, the
weights for detection, segmentation, video and optical flow and the quantised ones are not listed: they are no
backbones that a picture can be given to and a head put upon.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import timm
import torchvision
from facts import published_entry, read_published
from torchvision import models

from zoo.catalogue.index import INDEX, Head, load_index

# Pattern of names -> why no entry describes them. Each pattern must fit something, or it is out of date.
LEFT_OUT = {
    "timm/*_sapiens2.fb": "its input is not square, which an entry cannot say",
    "timm/volo_d[45]_[45]*": "it crops more of a picture than it resizes it to, which an entry cannot say",
    "timm/*_ijepa": "no hash of its file was ever published: give it one in a registry of your own",
    "timm/*_enc.*": "it gives a vector for each patch of a picture and none for the whole",
    "torchvision/vgg16.IMAGENET1K_FEATURES": "only its convolutions hold numbers, not its classifier",
}


def main() -> None:
    """Write the index, or check it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the published results")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file differs")
    options = parser.parse_args()
    content = generate(options.data)
    if not options.check:
        INDEX.write_bytes(content)
        print(f"{INDEX}: {len(load_index().entries)} models, {len(content):,} bytes")
    elif INDEX.read_bytes() != content:
        sys.exit(f"{INDEX} is not what this script writes: run it without --check")


def generate(data: Path) -> bytes:
    """The bytes of the index: what it was made from and what it leaves out, then one entry a line."""
    names = [*torchvision_names(), *timm_names()]
    left_out = {
        name: why for name in names for pattern, why in LEFT_OUT.items() if fnmatchcase(name, pattern)
    }
    unused = [pattern for pattern in LEFT_OUT if not any(fnmatchcase(name, pattern) for name in names)]
    assert not unused, unused
    head = Head(timm=timm.__version__, torchvision=torchvision.__version__, left_out=left_out)
    published = read_published(data)
    lines = [msgspec.json.encode(head)]
    lines += [
        msgspec.json.encode(published_entry(name, name, published)) for name in names if name not in left_out
    ]
    return b"\n".join(lines) + b"\n"


def torchvision_names() -> Iterator[str]:
    """Each weights file, the DEFAULT one of each architecture first."""
    for architecture in models.list_models(module=models):
        weights = models.get_model_weights(architecture)
        for member in sorted(weights, key=lambda w: w is not weights.DEFAULT):
            yield f"torchvision/{architecture}.{member.name}"


def timm_names() -> Iterator[str]:
    """Each pretrained tag, the default one of each architecture first."""
    tags: dict[str, list[str]] = {}
    for tag in sorted(timm.list_pretrained()):
        tags.setdefault(tag.partition(".")[0], []).append(tag)
    for architecture, known in tags.items():
        default = default_tag(architecture)
        yield from (f"timm/{tag}" for tag in sorted(known, key=lambda tag: tag != default))


def default_tag(architecture: str) -> str:
    """The tag that timm takes where none is given."""
    cfg = timm.get_pretrained_cfg(architecture)
    return f"{architecture}.{cfg.tag}" if cfg is not None and cfg.tag else architecture


if __name__ == "__main__":
    main()
