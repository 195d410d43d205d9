"""A frozen network on the CPU by ONNX Runtime: twice as fast as torch where depthwise convolutions are many.

`home/onnx/<key>/<sha256>.onnx`: exported once. The key is the sha256 of everything that the network's outputs
depend on, the file's name is that of its bytes, which are hashed before they are read. What ONNX Runtime
computes is compared with torch in every process before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import os
import secrets
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.events import Note, Report, silent
from zoo.features import fusion, network
from zoo.features.engine import LIBRARIES, Engine
from zoo.features.network import FrozenNetwork, fingerprint, least_cosine
from zoo.features.sharing import share_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

COSINE = 0.99999  # the least cosine of its outputs to those of torch
MOST = 2 * 2**30  # bytes of all exports; the least recently used are deleted first
PORTION = 4  # images that a thread computes at once
SUFFIX, FAILED = ".onnx", "failed.txt"


class ExportedNetwork:
    """Images in, features or answers out, on the CPU: a FrozenNetwork that ONNX Runtime computes.

    Where it fails, which it does without memory, torch computes from then on: that halves its batches.
    """

    def __init__(self, session: InferenceSession, frozen: FrozenNetwork, report: Report = silent) -> None:
        self.session, self.frozen, self.report = session, frozen, report
        self.failed = False
        [self.input] = [each.name for each in session.get_inputs()]

    def __call__(self, images: Tensor) -> Tensor:
        if not self.failed:
            try:
                return self.run(images)
            except Exception as error:  # its errors have no class in common
                self.failed = True
                why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                self.report(Note(f"torch computes from now on, not ONNX Runtime: {why}", level="warning"))
        return self.frozen(images)

    def run(self, images: Tensor) -> Tensor:
        """The outputs of ONNX Runtime. Raises what it raises."""
        pixels = images.float().contiguous().numpy()
        portions = [pixels[start : start + PORTION] for start in range(0, max(1, len(pixels)), PORTION)]
        return torch.cat(share_out(self._compute, portions))

    def _compute(self, pixels: NDArray[np.float32]) -> Tensor:
        [outputs] = self.session.run(None, {self.input: pixels})
        return torch.from_numpy(outputs)


def choose_engine(
    frozen: FrozenNetwork,
    example: Tensor,
    engine: Engine,
    report: Report = silent,
    *,
    differs: Callable[[Tensor, Tensor], str | None] | None = None,
) -> FrozenNetwork | ExportedNetwork:
    """The network as the engine is to compute it; that of torch where ONNX Runtime cannot, or does not agree.

    example: a few real images, for which both have to give the same: a cosine of at least 0.99999 for each,
    and the same largest output, or whatever `differs` finds no fault with. What is not possible is reported,
    and not tried again by "auto".
    """
    if not engine.may_use_onnx or frozen.device.type != "cpu" or frozen.dtype != torch.float32:
        return frozen
    assert engine.exports is not None
    folder = engine.exports / _key(frozen.network)
    path = _find(folder, report)
    if path is None and engine.backend == "auto" and (not engine.has_many() or (folder / FAILED).exists()):
        return frozen
    level: Any = "warning" if engine.backend == "onnx" else "info"
    try:
        path = path or _export(frozen.network, example, folder)
        exported = ExportedNetwork(_open(path), frozen, report)
        fault = (differs or _other_answers)(exported.run(example), frozen(example))
    except (OSError, MemoryError) as error:  # of this moment
        report(Note(f"torch computes, not ONNX Runtime: {error}", level=level))
        return frozen
    except Exception as error:  # of three libraries, which have no error in common
        fault = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:200]}"
    if fault:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FAILED).write_text(fault, "utf-8")
        report(Note(f"torch computes, not ONNX Runtime: {fault}", level=level))
        return frozen
    report(
        Note(f"computed by ONNX Runtime {version('onnxruntime')}, which agrees with torch", level="detail")
    )
    return exported


def onnx_facts() -> dict[str, str]:
    """What outputs of ONNX Runtime depend on besides the network, and those of torch do not."""
    code = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()
    return {name: version(name) for name in LIBRARIES} | {"code": code}


def other_features(found: Tensor, expected: Tensor) -> str | None:
    """In what the outputs (batch, …) differ from those of torch; None where they do not."""
    found, expected = found.flatten(1), expected.flatten(1)
    if found.shape != expected.shape:
        return f"its outputs have the shape {tuple(found.shape)}, not {tuple(expected.shape)}"
    cosine = least_cosine(found, expected)
    if not cosine >= COSINE:  # NaN as well
        return f"the cosine of its outputs to those of torch is {cosine:.6f}"
    return None


def _other_answers(found: Tensor, expected: Tensor) -> str | None:
    """The same for answers, of which the largest one has to be the same as well."""
    fault = other_features(found, expected)
    if fault is None and not torch.equal(found.flatten(1).argmax(1), expected.flatten(1).argmax(1)):
        return "its largest output is another one"
    return fault


def _key(frozen: nn.Module) -> str:
    """The sha256 of everything that the exported file depends on."""
    code = "".join(map(inspect.getsource, (fusion, network, sys.modules[__name__])))
    versions = [version(name) for name in ("torch", "onnx", "onnxscript")]
    return hashlib.sha256(f"{fingerprint(frozen)} {versions} {code}".encode()).hexdigest()


def _find(folder: Path, report: Report) -> Path | None:
    """The exported file, if its bytes are those of its name; one of others is deleted."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError):
            if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem:
                os.utime(path)
                return path
            path.unlink()
            report(Note(f"{path}: a damaged export, made again", level="warning"))
    return None


def _export(frozen: nn.Module, example: Tensor, folder: Path) -> Path:
    """Export the network for batches of any size; returns the file, which has its final name."""
    images = example if len(example) > 1 else example.repeat(2, 1, 1, 1)  # of one, the size would be fixed
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{secrets.token_hex(8)}.partial"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                frozen,
                (images.contiguous(),),
                temporary,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        path = temporary.replace(folder / f"{digest}{SUFFIX}")
    finally:
        temporary.unlink(missing_ok=True)
    _prune(folder.parent, keep=path)
    return path


def _open(path: Path) -> InferenceSession:
    """The file in ONNX Runtime, one thread for each portion. It holds no code but ONNX's operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _prune(exports: Path, *, keep: Path, most: int = MOST) -> None:
    """Delete the least recently used exports until at most so many bytes are left."""
    found = []
    for path in exports.glob(f"*/*{SUFFIX}"):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        if path != keep:
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
