"""A batch that threads share out in portions has the answers of a whole one, and leaves torch as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from zoo.features.network import FrozenNetwork
from zoo.features.sharing import portion_of, share_out


@pytest.fixture(params=[1, 2, 3, 8])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """torch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    """What torch gives a thread that begins now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def small_network() -> nn.Module:
    """Convolutions, and a mean over the picture."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.mark.parametrize("images", [1, 3, 4, 5, 16, 17, 64])
def test_the_answers_are_those_of_the_whole_batch_whatever_the_number_of_threads(
    images: int, threads: int
) -> None:
    network = small_network()
    frozen = FrozenNetwork(network, torch.device("cpu"), torch.float32)
    batch = torch.rand(images, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(frozen(batch), network(batch), rtol=1e-4, atol=1e-6)
    assert torch.get_num_threads() == threads_of_a_new_thread() == threads


def test_no_images_have_no_answers() -> None:
    frozen = FrozenNetwork(small_network(), torch.device("cpu"), torch.float32)
    assert frozen(torch.rand(0, 3, 32, 32)).shape == (0, 24)


def test_portions_come_back_in_their_order_and_each_computes_with_its_share_of_threads(threads: int) -> None:
    def look(portion: int) -> tuple[int, int]:
        return portion, torch.get_num_threads()

    found = share_out(look, range(5))
    assert [portion for portion, _ in found] == list(range(5))
    assert {share for _, share in found} == {max(1, threads // min(threads, 5))}


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_portions_are_computed_as_the_caller_computes(threads: int, mixed: bool, inference: bool) -> None:
    layer = nn.Linear(4, 4)
    portions = torch.split(torch.rand(6, 4), 2)
    with (
        torch.inference_mode(inference),
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed),
    ):
        found = share_out(layer, portions)
    assert {each.dtype for each in found} == {torch.bfloat16 if mixed else torch.float32}
    assert {each.is_inference() for each in found} == {inference}
    assert not any(each.requires_grad for each in found)


def test_the_error_of_a_portion_is_that_of_the_batch(threads: int) -> None:
    def fail(portion: int) -> int:
        if portion == 2:
            raise ValueError("the third")
        return portion

    with pytest.raises(ValueError, match="the third"):
        share_out(fail, range(5))
    assert torch.get_num_threads() == threads_of_a_new_thread() == threads


@pytest.mark.parametrize(
    ("channels", "side", "images"), [(96, 112, 4), (64, 112, 8), (16, 64, 16), (64, 448, 4)]
)
def test_large_tensors_between_layers_make_portions_small(channels: int, side: int, images: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, channels, 1), nn.AdaptiveAvgPool2d(1))
    seen: list[Tensor] = []
    network[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        assert portion_of(network, network, torch.zeros(1, 3, side, side)) == images
    assert len(seen) == 1
    assert not network[1]._forward_hooks
