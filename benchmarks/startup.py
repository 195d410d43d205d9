"""How long the light verbs take, in units of `python -c "import click"` and beside `hf --help`: alternating.

    python benchmarks/startup.py [--rounds 15] [--quick]

Whole processes, the store is an empty folder. `zoo` is the installed command where there is one, which is
what is typed, else `python -m zoo`. `hf` is the command of huggingface_hub. The second row is what `zoo list`
is built of and cannot do without: a command line, typed entries, paths, hashes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

CLICK = "import click"
HF = "hf --help"


def commands() -> dict[str, list[str]]:
    """What is measured, by name."""
    script = Path(sys.executable).with_name("zoo")
    zoo = [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", "zoo"]
    hf = Path(sys.executable).with_name("hf")
    return {
        CLICK: [sys.executable, "-c", CLICK],
        "and what list is of": [
            sys.executable,
            "-c",
            "import click, dataclasses, hashlib, json, msgspec, pathlib",
        ],
        "zoo --help": [*zoo, "--help"],
        "zoo list": [*zoo, "list"],
        "zoo list --all": [*zoo, "list", "--all"],
        "zoo show resnet18": [*zoo, "show", "resnet18"],
        "zoo fetch resn<TAB>": zoo,
        "zoo finetune --help": [*zoo, "finetune", "--help"],
        **({HF: [sys.executable, str(hf), "--help"]} if hf.exists() else {}),
    }


TYPED = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo fetch resn", "COMP_CWORD": "2"}


def seconds(name: str, command: list[str], home: str) -> float:
    """Wall-clock seconds of one run of a command."""
    env = {"ZOO_HOME": home, "PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": home}
    env |= {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    env |= TYPED if name.endswith("<TAB>") else {}
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in commands()}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(2 if options.quick else options.rounds):
            for name, command in commands().items():
                times[name].append(seconds(name, command, home))
    print(f"Python {sys.version.split()[0]}, click {version('click')}, hf {version('huggingface_hub')}")
    print(f"{'command':<22} {'min ms':>8} {'median':>8} {'max':>8} {'x click':>8} {'hf / it':>8}")
    click = statistics.median(times[CLICK])
    hf = statistics.median(times.get(HF, [float("nan")]))
    for name, values in times.items():
        median = statistics.median(values)
        low, high = 1000 * min(values), 1000 * max(values)
        ratios = f"{median / click:>8.2f} {hf / median:>8.1f}"
        print(f"{name:<22} {low:>8.0f} {1000 * median:>8.0f} {high:>8.0f} {ratios}")


if __name__ == "__main__":
    main()
