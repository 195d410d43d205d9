"""A transfer-learning model zoo: verified pretrained models, fine-tuned on your own data.

    import zoo

    zoo.list_models("resnet*")                         # what there is
    model = zoo.load_model("mobilenet_v2")             # an nn.Module in eval mode, every byte verified
    zoo.finetune_model("mobilenet_v2", "photos/", out="run")
    zoo.load_run("run").predict(["photo.jpg"])

Importing `zoo` imports no torch: names are resolved at first use.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # see zoo/cli/interrupts
if TYPE_CHECKING:
    from typing import Any

    from zoo.answers.calibrating import calibrate as calibrate
    from zoo.answers.comparing import compare as compare
    from zoo.answers.reporting.page import write_report as write_report
    from zoo.answers.run import load_run as load_run
    from zoo.backbones.models import load_model as load_model
    from zoo.catalogue.search import list_models as list_models
    from zoo.choosing.checking.checker import check as check
    from zoo.choosing.picking.picker import pick as pick
    from zoo.choosing.rates.finder import find_lr as find_lr
    from zoo.choosing.tuning.tuner import tune as tune
    from zoo.errors import ZooError as ZooError
    from zoo.runs.making.finetuning import finetune_model as finetune_model
    from zoo.runs.making.resuming import resume as resume
    from zoo.runs.run import embed as embed
    from zoo.runs.using.preparation import preprocessing as preprocessing
    from zoo.runs.workers import Featurizer as Featurizer
    from zoo.runs.workers import Predictor as Predictor
    from zoo.targets import fetch_model as fetch_model
    from zoo.tensorboard import tensorboard_report as tensorboard_report
    from zoo.training.recipe import Recipe as Recipe

__version__ = "0.1.0"

PUBLIC = {
    "Featurizer": "zoo.runs.workers",
    "Predictor": "zoo.runs.workers",
    "Recipe": "zoo.training.recipe",
    "ZooError": "zoo.errors",
    "compare": "zoo.answers.comparing",
    "calibrate": "zoo.answers.calibrating",
    "check": "zoo.choosing.checking.checker",
    "embed": "zoo.runs.run",
    "fetch_model": "zoo.targets",
    "find_lr": "zoo.choosing.rates.finder",
    "finetune_model": "zoo.runs.making.finetuning",
    "list_models": "zoo.catalogue.search",
    "load_model": "zoo.backbones.models",
    "load_run": "zoo.answers.run",
    "pick": "zoo.choosing.picking.picker",
    "preprocessing": "zoo.runs.using.preparation",
    "resume": "zoo.runs.making.resuming",
    "tensorboard_report": "zoo.tensorboard",
    "tune": "zoo.choosing.tuning.tuner",
    "write_report": "zoo.answers.reporting.page",
}

__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
