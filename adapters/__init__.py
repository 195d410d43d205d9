"""What you do to a network: freeze it rightly, give it a new head. Pure torch, any `nn.Module`, in place."""

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
