"""Novel items: how well the distance to the training items tells other pictures apart, and probabilities.

    python benchmarks/novelty.py [--data ../shared/data] [--draws 300]

The head of the ants and bees with the real MobileNetV2, asked about its 153 validation photographs and about
other pictures: six photographs of other things, and 100 digits. AUROC: how often another picture has the
larger distance, or the smaller probability, than a validation photograph. False alarms: over random halves of
the validation photographs, of which one gives the bound and the other is measured.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from zoo import finetune_model, load_run
from zoo.catalogue.registry import load_registry
from zoo.events import silent
from zoo.runs.demo import write_digits
from zoo.store.store import Store
from zoo.training.calibration import conformal_bound


def main() -> None:
    """Print the areas and the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    photos = options.data / "hymenoptera"
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "home")
        registry = load_registry([options.data / "registry.yaml"])
        settings = {"registry": registry, "store": store, "report": silent, "device": "cpu"}
        finetune_model("mobilenet_v2_demo", photos, out=Path(folder) / "run", **settings)
        write_digits(Path(folder) / "digits")
        groups = {
            "validation": sorted((photos / "val").rglob("*.jpg")),
            "other photographs": sorted((options.data / "photos").iterdir()),
            "digits": sorted((Path(folder) / "digits" / "val").rglob("*.png"))[:100],
        }
        run = load_run(Path(folder) / "run", store=store)
        found = {
            name: run.predict(items, false_alarms=0.05, data=photos, device="cpu")
            for name, items in groups.items()
        }
    known = found.pop("validation")
    distances = [answer.distance or 0.0 for answer in known]
    print(f"{'pictures':18} {'items':>5} {'by distance':>11} {'by probability':>14} {'called novel':>12}")
    for name, answers in found.items():
        by_distance = auroc([answer.distance or 0.0 for answer in answers], distances)
        unsure = [[1 - (a.probability or 0.0) for a in group] for group in (answers, known)]
        novel = sum(bool(answer.novel) for answer in answers) / len(answers)
        print(f"{name:18} {len(answers):5} {by_distance:11.4f} {auroc(*unsure):14.4f} {novel:12.3f}")
    for share in (0.05, 0.1):
        print(f"asked for {share:g} false alarms: {false_alarms(distances, share, options.draws):.4f}")


def auroc(others: Sequence[float], known: Sequence[float]) -> float:
    """How often one of the others is larger than one that is known; equal ones count half."""
    wins = sum((other > one) + 0.5 * (other == one) for other in others for one in known)
    return wins / (len(others) * len(known))


def false_alarms(distances: Sequence[float], share: float, draws: int) -> float:
    """The mean share of one half that is above the bound of the other."""
    shares = []
    for seed in range(draws):
        mixed = random.Random(seed).sample(distances, len(distances))
        bound = conformal_bound(sorted(mixed[::2]), 1 - share)
        assert bound is not None
        shares.append(statistics.mean(distance > bound for distance in mixed[1::2]))
    return statistics.mean(shares)


if __name__ == "__main__":
    main()
