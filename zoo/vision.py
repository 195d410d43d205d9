"""torchvision, imported without the compiler of torch."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo.utils"


def import_torchvision() -> ModuleType:
    """torchvision, in a sixth of the time of `import torchvision`.

    torchvision.ops.roi_align imports all of torch._dynamo, which is 3.4 of 4.0 s, for one function that it
    needs when regions are pooled. A module stands in for it while torchvision is imported; that function
    then imports what it is part of when it is called, and so does whoever asks the stand-in for anything
    else. Nothing of it is left in `sys.modules`.
    """
    if "torchvision" in sys.modules or "torch._dynamo" in sys.modules:
        return import_module("torchvision")
    import_module("torch")
    stand_in = sys.modules[_COMPILER] = _StandIn(_COMPILER)
    try:
        return import_module("torchvision")
    finally:
        if sys.modules.get(_COMPILER) is stand_in:
            del sys.modules[_COMPILER]


class _StandIn(ModuleType):
    """A module that is imported when it is asked for anything but the one function."""

    def __getattr__(self, name: str) -> Any:
        if name == "is_compile_supported":
            return _is_compile_supported
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        return getattr(_compiler(), name)


def _is_compile_supported(device_type: str) -> bool:
    return bool(_compiler().is_compile_supported(device_type))


def _compiler() -> ModuleType:
    """The module itself."""
    if isinstance(sys.modules.get(_COMPILER), _StandIn):
        del sys.modules[_COMPILER]
    return import_module(_COMPILER)
