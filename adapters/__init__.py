"""What you do to a network: freeze it rightly, give it a new head. Pure torch, any `nn.Module`, in place.

A network that knows a thousand classes learns three new ones; what it knew stays as it is, bit for bit:

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

Train what learns, and prove that nothing else moved:

>>> def train(groups):
...     optimizer = torch.optim.Adam(groups)
...     for _ in range(5):
...         logits = model.train()(torch.randn(8, 3, 16, 16))
...         nn.functional.cross_entropy(logits, torch.randint(3, (8,))).backward()
...         optimizer.step()
...         optimizer.zero_grad()
>>> with frozen_guard(model):
...     train(parameter_groups(model, lr=1e-3, weight_decay=0.01))

Then let the last stage of the backbone learn too, more slowly than the head:

>>> _ = unfreeze(model, 1)
>>> [(group["name"], group["lr"]) for group in parameter_groups(model, lr=1e-3, decay=0.5)]
[('9', 0.001), ('4', 0.0005)]
>>> with frozen_guard(model) as fingerprint:
...     train(parameter_groups(model, lr=1e-3, decay=0.5))
>>> len(fingerprint)  # tensors of the first stage, all as they were
7

While the backbone is frozen its features are always the same: compute them once, and train the head on them.

>>> features = features_of(model, torch.randn(8, 3, 16, 16))
>>> features.shape, head(features).shape
(torch.Size([8, 16]), torch.Size([8, 3]))
"""

from adapters.attaching import attach_head
from adapters.classifiers import (
    FeatureExtractor,
    feature_extractor,
    feature_width,
    features_of,
    find_classifier,
)
from adapters.errors import AdapterError, FrozenChanged, InvalidHead, NoClassifier, UnknownName
from adapters.fingerprints import (
    FrozenCheck,
    assert_frozen_unchanged,
    compare_frozen,
    frozen_fingerprint,
    frozen_guard,
)
from adapters.freezing import freeze, unfreeze
from adapters.grouping import Counts, count_parameters, parameter_groups
from adapters.heads import ACTIVATIONS, HEADS, CosineLinear, Head, Standardize, build_head
from adapters.staging import Stage, stages
from adapters.texts import ENCODERS, InvalidText, TextClassifier, TextEncoder, WordEmbedding, pad_ids

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "HEADS",
    "AdapterError",
    "CosineLinear",
    "Counts",
    "FeatureExtractor",
    "FrozenChanged",
    "FrozenCheck",
    "Head",
    "InvalidHead",
    "InvalidText",
    "NoClassifier",
    "Stage",
    "Standardize",
    "TextClassifier",
    "TextEncoder",
    "UnknownName",
    "WordEmbedding",
    "assert_frozen_unchanged",
    "attach_head",
    "build_head",
    "compare_frozen",
    "count_parameters",
    "feature_extractor",
    "feature_width",
    "features_of",
    "find_classifier",
    "freeze",
    "frozen_fingerprint",
    "frozen_guard",
    "pad_ids",
    "parameter_groups",
    "stages",
    "unfreeze",
]
