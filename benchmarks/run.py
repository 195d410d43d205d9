"""All benchmarks of speed, one after the other, and one table of their goals at the end.

    python benchmarks/run.py [NAMES] [--small] [--out FOLDER]
    make bench, or make bench BENCH="--small words"

Each is a process of its own, which lets peer and zoo take turns; a peer that is not installed (see
benchmarks/peers.py) ends its benchmark with a sentence, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPEED = ("startup", "words", "predict", "head", "partial", "features", "images", "warm", "store")


def main() -> None:
    """Run them; the exit code says whether all of them ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(SPEED)}")
    parser.add_argument("--small", action="store_true", help="the least of each: do they run, do they agree")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of their tables as JSON")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names, failed = options.names or SPEED, []
    for name in names:
        print(f"\n=== benchmarks/{name}.py", flush=True)
        command = [sys.executable, HERE / f"{name}.py", "--json", options.out / f"{name}.json"]
        if subprocess.run([*command, *(["--small"] if options.small else [])]).returncode:
            failed.append(name)
    print("\n" + summary([options.out / f"{name}.json" for name in names if name not in failed]))
    sys.exit(f"did not end well: {', '.join(failed)}" if failed else 0)


def summary(files: list[Path]) -> str:
    """A line per way that has a goal."""
    lines = []
    for file in files:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        for table in found["tables"]:
            for row in table["rows"]:
                if "goal" in row:
                    measured = 1 / row["faster"] if "long" in row["goal"] else row["faster"]
                    said = f"{row['goal']:<22} {measured:>8.3g} {'yes' if row['met'] else 'NO':>4}"
                    lines.append(f"{said}  {file.stem}: {table['title']}: {row['way']}")
    return "\n".join(["goal                   measured  met  where", *lines]) if lines else "(no goals)"


if __name__ == "__main__":
    main()
