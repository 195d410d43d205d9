"""Freeze stages of a network so that nothing in them moves, and let them learn again.

A frozen stage is a fixed function: its parameters get no gradient, and every module of it stays in eval mode
whatever `.train()` says. Without the second, batch norm goes on collecting statistics (60 of 60 buffers of a
ResNet-18 moved within 5 steps) and dropout and stochastic depth go on making noise in front of the layers
that learn.

How a module is held in eval. Its `train` is overridden on the instance, by a `Hold`:

- `model.train()` walks the tree through the children's `train`, so an override on an instance is enough,
  and `module.training` always tells the truth: to the user, to torch.compile's guards, to code that folds
  batch norms or checks for batches of one. A forward pre-hook that sets eval would leave it True until the
  first batch, and cost time at every call.
- It is an object that refers to its module, not a closure or a bound method. A closure survives
  `copy.deepcopy` unchanged, so the copy's `train` would act on the original; a bound method is pickled by
  name, and comes back as the class's own `train`: silently unfrozen. A plain object with the module among
  its attributes is copied and pickled along with it, cycle included.
- The class stays what it is, so fusing, export and `isinstance` see a BatchNorm2d; `track_running_stats`
  stays True, for False would make eval use the batch's statistics, too; the state dict does not know of it
  at all.
- It remembers the mode it was asked for, so that an unfrozen module is in the mode of the rest.

What gets round it: `module.training = True` by hand, and functions that build new modules from old ones, as
`SyncBatchNorm.convert_sync_batchnorm` does: convert first, or freeze again, which is cheap. Whatever
happened, `assert_frozen_unchanged` sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from adapters import staging
from adapters.errors import AdapterError
from adapters.heads import Head
from adapters.staging import Stage, find_stage
from adapters.structure import owner_of

FIXED = "fixed_parameters"  # attribute of a module whose parameters were frozen: those that never learned


class Hold:
    """`module.train` of a module that stays in eval: it notes the mode, and passes it on to the children."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.mode = module.training
        module.training = False

    def __call__(self, mode: bool = True) -> nn.Module:
        self.mode = mode
        self.module.training = False
        for child in self.module.children():  # frozen as well, unless somebody put a new one there
            child.train(mode)
        return self.module


def freeze(model: nn.Module, until: str | int | None = None) -> list[str]:
    """Make stages of the network a fixed function, in place. Returns the names of the parameters it froze.

    until: the first stage that is left as it is, by name or index, like the end of a range: `until="layer4"`
    freezes everything before layer4. None freezes the whole network, its classifier as well, but not a Head:
    that one was attached to learn.

    Twice is as once; what is frozen already stays frozen (see `unfreeze`). Gradients of frozen parameters
    are dropped, so that an optimizer that still has them leaves them alone. Raises UnknownName, with the
    names of all stages.
    """
    found = staging.stages(model)
    end = len(found) if until is None else find_stage(found, until)
    spared = _learning_modules(model)
    frozen = [name for stage in found[:end] for name in _freeze_stage(model, stage, spared)]
    settle(model)
    return frozen


def unfreeze(
    model: nn.Module, stages: int | str | Sequence[str] | None = None, *, freeze_norm: bool = False
) -> list[str]:
    """Let stages of the network learn, in place. Returns the names of the parameters it unfroze.

    stages: how many of the last ones, besides the classifier, which always learns then (all, if there are
    fewer); or names, for exactly these; None for all. freeze_norm: their batch norms learn scale and shift,
    but keep normalising with the statistics that they have: the right thing for batches of few images,
    which measure statistics badly.

    Undoes `freeze` exactly: modules go to the mode of the rest of the network, and single parameters that
    were fixed before in a stage that learned (position embeddings of some transformers) stay fixed. A stage
    that was all frozen by other means learns. Raises UnknownName, with the names of all stages.
    """
    unfrozen = [
        name
        for stage in _choose_stages(staging.stages(model), stages)
        for name in _unfreeze_stage(model, stage, freeze_norm)
    ]
    settle(model)
    return unfrozen


def settle(module: nn.Module) -> bool:
    """Hold every container of which nothing learns, release the others; whether the module is held now.

    A container's own forward may sample too: dropout by function, with its own `training`.
    """
    if not _is_atom(module):
        held = [settle(child) for child in module.children()]  # all of them: a list, not a generator
        own = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if all(held) and not own:
            hold(module)
        else:
            _release(module)
    return is_held(module)


def hold(module: nn.Module) -> None:
    """Keep a module, and what is in it, in eval mode whatever `.train()` says."""
    for inside in module.modules():
        if not is_held(inside):
            vars(inside)["train"] = Hold(inside)


def is_held(module: nn.Module) -> bool:
    """Whether `freeze` keeps the module in eval mode."""
    return isinstance(vars(module).get("train"), Hold)


def mode_of(module: nn.Module) -> bool:
    """The mode, True for train, that the module was last asked to be in, held or not."""
    held = vars(module).get("train")
    return held.mode if isinstance(held, Hold) else module.training


def _choose_stages(found: Sequence[Stage], wanted: int | str | Sequence[str] | None) -> Sequence[Stage]:
    """The stages that are meant: all, the last few with the classifier, or those named."""
    if wanted is None:
        return found
    if isinstance(wanted, int):
        if wanted < 0:
            raise AdapterError(f"cannot unfreeze {wanted} stages", hint="Give 0 or more, or a stage's name.")
        before = [stage for stage in found if not stage.classifier]
        return [*before[max(0, len(before) - wanted) :], *(stage for stage in found if stage.classifier)]
    names = [wanted] if isinstance(wanted, str) else wanted
    return [found[find_stage(found, name)] for name in names]


def _freeze_stage(model: nn.Module, stage: Stage, spared: set[nn.Module]) -> list[str]:
    """Freeze the parameters of one stage, and hold its modules in eval, all but the spared ones."""
    owned = [(name, parameter, *owner_of(model, name)) for name, parameter in stage.named_parameters(model)]
    owned = [row for row in owned if row[2] not in spared]
    fresh = [row for row in owned if FIXED not in vars(row[2])]
    mixed = any(parameter.requires_grad for _, parameter, _, _ in fresh)
    for _, _, owner, _ in fresh:
        vars(owner)[FIXED] = frozenset()
    for _, parameter, owner, leaf in fresh:
        if mixed and not parameter.requires_grad:  # one that was fixed among others that learned: by design
            vars(owner)[FIXED] |= {leaf}
    frozen = [name for name, parameter, _, _ in owned if parameter.requires_grad]
    for _, parameter, _, _ in owned:
        parameter.requires_grad_(False)
        parameter.grad = None
    for _, module in stage.named_modules(model):
        if module not in spared and _is_atom(module):
            hold(module)
    return frozen


def _unfreeze_stage(model: nn.Module, stage: Stage, freeze_norm: bool) -> list[str]:
    """Let the parameters of one stage learn, and its modules follow `.train()` again."""
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
        _release(module)
    for module in modules:
        if freeze_norm and _has_statistics(module):
            hold(module)
    return unfrozen


def _is_atom(module: nn.Module) -> bool:
    """Whether a module is held or not by itself: it has no children, or it collects statistics.

    timm's batch norms contain their activation; with `freeze_norm` they are held though they learn.
    """
    return _has_statistics(module) or not list(module.children())


def _has_statistics(module: nn.Module) -> bool:
    """Whether a module collects running statistics: batch norms and instance norms of any make."""
    return getattr(module, "running_mean", None) is not None


def _release(module: nn.Module) -> None:
    """Let a module follow `.train()` again; it goes to the mode that was asked for last."""
    if not is_held(module):
        return
    mode = vars(module).pop("train").mode
    if type(module).train is nn.Module.train:
        module.training = mode
    else:  # a class with a `train` of its own has a use for it: LeViT drops what it computed for eval
        module.train(mode)


def _learning_modules(model: nn.Module) -> set[nn.Module]:
    """The modules of attached heads; none if the model itself is a head, which is then meant."""
    heads: Iterator[nn.Module] = (module for module in model.modules() if isinstance(module, Head))
    return set() if isinstance(model, Head) else {inside for head in heads for inside in head.modules()}
