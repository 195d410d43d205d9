"""A network in two: what its frozen layers make of an input, and what those that learn make of that.

The layers before the first one that learns are a fixed function. What they make of an item can be kept, or be
computed by a faster copy of them; the rest then runs alone.

How it is cut, without a table of architectures and without tracing the code: one example passes the network,
and the first module that learns is the place. Up to there the network runs as it is, until that module is
called. From there on it runs as well, but its frozen modules give stand-ins, tensors of the right shape
without values, and the place is given what was kept. A stand-in makes every result that it goes into a
stand-in, as infinity does: an answer that is one needs more than what was kept (a skip connection over the
place), so the network cannot be cut there. No module of the network is touched: containers of both halves are
copied without their tensors, and modules that learn are the network's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LEAST = 0.1  # share of the network's layers that have to be before the place: else a cut gains nothing
CLOSE = 1e-4  # how far halves may be from the whole, relative to its largest value; on a CPU they are equal


class NotSplit(Exception):
    """The network needs more than what was kept, or went another way than with the example."""


class Split(NamedTuple):
    """The halves of a network: after(before(inputs)) are its outputs. Both raise NotSplit.

    Attributes:
        before: What the first module that learns is given, (items, …), of inputs (items, …). A fixed
            function, in eval mode, without the layers that learn.
        after: The outputs of that. Its layers are the network's own, and so are its gradients; its mode is
            its own, to be set with `train`.
    """

    before: nn.Module
    after: nn.Module


def split_frozen(model: nn.Module, example: Tensor) -> Split | None:
    """The network in two, before the first module that learns; None where that cannot be, or gains nothing.

    A module learns if it has a parameter that does, or is not in eval mode when the network trains: freeze
    first. When that changes, or an attribute of a container does, split again.

    Args:
        model: Any network of one input. Its mode and torch's generators stay as they are.
        example: A few inputs, (items, …), where the network is. They pass it four times.

    Returns:
        The halves, after their outputs for the example were compared with the whole network's.
    """
    was_training = model.training
    devices = [example.device] if example.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            return _split(model, example)
    except Exception:  # any code may be between the modules, and may refuse a stand-in in its own way
        return None
    finally:
        model.train(was_training)


def _split(model: nn.Module, example: Tensor) -> Split | None:
    place = _find_place(model.train(), example)
    if place is None or _share_of_layers(model, place.frozen) < LEAST:
        return None
    model.eval()
    with torch.no_grad():
        expected, skipped = _shapes_before(model, place, example)
        before = _Before(_with(model, {place.module: _Exit()}, place.frozen)).eval()
        after = _After(model, place.module, skipped, example).eval()
        kept = before(example)
        if not _agree(kept, place.given) or not _agree(after(kept.clone()), expected):
            return None
        with _buffers_kept(after):
            after.train()(kept.clone())  # raises where the network needs more of it when it trains
    return Split(before, after)


class _Place(NamedTuple):
    """The first module that learns. frozen: modules before it that have finished. given: its input."""

    module: nn.Module
    frozen: list[nn.Module]
    given: Tensor


class _Entered(NamedTuple):
    """A module that learns, or has one that does in it, and is being called. frozen: how many frozen modules
    had finished before, and layers: how many of them have tensors."""

    module: nn.Module
    inputs: Any
    frozen: int
    layers: int


class _Reached(Exception):
    """The place was reached. given: its input."""

    def __init__(self, given: Any = None) -> None:
        super().__init__()
        self.given = given


def _find_place(model: nn.Module, example: Tensor) -> _Place | None:
    """The outermost module that begins where the first layer that learns does; None if its input is not one
    tensor (items, …) that is the same whatever was learned. The network is in train mode."""
    live = {module for module in model.modules() if _learns(module)}
    inside: list[nn.Module] = []  # frozen modules in the one that is being called
    entered: list[_Entered] = []
    frozen: list[nn.Module] = []
    layers = 0

    def enter(module: nn.Module, inputs: Any, named: Any) -> None:
        if inside or module not in live:
            inside.append(module)
            return
        entered.append(_Entered(module, (inputs, named), len(frozen), layers))
        own = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if own or not [*module.children()]:
            raise _Reached

    def leave(module: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal layers
        if not inside:
            entered.pop()
            return
        inside.pop()
        if not inside:
            frozen.append(module)
            layers += _has_tensors(module)

    with _hooked(model.modules(), enter, leave), torch.enable_grad():
        try:
            model(example)
        except _Reached:
            pass
        else:
            return None
    first = next(each for each in entered if each.layers == layers)
    inputs, named = first.inputs
    given = inputs[0] if len(inputs) == 1 and not named else None
    if not isinstance(given, Tensor) or given.requires_grad or given.shape[:1] != example.shape[:1]:
        return None
    return _Place(first.module, frozen[: first.frozen], given.clone())


def _learns(module: nn.Module) -> bool:
    """Whether anything in the module learns or takes part in training, such as dropout."""
    learns = any(parameter.requires_grad for parameter in module.parameters())
    return learns or any(part.training for part in module.modules())


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _share_of_layers(model: nn.Module, modules: Sequence[nn.Module]) -> float:
    """How many of the network's weight matrices are in some of its modules."""
    inside = {p for module in modules for p in module.parameters() if p.ndim > 1}
    return len(inside) / max(1, sum(p.ndim > 1 for p in model.parameters()))


class _Shape(NamedTuple):
    """Of the output of a frozen module, without its items."""

    shape: torch.Size
    dtype: torch.dtype


def _shapes_before(model: nn.Module, place: _Place, example: Tensor) -> tuple[Any, dict[nn.Module, _Shape]]:
    """The network's outputs for the example, and what the frozen modules give that a stand-in can be put in
    the place of: those that are called before the place alone, and give one tensor, always of one shape."""
    found: dict[nn.Module, set[_Shape | None]] = {module: set() for module in place.frozen}
    reached = False

    def enter(module: nn.Module, _inputs: Any, _named: Any) -> None:
        nonlocal reached
        reached = reached or module is place.module

    def leave(module: nn.Module, _inputs: Any, output: Any) -> None:
        if module in found:
            plain = not reached and type(output) is Tensor and output.shape[:1] == example.shape[:1]
            found[module].add(_Shape(output.shape[1:], output.dtype) if plain else None)

    with _hooked([*place.frozen, place.module], enter, leave):
        outputs = model(example)
    return outputs, {
        module: shape for module, shapes in found.items() if len(shapes) == 1 and (shape := shapes.pop())
    }


@contextmanager
def _hooked(
    modules: Collection[nn.Module] | Iterator[nn.Module],
    enter: Callable[..., None],
    leave: Callable[..., None],
) -> Iterator[None]:
    """Inside, the functions are called before and after each of the modules."""
    hooks = [
        hook
        for module in [*modules]
        for hook in (
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Inside, statistics may move; afterwards they are what they were."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _agree(found: Any, expected: Any) -> bool:
    """Whether a tensor, or tensors in a tuple, are the same."""
    if isinstance(expected, Tensor):
        difference, largest = (found - expected).abs(), expected.abs()
        return bool(difference.max() <= CLOSE * largest.max())
    pairs = zip(found, expected, strict=True)
    return all(one is None if other is None else _agree(one, other) for one, other in pairs)


def _with(
    model: nn.Module, instead: Mapping[nn.Module, nn.Module], only: Collection[nn.Module] | None = None
) -> nn.Module:
    """A network of the same tensors with other modules instead of some; containers of them are copied.

    only: the modules that it needs besides; others that have tensors are left out.
    """
    known: dict[nn.Module, nn.Module] = {module: module for module in only or ()} | dict(instead)

    def copied(module: nn.Module) -> nn.Module:
        if module in known:
            return known[module]
        children = {n: None if child is None else copied(child) for n, child in module._modules.items()}
        own = any(True for _ in module.parameters(recurse=False))
        twin = module
        if only is not None and (own or children) and not any(part in known for part in module.modules()):
            twin = _Missing() if _has_tensors(module) else module
        elif any(children[name] is not child for name, child in module._modules.items()):
            twin = copy.copy(module)
            vars(twin)["_modules"] = children
        known[module] = twin
        return twin

    return copied(model)


class _Exit(nn.Module):
    """The place, in the first half: what it is given is the result."""

    def forward(self, given: Tensor) -> Tensor:
        raise _Reached(given)


class _Missing(nn.Module):
    """A module of the second half, in the first one."""

    def forward(self, *_inputs: Any, **_named: Any) -> Tensor:
        raise NotSplit


class _Before(nn.Module):
    """The first half."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        try:
            self.network(inputs)
        except _Reached as reached:
            given: Tensor = reached.given
            return given
        raise NotSplit


class _StandIn(Tensor):
    """A tensor without values: so is whatever is computed from it."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        writes = name == "__setitem__" or name.startswith("__i") or (name[-1:] == "_" and name[-2:] != "__")
        into_another = writes and args and not isinstance(args[0], cls)
        if name in READS or into_another or "out" in (kwargs or {}):
            raise NotSplit
        passed_on: Any = super()
        return passed_on.__torch_function__(func, types, args, kwargs or {})


READS = {
    "item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "__contains__",
    "is_nonzero", "equal", "allclose",
}  # fmt: skip
"""Functions of tensors that give Python something of their values."""


def _stand_in(items: int, like: _Shape, device: torch.device) -> Tensor:
    """Of a shape, without memory of its own."""
    return torch.zeros((), dtype=like.dtype, device=device).expand(items, *like.shape).as_subclass(_StandIn)


class _Call:
    """One pass through the second half. given: what the place gets, None when it has it."""

    given: Tensor | None = None
    items = 0
    device = torch.device("cpu")


class _InPlaceOf(nn.Module):
    """A module in the place of another: code that looks at settings of that one sees them."""

    def __init__(self, other: nn.Module, call: _Call) -> None:
        super().__init__()
        vars(self)["other"] = other
        self.call = call

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(vars(self)["other"], name)


class _Skip(_InPlaceOf):
    """In the place of a frozen module: gives a stand-in."""

    def __init__(self, other: nn.Module, call: _Call, gives: _Shape) -> None:
        super().__init__(other, call)
        self.gives = gives

    def forward(self, *_inputs: Any, **_named: Any) -> Tensor:
        return _stand_in(self.call.items, self.gives, self.call.device)


class _Entry(_InPlaceOf):
    """In the place of the first module that learns: it is given what was kept, once."""

    def __init__(self, module: nn.Module, call: _Call) -> None:
        super().__init__(module, call)
        self.module = module

    def forward(self, *inputs: Any, **named: Any) -> Any:
        given, self.call.given = self.call.given, None
        if given is None or named or len(inputs) != 1 or not isinstance(inputs[0], _StandIn):
            raise NotSplit
        return self.module(given)


class _After(nn.Module):
    """The second half."""

    def __init__(
        self, model: nn.Module, place: nn.Module, skipped: Mapping[nn.Module, _Shape], example: Tensor
    ) -> None:
        super().__init__()
        self.call = _Call()
        self.takes = _Shape(example.shape[1:], example.dtype)
        skips = {module: _Skip(module, self.call, gives) for module, gives in skipped.items()}
        self.network = _with(model, {**skips, place: _Entry(place, self.call)})

    def forward(self, kept: Tensor) -> Any:
        call = self.call
        call.given, call.items, call.device = kept, len(kept), kept.device
        try:
            outputs = self.network(_stand_in(len(kept), self.takes, kept.device))
        finally:
            call.given = None
        if not _is_computed(outputs):
            raise NotSplit
        return outputs


def _is_computed(outputs: Any) -> bool:
    """Whether there is no stand-in in what a network has returned: a tensor, or several in a tuple."""
    if isinstance(outputs, tuple | list):
        return all(map(_is_computed, outputs))
    return outputs is None or (isinstance(outputs, Tensor) and not isinstance(outputs, _StandIn))
