"""How long the light verbs take, in units of `python -c "import click"`: alternating, in one run.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

PEER = [sys.executable, "-c", "import click"]
OURS = {
    "zoo --help": [sys.executable, "-m", "zoo", "--help"],
    "zoo list": [sys.executable, "-m", "zoo", "list"],
    "zoo list --all": [sys.executable, "-m", "zoo", "list", "--all"],
    "zoo show resnet18": [sys.executable, "-m", "zoo", "show", "resnet18"],
    "zoo finetune --help": [sys.executable, "-m", "zoo", "finetune", "--help"],
}


def seconds(command: list[str], home: str) -> float:
    """Wall-clock seconds of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"ZOO_HOME": home, "PATH": ""})
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"import click": [], **{name: [] for name in OURS}}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            times["import click"].append(seconds(PEER, home))
            for name, command in OURS.items():
                times[name].append(seconds(command, home))
    peer = statistics.median(times["import click"])
    print(f"{'command':<22} {'median ms':>10} {'x import click':>15}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<22} {1000 * median:>10.0f} {median / peer:>15.1f}")


if __name__ == "__main__":
    main()
