"""The machine: chance, device and number format."""

from __future__ import annotations

from zoo.features.engine import BACKENDS
from zoo.training.recipe.conditions import DEEPER, FOR_IMAGES
from zoo.training.recipe.knob import Default, Knob

_PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")

KNOBS = (
    Knob(
        name="seed",
        kind=int,
        doc="Seed of every random choice.",
        heading="machine",
        default=Default(0),
        low=0,
        high=2**32 - 1,
    ),
    Knob(
        name="deterministic",
        kind=bool,
        doc="Slower kernels that repeat bit for bit on a GPU too; a CPU always does.",
        heading="machine",
        default=Default(False),
    ),
    Knob(
        name="device",
        kind=str,
        doc="Where to compute.",
        heading="machine",
        default=Default("auto"),
        choices=DEVICES,
        pattern=r"cuda:\d+",
        pattern_example="cuda:N",
    ),
    Knob(
        name="shard",
        kind=bool,
        doc="Divide weights, gradients and optimizer among the processes: for a network that does not fit "
        "while it trains.",
        heading="machine",
        default=Default(False),
        only=(FOR_IMAGES, DEEPER),
    ),
    Knob(
        name="compile",
        kind=bool,
        doc="Compile the network by torch.compile while stages are trained: a minute or more at first, then "
        "faster steps; in one process.",
        heading="machine",
        default=Default(False),
        only=(FOR_IMAGES, DEEPER),
    ),
    Knob(
        name="precision",
        kind=str,
        doc="Number format of the backbone; auto: fp32, and half precision for deeper training on a GPU. "
        "With bf16 its features, and what is measured on them, are in bf16 too; predictions never are.",
        heading="machine",
        default=Default("auto"),
        choices=_PRECISIONS,
    ),
    Knob(
        name="backend",
        kind=str,
        doc="What computes the features of a frozen backbone in fp32 on a CPU; auto: ONNX Runtime for 1,000 "
        "images or more where the extra [onnx] is installed and it agrees.",
        heading="machine",
        default=Default("auto"),
        choices=BACKENDS,
        only=(FOR_IMAGES,),
    ),
)
