"""From a JPEG to the normalised 224 pixels that a network takes: PIL and torchvision against zoo.

    python benchmarks/images.py [--data ../shared/data] [--rounds 5] [--small]

Ants and bees, resized to 256, cropped and normalised, in this process, in turns; no network runs. The first
table has the processor's seconds of one thread, which others on the machine hardly change; the second, by the
clock, what two cores do: a DataLoader of two processes, and zoo's threads. Beside
zoo is how far its pixels are from the peer's at most, in grey levels, and on how many photographs MobileNetV2
gives the same answer of its 1,000. Both turn a photograph as its EXIF says, and make it RGB.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Disagreement, Goal, Table, agree, here, new_parser, race, show
from PIL import Image, ImageOps
from subjects import Network, ants_and_bees, mobilenet_v2
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess

LEVELS = 1.0  # of 255, between the pixels of both
WORKERS = 2


class Photographs(Dataset[Tensor]):
    """What one writes: PIL and torchvision's transforms."""

    def __init__(self, paths: list[Path], to: ImageInput) -> None:
        steps = [transforms.Resize(to.resize), transforms.CenterCrop(to.size), transforms.ToTensor()]
        self.paths, self.change = paths, transforms.Compose([*steps, transforms.Normalize(to.mean, to.std)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            found: Tensor = self.change(ImageOps.exif_transpose(image).convert("RGB"))
        return found


class Ours:
    """What zoo does of the same."""

    def __init__(self, paths: list[Path], to: ImageInput) -> None:
        self.paths, self.change = paths, partial(preprocess, input=to)

    def __getitem__(self, index: int) -> Tensor:
        return self.change(read_image(self.paths[index]))

    def batches(self) -> Iterator[Tensor]:
        """All of them, by threads."""
        for batch in load_batches(self.paths, self.change, 32, workers=WORKERS):
            yield batch.images


def mean_of(groups: Callable[[], Iterable[Tensor]]) -> tuple[int, float]:
    """How many photographs there are in groups, (…, 3, 224, 224), and the mean of all their numbers."""
    means = [group.reshape(-1, 3 * 224 * 224).mean(1) for group in groups()]
    return sum(map(len, means)), float(torch.cat(means).mean())


def differences(theirs: Photographs, ours: Ours, network: Network) -> str:
    """How far apart they are. Raises Disagreement where that is more than LEVELS, or an answer differs."""
    classify, spread = network.open(), torch.tensor(network.input.std)[:, None, None] * 255
    most, same = 0.0, 0
    with torch.inference_mode():
        for index in range(len(theirs)):
            both = torch.stack([theirs[index], ours[index]])
            most = max(most, float(((both[0] - both[1]) * spread).abs().max()))
            first, second = classify(both).argmax(1)
            same += int(first == second)
    said = f"at most {most:.2f} grey levels apart, {same} of {len(theirs)} answers equal"
    if most > LEVELS + 1e-3 or same < len(theirs):
        raise Disagreement(f"pixels of zoo and of torchvision: {said}")
    return said


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The tables."""
    few, rounds = (3, 1) if options.small else (None, options.rounds)
    network = mobilenet_v2(options.data, scratch)
    paths = sorted(ants_and_bees(options.data, scratch, few=few).rglob("*.jpg"))
    theirs, ours = Photographs(paths, network.input), Ours(paths, network.input)
    said = {"zoo": differences(theirs, ours, network)}
    torch.set_num_threads(1)
    each = range(len(paths))
    one = {"torchvision": lambda: map(theirs.__getitem__, each), "zoo": lambda: map(ours.__getitem__, each)}
    loader = DataLoader(theirs, batch_size=32, num_workers=WORKERS)
    two = {"torchvision, 2 processes": lambda: iter(loader), "zoo, 2 threads": ours.batches}
    kinds = (("processor's seconds", one, time.process_time), ("two cores", two, time.perf_counter))
    for title, ways, clock in kinds:
        turns = race(
            {name: partial(here, partial(mean_of, way), clock) for name, way in ways.items()}, rounds
        )
        title = f"{len(paths)} photographs to tensors, {title}"
        agree(title, turns, lambda one, other: one[0] == other[0] and abs(one[1] - other[1]) < 1e-3)
        yield Table(title, turns, said, {"zoo": Goal(1.75)}, memory="added")


def main() -> None:
    """Print the tables."""
    options = new_parser(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision", "pillow")


if __name__ == "__main__":
    main()
