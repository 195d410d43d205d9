"""What computes a frozen network: torch, or ONNX Runtime where it is installed and agrees. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from zoo.errors import UnknownName, UsageError

Backend = Literal["torch", "onnx"]
Precision = Literal["fp32", "bf16"]
LONG_NAMES = {"torch": "torch", "onnx": "ONNX Runtime"}
PRECISIONS = ("fp32", "bf16")
BACKENDS = ("auto", "torch", "onnx")
LIBRARIES = ("onnxruntime", "onnx", "onnxscript")
ENOUGH = 1000
"""Items from which on "auto" exports a network that was not exported before, which takes 5 to 10 s."""
LARGEST = 1e15
"""A feature beyond it cannot be computed with: the squares of a row of them leave what float32 holds."""


@dataclass(frozen=True)
class Engine:
    """backend: "torch"; "onnx", with a warning where that is not possible; "auto": ONNX Runtime on the CPU
    where it is installed and there are many items, and for answers also where the network was exported
    before: features are kept, so that what computes them must not depend on what happened before. exports:
    the folder that keeps exported networks; None: there is none, and torch computes. items: how many there
    are of the whole data set, of which a call may get a part; None: those of the call."""

    backend: str = "torch"
    exports: Path | None = None
    items: int | None = None

    def check(self, device: str, precision: str = "fp32") -> None:
        """Raise UnknownName for a backend, or a precision of features, that does not exist, and UsageError
        for what cannot be had."""
        if self.backend not in BACKENDS:
            raise UnknownName("backend", self.backend, BACKENDS)
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        if self.backend != "onnx":
            return
        if device not in ("auto", "cpu"):
            raise UsageError(
                f"ONNX Runtime computes on the CPU here, not on {device}", hint="Use --device cpu."
            )
        if precision != "fp32":
            raise UsageError(f"ONNX Runtime computes in fp32 here, not in {precision}", hint="Leave one out.")
        if missing := self.missing:
            raise UsageError(
                f"ONNX Runtime needs {', '.join(missing)}", hint="pip install 'transfer-zoo[onnx]'"
            )

    @property
    def missing(self) -> list[str]:
        """The libraries that ONNX Runtime needs and that are not installed."""
        return [name for name in LIBRARIES if find_spec(name) is None]

    @property
    def may_use_onnx(self) -> bool:
        """Whether ONNX Runtime is wanted, and there."""
        return self.backend != "torch" and self.exports is not None and not self.missing

    def has_many(self, items: int = 0) -> bool:
        """Whether an export pays. items: of the call, where those of the whole are not known."""
        return (items if self.items is None else self.items) >= ENOUGH


@dataclass(frozen=True)
class Way:
    """How features were computed: by what, and in which number format."""

    backend: Backend = "torch"
    precision: Precision = "fp32"


TORCH = Engine()
PLAIN = Way()
