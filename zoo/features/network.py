"""A frozen copy of a model, optimised for speed: for its features, and for its answers."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from adapters import feature_extractor
from adapters.structure import copy_structure
from zoo.backbones.architectures import AUXILIARY
from zoo.backbones.loading import is_idle
from zoo.backbones.memory_format import channels_last
from zoo.events import Note, Report, silent
from zoo.features.engine import Precision as Precision
from zoo.features.fusion import fold_batch_norm
from zoo.features.graphs import Graphs
from zoo.features.portions import Portions, is_out_of_memory
from zoo.features.sharing import portion_of, share_out

# Relative to the largest feature: folding batch norm may change a feature by that much (measured: 4e-7).
TOLERANCE = 1e-4
NO_MATTER = ("training", "num_classes", "aux_logits", "drop_rate")  # settings without effect on features
IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)  # in eval mode
FEW = 4  # images that are answered before any shortcut pays
COSINE = 0.993  # the least cosine of bf16 features to fp32 ones; below it fp32 is used


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
        self.graphs = Graphs(self.network) if device.type == "cuda" else None
        self.dtype = dtype
        self.portion: int | None = None

    def apply(self, images: Tensor) -> Tensor:
        """The features. On a CPU threads share them out."""
        if self.device.type != "cpu" or len(images) == 0:
            return self.compute(images)
        if self.portion is None:
            self.portion = portion_of(self.compute, self.network, images[:1])
        return torch.cat(share_out(self.compute, torch.split(images, self.portion)))

    def compute(self, images: Tensor) -> Tensor:
        """The features of a portion."""
        batch = images.to(self.device, self.dtype, memory_format=torch.channels_last)
        features: Tensor = self.network(batch) if self.graphs is None else self.graphs(batch)
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
    first; for bf16, see `in_bf16`, the more the better.
    """
    network = _speed_up(lambda: feature_extractor(model), example, device, report)
    if precision == "fp32":
        return network
    return in_bf16(network, example, report)[0]


@torch.inference_mode()
def in_bf16(
    network: FrozenNetwork, example: Tensor, report: Report = silent
) -> tuple[FrozenNetwork, float | None]:
    """A copy of a frozen network that computes in bf16, and the least cosine of its features to those of
    fp32 for some real images; the network itself, and None, where that is below 0.993. What was measured is
    reported. At least twice as fast on processors with AVX512-BF16 or AMX, else slower.
    """
    fast = FrozenNetwork(copy.deepcopy(network.network), network.device, torch.bfloat16, network.report)
    _spare_depthwise(fast.network, network.network)
    cosine = least_cosine(fast(example), network(example))
    if not cosine >= COSINE:  # NaN as well
        report(
            Note(
                f"features in fp32: in bf16 their cosine to fp32 is only {rounded_down(cosine)}, "
                f"and {COSINE} is needed",
                level="warning",
            )
        )
        return network, None
    slow = None if supports_bf16(network.device) else "This processor computes bf16 more slowly than fp32."
    nearest = rounded_down(cosine)
    report(Note(f"features in bf16: cosine to fp32 at least {nearest} for {len(example)} images", slow))
    return fast, cosine


class _InFp32(nn.Module):
    """A layer that computes in fp32 within a network that computes in bf16."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.float())
        return outputs.to(inputs.dtype)


def _spare_depthwise(half: nn.Module, exact: nn.Module) -> None:
    """Put the first depthwise convolution of a network in fp32 into its copy in bf16.

    An output of it is a sum of nine products: what their weights lose by rounding does not average out, and
    all that follows sees it. MobileNetV2, 398 photographs: the least cosine to fp32 is 0.9949 with it, 0.9805
    without; other single layers change little. It has 1 % of the multiplications.
    """
    for name, module in exact.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            parent, _, leaf = name.rpartition(".")
            setattr(half.get_submodule(parent), leaf, _InFp32(copy.deepcopy(module)))
            return


def least_cosine(found: Tensor, expected: Tensor) -> float:
    """The least cosine of any row (batch, …) to what is expected of it; equal ones, all zeros too, have 1."""
    found, expected = found.flatten(1), expected.flatten(1)
    equal = (found == expected).all(1)
    return float(cosine_similarity(found, expected).masked_fill(equal, 1.0).min())


def rounded_down(cosine: float, digits: int = 4) -> str:
    """A cosine in so many digits, rounded down: it is at least that.

    >>> rounded_down(0.99998)
    '0.9999'
    """
    return f"{math.floor(cosine * 10**digits) / 10**digits if cosine == cosine else cosine:.{digits}f}"


@torch.inference_mode()
def freeze_classifier(
    model: nn.Module, example: Tensor, *, device: torch.device, report: Report = silent
) -> FrozenNetwork:
    """The fastest network for the model's answers, in fp32, by the same shortcuts as for its features.

    example: as for `freeze_network`. Costs one copy of the weights.
    """
    return _speed_up(lambda: copy.deepcopy(model).eval(), example, device, report)


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


@torch.no_grad()
def folded_copy(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network in eval mode on the same device, with batch norms folded and channels last; the
    network itself where there is none to fold, or the copy's output for the example differs. Costs one copy
    of the weights.
    """
    example = example.cpu()  # where fp32 is fp32
    device = next((tensor.device for tensor in network.parameters()), example.device)
    copied = copy_structure(network, lambda tensor: tensor.to("cpu", copy=True))
    folding = fold_batch_norm(copied, example)
    if not folding.folded or not _is_close(channels_last(copied)(example), folding.before):
        return network
    return copied.to(device)


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
) -> FrozenNetwork:
    """The fastest network that agrees with the plain one on the example.

    take: returns a copy of the plain network.
    """
    cpu = torch.device("cpu")  # where fp32 is fp32: CUDA's convolutions round to TF32
    example = example.to(cpu)
    network = take().cpu()
    expected = fold_batch_norm(network, example).before
    if not _is_close(FrozenNetwork(network, cpu, torch.float32)(example), expected):
        network = take()
    return FrozenNetwork(network, device, torch.float32, report)
