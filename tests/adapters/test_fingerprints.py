"""Fingerprints see every change of a frozen tensor, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from adapters import (
    FrozenChanged,
    assert_frozen_unchanged,
    attach_head,
    build_head,
    compare_frozen,
    freeze,
    frozen_fingerprint,
    frozen_guard,
    unfreeze,
)
from adapters.fingerprints import _hash_tensor

Network = Callable[[str], nn.Module]


def test_every_frozen_parameter_and_buffer_is_in_the_fingerprint(network: Network) -> None:
    model = network("tv/resnet18")
    attach_head(model, 3, standardize=True)
    assert frozen_fingerprint(model) == {}
    freeze(model)
    names = set(frozen_fingerprint(model))
    assert names == {name for name in model.state_dict() if not name.startswith("fc.")}
    assert len(names) == 120


def test_a_single_changed_bit_is_seen(small: nn.Sequential) -> None:
    freeze(small)
    before = frozen_fingerprint(small)
    for name, tensor in [*small.named_parameters(), *small.named_buffers()]:
        flat = tensor.detach().view(-1)
        kept = flat[0].clone()
        flat[0] = torch.nextafter(kept, kept + 1) if kept.is_floating_point() else kept + 1
        assert compare_frozen(small, before).changed == (name,)
        flat[0] = kept
    check = assert_frozen_unchanged(small, before)
    assert (check.checked, str(check)) == (len(before), f"0 of {len(before)} frozen tensors changed")


def test_a_change_is_an_error_with_the_names(small: nn.Sequential) -> None:
    freeze(small)
    before = frozen_fingerprint(small)
    with torch.no_grad():
        small[0].weight += 1
        small[1].running_var += 1
    with pytest.raises(
        FrozenChanged, match=r"2 of 16 frozen tensors changed: 0\.weight, 1\.running_var"
    ) as caught:
        assert_frozen_unchanged(small, before)
    assert caught.value.names == ("0.weight", "1.running_var")
    assert isinstance(caught.value, ValueError)


def test_what_learns_is_not_checked_and_what_is_gone_has_changed(small: nn.Sequential) -> None:
    freeze(small, until="10")
    before = frozen_fingerprint(small)
    with torch.no_grad():
        small[10].weight += 1
    assert_frozen_unchanged(small, before)
    small[4] = nn.Identity()
    assert compare_frozen(small, before).changed == ("4.weight", "4.bias")


def test_statistics_of_a_norm_frozen_by_hand_are_watched(small: nn.Sequential) -> None:
    small.requires_grad_(False)
    small[10].requires_grad_(True)
    with pytest.raises(FrozenChanged, match="running_mean"), frozen_guard(small):
        small.train()(torch.randn(4, 3, 16, 16))


def test_statistics_kept_by_freeze_norm_are_watched_and_others_are_not(small: nn.Sequential) -> None:
    freeze(small)
    unfreeze(small, freeze_norm=True)
    assert set(frozen_fingerprint(small)) == {
        f"{layer}.{name}"
        for layer in (1, 5)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    unfreeze(small)
    assert frozen_fingerprint(small) == {}


def test_standardisation_belongs_to_a_head_that_learns() -> None:
    head = build_head("linear", 8, 2, standardize=True)
    assert frozen_fingerprint(head) == {}
    freeze(head)
    assert set(frozen_fingerprint(head)) == set(head.state_dict())


def test_an_error_inside_the_guard_is_not_covered_up(small: nn.Sequential) -> None:
    def fail() -> None:
        small[0].weight.data += 1
        raise ZeroDivisionError

    freeze(small)
    with pytest.raises(ZeroDivisionError), frozen_guard(small):
        fail()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_any_dtype_can_be_hashed(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    assert _hash_tensor(tensor) == _hash_tensor(tensor.clone())
    assert _hash_tensor(tensor) != _hash_tensor(tensor.reshape(3, 2))
    assert _hash_tensor(torch.zeros(0)) != _hash_tensor(torch.zeros(0, dtype=torch.float64))
    assert len(_hash_tensor(torch.tensor(1.0))) == 64


def test_memory_format_and_views_do_not_change_a_hash() -> None:
    images = torch.randn(2, 3, 4, 5)
    assert _hash_tensor(images) == _hash_tensor(images.to(memory_format=torch.channels_last))
    assert _hash_tensor(images[:, 1]) == _hash_tensor(images[:, 1].clone())
    assert _hash_tensor(images.to(torch.complex64).conj()) == _hash_tensor(
        images.to(torch.complex64).conj().clone()
    )


def test_a_nan_equals_itself() -> None:
    assert _hash_tensor(torch.tensor([float("nan")])) == _hash_tensor(torch.tensor([float("nan")]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_does_not_change_a_hash() -> None:
    tensor = torch.randn(5, 7)
    assert _hash_tensor(tensor.cuda()) == _hash_tensor(tensor)
