"""What a GPU makes of the three kinds of work, beside plain PyTorch loops, in one run.

    python benchmarks/gpu.py [--network resnet50] [--rounds 3] [--photos FOLDER]

photographs: from JPEGs on the disk to features, and to steps of the whole network on random views; the peer
is a loop over a DataLoader with a process per core and torchvision's transforms, channels last, in the same
number format. Needs --photos; those of the folder are taken again until there are as many as in the batches.
few: milliseconds for one image and for eight, in the host's memory before and after.
features: images a second through a frozen backbone, from the host's memory to features there; the peer is
the same network in eval mode under no_grad, in fp32. head: an epoch of a linear head on 10,000 cached
features; the peer is a loop over a DataLoader of a TensorDataset. tune: a step of the whole network on images
that are on the GPU already, frozen batch norms; the peer is the loop of PyTorch's AMP recipe in the same
number format.
Weights and images are random: only time is measured. Ways take turns, and the best of the rounds counts.
`--device cpu` tries the script where there is no GPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import models, transforms

from adapters import attach_head, build_head, feature_extractor, freeze, unfreeze
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.decoding import decode_picture
from zoo.data.pixels.on_gpu import decoder_of
from zoo.data.pixels.preprocessing import Preprocessing
from zoo.features.network import FrozenNetwork, freeze_network
from zoo.training.batches import FeatureBatches, ImageBatches
from zoo.training.loop import fit
from zoo.training.machine import FORMATS, Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases

CLASSES = 10
HEAD_ITEMS, WIDTH, HEAD_BATCH = 10_000, 2048, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PARTS = ("photographs", "few", "features", "head", "tune")
Way = Callable[[], object]


def main() -> None:
    """Print a table per kind of work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet50", help="a name of torchvision")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=32, help="batches a round, of all but the head")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--only", nargs="*", default=[*PARTS], choices=PARTS)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device")
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {options.network}, batches of {options.batch_size}")
    torch.manual_seed(0)
    network = models.get_model(options.network, weights=None).eval()
    images = torch.randn(options.batches * options.batch_size, 3, 224, 224)
    precisions = ["fp32", "bf16", *(["fp16"] if device.type == "cuda" else [])]

    if "photographs" in options.only and options.photos:
        photos = sorted(options.photos.rglob("*.jpg"))
        photos = (photos * (len(images) // len(photos) + 1))[: len(images)]
        show(
            "decoding, a second",
            race(decoding_ways(photos, options.batch_size, device), 1, device),
            len(photos),
        )
        for precision in precisions[:2]:
            ways = photo_ways(network, photos, options.batch_size, device, precision)
            show(f"photographs to features in {precision}, a second", race(ways, 1, device), len(photos))
        ways = view_ways(network, photos, options.batch_size, device)
        show("photographs to steps in bf16, a second", race(ways, 1, device), len(photos))
    if "few" in options.only:
        for count in (1, min(8, len(images))):
            ways = few_ways(network, images[:count], options.batches, device)
            show(
                f"features of {count} in bf16, times a second",
                race(ways, options.rounds, device),
                options.batches,
            )
    if "features" in options.only:
        ways = feature_ways(network, images, options.batch_size, device)
        show("features, images/s", race(ways, options.rounds, device), len(images))
    if "head" in options.only:
        show("head, epochs/s", race(head_ways(device), options.rounds, device), 1)
    for precision in precisions if "tune" in options.only else ():
        ways = tune_ways(network, images, options.batch_size, device, precision)
        show(f"tune in {precision}, steps/s", race(ways, options.rounds, device), options.batches)


def race(ways: dict[str, Way], rounds: int, device: torch.device) -> dict[str, float]:
    """The best seconds of each way; they take turns, after one round that does not count."""
    best = dict.fromkeys(ways, float("inf"))
    for number in range(rounds + 1):
        for name, way in ways.items():
            wait_for(device)
            start = time.perf_counter()
            way()
            wait_for(device)
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def wait_for(device: torch.device) -> None:
    """Wait until everything that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(title: str, seconds: dict[str, float], units: int) -> None:
    """A line per way: units a second, and how many times the first way's."""
    print(f"\n{title}")
    peer = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:24} {units / value:10.1f} {peer / value:8.2f} x")


def feature_ways(network: nn.Module, images: Tensor, size: int, device: torch.device) -> dict[str, Way]:
    """Features of all images, as the feature pass computes them, beside the network as it is."""
    plain = feature_extractor(network).to(device)
    batches = images.split(size)

    @torch.no_grad()
    def loop() -> list[Tensor]:
        return [plain(batch.to(device)).cpu() for batch in batches]

    def ours(frozen: FrozenNetwork) -> list[Tensor]:
        return [frozen(batch) for batch in batches]

    fp32 = freeze_network(network, images[:4], device=device, precision="fp32")
    bf16 = freeze_network(network, images[:4], device=device, precision="bf16")
    return {"plain loop, fp32": loop, "zoo, fp32": partial(ours, fp32), "zoo, bf16": partial(ours, bf16)}


def few_ways(network: nn.Module, images: Tensor, times: int, device: torch.device) -> dict[str, Way]:
    """The features of a few images, again and again."""
    plain = feature_extractor(network).to(device, torch.bfloat16, memory_format=torch.channels_last)
    frozen = freeze_network(network, images, device=device, precision="bf16")

    @torch.inference_mode()
    def loop() -> list[Tensor]:
        return [plain(images.to(device, torch.bfloat16)).float().cpu() for _ in range(times)]

    return {"plain loop": loop, "zoo": lambda: [frozen(images) for _ in range(times)]}


class Photographs(Dataset[tuple[Tensor, int]]):
    """What torchvision's ImageFolder gives, of a list."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[at]) as image:
            return self.transform(image.convert("RGB")), at % CLASSES


def loader_of(
    photos: list[Path], transform: Callable[[Image.Image], Tensor], size: int, device: torch.device
) -> DataLoader[tuple[Tensor, int]]:
    """As the peer reads photographs."""
    return DataLoader(
        Photographs(photos, transform),
        size,
        num_workers=os.cpu_count() or 1,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )


def photo_ways(
    network: nn.Module, photos: list[Path], size: int, device: torch.device, precision: str
) -> dict[str, Way]:
    """Features of photographs on the disk."""
    half = precision == "bf16"
    plain = feature_extractor(network).to(device, memory_format=torch.channels_last)
    turn = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    loader = loader_of(photos, turn, size, device)
    preprocessing = Preprocessing(ImageInput(size=224, resize=256, mean=MEAN, std=STD))
    with load_batches(photos[:32], preprocessing, 32) as batches:
        example = next(batches).images
    frozen = freeze_network(network, example, device=device, precision=precision)

    @torch.inference_mode()
    def loop() -> list[Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return [plain(images.to(device, non_blocking=True)).float().cpu() for images, _ in loader]

    def ours(decoder: str) -> list[Tensor]:
        os.environ["ZOO_DECODER"] = decoder
        with load_batches(photos, preprocessing, size, device=device) as batches:
            return [frozen(batch.images) for batch in batches]

    return {
        "DataLoader": loop,
        "zoo, decoded on the CPU": partial(ours, "cpu"),
        "zoo": partial(ours, "auto"),
    }


def decoding_ways(photos: list[Path], size: int, device: torch.device) -> dict[str, Way]:
    """Pixels of photographs that are in memory: by as many threads as there are cores, and by the GPU."""
    files = [path.read_bytes() for path in photos]
    jpegs = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    decode = decoder_of(device)

    def threads() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            deque(pool.map(decode_picture, files), 0)

    def gpu() -> None:
        for start in range(0, len(jpegs), size):
            decode(jpegs[start : start + size])

    return {"threads": threads} | ({} if decode is None else {"nvJPEG": gpu})


def view_ways(network: nn.Module, photos: list[Path], size: int, device: torch.device) -> dict[str, Way]:
    """An epoch of the whole network in bf16 on random views of photographs on the disk."""
    turn = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, (0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.1, 0.1, 0.1),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    wishes = Recipe(epochs=0, unfreeze="all", tune_epochs=1, batch_size=size, precision="bf16")
    recipe = resolve(wishes, IMAGES)
    [phase] = phases(recipe)
    plain, model = prepare(network, device), prepare(network, device)
    plain.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=phase.lr, fused=True)
    loader = loader_of(photos, turn, size, device)
    items = [Item(path, at % CLASSES) for at, path in enumerate(photos)]
    look = ImageInput(size=224, resize=256, mean=MEAN, std=STD)
    val = ImageBatches(items[:2], look, size, device=device)

    def loop() -> None:
        for images, labels in loader:
            optimizer.zero_grad()
            inputs = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16):
                loss = cross_entropy(plain(inputs), labels.to(device, non_blocking=True))
            loss.backward()
            optimizer.step()

    def ours(decoder: str) -> None:
        os.environ["ZOO_DECODER"] = decoder
        train = ImageBatches(items, look, size, augmentation="light", seed=0, device=device)
        machine = Machine(device, "bf16")
        fit(begin_phase(model, train, val, recipe=recipe, phase=phase, machine=machine))

    return {
        "DataLoader": loop,
        "zoo, decoded on the CPU": partial(ours, "cpu"),
        "zoo": partial(ours, "auto"),
    }


def head_ways(device: torch.device) -> dict[str, Way]:
    """One epoch of a linear head, train and validation, on features that are computed already."""
    features = torch.randn(HEAD_ITEMS, WIDTH)
    labels = torch.randint(CLASSES, (HEAD_ITEMS,))
    loader = DataLoader(
        TensorDataset(features, labels), HEAD_BATCH, shuffle=True, pin_memory=device.type == "cuda"
    )
    layer = nn.Linear(WIDTH, CLASSES).to(device)
    optimizer = torch.optim.Adam(layer.parameters())
    head = build_head("linear", WIDTH, CLASSES, dropout=0.0)  # the plain layer has none
    placed, targets = features.to(device), labels.to(device)
    train, val = FeatureBatches(placed, targets, HEAD_BATCH, seed=0), FeatureBatches(placed, targets, 4096)
    recipe = resolve(Recipe(epochs=1, patience=0), IMAGES)

    def loop() -> None:
        for rows, wanted in loader:
            optimizer.zero_grad()
            cross_entropy(layer(rows.to(device)), wanted.to(device)).backward()
            optimizer.step()
        with torch.no_grad():
            [(layer(rows.to(device)).argmax(1).cpu() == wanted).sum() for rows, wanted in loader]

    def ours() -> None:
        fit(begin_phase(head, train, val, recipe=recipe, phase=phases(recipe)[0], machine=Machine(device)))

    return {"plain loop": loop, "zoo": ours}


def tune_ways(
    network: nn.Module, images: Tensor, size: int, device: torch.device, precision: str
) -> dict[str, Way]:
    """An epoch of the whole network, without validation, in one number format."""
    placed = images.to(device)
    targets = torch.randint(CLASSES, (len(images),), device=device)
    wishes = Recipe(epochs=0, unfreeze="all", tune_epochs=1, batch_size=size, precision=precision)
    recipe = resolve(wishes, IMAGES)
    [phase] = phases(recipe)
    plain, model = prepare(network, device), prepare(network, device)
    optimizer = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=phase.lr)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    train, val = FeatureBatches(placed, targets, size, seed=0), FeatureBatches(placed[:2], targets[:2], size)

    def loop() -> None:
        plain.train()
        for rows in torch.randperm(len(placed), device=device).split(size):
            optimizer.zero_grad()
            with torch.autocast(device.type, FORMATS.get(precision), enabled=precision != "fp32"):
                loss = cross_entropy(plain(placed[rows]), targets[rows])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    def ours() -> None:
        machine = Machine(device, precision)
        fit(begin_phase(model, train, val, recipe=recipe, phase=phase, machine=machine))

    return {"plain loop": loop, "zoo": ours}


def prepare(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy with a new head whose layers all learn, but for the statistics of its batch norms."""
    model = copy.deepcopy(network)
    freeze(model)
    attach_head(model, CLASSES, seed=0)
    unfreeze(model, freeze_norm=True)
    return model.to(device)


if __name__ == "__main__":
    main()
