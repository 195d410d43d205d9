"""What computes a frozen network: torch, or ONNX Runtime where it is installed and agrees. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import UnknownName, UsageError

BACKENDS = ("auto", "torch", "onnx")
LIBRARIES = ("onnxruntime", "onnx", "onnxscript")
ENOUGH = 1000
"""Items from which on "auto" exports a network that was not exported before, which takes 5 to 10 s."""


@dataclass(frozen=True)
class Engine:
    """backend: "torch"; "onnx", with a warning where that is not possible; "auto": ONNX Runtime on the CPU
    where it is installed and the network was exported before, or there are many items. exports: the folder
    that keeps exported networks; None: there is none, and torch computes. items: how many there are."""

    backend: str = "torch"
    exports: Path | None = None
    items: int = 0

    def check(self, device: str) -> None:
        """Raise UnknownName for a backend that does not exist, and UsageError for one that cannot be had."""
        if self.backend not in BACKENDS:
            raise UnknownName("backend", self.backend, BACKENDS)
        if self.backend != "onnx":
            return
        if device not in ("auto", "cpu"):
            raise UsageError(
                f"ONNX Runtime computes on the CPU here, not on {device}", hint="Use --device cpu."
            )
        if missing := [name for name in LIBRARIES if find_spec(name) is None]:
            raise UsageError(
                f"ONNX Runtime needs {', '.join(missing)}", hint="pip install 'transfer-zoo[onnx]'"
            )

    @property
    def may_use_onnx(self) -> bool:
        """Whether ONNX Runtime is wanted, and there."""
        return (
            self.backend != "torch"
            and self.exports is not None
            and all(find_spec(name) is not None for name in LIBRARIES)
        )


TORCH = Engine()
