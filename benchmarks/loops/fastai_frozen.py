"""fastai's frozen learner, with its own head, augmentation and one-cycle schedule.

    python benchmarks/loops/fastai_frozen.py DATA --network resnet18 --weights FILE --mean … --epochs 20

`vision_learner` with the weights of a file, whose network is cut before its pooling or its classifier, then
`freeze` and `fit_one_cycle`. Prints its validation accuracy as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

warnings.simplefilter("ignore")

import torch  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    ImageDataLoaders,
    Normalize,
    RandomResizedCrop,
    accuracy,
    default_split,
    model_meta,
    vision_learner,
)
from torchvision import models  # noqa: E402


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    for name in ("network", "weights", "mean", "std"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    made = models.get_model(options.network, weights=None)
    made.load_state_dict(torch.load(options.weights, weights_only=True))

    def network(**wanted: object) -> torch.nn.Module:  # fastai asks by whether it is pretrained
        del wanted
        return made

    mean, std = (list(map(float, text.split(","))) for text in (options.mean, options.std))
    loaders = ImageDataLoaders.from_folder(
        options.data,
        train="train",
        valid="val",
        item_tfms=RandomResizedCrop(224),
        batch_tfms=Normalize.from_stats(mean, std),  # fastai adds it only to what it downloads itself
        bs=32,
        num_workers=options.workers,
    )
    # fastai knows where to cut the networks of its table, and others by a layer that pools, which MobileNetV2
    # has not; vision_learner(cut=…) is not heard (2.8.5).
    model_meta[network] = {"cut": -2 if hasattr(made, "fc") else -1, "split": default_split}
    learner = vision_learner(loaders, network, pretrained=False, metrics=accuracy)
    learner.freeze()
    with learner.no_bar(), learner.no_logging():
        began = time.perf_counter()
        learner.fit_one_cycle(options.epochs)
        seconds = time.perf_counter() - began
        accurate = float(learner.validate()[1])
    found = {"val_accuracy": accurate, "val_items": len(loaders.valid_ds)}
    print(json.dumps({**found, "seconds_of_epochs": seconds}))


if __name__ == "__main__":
    main()
