"""The features of many photographs with Daft, from a folder or S3-compatible storage, by several workers.

    pip install 'transfer-zoo[daft]'
    python examples/daft_features.py mobilenet_v2 photos/ features/
    python examples/daft_features.py mobilenet_v2 s3://bucket/photos/ s3://bucket/features/ --workers 8
    zoo finetune mobilenet_v2 features/

The folder of a photograph is its label, and the folder above that its part, if it is train, val or test. On
one machine the workers are processes; on several, start a cluster of Ray, and set DAFT_RUNNER=ray and
RAY_ADDRESS. The storage is found as by any client of S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, and so on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import daft
import pyarrow
from daft import DataType, Series, col
from daft.functions import download, regexp_extract, regexp_replace

import zoo

PHOTOGRAPH = r"(?i)\.(jpe?g|png|webp|bmp|gif|tiff?)$"
LABEL = r"([^/]+)/[^/]+$"
PART = r"/(train|val|test)/[^/]+/[^/]+$"


def main() -> None:
    """Write Parquet files of features, and name the photographs that have none."""
    options = read_options()
    if "://" not in options.out and Path(options.out).exists():
        raise SystemExit(f"{options.out} is there already: give the features a folder of their own")
    threads = max(1, (os.cpu_count() or 1) // options.workers)  # as many as a worker has cores
    featurizer = zoo.Featurizer(options.model, device=options.device, threads=threads)

    path, name = col("path"), regexp_replace(col("path"), "^file://", "")
    photographs = daft.from_glob_path(options.photographs.rstrip("/") + "/**")
    photographs = photographs.where(regexp_extract(path, PHOTOGRAPH, 0).not_null())
    features = make_worker(featurizer, options.workers, options.gpus)(download(path, on_error="null"))
    table = photographs.select(
        name.alias("path"),
        regexp_extract(path, LABEL, 1).alias("label"),
        regexp_extract(path, PART, 1).alias("split"),
        features,
    )
    table.write_parquet(options.out, compression="zstd")

    written = daft.read_parquet(options.out.rstrip("/") + "/*.parquet").select("path", "error")
    bad = written.where(col("error").not_null()).to_pydict()
    for place, reason in zip(bad["path"], bad["error"], strict=True):
        print(f"{place}: {reason}")
    print(f"{options.out}: {written.count_rows():,} photographs, {len(bad['path']):,} without features")


def make_worker(featurizer: zoo.Featurizer, workers: int, gpus: float) -> object:
    """A function of Daft from a column of bytes to the columns of the features."""
    columns = (
        featurizer([]).frame.to_arrow().schema
    )  # fetches the model, once, before any worker looks for it
    row = DataType.from_arrow_type(pyarrow.struct(columns))

    @daft.cls(max_concurrency=workers, use_process=True, gpus=gpus)
    class Worker:
        def __init__(self, featurizer: zoo.Featurizer) -> None:
            self.featurizer = featurizer

        @daft.method.batch(return_dtype=row, batch_size=64, unnest=True)
        def __call__(self, photographs: Series) -> pyarrow.Array:
            return self.featurizer(photographs).frame.to_struct().to_arrow()

    return Worker(featurizer)


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
