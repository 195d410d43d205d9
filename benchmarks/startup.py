"""How long the light verbs take, in units of `python -c "import click"` and beside `hf --help`.

    python benchmarks/startup.py [--rounds 15] [--small]

Whole processes, the store is an empty folder. `zoo` is the installed command where there is one, which is
what is typed, else `python -m zoo`. `hf` is the command of huggingface_hub. The second row is what `zoo list`
is built of and cannot do without: a command line, typed entries, paths, hashes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from measuring import Disagreement, Goal, Table, Turns, command, new_parser, race, show
from peers import python_of, version_of

CLICK = "import click"
PARTS = "import click, dataclasses, hashlib, json, msgspec, pathlib"
LIST, SHOW, COMPLETE = "zoo list", "zoo show resnet18", "zoo fetch resn<TAB>"
TYPED = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo fetch resn", "COMP_CWORD": "2"}
HOLDS = {"zoo --help": "finetune", "hf --help": "Usage"} | dict.fromkeys((LIST, SHOW, COMPLETE), "resnet18")


def commands() -> dict[str, list[object]]:
    """What is measured, by name."""
    script = Path(sys.executable).with_name("zoo")
    zoo = [sys.executable, script] if script.exists() else [sys.executable, "-m", "zoo"]
    peer = python_of("huggingface_hub")
    return {
        CLICK: [sys.executable, "-c", CLICK],
        "and what list is of": [sys.executable, "-c", PARTS],
        "hf --help": [peer, "-c", "from huggingface_hub.cli.hf import main; main()", "--help"],
        "zoo --help": [*zoo, "--help"],
        LIST: [*zoo, "list"],
        "zoo list --all": [*zoo, "list", "--all"],
        SHOW: [*zoo, "show", "resnet18"],
        COMPLETE: zoo,
        "zoo finetune --help": [*zoo, "finetune", "--help"],
    }


def environment(name: str, home: str) -> dict[str, str]:
    """An empty home, no network."""
    env = {"ZOO_HOME": home, "HF_HUB_OFFLINE": "1", "HF_HOME": home, "PATH": os.defpath}
    return env | (TYPED if name == COMPLETE else {})


def check(turns: Turns) -> None:
    """Each command printed what it is for."""
    for name, word in HOLDS.items():
        if word not in turns[name][-1].answer:
            raise Disagreement(f"{name} printed no {word}:\n{turns[name][-1].answer}")


def main() -> None:
    """Print two tables of the same turns: in units of click, and beside hf."""
    options = new_parser(__doc__, rounds=15).parse_args()
    with tempfile.TemporaryDirectory() as home:
        ways = {name: partial(command, words, environment(name, home)) for name, words in commands().items()}
        turns = race(ways, 1 if options.small else options.rounds)
    check(turns)
    light = (LIST, SHOW, COMPLETE)
    beside = {name: turns[name] for name in ("hf --help", "zoo --help", *light)}
    tables = [
        Table("In units of click", turns, goals=dict.fromkeys(light, Goal(1.6, slower=True))),
        Table("Beside hf", beside, goals=dict.fromkeys(light, Goal(6))),
    ]
    show(tables, options, "click", hf=version_of("huggingface_hub", python_of("huggingface_hub")))


if __name__ == "__main__":
    main()
