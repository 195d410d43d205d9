"""What `zoo` and `adapters` promise to export is there, and importing `zoo` costs nothing."""

from __future__ import annotations

import subprocess
import sys

import adapters
import zoo


def test_every_public_name_of_zoo_resolves_and_is_documented():
    for name in zoo.PUBLIC:
        value = getattr(zoo, name)
        assert value.__doc__, name
    assert set(zoo.__all__) == {"__version__", *zoo.PUBLIC}
    assert not hasattr(zoo, "no_such_name")


def test_every_public_name_of_adapters_resolves_and_is_documented():
    for name in adapters.__all__:
        assert getattr(adapters, name).__doc__, name


def test_importing_zoo_imports_no_torch():
    code = "import sys, zoo; zoo.list_models(); print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
