"""torchvision without the compiler of torch, which is imported when it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = "import sys\nfrom zoo.vision import import_torchvision\ntorchvision = import_torchvision()\n"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", BEFORE + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_is_imported_without_the_compiler_and_nothing_stands_in_for_it_afterwards() -> None:
    loaded = run("print([n for n in sys.modules if n.startswith('torch._dynamo')], torchvision.__name__)")
    assert loaded == "[] torchvision"


@pytest.mark.thorough
def test_what_needs_the_compiler_imports_it() -> None:
    said = run(
        "from torchvision.ops.roi_align import is_compile_supported\n"
        "print(is_compile_supported('cpu'), 'torch._dynamo' in sys.modules)\n"
        "import torch._dynamo.utils as real\n"
        "print(real.is_compile_supported('cpu'), real.__file__ is not None)\n"
        "import torch\n"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())"
    )
    assert said.split() == ["True", "True", "True", "True", "2.0"]


@pytest.mark.thorough
def test_whoever_asks_the_stand_in_for_anything_else_gets_the_real_thing() -> None:
    code = "from zoo.vision import _StandIn\nprint(type(_StandIn('torch._dynamo.utils').counters).__name__)"
    assert run(code) == "defaultdict"
