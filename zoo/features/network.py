"""A frozen copy of a model, optimised for speed: for its features, and for its answers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from adapters import feature_extractor
from zoo.backbones.architectures import AUXILIARY
from zoo.backbones.loading import is_idle
from zoo.backbones.memory_format import channels_last
from zoo.events import Note, Report, silent
from zoo.features.fusion import fold_batch_norm
from zoo.features.portions import Portions, is_out_of_memory

Precision = Literal["fp32", "bf16"]

# Relative to the largest feature: folding batch norm may change a feature by that much (measured: 4e-7).
TOLERANCE = 1e-4
NO_MATTER = ("training", "num_classes", "aux_logits", "drop_rate")  # settings without effect on features
IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)  # in eval mode
FEW = 4  # images that are answered before any shortcut pays
COSINE = 0.99  # the least cosine of bf16 features to fp32 ones; below it fp32 is used


class FrozenNetwork(Portions):
    """Images in, features or answers out, on one device; the model that it was made of is not changed.

    A call takes images (batch, channels, height, width) float32 on the CPU and returns features (batch, …)
    float32 on the CPU, in portions that the device's memory holds.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype, report: Report = silent
    ) -> None:
        super().__init__(device, report)
        self.network = channels_last(network.to(device, dtype))
        self.dtype = dtype

    def apply(self, images: Tensor) -> Tensor:
        """The features."""
        batch = images.to(self.device, self.dtype, memory_format=torch.channels_last)
        features: Tensor = self.network(batch)
        return features.float().cpu()


@torch.inference_mode()
def freeze_network(
    model: nn.Module,
    example: Tensor,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    report: Report = silent,
) -> FrozenNetwork:
    """The fastest network for the model's features: batch norm folded, channels last, bf16 if requested.

    example: a few real images (n, 3, size, size), on which every shortcut is compared with the plain model
    first. bf16 is at least twice as fast on processors with AVX512-BF16 or AMX, else slower.
    """
    network, expected = _speed_up(lambda: feature_extractor(model), example, device, report)
    if precision == "fp32":
        return network
    fast = FrozenNetwork(copy.deepcopy(network.network), device, torch.bfloat16, report)
    cosine = float(cosine_similarity(fast(example).flatten(1), expected.flatten(1)).min())
    if cosine >= COSINE:
        report(Note(f"features in bf16: cosine to fp32 at least {cosine:.4f} for {len(example)} images"))
        return fast
    report(Note(f"features in fp32: in bf16 their cosine to fp32 is only {cosine:.3f}", level="warning"))
    return network


@torch.inference_mode()
def freeze_classifier(
    model: nn.Module, example: Tensor, *, device: torch.device, report: Report = silent
) -> FrozenNetwork:
    """The fastest network for the model's answers, in fp32, by the same shortcuts as for its features.

    example: as for `freeze_network`. Costs one copy of the weights.
    """
    return _speed_up(lambda: copy.deepcopy(model).eval(), example, device, report)[0]


@torch.inference_mode()
def answer_few(model: nn.Module, images: Tensor) -> Tensor | None:
    """The model's own answers to a few images on the CPU; None where `freeze_classifier` has to give them.

    Its shortcuts cost three forward passes before the first answer: what is asked about a photograph or two
    is answered sooner without. None for a model that is not in eval mode or on the CPU in fp32, and where
    there is no memory.
    """
    tensors = [*model.parameters(), *model.buffers()]
    plain = all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.int64) for t in tensors)
    if len(images) > FEW or not plain or any(module.training for module in model.modules()):
        return None
    try:
        answers: Tensor = model(images)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return answers


def feature_precision(requested: str) -> Precision:
    """The number format of features for a recipe's precision: bf16 if it is requested, else fp32.

    "auto" is fp32 on every device: a run predicts in fp32, so that its measured accuracy holds, and features
    do not depend on the processor. fp16 has too small a range for weights that were trained in fp32.

    >>> [feature_precision(requested) for requested in ("auto", "fp32", "fp16", "bf16")]
    ['fp32', 'fp32', 'fp32', 'bf16']
    """
    return "bf16" if requested == "bf16" else "fp32"


def supports_bf16(device: torch.device) -> bool:
    """Whether the hardware computes bf16, so that it saves time."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def fingerprint_network(model: nn.Module) -> str:
    """The sha256 of everything that a model's features depend on: its modules, their settings, every tensor.

    Without the classifier. Costs a read of the weights (1.6 GB/s), and distinguishes a tuned network from the
    published one.
    """
    return fingerprint(feature_extractor(model).network)


def fingerprint(network: nn.Module) -> str:
    """The same of a whole network."""
    total = hashlib.sha256()
    for name, module in network.named_modules():
        if isinstance(module, IDLE) or f"{name}.".startswith(AUXILIARY):
            continue
        settings = sorted(
            (key, value)
            for key, value in vars(module).items()
            if _is_plain(value) and key[0] != "_" and key not in NO_MATTER
        )
        total.update(f"{name} {type(module).__module__}.{type(module).__qualname__} {settings}\n".encode())
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not (is_idle(name) or name.startswith(AUXILIARY)):
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _is_close(features: Tensor, expected: Tensor) -> bool:
    """Whether the largest difference is below TOLERANCE of the largest feature."""
    return bool((features - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _is_plain(value: object) -> bool:
    """Whether a setting has the same text in every process: a number, a text, or a tuple of them."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)


def _speed_up(
    take: Callable[[], nn.Module], example: Tensor, device: torch.device, report: Report
) -> tuple[FrozenNetwork, Tensor]:
    """The fastest network that agrees with the plain one, and the plain one's output for the example.

    take: returns a copy of the plain network.
    """
    cpu = torch.device("cpu")  # where fp32 is fp32: CUDA's convolutions round to TF32
    network = take().cpu()
    expected = fold_batch_norm(network, example).before
    if not _is_close(FrozenNetwork(network, cpu, torch.float32)(example), expected):
        network = take()
    return FrozenNetwork(network, device, torch.float32, report), expected
