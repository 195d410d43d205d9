"""The environment of the peers: gensim, huggingface_hub and fastai at the versions of benchmarks/peers.txt.

    python benchmarks/peers.py        installs them into .venv-peers, or into $ZOO_PEERS; make bench does

It borrows torch and all else from the environment that runs this, through a .pth file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

from measuring import ROOT

PLACE = Path(os.environ.get("ZOO_PEERS", ROOT / ".venv-peers"))
PYTHON = PLACE / "bin" / "python"
WANTED = Path(__file__).with_name("peers.txt")


class NoPeer(SystemExit):
    """A peer that is not installed."""


def python_of(package: str) -> Path:
    """The interpreter that has a peer: that of the peers, or this one. Raises NoPeer if neither has it."""
    if PYTHON.exists() and _has(PYTHON, package):
        return PYTHON
    if find_spec(package):
        return Path(sys.executable)
    raise NoPeer(f"{package} is not installed: python benchmarks/peers.py installs it into {PLACE}")


def _has(python: Path, package: str) -> bool:
    """Whether an interpreter finds a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code]).returncode == 0


def version_of(package: str, python: Path) -> str:
    """The version of a package that an interpreter imports."""
    return _said(python, f"from importlib.metadata import version; print(version({package!r}))")


def _said(python: Path, code: str) -> str:
    """What a piece of Python prints."""
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def install() -> None:
    """Make the environment, if what is wanted is not in it yet."""
    done = PLACE / "installed.txt"
    if done.exists() and done.read_bytes() == WANTED.read_bytes():
        return
    venv.create(PLACE, with_pip=True)
    own = _said(PYTHON, "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, "--requirement", WANTED], check=True)
    done.write_bytes(WANTED.read_bytes())


if __name__ == "__main__":
    install()
