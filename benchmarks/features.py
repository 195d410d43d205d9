"""Features of photographs by a frozen MobileNetV2, the whole process: a plain PyTorch loop against zoo.

    python benchmarks/features.py [--files 397] [--rounds 3] [--small] [--also OPTIONS]

The peer is what one writes (benchmarks/loops/inference.py --features): no_grad, fp32, a DataLoader of two
workers. zoo has an empty store but for the weights; `zoo embed` writes features of the same photographs, with
torch, in bf16, with ONNX Runtime for which it exports the network, and with ONNX Runtime where that was done
before. Beside each is the smallest cosine between its features of a photograph and the loop's. Pixels of zoo
and of torchvision are up to one grey level apart (benchmarks/images.py), which alone makes it 0.99998; on the
same pixels it is 0.9999998 in fp32. --also: another way of `zoo embed`, by its options.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import ROOT, Disagreement, Goal, Table, Turn, command, new_parser, race, show
from subjects import Homes, Network, many_photographs, mobilenet_v2

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOP = ROOT / "benchmarks" / "loops" / "inference.py"
TORCH, ONNX, BF16 = "--backend torch", "--backend onnx", "--backend torch --precision bf16"
EXPORTED = f"zoo embed {ONNX}, exported before"
LEAST = {f"zoo embed {BF16}": 0.993}  # cosines; of all others 0.9999
GOALS = {f"zoo embed {TORCH}": Goal(2.5), EXPORTED: Goal(4), f"zoo embed {BF16}": Goal(5)}


def loop(folder: Path, network: Network, scratch: Path) -> Turn:
    """The plain loop; the answer of every way is its features, a row per file by name."""
    import numpy

    turn = command([sys.executable, LOOP, folder, network.weights, scratch / "loop.npy", "--features"])
    return turn._replace(answer=numpy.load(scratch / "loop.npy"))


def embed(folder: Path, homes: Homes, more: str, like: Path | None = None) -> Turn:
    """`zoo embed`. more: options. like: a store to begin with."""
    home, out = homes.fresh("embed", like), homes.scratch / "ours.npz"
    words = ["--device", "cpu", *shlex.split(more)]
    turn = homes.zoo("embed", homes.network.model, folder, "-o", out, *words, home=home)
    return turn._replace(answer=features_of(out))


def features_of(file: Path) -> NDArray[Any]:
    """Those that a way wrote, which is removed."""
    import numpy

    with numpy.load(file) as found:
        features: NDArray[Any] = found["features"]
    file.unlink()
    return features


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The smallest between rows of the same number. Raises Disagreement where there are others."""
    from numpy.linalg import norm

    if one.shape != other.shape:
        raise Disagreement(f"features of {one.shape} and of {other.shape}")
    return float(((one * other).sum(1) / (norm(one, axis=1) * norm(other, axis=1))).min())


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The table."""
    files, rounds = (12, 1) if options.small else (options.files, options.rounds)
    network = mobilenet_v2(options.data, scratch)
    folder, homes = many_photographs(options.data, scratch, files), Homes(network, scratch)
    kinds = [TORCH] if options.small else [TORCH, BF16, ONNX, *options.also]
    ways = {"plain loop": partial(loop, folder, network, scratch)}
    ways |= {f"zoo embed {more}": partial(embed, folder, homes, more) for more in kinds}
    if not options.small:
        exported = homes.fresh("exported")
        words = (homes.network.model, options.data / "photos", "-o", scratch / "few.npz", *shlex.split(ONNX))
        homes.zoo("embed", *words, home=exported)
        ways[EXPORTED] = partial(embed, folder, homes, ONNX, exported)
    turns = race(ways, rounds)
    peer = turns["plain loop"][-1].answer
    cosines = {name: cosine(peer, found[-1].answer) for name, found in turns.items()}
    for name, found in cosines.items():
        if found < LEAST.get(name, 0.9999):
            raise Disagreement(f"{name}: a cosine of {found:.6f} with the plain loop's features")
    said = {name: f"cosine {found:.6f}" for name, found in cosines.items()}
    yield Table(f"Features of {files:,} photographs, MobileNetV2", turns, said, GOALS)


def main() -> None:
    """Print the table."""
    parser = new_parser(__doc__, rounds=3)
    parser.add_argument("--files", type=int, default=397)
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS", help="another way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision", "onnxruntime")


if __name__ == "__main__":
    main()
