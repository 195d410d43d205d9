"""The package as somebody meets it who takes nothing else: its example, its names, what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import adapters


def test_every_public_name_is_there_and_documented() -> None:
    assert len(set(adapters.__all__)) == len(adapters.__all__)
    for name in adapters.__all__:
        value = getattr(adapters, name)
        assert isinstance(value, dict) or value.__doc__, name
        assert not hasattr(value, "__path__"), f"{name} is a module"


def test_every_error_is_a_value_error_with_a_message() -> None:
    values = [getattr(adapters, name) for name in adapters.__all__]
    errors = [value for value in values if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) >= 5
    assert all(issubclass(error, ValueError) for error in errors)


@pytest.mark.thorough
def test_importing_adapters_needs_torch_at_first_use_and_nothing_else_of_ours_or_theirs() -> None:
    code = (
        "import sys, adapters\n"
        "names = [*adapters.HEADS, *adapters.ACTIVATIONS, *adapters.ENCODERS]\n"
        "assert 'torch' not in sys.modules\n"
        "values = [getattr(adapters, name) for name in adapters.__all__]\n"
        "wrong = {'zoo', 'timm', 'torchvision', 'sklearn', 'msgspec', 'safetensors'} & set(sys.modules)\n"
        "assert not wrong, wrong"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_adapters_lacks_is_an_attribute_error() -> None:
    assert not hasattr(adapters, "no_such_name")
