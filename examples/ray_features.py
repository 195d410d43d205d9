"""The features of many photographs with Ray Data, from a folder or S3-compatible storage, by several workers.

    pip install 'transfer-zoo[ray]'
    python examples/ray_features.py mobilenet_v2 photos/ features/
    python examples/ray_features.py mobilenet_v2 s3://bucket/photos/ s3://bucket/features/ --workers 8
    zoo finetune mobilenet_v2 features/

The folder of a photograph is its label, and the folder above that its part, if it is train, val or test.
Where RAY_ADDRESS names a cluster the workers are there, else they are processes of this machine. The storage
is found as by any client of S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, and so on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars
import pyarrow
import ray
from ray.data import ActorPoolStrategy
from ray.data.expressions import col

import zoo

PHOTOGRAPHS = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]
LABEL = r"([^/]+)/[^/]+$"
PART = r"/(train|val|test)/[^/]+/[^/]+$"


class Worker:
    """The network in a process of its own, loaded once."""

    def __init__(self, featurizer: zoo.Featurizer) -> None:
        self.featurizer = featurizer

    def __call__(self, photographs: pyarrow.Table) -> pyarrow.Table:
        path = polars.from_arrow(photographs["path"])
        features = self.featurizer(photographs["bytes"]).frame
        label, split = path.str.extract(LABEL), path.str.extract(PART)
        return features.with_columns(path=path, label=label, split=split).to_arrow()


def main() -> None:
    """Write Parquet files of features, and name the photographs that have none."""
    options = read_options()
    if "://" not in options.out and Path(options.out).exists():
        raise SystemExit(f"{options.out} is there already: give the features a folder of their own")
    ray.init(include_dashboard=False, logging_level="warning")
    cores = ray.cluster_resources()["CPU"]
    share = max(0, cores - 1) / options.workers  # were all taken, nothing could read: issue 44687 of Ray
    threads = max(1, int(cores / options.workers))  # as many as a worker has cores
    featurizer = zoo.Featurizer(options.model, device=options.device, threads=threads)
    featurizer([])  # fetches the model, once, before any worker looks for it

    photographs = ray.data.read_binary_files(
        options.photographs, include_paths=True, file_extensions=PHOTOGRAPHS
    )
    table = photographs.map_batches(
        Worker,
        fn_constructor_args=(featurizer,),
        batch_size=64,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=options.workers),
        num_cpus=share,
        num_gpus=options.gpus,
    )
    table.write_parquet(options.out, compression="zstd")

    written = ray.data.read_parquet(options.out).select_columns(["path", "error"])
    bad = written.filter(expr=col("error").is_not_null()).take_all()
    for row in bad:
        print(f"{row['path']}: {row['error']}")
    print(f"{options.out}: {written.count():,} photographs, {len(bad):,} without features")


def read_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="A model for images, or a run.")
    parser.add_argument("photographs", help="A folder, or s3://BUCKET/FOLDER.")
    parser.add_argument("out", help="A folder that is not there yet, or s3://BUCKET/FOLDER.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs, or the part of one, that a worker has.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
