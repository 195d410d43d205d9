"""A network whose weights, gradients and optimizer lie in parts on several processes: torch's `fully_shard`.

Each process has its part of every tensor, frozen ones too; a part of the network is put together for as long
as it computes (Zhao et al. 2023, arXiv:2304.11277). What is saved and measured is always the whole. Functions
that say "in every process" exchange tensors: all processes call them, in the same order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from adapters import stages

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.optim import Optimizer


def shard(model: nn.Module, device: torch.device, group: ProcessGroup, example: Tensor) -> nn.Module:
    """A copy of the network in parts, those of this process on its device; in every process.

    The network itself is left on the CPU: a device never has the whole of it, but one block at a time. Its
    tensors become those of the first process. example: inputs (1, …), by which the blocks are found that are
    called as one.
    """
    from torch import distributed
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    model.cpu()
    parts = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # fully_shard takes no other
    for tensor in (*parts.parameters(), *parts.buffers()):
        there = tensor.detach().to(device)
        distributed.broadcast(there, 0, group=group)
        tensor.detach().copy_(there)
    mesh = DeviceMesh.from_group(group, device.type)
    for block in (*find_blocks(parts, example), parts):
        block.register_forward_hook(_own_memory)  # before the hooks of fully_shard, which hang on the output
        fully_shard(block, mesh=mesh)
    return parts


def _own_memory(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """The output, where it is a view as a copy: what writes into a view takes the hooks off that put a block
    together for its gradients, which may then be wrong."""
    if isinstance(output, Tensor):
        return output.clone() if output._is_view() else output
    if type(output) in (tuple, list):
        return type(output)(_own_memory(_module, _inputs, part) for part in output)
    return output


def find_blocks(model: nn.Module, example: Tensor) -> list[nn.Module]:
    """The modules that a network is cut into: those of its stages that are called as a whole and share no
    tensor with another. Of a plain sequence its members, one by one. What is left over has no block."""
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()
    ]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)  # by its own method: what it keeps for evaluations goes
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found: list[nn.Module] = []
    for name in (name for stage in stages(model) for name in stage.parts if name):
        part = _module_of(model, name)
        if part is not None:
            found += _open(part, called, {key for key, count in owners.items() if count > 1})
    return found


def _module_of(model: nn.Module, name: str) -> nn.Module | None:
    """The module of that name; None for a tensor of the network itself."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _open(module: nn.Module, called: set[nn.Module], tied: set[int]) -> Iterable[nn.Module]:
    """The blocks of a module: itself, or those in it."""
    children = [*module.children()]
    own = [*module.parameters()]
    whole = module in called and not any(id(parameter) in tied for parameter in own)
    if children and (not whole or type(module) is nn.Sequential):
        return [block for child in children for block in _open(child, called, tied)]
    return [module] if whole and own else []


def without_fused_kernels(optimizer: Optimizer) -> None:
    """Let an optimizer step through its tensors in torch's usual way: not every fused kernel takes parts."""
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = False


def is_part(tensor: Tensor) -> bool:
    """Whether a tensor lies in parts on several processes."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that lies in parts; any other as it is. In every process."""
    return cast(Any, tensor).full_tensor() if is_part(tensor) else tensor


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """The value in parts as those of `tensor` are, on the same device; as it is where that is whole."""
    if not is_part(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    model: Any = tensor
    value = value.to(model.device, model.dtype)
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


@torch.no_grad()
def put_tensors(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give a network in parts the values of some of its tensors, by name."""
    own = model.state_dict()
    for name, value in values.items():
        own[name].copy_(like(own[name], value))
