"""The versions that a run's numbers may depend on. Light: `zoo doctor` reads them where nothing else can."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from zoo import __version__

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "tokenizers", "scikit-learn")


def library_versions() -> dict[str, str]:
    """The versions that a run's numbers may depend on."""
    found = {"transfer-zoo": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
