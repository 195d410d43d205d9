"""Cost against size: `zoo finetune`, head alone, on ever more small photographs; then once more.

    python benchmarks/scale.py [--sizes 400,4000,40000] [--epochs 1] [--folder FOLDER]
    python benchmarks/scale.py --sizes 4000,40000,400000 --folder FOLDER      (1.6 GB, ten minutes)

The photographs are 200 JPEG pictures of 10 classes, each written many times with another number in a comment:
no two files hold the same bytes, so that each has a hash and features of its own. The network is the one in
the wheel, which takes 32 px: what is measured is what zoo adds to a network, per photograph. A row has the
seconds, the seconds of a CPU and the peak memory of the whole process of the first run and of the second,
which differs in its `--out` alone; us beyond: CPU time of the second, per photograph, beyond that with the
smallest size; us more, kB more: the same, and peak memory, beyond those with the size before. Work that is
done on at most so many photographs (the map of the page, the search for saved copies) is in the first of
these and hardly in the others. Both runs must give the same accuracy. --folder keeps the photographs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES, LOOKS = 10, 20
PER_FOLDER = 10_000


class Measured(NamedTuple):
    """One process. cpu: seconds that it computed. mb: its peak memory."""

    seconds: float
    cpu: float
    mb: float
    accuracy: float


def main() -> None:
    """Print a row per size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="400,4000,40000", help="with commas")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(
        f"{'photographs':>11} {'first, s':>9} {'CPU':>6} {'MB':>6} "
        f"{'second, s':>9} {'CPU':>6} {'MB':>6} {'us beyond':>9} {'us more':>7} {'kB more':>7}  load"
    )
    start = before = None
    with tempfile.TemporaryDirectory() as scratch:
        place = options.folder or Path(scratch)
        for size in map(int, options.sizes.split(",")):
            data = write_photos(place / f"{size}", size)
            time.sleep(2.1)  # a file that is younger than two seconds is read again
            first, second = (
                finetune(data, Path(scratch), str(size), turn, options.epochs) for turn in (1, 2)
            )
            assert first.accuracy == second.accuracy, (first, second)
            start, before = start or (size, second), before or (size, second)
            beyond, more = (
                1e6 * (second.cpu - than.cpu) / max(1, size - count) for count, than in (start, before)
            )
            kilobytes = 1e3 * (second.mb - before[1].mb) / max(1, size - before[0])
            before = size, second
            print(
                f"{size:11,} {first.seconds:9.1f} {first.cpu:6.1f} {first.mb:6.0f} "
                f"{second.seconds:9.1f} {second.cpu:6.1f} {second.mb:6.0f} "
                f"{beyond:9.1f} {more:7.1f} {kilobytes:7.2f}  {os.getloadavg()[0]:.1f}",
                flush=True,
            )


def write_photos(folder: Path, count: int) -> Path:
    """So many photographs below a folder, by class; those that are there already stay."""
    if folder.is_dir():
        return folder
    looks = [[_draw(label, look) for look in range(LOOKS)] for label in range(CLASSES)]
    for number in range(count):
        label, of_class = number % CLASSES, number // CLASSES
        below = folder / f"class {label}" / f"{of_class // PER_FOLDER}"
        if of_class % PER_FOLDER == 0:
            below.mkdir(parents=True)
        jpeg, comment = looks[label][of_class % LOOKS], f"{number:012}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (below / f"{number}.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    return folder


def _draw(label: int, look: int) -> bytes:
    """A picture of 40 px: noise around a colour and a slope of its class."""
    draw = np.random.default_rng(LOOKS * label + look)
    slope = np.linspace(-1, 1, 40)[:, None, None] * draw.normal(size=3) * 40
    colour = np.random.default_rng(label).uniform(60, 200, 3)
    pixels = colour + slope + draw.normal(0, 30, (40, 40, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return file.getvalue()


def finetune(data: Path, scratch: Path, name: str, turn: int, epochs: int) -> Measured:
    """One whole process of `zoo finetune`, with a store for each size."""
    command = [
        sys.executable,
        "-m",
        "zoo",
        "finetune",
        "digits",
        str(data),
        "--epochs",
        str(epochs),
        "--json",
    ]
    command += ["--device", "cpu", "--out", f"{scratch}/run-{name}-{turn}"]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=os.environ | {"ZOO_HOME": f"{scratch}/home-{name}"}, stdout=answer, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        answer.seek(0)
        said.seek(0)
        if status:
            raise SystemExit(said.read().decode())
        computed = used.ru_utime + used.ru_stime
        return Measured(seconds, computed, _megabytes(used), json.load(answer)["val_accuracy"])


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
