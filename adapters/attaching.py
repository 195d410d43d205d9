"""Attach a head: the classifier of a network is replaced in place by one for other classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Generator, nn
from torch.nn.modules.dropout import _DropoutNd

from adapters.classifiers import AUXILIARY, Site, find_site, last_layer
from adapters.errors import AdapterError
from adapters.freezing import hold, is_held, mode_of, settle
from adapters.heads import OUTPUT_STD, Head, SecondHead, build_head, linear, pick_generator
from adapters.structure import is_parameter_free, replace_module, unwrap


def attach_head(
    model: nn.Module,
    classes: int | Sequence[str],
    *,
    head: str = "linear",
    dropout: float = 0.2,
    hidden: Sequence[int] = (),
    activation: str = "relu",
    batch_norm: bool = False,
    standardize: bool = False,
    aux: bool = True,
    at: str | None = None,
    seed: int | None = None,
    generator: Generator | None = None,
) -> Head:
    """Replace the network's classifier by a new head, in place, and return it. The model then gives
    (batch, classes). A second call replaces the head; it never nests.

    classes, head, dropout, hidden, activation, batch_norm, standardize, seed, generator: see `build_head`.
    aux: whether auxiliary classifiers (Inception v3, GoogLeNet) stay, with the new classes; False drops
    them, and the network gives plain logits in train mode, too. at: dotted name of the layer to replace,
    where `find_classifier` cannot know it.

    The head takes the width that the replaced layer had, its device, dtype and mode; it learns, however much
    of the network is frozen. `dropout` is all the dropout there is: what the network had right before its
    classifier (as a module, or as timm's `drop_rate`) is set to 0. In an nn.Sequential what follows the
    classifier without weights (softmax, pooling) becomes nn.Identity: the head's logits are the output.

    Raises NoClassifier, UnknownName or InvalidHead before anything is changed; AdapterError for a network
    that averages two classifiers (a distillation token), unless the head is linear: one average would not
    be the other.
    """
    site = find_site(model, at)
    if site.names[0] == "":
        raise AdapterError(
            f"the model is nothing but its classifier, {type(model).__name__}",
            hint="There is no network to attach a head to: use build_head.",
        )
    generator = pick_generator(seed, generator)
    new = build_head(
        head,
        site.width,
        classes,
        dropout=dropout,
        hidden=hidden,
        activation=activation,
        batch_norm=batch_norm,
        standardize=standardize,
        maps=site.maps,
        generator=generator,
    )
    if len(site.names) > 1 and new.kind != "linear":
        raise AdapterError(
            f"{type(model).__name__} averages two classifiers, {' and '.join(site.names)}: "
            f"for that a head must be linear, not {new.kind}",
            hint='Use head="linear", or the variant without distillation.',
        )
    _clear_surroundings(model, site)
    _put_head(model, site, new)
    _replace_auxiliary(model, new.classes if aux else None, generator)
    settle(model)  # the containers of the head follow .train() again
    return new


def _put_head(model: nn.Module, site: Site, head: Head) -> None:
    """Put the head in the classifier's place, as that one was."""
    old = model.get_submodule(site.names[0])
    weights = next((p for m in (old, model) for p in m.parameters() if p.is_floating_point()), None)
    if weights is not None:
        head.to(device=weights.device, dtype=weights.dtype)
    head.train(mode_of(old))
    replace_module(model, old, head)
    for name in site.names[1:]:
        replace_module(model, model.get_submodule(name), SecondHead(head).train(mode_of(old)))
    network = unwrap(model)[1]
    for name, value in (("num_classes", head.classes), ("drop_rate", 0.0)):  # timm's
        if isinstance(getattr(network, name, None), int | float):
            setattr(network, name, value)


def _clear_surroundings(model: nn.Module, site: Site) -> None:
    """Take away the dropout right before the classifier, and what follows it in its nn.Sequential."""
    for name in site.names:
        for dropout in _dropouts_before(model, name):
            dropout.p = 0.0  # not removed: code that reads `.p` goes on working
        parent, _, leaf = name.rpartition(".")
        row = model.get_submodule(parent)
        if isinstance(row, nn.Sequential):
            later = list(row._modules)[list(row._modules).index(leaf) + 1 :]
            for after in later:
                if is_parameter_free(row.get_submodule(after)):
                    setattr(row, after, nn.Identity())


def _dropouts_before(model: nn.Module, name: str) -> Iterator[_DropoutNd]:
    """Every dropout registered between the last layer with weights and the module called `name`."""
    while name:
        parent, _, leaf = name.rpartition(".")
        children = model.get_submodule(parent)._modules
        for child in reversed([children[other] for other in list(children)[: list(children).index(leaf)]]):
            if child is None:
                continue
            if not is_parameter_free(child):
                return
            yield from (module for module in child.modules() if isinstance(module, _DropoutNd))
        name = parent


def _replace_auxiliary(model: nn.Module, classes: int | None, generator: Generator | None) -> None:
    """Give auxiliary classifiers the new number of classes, or drop them for None."""
    network = unwrap(model)[1]
    for name, branch in list(network.named_children()):
        if name not in AUXILIARY:
            continue
        if classes is None or name == "aux_head":  # VOLO's is added to the classifier's output, in eval too
            setattr(network, name, None)
            network.aux_logits = False  # type: ignore[assignment]
            continue
        for last in last_layer(branch):
            old = branch.get_submodule(last)
            if isinstance(old, nn.Linear):
                replace_module(branch, old, _like(old, classes, generator))


def _like(old: nn.Linear, classes: int, generator: Generator | None) -> nn.Linear:
    """A new linear layer for other classes, otherwise as the old one: width, device, dtype, mode, frozen."""
    new = linear(old.in_features, classes, OUTPUT_STD, generator, bias=old.bias is not None)
    new.to(device=old.weight.device, dtype=old.weight.dtype).train(mode_of(old))
    new.requires_grad_(old.weight.requires_grad)
    if is_held(old):
        hold(new)
    return new
