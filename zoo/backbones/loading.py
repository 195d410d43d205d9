"""Verified weights become a network in eval mode; nothing of it is ever silently random."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adapters import NoClassifier, find_classifier
from zoo.backbones.architectures import (
    ARCHITECTURES,
    AUXILIARY,
    StateDict,
    build_network,
    find_architecture,
)
from zoo.backbones.checkpoints import INFINITE, find_odd_numbers, load_weights, strip_prefixes
from zoo.backbones.names import expected_names
from zoo.catalogue.entry import ImageModel
from zoo.errors import IntegrityError, UsageError, WeightsMismatch
from zoo.events import Note, Report, silent

if TYPE_CHECKING:
    from zoo.store.local import LocalModel
    from zoo.store.store import Store

__all__ = ["ARCHITECTURES", "build_network", "fit_weights", "load_backbone"]

ENOUGH = 0.9  # share of the backbone that must come from the file


def load_backbone(local: LocalModel, store: Store, *, report: Report = silent) -> nn.Module:
    """The network of a verified model: float32, in eval mode, its facts at `.zoo_entry`.

    Inputs are (batch, 3, size, size) as `.zoo_entry.input` states; outputs (batch, classes), or (batch,
    features) for a model without classes. The tensors are mapped from the store's safetensors file, copied
    on write. Raises WeightsMismatch if the file is not of this architecture, UnknownName if there is none
    of that name.
    """
    entry = local.entry
    if not isinstance(entry, ImageModel):
        raise UsageError(f"{entry.name} is {entry.task}, not a network for images")
    return fit_weights(entry, load_weights(local, store, report=report), report=report)


def fit_weights(entry: ImageModel, weights: Mapping[str, Tensor], *, report: Report = silent) -> nn.Module:
    """The entry's network with these weights in it: what load_backbone does once the file is read.

    The network is drafted on the meta device, where random initialisation costs nothing, and takes the
    tensors over without a copy. A draft computes nothing: a network that computes tensors of its own (tables
    of positions, blur kernels) is built for real.
    Raises WeightsMismatch if the weights lack a tensor, which would be another at every load, or if more than
    a tenth of them has no place; IntegrityError if they hold NaN or infinity that reaches the output.
    """
    classifier = entry.classes is not None
    weights = _to_float32(strip_prefixes(dict(weights), entry.name, report))
    network = draft_network(entry, weights)
    fit = _compare(network, weights, classifier=classifier)
    if fit.gaps:
        renamed = _to_float32(_translate(entry, network, weights))
        refit = _compare(network, renamed, classifier=classifier)
        if refit.share > fit.share or fit.headless:
            weights, fit = renamed, refit
    if fit.share < ENOUGH:
        weights = _find_inside(entry, network, weights, report) or weights
        fit = _compare(network, weights, classifier=classifier)
    if (adapted := _adapt_channels(network, weights)) is not None:
        key, weights, what = adapted
        report(Note(f"{entry.name}: {fit.gaps[key]}: {what}"))
        fit = _compare(network, weights, classifier=classifier)
    if fit.gaps or fit.share < ENOUGH:
        raise _mismatch(entry, fit)
    whole = _is_all_weights(network)
    if not whole:
        network = _build_alike(entry, weights)
    network.load_state_dict({key: weights[key] for key in fit.loaded}, strict=False, assign=whole)
    network.zoo_entry = entry  # type: ignore[assignment]
    report(_describe_fit(entry, fit))
    network.eval()
    odd = {key: fault for key in fit.loaded if (fault := find_odd_numbers(weights[key]))}
    if odd:
        _check_output(entry, network, odd, report)
    return network


def draft_network(entry: ImageModel, weights: Mapping[str, Tensor]) -> nn.Module:
    """The entry's network without memory behind its tensors, where it can be built so; else for real."""
    try:
        with torch.device("meta"), _Undrawn():
            return build_network(entry, weights=weights)
    except (RuntimeError, NotImplementedError):  # its constructor reads a value, which a draft has not
        return _build_alike(entry, weights)


class _Undrawn(TorchFunctionMode):
    """Nothing is drawn for tensors without memory: torch would import its compiler (3 s) to draw nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS or getattr(func, "__module__", None) == "torch.nn.init":
            tensor = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


_DRAWS = {Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.exponential_, Tensor.log_normal_}


def is_idle(key: str) -> bool:
    """Whether no output depends on it: only batch norm with momentum None reads it, and old files lack it."""
    return key.endswith("num_batches_tracked")


def _build_alike(entry: ImageModel, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network for real, the same at every call: whatever it draws, it draws from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(entry, weights=weights)


def _check_output(entry: ImageModel, network: nn.Module, odd: Mapping[str, str], report: Report) -> None:
    """Raise IntegrityError if what the network computes of a grey image is not a number; else warn.

    odd: tensors that hold NaN or infinity. Rightly there are a few: masks of attention are infinite, and
    published files hold parameters that nothing reads. Only the network's output shows whether they matter.
    """
    faults = [
        f"{fault} in {_some(k for k in odd if odd[k] == fault)}" for fault in dict.fromkeys(odd.values())
    ]
    with torch.inference_mode():
        output = network(torch.zeros(1, entry.input.channels, entry.input.size, entry.input.size))
    if not torch.isfinite(output).all():
        raise IntegrityError(
            f"{entry.name}: the weights hold {' and '.join(faults)}, and so does what the network answers",
            hint="If their hash is the published one, they were published so: use another file.",
        )
    if not all(fault == INFINITE and "mask" in key for key, fault in odd.items()):
        message = f"{entry.name}: the weights hold {' and '.join(faults)}; the network's answers are numbers"
        report(Note(message, "Take another file if you can.", "warning"))


@dataclass(frozen=True)
class _Fit:
    """What weights have to do with a network.

    wanted: keys of the network on which its output depends. loaded: keys that fit. gaps: wanted keys that the
    weights do not fill, and why. unexpected: keys of the weights without a place. headless: the network's
    classifier is among the gaps.
    share: the smallest of three shares in 0..1: of the backbone's tensors and of its elements that are
    loaded, and of the weights' elements that found a place. A network without its batch norm statistics is
    not whole, and a ResNet-101 must not pass for a ResNet-50.
    """

    wanted: tuple[str, ...]
    loaded: tuple[str, ...]
    gaps: Mapping[str, str]
    unexpected: tuple[str, ...]
    headless: bool
    share: float


def _compare(network: nn.Module, weights: Mapping[str, Tensor], *, classifier: bool) -> _Fit:
    """How the weights fit. classifier: the network has one; it is not part of the backbone's share."""
    state = network.state_dict()
    head = _classifier_prefix(network) if classifier else None
    loaded = [key for key, tensor in weights.items() if key in state and _is_like(tensor, state[key])]
    fits = set(loaded)
    extra = _extra_keys(network)
    unexpected = [k for k in weights if not (k in state or k.startswith(extra) or is_idle(k))]
    wanted = tuple(key for key in state if not is_idle(key))
    gaps = {key: _describe_gap(key, state, weights) for key in wanted if key not in fits}
    backbone = [key for key in wanted if not (head and key.startswith(head))]
    filled = [key for key in backbone if key not in gaps]
    return _Fit(
        wanted=wanted,
        loaded=tuple(loaded),
        gaps=gaps,
        unexpected=tuple(unexpected),
        headless=head is not None and any(key.startswith(head) for key in gaps),
        share=min(
            _part(len(filled), len(backbone)),
            _part(_count_elements(state, filled), _count_elements(state, backbone)),
            _part(_count_elements(weights, loaded), _count_elements(weights, [*loaded, *unexpected])),
        ),
    )


def _is_like(tensor: Tensor, place: Tensor) -> bool:
    """Whether a tensor can stand in a place: the shape, and real numbers for real numbers."""
    return tensor.shape == place.shape and tensor.is_floating_point() == place.is_floating_point()


def _find_inside(
    entry: ImageModel, network: nn.Module, weights: Mapping[str, Tensor], report: Report
) -> StateDict | None:
    """The weights of the network among others, or under other names; None where they are not found.

    Below a prefix (`model.` of Lightning, `backbone.`), by any scheme of names. What lies below the prefix
    and has no place stays: a deeper network must not pass for this one.
    Raises WeightsMismatch where several prefixes fit: teacher and student.
    """
    state = network.state_dict()
    for title, names in expected_names(network):
        first = next((name for name, key in names.items() if key in state and not is_idle(key)), "")
        prefixes = [key.removesuffix(first) for key in weights if first and f".{key}".endswith(f".{first}")]
        found = {prefix: _take_inside(weights, prefix, names) for prefix in prefixes}
        found = {prefix: inside for prefix, inside in found.items() if _fills(entry, network, inside)}
        if len(found) > 1:
            raise _ambiguous(entry, found)
        for prefix, inside in found.items():
            if prefix:
                report(
                    Note(f"{entry.name}: of the file, what is named {prefix}… is taken, the rest left out")
                )
            if title:
                report(Note(f"{entry.name}: the file has {title}: they are mapped, the shapes fit"))
            return inside
    return None


def _take_inside(weights: Mapping[str, Tensor], prefix: str, names: Mapping[str, str]) -> StateDict:
    """The tensors whose names begin so, renamed where the rest of their name is among `names`."""
    inside = {key.removeprefix(prefix): t for key, t in weights.items() if key.startswith(prefix)}
    return {names.get(key, key): tensor for key, tensor in inside.items()}


def _fills(entry: ImageModel, network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Whether the network finds nearly all of itself among these weights, whatever else there is."""
    state = network.state_dict()
    own = {key: tensor for key, tensor in weights.items() if key in state}
    return _compare(network, own, classifier=entry.classes is not None).share >= ENOUGH


def _adapt_channels(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, StateDict, str] | None:
    """(key, weights, what was done) with a first convolution that fits; None where nothing can be done.

    A network that was trained on one channel sees the mean of the channels; one that was trained on several
    sees its one channel in each of them. Other numbers of channels have no rule of which belongs to which.
    """
    state = network.state_dict()
    key = next((key for key, place in state.items() if place.ndim == 4), "")
    if key not in weights or weights[key].ndim != 4:
        return None
    kernel, place = weights[key], state[key]
    if kernel.shape[1] == place.shape[1] or kernel[:, :1].shape != place[:, :1].shape:
        return None
    if place.shape[1] == 1:
        return key, {**weights, key: kernel.sum(1, keepdim=True)}, "it is summed over its channels"
    if kernel.shape[1] == 1:
        n = place.shape[1]
        repeated = kernel.repeat(1, n, 1, 1) / n
        return key, {**weights, key: repeated}, f"it is repeated for {n} channels, divided by {n}"
    return None


def _ambiguous(entry: ImageModel, inside: Collection[str]) -> WeightsMismatch:
    """The error for a file that holds several such networks: teacher and student, two encoders."""
    named = _some(prefix or "(without a prefix)" for prefix in inside)
    return WeightsMismatch(
        f"{entry.name}: the file holds {len(inside)} networks that fit: {named}",
        hint=f"Nothing was loaded. Say which: `weights: {{member: {next(filter(None, inside)).rstrip('.')}}}`"
        f" in the entry of {entry.name}.",
    )


def _classifier_prefix(network: nn.Module) -> str | None:
    """How the keys of the classifier begin; None where it cannot be found."""
    try:
        return f"{find_classifier(network)[0]}."
    except NoClassifier:
        return None


def _to_float32(weights: Mapping[str, Tensor]) -> StateDict:
    """The weights with every floating-point number as float32; without a copy where it is one."""
    return {key: t.float() if t.is_floating_point() else t for key, t in weights.items()}


def _is_all_weights(network: nn.Module) -> bool:
    """Whether a state dict holds every tensor of the network, each once."""
    parameters = [id(p) for _, p in network.named_parameters(remove_duplicate=False)]
    return len(parameters) == len(set(parameters)) and not any(
        module._non_persistent_buffers_set
        or any(isinstance(value, Tensor) for value in vars(module).values())
        for module in network.modules()
    )


def _translate(entry: ImageModel, network: nn.Module, weights: StateDict) -> Mapping[str, Tensor]:
    """The weights as the architecture's library would rename them; unchanged where it cannot."""
    convert = find_architecture(entry)[0].convert
    try:
        return weights if convert is None else convert(network, weights)
    except (LookupError, AttributeError, ValueError, RuntimeError):  # not what its filter was made for
        return weights


def _extra_keys(network: nn.Module) -> tuple[str, ...]:
    """How keys begin that the network rightly has no place for: auxiliary heads, and dropped classifiers."""
    dropped = (f"{name}." for name, m in network.named_modules() if isinstance(m, nn.Identity))
    return (*AUXILIARY, *dropped)


def _describe_gap(key: str, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Why a tensor of the network stays unfilled."""
    if key not in weights:
        return f"{key} is missing"
    found, place = weights[key], state[key]
    if found.shape == place.shape:
        return f"{key} is {_short(found.dtype)} instead of {_short(place.dtype)}"
    return f"{key} is {tuple(found.shape)} instead of {tuple(place.shape)}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _describe_fit(entry: ImageModel, fit: _Fit) -> Note:
    """A note about what was loaded: a warning if something in the file was not used."""
    if not fit.unexpected:
        return Note(f"{entry.name}: all {len(fit.loaded)} tensors loaded", level="detail")
    message = f"{entry.name}: all {len(fit.loaded)} tensors of the network loaded"
    return Note(f"{message}; not used: {_some(fit.unexpected)}", level="warning")


def _mismatch(entry: ImageModel, fit: _Fit) -> WeightsMismatch:
    """The error that keeps a half-random network from being used."""
    why = [_some(fit.gaps.values())] if fit.gaps else []
    if fit.unexpected:
        why.append(f"not of this network: {_some(fit.unexpected)}")
    reasons = "; ".join(why)
    hint = f"Nothing was loaded. Correct `architecture` or `classes` of {entry.name}."
    if fit.share < ENOUGH:
        what = f"they fit only {100 * fit.share:.0f} % of it ({reasons})"
    elif fit.headless:
        what = f"they do not fill its classifier ({reasons})"
    else:
        lacks = f"lacks {len(fit.gaps)} of {len(fit.wanted)} tensors of {entry.architecture}"
        return WeightsMismatch(
            f"{entry.name}: the file {lacks}: {reasons}",
            hint="Nothing was loaded: what a file lacks would be drawn at random, and differ at every load."
            " Use another file.",
        )
    return WeightsMismatch(f"{entry.name}: the weights are not of {entry.architecture}: {what}", hint=hint)


def _some(names: Iterable[str], most: int = 3) -> str:
    """The first few names and how many more there are.

    >>> _some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _part(some_of: int, whole: int) -> float:
    """A share in 0..1; 1.0 if the total is zero."""
    return some_of / whole if whole else 1.0


def _count_elements(tensors: Mapping[str, Tensor], keys: Iterable[str]) -> int:
    """Numbers held by these tensors together."""
    return sum(tensors[key].numel() for key in keys)
