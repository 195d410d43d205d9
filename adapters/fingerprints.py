"""Proof that frozen tensors have not changed: the hash of each, before and after.

>>> import torch
>>> from torch import nn
>>> from adapters.freezing import freeze
>>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
>>> _ = freeze(model, until="3")
>>> with frozen_guard(model):
...     _ = model.train()(torch.randn(16, 4)).sum().backward()
>>> print(assert_frozen_unchanged(model, frozen_fingerprint(model)))
0 of 7 frozen tensors changed
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from adapters.errors import FrozenChanged
from adapters.freezing import is_locked
from adapters.structure import join_name


@dataclass(frozen=True)
class FrozenCheck:
    """The result of a comparison.

    Attributes:
        checked: How many tensors were compared.
        changed: The dotted names of those that changed.
    """

    checked: int
    changed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.changed)} of {self.checked} frozen tensors changed"


def frozen_fingerprint(model: nn.Module) -> dict[str, str]:
    """The sha256 of every frozen tensor: of its dtype, shape and values.

    Frozen are parameters without gradient, and the buffers of modules that are locked in eval or have no
    trainable parameter: also if they were frozen by `requires_grad = False` alone, where batch norm's
    statistics change, which the check must detect. Neither device nor memory format changes a hash. Costs a
    read of the weights (ResNet-50: 0.1 s).

    Args:
        model: Any network.

    Returns:
        The hash of each frozen tensor, by dotted name.
    """
    return {name: _hash_tensor(tensor) for name, tensor in _frozen_tensors(model)}


def assert_frozen_unchanged(model: nn.Module, before: Mapping[str, str]) -> FrozenCheck:
    """Compare the network with an earlier fingerprint.

    Every tensor of `before` is compared, also one that was unfrozen since; a missing one counts as changed.

    Args:
        model: The network.
        before: Its earlier `frozen_fingerprint`.

    Returns:
        How many tensors were compared; none of them has changed.

    Raises:
        FrozenChanged: If a tensor has changed; lists the names.
    """
    check = compare_frozen(model, before)
    if check.changed:
        raise FrozenChanged(check.changed, check.checked)
    return check


def compare_frozen(model: nn.Module, before: Mapping[str, str]) -> FrozenCheck:
    """Compare the network with an earlier fingerprint, without raising.

    Args:
        model: The network.
        before: Its earlier `frozen_fingerprint`.

    Returns:
        How many tensors were compared, and which of them have changed.
    """
    now = dict(model.named_parameters()) | dict(model.named_buffers())
    changed = tuple(
        name for name, digest in before.items() if name not in now or _hash_tensor(now[name]) != digest
    )
    return FrozenCheck(len(before), changed)


@contextmanager
def frozen_guard(model: nn.Module) -> Iterator[dict[str, str]]:
    """A with-block in which no frozen tensor may change. An error from inside passes unchanged.

    Args:
        model: Any network.

    Yields:
        The fingerprint at the beginning.

    Raises:
        FrozenChanged: At the end, if a frozen tensor has changed.
    """
    before = frozen_fingerprint(model)
    yield before
    assert_frozen_unchanged(model, before)


def _frozen_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every frozen parameter, then every frozen buffer, with its dotted name."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter
    seen: set[int] = set()
    for name, buffer in _frozen_buffers(model, "", inherited=False):
        if id(buffer) not in seen:
            seen.add(id(buffer))
            yield name, buffer


def _frozen_buffers(module: nn.Module, name: str, *, inherited: bool) -> Iterator[tuple[str, Tensor]]:
    """The buffers of frozen modules. inherited: whether a module without parameters counts as frozen."""
    learns = [parameter.requires_grad for parameter in module.parameters()]
    frozen = is_locked(module) or (not any(learns) if learns else inherited)
    if frozen:
        for own, buffer in module.named_buffers(recurse=False):
            yield join_name(name, own), buffer
    for child_name, child in module.named_children():
        yield from _frozen_buffers(child, join_name(name, child_name), inherited=frozen)


def _hash_tensor(tensor: Tensor) -> str:
    """The sha256 of a tensor's dtype, shape and values, in hexadecimal.

    Without numpy, which torch does not need, and without a copy if the tensor is contiguous on the CPU.
    """
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    total = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}\n".encode())
    size = plain.numel() * plain.element_size()
    if size:
        total.update((ctypes.c_char * size).from_address(plain.data_ptr()))
    return total.hexdigest()
