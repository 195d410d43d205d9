"""What `zoo` and `adapters` promise to export is there, and importing `zoo` costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import adapters
import zoo
from zoo import plugins

EXAMPLE = Path(__file__).parents[1] / "examples" / "zoo-lab"


def test_every_public_name_of_zoo_resolves_and_is_documented() -> None:
    for name in zoo.PUBLIC:
        value = getattr(zoo, name)
        assert value.__doc__, name
    assert set(zoo.__all__) == {"__version__", *zoo.PUBLIC}
    assert not hasattr(zoo, "no_such_name")


def test_every_public_name_of_adapters_resolves_and_is_documented() -> None:
    for name in adapters.__all__:
        assert getattr(adapters, name).__doc__, name


def test_importing_zoo_imports_no_torch() -> None:
    code = "import sys, zoo; zoo.list_models(); print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_every_name_for_plugins_resolves_and_is_documented() -> None:
    for name in plugins.__all__:
        assert getattr(plugins, name).__doc__, name
    assert not hasattr(plugins, "no_such_name")


def test_the_example_package_imports_nothing_of_zoo_but_what_is_for_plugins() -> None:
    for path in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "zoo":
                assert node.module == "zoo.plugins", path


def test_a_scheme_of_a_plugin_is_imported_without_torch() -> None:
    code = "import sys; from zoo.plugins import Remote, Scheme, Wanted; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
