"""Changes to a network: freeze it correctly, attach a new head. Pure torch, any `nn.Module`, in place.

A network for a thousand classes learns three new ones; its frozen part stays the same, bit for bit:

>>> import torch
>>> from torch import nn
>>> from adapters import attach_head, count_parameters, features_of, freeze, frozen_guard
>>> from adapters import parameter_groups, stages, unfreeze
>>> model = nn.Sequential(
...     nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
...     nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
...     nn.Linear(16, 1000),
... )  # or torchvision's, timm's, your own
>>> [stage.name for stage in stages(model)]
['stem', '4', '9']
>>> _ = freeze(model)  # batch norm and dropout too, whatever .train() says
>>> head = attach_head(model, ["ant", "bee", "cat"], head="mlp", hidden=[32], dropout=0.2)
>>> print(count_parameters(model))
2,083 parameters, 643 trainable, 1,440 frozen; 50 in buffers

Train the head, and prove that nothing else changed:

>>> def train(groups):
...     optimizer = torch.optim.Adam(groups)
...     for _ in range(5):
...         logits = model.train()(torch.randn(8, 3, 16, 16))
...         nn.functional.cross_entropy(logits, torch.randint(3, (8,))).backward()
...         optimizer.step()
...         optimizer.zero_grad()
>>> with frozen_guard(model):
...     train(parameter_groups(model, lr=1e-3, weight_decay=0.01))

Then train the last stage of the backbone as well, with a lower learning rate than the head:

>>> _ = unfreeze(model, 1)
>>> [(group["name"], group["lr"]) for group in parameter_groups(model, lr=1e-3, decay=0.5)]
[('9', 0.001), ('4', 0.0005)]
>>> with frozen_guard(model) as fingerprint:
...     train(parameter_groups(model, lr=1e-3, decay=0.5))
>>> len(fingerprint)  # tensors of the first stage, all unchanged
7

While the backbone is frozen its features never change: compute them once, and train the head on them.

>>> features = features_of(model, torch.randn(8, 3, 16, 16))
>>> features.shape, head(features).shape
(torch.Size([8, 16]), torch.Size([8, 3]))

A network may also keep its weights and learn small corrections of them, which are merged in the end:

>>> from adapters import add_low_rank, merge_low_rank
>>> _ = freeze(model)
>>> add_low_rank(model, rank=4)
{'0': 4, '4': 4}
>>> with frozen_guard(model):
...     train(parameter_groups(model, lr=1e-3))
>>> merge_low_rank(model)
['0', '4']

Importing `adapters` imports no torch: names are resolved at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.attaching import attach_head as attach_head
    from adapters.classifiers import FeatureExtractor as FeatureExtractor
    from adapters.classifiers import feature_extractor as feature_extractor
    from adapters.classifiers import feature_width as feature_width
    from adapters.classifiers import features_of as features_of
    from adapters.classifiers import find_classifier as find_classifier
    from adapters.errors import AdapterError as AdapterError
    from adapters.errors import FrozenChanged as FrozenChanged
    from adapters.errors import InvalidHead as InvalidHead
    from adapters.errors import NoClassifier as NoClassifier
    from adapters.errors import UnknownName as UnknownName
    from adapters.fingerprints import FrozenCheck as FrozenCheck
    from adapters.fingerprints import assert_frozen_unchanged as assert_frozen_unchanged
    from adapters.fingerprints import compare_frozen as compare_frozen
    from adapters.fingerprints import frozen_fingerprint as frozen_fingerprint
    from adapters.fingerprints import frozen_guard as frozen_guard
    from adapters.freezing import freeze as freeze
    from adapters.freezing import unfreeze as unfreeze
    from adapters.freezing import unfreeze_norms as unfreeze_norms
    from adapters.grouping import Counts as Counts
    from adapters.grouping import count_parameters as count_parameters
    from adapters.grouping import parameter_groups as parameter_groups
    from adapters.heads import CosineLinear as CosineLinear
    from adapters.heads import Head as Head
    from adapters.heads import Standardize as Standardize
    from adapters.heads import build_head as build_head
    from adapters.low_rank import LowRank as LowRank
    from adapters.low_rank import add_low_rank as add_low_rank
    from adapters.low_rank import load_low_rank as load_low_rank
    from adapters.low_rank import low_rank_state as low_rank_state
    from adapters.low_rank import merge_low_rank as merge_low_rank
    from adapters.low_rank import remove_low_rank as remove_low_rank
    from adapters.nearest_mean import NearestMean as NearestMean
    from adapters.staging import Stage as Stage
    from adapters.staging import stages as stages
    from adapters.tables import ACTIVATIONS as ACTIVATIONS
    from adapters.tables import ENCODERS as ENCODERS
    from adapters.tables import HEADS as HEADS
    from adapters.texts import InvalidText as InvalidText
    from adapters.texts import TextClassifier as TextClassifier
    from adapters.texts import TextEncoder as TextEncoder
    from adapters.texts import WordEmbedding as WordEmbedding
    from adapters.texts import pad_ids as pad_ids

PUBLIC = {
    "ACTIVATIONS": "adapters.tables",
    "ENCODERS": "adapters.tables",
    "HEADS": "adapters.tables",
    "AdapterError": "adapters.errors",
    "CosineLinear": "adapters.heads",
    "Counts": "adapters.grouping",
    "FeatureExtractor": "adapters.classifiers",
    "FrozenChanged": "adapters.errors",
    "FrozenCheck": "adapters.fingerprints",
    "Head": "adapters.heads",
    "InvalidHead": "adapters.errors",
    "InvalidText": "adapters.texts",
    "LowRank": "adapters.low_rank",
    "NearestMean": "adapters.nearest_mean",
    "NoClassifier": "adapters.errors",
    "Stage": "adapters.staging",
    "Standardize": "adapters.heads",
    "TextClassifier": "adapters.texts",
    "TextEncoder": "adapters.texts",
    "UnknownName": "adapters.errors",
    "WordEmbedding": "adapters.texts",
    "add_low_rank": "adapters.low_rank",
    "assert_frozen_unchanged": "adapters.fingerprints",
    "attach_head": "adapters.attaching",
    "build_head": "adapters.heads",
    "compare_frozen": "adapters.fingerprints",
    "count_parameters": "adapters.grouping",
    "feature_extractor": "adapters.classifiers",
    "feature_width": "adapters.classifiers",
    "features_of": "adapters.classifiers",
    "find_classifier": "adapters.classifiers",
    "freeze": "adapters.freezing",
    "frozen_fingerprint": "adapters.fingerprints",
    "frozen_guard": "adapters.fingerprints",
    "load_low_rank": "adapters.low_rank",
    "low_rank_state": "adapters.low_rank",
    "merge_low_rank": "adapters.low_rank",
    "pad_ids": "adapters.texts",
    "parameter_groups": "adapters.grouping",
    "remove_low_rank": "adapters.low_rank",
    "stages": "adapters.staging",
    "unfreeze": "adapters.freezing",
    "unfreeze_norms": "adapters.freezing",
}

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'adapters' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
