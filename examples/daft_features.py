"""Features as a step of a pipeline of Daft: a table of addresses of photographs gets the columns of them.

    pip install 'transfer-zoo[daft]'
    python examples/daft_features.py mobilenet_v2 inventory.parquet features/ --column path --workers 8
    zoo finetune mobilenet_v2 features/

The table is a Parquet file, or many, here or in storage: an inventory of a bucket, or what a query left of
one. All its columns stay; a column `label` is what zoo finetune learns. For a whole folder, or all below an
address, there is a command: zoo embed MODEL s3://BUCKET/FOLDER --out features/ --engine daft
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import daft
import pyarrow
from daft import DataType, Series, col
from daft.functions import download

import zoo

AT_ONCE = 64


def main() -> None:
    """Write the table with the features of its photographs as Parquet files."""
    options = read_options()
    if "://" not in options.out and Path(options.out).exists():
        raise SystemExit(f"{options.out} is there already: give the features a folder of their own")
    threads = max(1, (os.cpu_count() or 1) // options.workers)  # as many as a worker has cores
    featurizer = zoo.Featurizer(options.model, device=options.device, threads=threads)
    add_features = make_worker(featurizer, options.workers, options.gpus)

    table = daft.read_parquet(options.table).into_batches(AT_ONCE)
    photographs = download(col(options.column), on_error="null")
    table = table.select(col("*"), add_features(photographs)).with_column("path", col(options.column))
    table.write_parquet(options.out, compression="zstd")

    written = daft.read_parquet(options.out.rstrip("/") + "/*.parquet")
    failed = written.where(col("error").not_null()).count_rows()
    print(f"{options.out}: {written.count_rows():,} photographs, {failed:,} without features (column error)")


def make_worker(featurizer: zoo.Featurizer, workers: int, gpus: float) -> object:
    """A function of Daft from a column of bytes to the columns of the features."""
    nothing = featurizer([])  # fetches the model, once, before any worker looks for it
    row = DataType.from_arrow_type(pyarrow.struct(nothing.frame.to_arrow().schema))

    @daft.cls(max_concurrency=workers, use_process=True, gpus=gpus)
    class Worker:
        def __init__(self, featurizer: zoo.Featurizer) -> None:
            self.featurizer = featurizer

        @daft.method.batch(return_dtype=row, batch_size=AT_ONCE, unnest=True)
        def __call__(self, photographs: Series) -> pyarrow.Array:
            return self.featurizer(photographs).frame.to_struct().to_arrow()

    return Worker(featurizer)


def read_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="A model for images, or a run.")
    parser.add_argument(
        "table", help="A Parquet file, or a pattern of them: s3://BUCKET/inventory/*.parquet."
    )
    parser.add_argument("out", help="A new folder, or s3://BUCKET/FOLDER.")
    parser.add_argument(
        "--column", default="path", help="The column of addresses: s3://…, https://…, /a/path."
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs, or the part of one, that a worker has.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
