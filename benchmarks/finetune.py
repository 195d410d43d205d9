"""The whole of `zoo finetune` with `--precision bf16` against fp32, each from an empty store.

    python benchmarks/finetune.py [--data ../shared/data] [--repeat 3]

The ants and bees on the real MobileNetV2, the default recipe, every process from its start to its end. The
table counts the validation photographs that a run labels rightly, as training measured it, and as `zoo
evaluate` measures it in fp32 afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Print one row per precision, and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    print(f"{'precision':10} {'seconds':>8} {'right in training':>18} {'right in evaluate':>18}  load")
    for _ in range(options.repeat):  # side by side: what else the machine does meets both
        for precision, taken in seconds.items():
            load = os.getloadavg()[0]
            elapsed, trained, evaluated = measure(options.data, precision)
            taken.append(elapsed)
            print(f"{precision:10} {elapsed:8.1f} {trained:18} {evaluated:18}  {load:.1f}")
    print(f"bf16: {statistics.median(seconds['fp32']) / statistics.median(seconds['bf16']):.1f} x as fast")


def measure(data: Path, precision: str) -> tuple[float, int, int]:
    """Seconds of one run, and how many validation photographs it gets right: in training, in evaluate."""
    photos = str(data / "hymenoptera")
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        start = time.perf_counter()
        result = zoo(
            folder, data, "finetune", "mobilenet_v2_demo", photos, "--out", run, "--precision", precision
        )
        elapsed = time.perf_counter() - start
        found = zoo(folder, data, "evaluate", run, photos)
    return elapsed, round(result["val_accuracy"] * found["items"]), round(found["accuracy"] * found["items"])


def zoo(folder: str, data: Path, *arguments: str) -> dict[str, Any]:
    """What a command answers, with a store of its own."""
    command = [sys.executable, "-m", "zoo", *arguments, "--json", "--registry", str(data / "registry.yaml")]
    done = subprocess.run(command, env=os.environ | {"ZOO_HOME": f"{folder}/home"}, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    main()
