"""Labels of many photographs, the whole process: a plain PyTorch loop against `zoo predict`, alternately.

    python benchmarks/predict.py [--data ../shared/data] [--files 2000] [--quick] [--also OPTIONS]

The peer is what one writes: torchvision's MobileNetV2, PIL and torchvision's transforms in a DataLoader with
two workers, no_grad, batches of 32. Both start from nothing, imports included, read the same files (copies of
the photographs of ants and bees), and write the first class of each. Printed: seconds, ratio, peak memory of
the largest process, and how many labels are the same. --also: another way of `zoo predict`, by its options.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from zoo.backbones.labels import synset_ids

PEER = """
import json, sys
from pathlib import Path
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

class Files(Dataset):
    def __init__(self, paths):
        self.paths = paths
        self.transform = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ])
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))

folder, weights, out = sys.argv[1:]
paths = sorted(Path(folder).iterdir())
network = models.mobilenet_v2()
network.load_state_dict(torch.load(weights, weights_only=True))
network.eval()
found = []
with torch.no_grad():
    for images in DataLoader(Files(paths), batch_size=32, num_workers=2):
        found += network(images).softmax(1).argmax(1).tolist()
Path(out).write_text(json.dumps({path.name: index for path, index in zip(paths, found)}))
"""


class Measured(NamedTuple):
    """seconds: of the whole process. memory: bytes at most of it or of a worker. labels: the WordNet id of
    the first class, by the name of the file."""

    seconds: float
    memory: int
    labels: dict[str, str]


def run(command: list[str], env: dict[str, str], out: Path) -> tuple[float, int]:
    """Seconds, and the most memory that the process or one of its workers had."""
    start = time.perf_counter()
    with out.open("wb") as file, out.with_suffix(".said").open("wb") as said:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(out.with_suffix(".said").read_text())
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def peer(folder: Path, data: Path, env: dict[str, str], scratch: Path) -> Measured:
    """The plain loop."""
    weights, out = data / "weights" / "mobilenet_v2-adb27a5a.pth", scratch / "peer.json"
    command = [sys.executable, "-c", PEER, str(folder), str(weights), str(out)]
    seconds, memory = run(command, env, scratch / "peer.txt")
    ids = synset_ids("imagenet-1k")
    return Measured(seconds, memory, {name: ids[at] for name, at in json.loads(out.read_text()).items()})


def ours(folder: Path, env: dict[str, str], scratch: Path, options: list[str]) -> Measured:
    """`zoo predict`."""
    out = scratch / "ours.json"
    command = [
        sys.executable,
        "-m",
        "zoo",
        "predict",
        "mobilenet_v2_demo",
        str(folder),
        "--top",
        "1",
        "--json",
    ]
    seconds, memory = run([*command, *options], env, out)
    rows = json.loads(out.read_text())
    return Measured(seconds, memory, {Path(row["path"]).name: row["top"][0]["id"] for row in rows})


def copy_photographs(data: Path, files: int, folder: Path) -> None:
    """So many copies of the photographs."""
    photographs = sorted((data / "hymenoptera").rglob("*.jpg"))
    for number in range(files):
        shutil.copy(photographs[number % len(photographs)], folder / f"{number:06}.jpg")


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="64 files, one round")
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS", help="another way")
    options = parser.parse_args()
    files, rounds = (64, 1) if options.quick else (options.files, options.rounds)
    found: dict[str, list[Measured]] = {}
    torch_alone = []
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        (folder := scratch / "photographs").mkdir()
        copy_photographs(options.data, files, folder)
        registry = {"ZOO_HOME": str(scratch / "home"), "ZOO_REGISTRY": str(options.data / "registry.yaml")}
        env = os.environ | registry
        run([sys.executable, "-m", "zoo", "fetch", "mobilenet_v2_demo"], env, scratch / "fetch.txt")
        for _ in range(rounds):
            torch_alone.append(run([sys.executable, "-c", "import torch"], env, scratch / "torch.txt")[0])
            found.setdefault("plain loop", []).append(peer(folder, options.data, env, scratch))
            for way in ("", *options.also):
                done = ours(folder, env, scratch, shlex.split(way))
                found.setdefault(f"zoo predict {way}".strip(), []).append(done)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    print(f"{versions}, {os.cpu_count()} CPUs, {files:,} files, {rounds} rounds")
    print(f"python -c 'import torch': {statistics.median(torch_alone):.1f} s")
    show(found)


def show(found: dict[str, list[Measured]]) -> None:
    """The table. The ratio is of the medians."""
    plain = found["plain loop"]
    print(f"{'way':<38} {'min s':>7} {'median':>7} {'max':>7} {'ratio':>6} {'MB':>6} {'same label':>11}")
    for name, all_of_it in found.items():
        seconds = [one.seconds for one in all_of_it]
        median = statistics.median(seconds)
        ratio = statistics.median(one.seconds for one in plain) / median
        same = sum(all_of_it[0].labels[file] == label for file, label in plain[0].labels.items())
        print(
            f"{name:<38} {min(seconds):>7.1f} {median:>7.1f} {max(seconds):>7.1f} {ratio:>6.2f} "
            f"{max(one.memory for one in all_of_it) / 1e6:>6.0f} {same:>5,} of {len(plain[0].labels):,}"
        )


if __name__ == "__main__":
    main()
