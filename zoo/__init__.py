"""A transfer-learning model zoo: verified pretrained models, fine-tuned on your own data.

    import zoo

    zoo.list_models("resnet*")                         # what there is
    model = zoo.load_model("resnet18")                 # an nn.Module in eval mode, every byte verified
    run = zoo.finetune_model("resnet18", "photos/", out="run/")
    zoo.load_run("run/").predict(["photo.jpg"])

Importing `zoo` imports no torch: names are resolved at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

PUBLIC: dict[str, str] = {}  # name -> the module that defines it; filled in as rooms are built

__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
