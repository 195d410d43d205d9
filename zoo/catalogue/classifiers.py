"""The networks whose classifier cannot be replaced: known by their names, so before any download."""

from __future__ import annotations

from zoo.catalogue.entry import ModelEntry
from zoo.errors import UsageError

_SEVERAL = ("timm/crossvit_", "timm/efficientvim_")  # of all architectures of timm and torchvision


def fault_of_classifier(entry: ModelEntry) -> str | None:
    """Why no head can take the place of a network's classifier; None where one can.

    >>> from zoo.catalogue.entry import Weights, draft_entry
    >>> fault_of_classifier(draft_entry("net", Weights(url="https://x.org/net"), "mit"))
    """
    if entry.architecture.startswith(_SEVERAL):
        return "it combines several classifiers that see different features"
    return None


def check_classifier(entry: ModelEntry) -> None:
    """Raise UsageError for a network that can neither be fine-tuned nor embed."""
    fault = fault_of_classifier(entry)
    if fault is not None:
        raise UsageError(
            f"{entry.name} can only predict its own classes: {fault}",
            hint="Choose a network with one classifier: zoo list --task image-classification",
        )
