"""Attach a head: replace the classifier of a network, in place, by one for other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from torch import Generator, Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from adapters.classifiers import AUXILIARY, Site, example_inputs, find_site, last_layer
from adapters.errors import AdapterError
from adapters.freezing import is_locked, lock_eval, requested_mode, sync_eval_locks
from adapters.heads import OUTPUT_STD, Head, SecondHead, build_head, linear, pick_generator
from adapters.structure import copy_structure, is_parameter_free, join_name, replace_module, unwrap


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
    rescale: bool = False,
    aux: bool = True,
    at: str | None = None,
    tried: bool = False,
    seed: int | None = None,
    generator: Generator | None = None,
) -> Head:
    """Replace the network's classifier by a new head, in place. The model then returns (batch, classes).

    A second call replaces the head; heads never nest. The head takes the width, device, dtype and mode of the
    replaced layer; it is trainable, however much of the network is frozen. `dropout` is the only dropout:
    that of the network right before its classifier (a module, or timm's `drop_rate`) is set to 0. In an
    nn.Sequential, layers without weights after the classifier (softmax, pooling) become nn.Identity: the
    head's logits are the output. If an error is raised, nothing has been changed.

    Args:
        model: Any network with a classifier.
        classes: Their number or their names.
        head: A row of HEADS.
        dropout: Share of the inputs of every linear layer of the head that is dropped in training.
        hidden: Widths of the hidden layers of an mlp; () for one of 256.
        activation: A row of ACTIVATIONS, after each hidden layer.
        batch_norm: Whether there is a batch norm after each hidden layer.
        standardize: Whether the head standardises its features; see `Standardize`.
        rescale: Whether the outputs are numbers to be learned, in a unit of their own; see `Rescale`.
        aux: Whether auxiliary classifiers (Inception v3, GoogLeNet) stay, with the new classes; False drops
            them, and the network returns plain logits in train mode as well.
        at: The dotted name of the layer to replace, where `find_classifier` cannot know it.
        tried: Whether this very architecture took a head before: where its classifier is need not be tried
            again, which takes a second or two, for torch imports its compiler.
        seed: For repeatable weights.
        generator: A generator on the CPU, instead of a seed.

    Returns:
        The new head.

    Raises:
        NoClassifier: If no layer can be identified as the classifier.
        UnknownName: If a head or an activation does not exist.
        InvalidHead: If the head cannot be built.
        AdapterError: If the network would not return the classes of the head: it finds objects or labels
            pixels, has several outputs, or changes its classifier's output; or if it averages two classifiers
            (a distillation token) and the head is not linear, because the average of two such heads would
            differ from one head on the average.
    """
    site = find_site(model, at)
    if site.names[0] == "":
        raise AdapterError(
            f"the model is only a classifier, {type(model).__name__}",
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
        rescale=rescale,
        generator=generator,
    )
    if len(site.names) > 1 and new.kind != "linear":
        raise AdapterError(
            f"{type(model).__name__} averages two classifiers, {' and '.join(site.names)}: "
            f"for that a head must be linear, not {new.kind}",
            hint='Use head="linear", or the variant without distillation.',
        )
    if at is None and not tried and not isinstance(model.get_submodule(site.names[0]), Head):
        _check_place(model, site)
    _clear_surroundings(model, site)
    _put_head(model, site, new)
    _replace_auxiliary(model, new.classes if aux else None, generator)
    sync_eval_locks(model)  # the containers of the head follow .train() again
    return new


PROBE = 7  # classes of a head that is tried in a place; another number than any network's own
_ELSEWHERE = (
    "Name the layer that has one output per class: at='…'. Networks that find objects or label pixels have "
    "none."
)


def _check_place(model: nn.Module, site: Site) -> None:
    """Raise AdapterError if a network with a head in this place would not return (batch, classes).

    Tried on torch's meta device, which computes shapes alone. Of a network that takes none of the inputs that
    are tried only a linear layer is believed; `at` is for those that this refuses wrongly.
    """
    name, kind = site.names[0], type(model).__name__
    if parallel := _parallel_layer(model, name):
        message = f"{kind} has two last layers side by side, {parallel} and {name}"
        raise AdapterError(message, hint=_ELSEWHERE)
    plain = copy_structure(model, lambda tensor: tensor.to("meta")).eval()
    example, before = _first_answer(model, plain)
    if example is None:
        if site.maps and not isinstance(model.get_submodule(name), nn.Identity):
            message = f"{kind} takes no plain image: whether {name} is its classifier is not known"
            raise AdapterError(message, hint=_ELSEWHERE)
        return
    if isinstance(before, Tensor) and before.ndim == 4 and before.shape[-2:].numel() > 1:
        raise AdapterError(f"{kind} answers for every pixel: {_describe(before)}", hint=_ELSEWHERE)
    _clear_surroundings(plain, site)
    _put_head(plain, site, build_head("linear", site.width, PROBE, maps=site.maps))
    _replace_auxiliary(plain, PROBE, None)
    answer = _answer(plain.eval(), example)
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (1, PROBE):
        what = "an error" if answer is None else _describe(answer)
        message = f"{kind} does not return the classes of a head at {name}: that gives {what}"
        raise AdapterError(message, hint=_ELSEWHERE)


def _first_answer(model: nn.Module, plain: nn.Module) -> tuple[Tensor | None, object]:
    """The first input that the network answers with (batch, something), else the first that it answers at
    all, and the answer. plain: the model on the meta device."""
    first: tuple[Tensor | None, object] = (None, None)
    for example in example_inputs(model):
        answer = _answer(plain, example)
        if isinstance(answer, Tensor) and answer.ndim == 2:
            return example, answer
        if answer is not None and first[0] is None:
            first = example, answer
    return first


def _answer(network: nn.Module, example: Tensor) -> object:
    """What a network returns; None if it raises."""
    with suppress(Exception):  # whatever a network raises for an unsuitable input
        answer: object = network(example)
        return answer
    return None


def _parallel_layer(model: nn.Module, name: str) -> str | None:
    """A layer of the same width that stands beside the one called `name`, in a module that is not a row of
    layers: which of the two is the classifier, nobody can know. None where the network states its own."""
    parent, _, leaf = name.rpartition(".")
    row, own = model.get_submodule(parent), model.get_submodule(name)
    if (
        isinstance(row, nn.Sequential)
        or not isinstance(own, nn.Linear)
        or hasattr(unwrap(model)[1], "get_classifier")
    ):
        return None
    for other, layer in row.named_children():
        if (
            other != leaf
            and isinstance(layer, nn.Linear)
            and layer.in_features == own.in_features != layer.out_features
        ):
            return join_name(parent, other)
    return None


def _describe(answer: object) -> str:
    """What a network returned, in a few words.

    >>> import torch
    >>> _describe({"out": torch.zeros(1, 2, 8, 8)}), _describe(torch.zeros(1, 3))
    ('a dict of out', 'a tensor (1, 3)')
    """
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)}"
    if isinstance(answer, Mapping):
        return f"a dict of {', '.join(map(str, answer))}"
    if isinstance(answer, Sequence):
        return f"{len(answer)} things: {', '.join(_describe(part) for part in answer[:3])}"
    return f"a {type(answer).__name__}"


def _put_head(model: nn.Module, site: Site, head: Head) -> None:
    """Put the head in the classifier's place, with its device, dtype and mode."""
    old = model.get_submodule(site.names[0])
    weights = next((p for m in (old, model) for p in m.parameters() if p.is_floating_point()), None)
    if weights is not None:
        head.to(device=weights.device, dtype=weights.dtype)
    head.train(requested_mode(old))
    replace_module(model, old, head)
    for name in site.names[1:]:
        replace_module(model, model.get_submodule(name), SecondHead(head).train(requested_mode(old)))
    network = unwrap(model)[1]
    for name, value in (("num_classes", head.classes), ("drop_rate", 0.0)):  # timm's
        if isinstance(getattr(network, name, None), int | float):
            setattr(network, name, value)


def _clear_surroundings(model: nn.Module, site: Site) -> None:
    """Disable the dropout right before the classifier, and the layers after it in its nn.Sequential."""
    for name in site.names:
        for dropout in _dropouts_before(model, name):
            dropout.p = 0.0  # not removed: other code may read `.p`
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
    """Replace auxiliary classifiers by ones for the new number of classes; None drops them."""
    network = unwrap(model)[1]
    for name, branch in list(network.named_children()):
        if name not in AUXILIARY:
            continue
        if classes is None or name == "aux_head":  # VOLO adds it to the classifier's output, also in eval
            setattr(network, name, None)
            network.aux_logits = False  # type: ignore[assignment]
            continue
        for last in last_layer(branch):
            old = branch.get_submodule(last)
            if isinstance(old, nn.Linear):
                replace_module(branch, old, _like(old, classes, generator))


def _like(old: nn.Linear, classes: int, generator: Generator | None) -> nn.Linear:
    """A new linear layer for other classes with the old one's width, device, dtype, mode and freezing."""
    new = linear(old.in_features, classes, OUTPUT_STD, generator, bias=old.bias is not None)
    new.to(device=old.weight.device, dtype=old.weight.dtype).train(requested_mode(old))
    new.requires_grad_(old.weight.requires_grad)
    if is_locked(old):
        lock_eval(new)
    return new
