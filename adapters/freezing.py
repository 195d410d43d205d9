"""Freeze stages of a network so that nothing in them changes, and unfreeze them again.

A frozen stage is a fixed function: its parameters get no gradient, and every module of it stays in eval mode
whatever `.train()` requests. Without the second, batch norm keeps collecting statistics (60 of 60 buffers of
a ResNet-18 changed within 5 steps), and dropout and stochastic depth keep adding noise in front of the layers
that learn.

How a module is locked in eval: its `train` is overridden on the instance, by an `EvalLock`.

- `model.train()` walks the tree through the children's `train`, so an override on an instance is enough, and
  `module.training` is always true to the real mode: for the user, for torch.compile's guards, for code that
  folds batch norms or checks for batches of one. A forward pre-hook that sets eval would leave it True until
  the first batch, and cost time at every call.
- It is an object that refers to its module, not a closure or a bound method. A closure survives
  `copy.deepcopy` unchanged, so the copy's `train` would act on the original; a bound method is pickled by
  name and becomes the class's own `train` when it is loaded: silently unfrozen. A plain object with the
  module among its attributes is copied and pickled along with it, cycle included.
- The class does not change, so fusing, export and `isinstance` see a BatchNorm2d; `track_running_stats` stays
  True, because False would make eval use the batch's statistics as well; the state dict is unaffected.
- It records the requested mode, so that an unfrozen module gets the mode of the rest.

What circumvents it: `module.training = True` by hand, and functions that build new modules from old ones,
such as `SyncBatchNorm.convert_sync_batchnorm`: convert first, or freeze again, which is cheap. In every case
`assert_frozen_unchanged` detects it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from adapters import staging
from adapters.errors import AdapterError
from adapters.heads import Head
from adapters.staging import Stage, find_stage
from adapters.structure import Attached, is_parameter_free, owner_of, unwrap

FIXED = "fixed_parameters"  # attribute of a frozen module: its parameters that were fixed before


class EvalLock:
    """`module.train` of a locked module: it records the requested mode and passes it on to the children."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.mode = module.training
        module.training = False

    def __call__(self, mode: bool = True) -> nn.Module:
        self.mode = mode
        self.module.training = False
        for child in self.module.children():  # locked as well, unless a child was replaced
            child.train(mode)
        return self.module


def freeze(model: nn.Module, until: str | int | None = None) -> list[str]:
    """Make stages of the network a fixed function, in place.

    Idempotent; what is frozen already stays frozen (see `unfreeze`). Gradients of frozen parameters are
    dropped, so that an optimizer that still has these parameters does not change them.

    Args:
        model: Any network.
        until: The first stage that is not changed, by name or index, like the end of a range:
            `until="layer4"` freezes everything before layer4. None freezes the whole network including its
            classifier, but not a Head or a low-rank part, which were attached to learn.

    Returns:
        The names of the parameters that were frozen.

    Raises:
        UnknownName: If there is no such stage; lists the names of all stages.
    """
    found = staging.stages(model)
    end = len(found) if until is None else find_stage(found, until, wrapper=unwrap(model)[0])
    spared = _learning_modules(model)
    frozen = [name for stage in found[:end] for name in _freeze_stage(model, stage, spared)]
    sync_eval_locks(model)
    return frozen


def unfreeze(
    model: nn.Module, stages: int | str | Sequence[str] | None = None, *, freeze_norm: bool = False
) -> list[str]:
    """Make stages of the network trainable, in place.

    Undoes `freeze` exactly: modules get the mode of the rest of the network, and single parameters that were
    fixed before in a trainable stage (position embeddings of some transformers) stay fixed. A stage that was
    frozen as a whole by other means becomes trainable.

    Args:
        model: Any network.
        stages: How many of the last stages, besides the classifier, which is always included (all, if there
            are fewer); or names, for exactly these; None for all.
        freeze_norm: Batch norms of these stages learn scale and shift, but keep their statistics: right for
            batches of few images, which estimate statistics badly.

    Returns:
        The names of the parameters that were unfrozen.

    Raises:
        UnknownName: If there is no such stage; lists the names of all stages.
    """
    unfrozen = [
        name for stage in _choose_stages(model, stages) for name in _unfreeze_stage(model, stage, freeze_norm)
    ]
    sync_eval_locks(model)
    return unfrozen


def unfreeze_norms(model: nn.Module) -> list[str]:
    """Make the scales and shifts of normalisation layers, and every bias, trainable, in place.

    These are the parameters of one dimension. Modules stay in the mode that `freeze` locked them in: batch
    norms keep their statistics.

    Args:
        model: Any network.

    Returns:
        The names of the parameters that were unfrozen.
    """
    unfrozen = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 1 and parameter.is_floating_point() and not parameter.requires_grad
    ]
    for name in unfrozen:
        model.get_parameter(name).requires_grad_(True)
    return unfrozen


def sync_eval_locks(module: nn.Module) -> bool:
    """Lock in eval every container without trainable parameters and unlock the rest. Returns whether `module`
    is locked.

    A container's own forward may sample too: functional dropout with its own `training`.
    """
    if _is_atom(module) and all(map(is_parameter_free, module.children())):
        return is_locked(module)
    locked = [sync_eval_locks(child) for child in module.children()]  # all of them: a list, not a generator
    own = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    if all(locked) and not own:
        lock_eval(module)
    elif not all(locked) or not _is_atom(module):  # a norm with layers in it may be locked although it learns
        _unlock(module)
    return is_locked(module)


def lock_eval(module: nn.Module) -> None:
    """Lock a module and everything in it in eval mode, whatever `.train()` requests."""
    for inside in module.modules():
        if not is_locked(inside):
            vars(inside)["train"] = EvalLock(inside)


def is_locked(module: nn.Module) -> bool:
    """Whether `freeze` keeps the module in eval mode."""
    return isinstance(vars(module).get("train"), EvalLock)


def requested_mode(module: nn.Module) -> bool:
    """The mode, True for train, that was last requested of the module, locked or not."""
    lock = vars(module).get("train")
    return lock.mode if isinstance(lock, EvalLock) else module.training


def _choose_stages(model: nn.Module, wanted: int | str | Sequence[str] | None) -> Sequence[Stage]:
    """The selected stages: all, the last few with the classifier, or those named."""
    found = staging.stages(model)
    if wanted is None:
        return found
    if isinstance(wanted, int):
        if wanted < 0:
            raise AdapterError(f"cannot unfreeze {wanted} stages", hint="Give 0 or more, or a stage's name.")
        before = [stage for stage in found if not stage.classifier]
        return [*before[max(0, len(before) - wanted) :], *(stage for stage in found if stage.classifier)]
    names = [wanted] if isinstance(wanted, str) else wanted
    wrapper = unwrap(model)[0]
    return [found[find_stage(found, name, wrapper=wrapper)] for name in names]


def _freeze_stage(model: nn.Module, stage: Stage, spared: set[nn.Module]) -> list[str]:
    """Freeze the parameters of one stage and lock its modules in eval, except the spared ones."""
    owned = [(name, parameter, *owner_of(model, name)) for name, parameter in stage.named_parameters(model)]
    owned = [row for row in owned if row[2] not in spared]
    fresh = [row for row in owned if FIXED not in vars(row[2])]
    mixed = any(parameter.requires_grad for _, parameter, _, _ in fresh)
    for _, _, owner, _ in fresh:
        vars(owner)[FIXED] = frozenset()
    for _, parameter, owner, leaf in fresh:
        if mixed and not parameter.requires_grad:  # fixed by the network's design
            vars(owner)[FIXED] |= {leaf}
    frozen = [name for name, parameter, _, _ in owned if parameter.requires_grad]
    for _, parameter, _, _ in owned:
        parameter.requires_grad_(False)
        parameter.grad = None
    for _, module in stage.named_modules(model):
        if module not in spared and _is_atom(module):
            lock_eval(module)
    return frozen


def _unfreeze_stage(model: nn.Module, stage: Stage, freeze_norm: bool) -> list[str]:
    """Make the parameters of one stage trainable and unlock its modules."""
    unfrozen = []
    for name, parameter in stage.named_parameters(model):
        owner, leaf = owner_of(model, name)
        learns = parameter.is_floating_point() and leaf not in vars(owner).get(FIXED, ())
        if learns and not parameter.requires_grad:
            parameter.requires_grad_(True)
            unfrozen.append(name)
    for name, _ in stage.named_parameters(model):
        vars(owner_of(model, name)[0]).pop(FIXED, None)
    modules = [module for _, module in stage.named_modules(model)]
    for module in modules:
        _unlock(module)
    for module in modules:
        if freeze_norm and _has_statistics(module):
            lock_eval(module)
    return unfrozen


def _is_atom(module: nn.Module) -> bool:
    """Whether a module is locked by itself: it has no children, or it collects statistics.

    timm's batch norms contain their activation; with `freeze_norm` they are locked although they learn.
    """
    return _has_statistics(module) or not list(module.children())


def _has_statistics(module: nn.Module) -> bool:
    """Whether a module collects running statistics: batch norms and instance norms of any library."""
    return getattr(module, "running_mean", None) is not None


def _unlock(module: nn.Module) -> None:
    """Let a module follow `.train()` again; it gets the mode that was last requested."""
    if not is_locked(module):
        return
    mode = vars(module).pop("train").mode
    if type(module).train is nn.Module.train:
        module.training = mode
    else:  # a class with a `train` of its own needs the call: LeViT drops caches of eval
        module.train(mode)


def _learning_modules(model: nn.Module) -> set[nn.Module]:
    """The modules of attached heads and low-rank parts; empty if the model itself is a head."""
    parts: Iterator[nn.Module] = (m for m in model.modules() if isinstance(m, Attached))
    return set() if isinstance(model, Head) else {inside for part in parts for inside in part.modules()}
