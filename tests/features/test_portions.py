"""What memory does not hold passes in portions: every item once, in order, each halving said once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo.cli.main import answer
from zoo.cli.sink import Mode, Sink
from zoo.errors import TrainingStopped
from zoo.events import Event, Note
from zoo.features.portions import is_out_of_memory
from zoo.runs.modalities.text_items import open_network
from zoo.training.batches import FeatureBatches
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate

CPU = torch.device("cpu")
LACKS_MEMORY = {
    "a GPU's allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the CPU's allocator": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you …"),
    "C++": RuntimeError("std::bad_alloc"),
    "Python": MemoryError(),
    "pinned memory": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)."),
}
kinds = pytest.mark.parametrize("error", LACKS_MEMORY.values(), ids=LACKS_MEMORY)


class Words(nn.Module):
    """The mean of the vectors of a text's words, with memory for so many texts."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vectors, self.head = nn.Embedding(50, 6, padding_idx=0), nn.Linear(6, 3)
        self.most, self.error, self.sizes = most, error, list[int]()

    def forward(self, ids: Tensor) -> Tensor:
        self.sizes.append(len(ids))
        if len(ids) > self.most:
            raise self.error
        outputs: Tensor = self.head(self.vectors(ids).mean(1))
        return outputs


def texts(count: int) -> Tensor:
    return torch.randint(1, 50, (count, 7), generator=torch.Generator().manual_seed(1))


@pytest.mark.fault("T2")
@kinds
def test_texts_are_answered_in_halves_each_once_in_order(error: Exception) -> None:
    told: list[Event] = []
    network = Words(5, error)
    ask = open_network(network, CPU, told.append)
    ids = texts(23)
    expected = network.head(network.vectors(ids).mean(1)).detach()
    torch.testing.assert_close(ask(ids), expected)
    torch.testing.assert_close(ask(ids[:9]), expected[:9])
    assert [event.message for event in told if isinstance(event, Note)] == [
        "out of memory: 11 texts at a time from now on, not 23",
        "out of memory: 5 texts at a time from now on, not 11",
    ]
    assert network.sizes == [23, 11, 5, 5, 5, 5, 3, 5, 4]


def test_no_memory_for_one_text_is_a_sentence_with_what_to_do() -> None:
    ask = open_network(Words(0, torch.OutOfMemoryError("CUDA out of memory")), CPU)
    with pytest.raises(TrainingStopped, match="cpu has not enough memory for one text") as stopped:
        ask(texts(4))
    assert stopped.value.hint == "Cut long texts, or use a smaller model."


@kinds
def test_validation_keeps_the_size_that_fitted(error: Exception) -> None:
    network, labels = Words(5, error), torch.arange(23) % 3
    batches = FeatureBatches(texts(23), labels, 10)
    found = evaluate(network, batches, machine=Machine(CPU), keep_outputs=True)
    network.most = 23
    whole = evaluate(network, FeatureBatches(texts(23), labels, 23), machine=Machine(CPU), keep_outputs=True)
    assert network.sizes == [10, 5, 5, 5, 5, 2, 1, 23]
    assert found.outputs is not None
    assert whole.outputs is not None
    torch.testing.assert_close(found.outputs, whole.outputs)
    assert found.metrics == whole.metrics
    network.most = 0
    with pytest.raises(type(error)):
        evaluate(network, batches, machine=Machine(CPU))


@kinds
def test_where_nothing_can_be_halved_the_command_says_so_in_two_lines(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as for the weights themselves, when they are put on the device."""
    assert answer(error, Sink(Mode.HUMAN)) == TrainingStopped.exit_code
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory: ")
    assert said.endswith("Use a smaller model, or --device cpu.\n")
    assert said.count("\n") == 2


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("std::bad_alloc")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        open_network(Words(2, error), CPU)(texts(4))
