"""Where to compute, and in which number format."""

from __future__ import annotations

import re
import warnings

import torch

from zoo.errors import TrainingStopped, UnknownName
from zoo.events import Note, Report, silent
from zoo.training.recipe import DEVICES


def pick_device(name: str = "auto", *, report: Report = silent) -> torch.device:
    """The device of that name; "auto" takes the first available of cuda, mps and cpu.

    Why a GPU was passed over (an old driver, say) is reported as a warning.
    Raises TrainingStopped for a device that this machine does not have: it never falls back silently.
    """
    if not (name in DEVICES or re.fullmatch(r"cuda:\d+", name)):
        raise UnknownName("device", name, [*DEVICES, "cuda:0"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    reasons = [str(warning.message).split("\n")[0] for warning in caught]
    if name == "auto":
        for reason in reasons:
            report(Note(reason, hint="Training goes on without this GPU.", level="warning"))
        name = "cuda" if gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise TrainingStopped("no device 'mps': this machine has no Apple GPU", hint="Use --device auto.")
    if name.startswith("cuda"):
        index = int(name[5:] or 0)
        if index >= gpus:
            raise TrainingStopped(
                f"no device {name!r}: {_describe_gpus(gpus, reasons)}", hint="Use --device auto."
            )
        return torch.device("cuda", index)
    return torch.device(name)


def _describe_gpus(gpus: int, reasons: list[str]) -> str:
    """The CUDA devices of this machine, or why it has none.

    >>> _describe_gpus(2, [])
    'the devices here are cuda:0 and cuda:1'
    """
    names = [f"cuda:{index}" for index in range(gpus)]
    if names:
        return f"the devices here are {' and '.join(names)}" if gpus > 1 else "the only one here is cuda:0"
    if torch.version.cuda is None and torch.version.hip is None:
        return "this build of torch has no CUDA"
    return reasons[0] if reasons else "torch sees no CUDA GPU on this machine"


def precision_for(device: torch.device, wish: str = "auto") -> str:
    """fp32, bf16 or fp16: the wish, or for "auto" what suits the device.

    bf16 where a GPU computes it natively, fp16 with loss scaling on older ones, fp32 elsewhere: autocast to
    bf16 on a CPU without the instructions is slower than fp32.
    Raises TrainingStopped for fp16 on the CPU: its range needs a scaled loss, and that needs a GPU.
    """
    if wish == "auto":
        if device.type != "cuda":
            return "fp32"
        with torch.cuda.device(device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wish == "fp16" and device.type == "cpu":
        raise TrainingStopped(
            "precision fp16 needs a GPU; this run is on the CPU", hint="Use --precision bf16."
        )
    return wish
