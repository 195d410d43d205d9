"""The networks that an entry can name: one row of ARCHITECTURES per namespace, built without any weights.

No library is ever asked for its weights: neither timm nor torchvision downloads or unpickles anything here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from torch import Tensor, nn

from adapters import find_classifier
from zoo.backbones.labels import count_classes
from zoo.catalogue import plugins
from zoo.catalogue.entry import ImageInput, ImageModel
from zoo.errors import UnknownName, UsageError
from zoo.vision import import_torchvision

StateDict: TypeAlias = dict[str, Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # keys of heads that only help training


@dataclass(frozen=True)
class Blueprint:
    """The description of a network to build, which `Architecture.build` gets.

    Args:
        name: The library's name of the network.
        input: The size and channels of its images.
        classes: The outputs of its classifier; None for a network without one, which returns features.
        arguments: Further arguments of the network's constructor, from the registry entry.
        keys: The names of the tensors in the weights that must match; None if unknown.
    """

    name: str
    input: ImageInput
    classes: int | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keys: frozenset[str] | None = None


@dataclass(frozen=True)
class Architecture:
    """A library's networks: how they are built.

    Args:
        build: Returns a network with random weights. Raises UnknownName if the library does not have it.
        convert: (network, weights) -> the weights with the names that the network has, as the library itself
            converts them when it loads them; None if the names match.
    """

    build: Callable[[Blueprint], nn.Module]
    convert: Callable[[nn.Module, StateDict], StateDict] | None = None


def build_network(
    entry: ImageModel, *, classes: int | None = None, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The entry's architecture with random weights, made so that its published weights fit.

    classes: outputs of the classifier, if not as many as the entry's; an entry without classes gives a
    network whose output is the feature vector. weights: the very state dict that must fit (some files have
    auxiliary heads, some have not). Raises UnknownName for an architecture that the library does not have,
    UsageError for arguments that it does not take.
    """
    architecture, name = find_architecture(entry)
    blueprint = Blueprint(
        name,
        entry.input,
        count_classes(entry) if classes is None else classes,
        entry.arguments,
        None if weights is None else frozenset(weights),
    )
    try:
        return architecture.build(blueprint)
    except TypeError as error:
        raise UsageError(
            f"{entry.name}: {entry.architecture} cannot be built with {dict(entry.arguments)}: {error}",
            hint=f"Correct `arguments` of {entry.name} in its registry file.",
        ) from error


def find_architecture(entry: ImageModel) -> tuple[Architecture, str]:
    """The row of an entry's architecture, and the name within it.

    Other packages add rows through the entry point group `zoo.architectures`. Raises BrokenPlugin for one
    that does not work.
    """
    namespace, _, name = entry.architecture.partition("/")
    if namespace in ARCHITECTURES:
        return ARCHITECTURES[namespace], name
    found = plugins.load_plugin(plugins.ARCHITECTURES, namespace, Architecture)
    if found is None:
        known = (*ARCHITECTURES, *plugins.plugin_names(plugins.ARCHITECTURES))
        raise UnknownName("architecture", entry.architecture, [f"{n}/…" for n in known])
    return replace(
        found, build=plugins.guard(plugins.ARCHITECTURES, namespace, found.build, (nn.Module,))
    ), name


def _build_torchvision(plan: Blueprint) -> nn.Module:
    """A classification network of torchvision, as its own `weights=` path would make it.

    That path alone sets what loading the same file by hand does not. Both Inceptions expect values in -1..1:
    with ImageNet's mean and std their `transform_input` converts. GoogLeNet's aux heads were never trained
    and are dropped; those of Inception v3 were.
    """
    models = import_torchvision().models

    known = models.list_models(module=models)
    if plan.name not in known:
        raise UnknownName("architecture of torchvision", plan.name, known)
    if plan.input.channels != 3:
        raise UsageError(f"torchvision's {plan.name} takes 3 channels, not {plan.input.channels}")
    arguments: dict[str, Any] = {"num_classes": plan.classes or 1}
    if plan.name in ("inception_v3", "googlenet"):
        arguments["transform_input"] = tuple(round(mean, 3) for mean in plan.input.mean) == IMAGENET_MEAN
        has_aux = plan.keys is None or any(key.startswith(AUXILIARY) for key in plan.keys)
        arguments["aux_logits"] = plan.name == "inception_v3" and has_aux
        arguments["init_weights"] = True  # the default; without it torchvision warns
    network: nn.Module = models.get_model(plan.name, weights=None, **arguments | dict(plan.arguments))
    return network if plan.classes else _without_classifier(network)


def _build_timm(plan: Blueprint) -> nn.Module:
    """A network of timm; a name with a tag (`resnet50.a1_in1k`) is built as that tag's weights need it."""
    import timm

    architecture, _, tag = plan.name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName("architecture of timm", architecture, timm.list_models())
    tags = timm.models.get_arch_pretrained_cfgs(architecture)
    if tag and plan.name not in tags:
        raise UnknownName("pretrained tag of timm", plan.name, tags)
    arguments: dict[str, Any] = {"num_classes": plan.classes or 0}
    if plan.input.channels != 3:
        arguments["in_chans"] = plan.input.channels
    facts = timm.models.get_pretrained_cfg(plan.name)
    if facts is not None and facts.fixed_input_size and facts.input_size[-1] != plan.input.size:
        arguments["img_size"] = plan.input.size
    network: nn.Module = timm.create_model(plan.name, pretrained=False, **arguments | dict(plan.arguments))
    return network


def _convert_for_timm(network: nn.Module, weights: StateDict) -> StateDict:
    """Weights as timm itself would load them: through the filter that the network's own module has.

    timm.models._builder.load_pretrained does the same; its name is `checkpoint_filter_fn` by convention.
    """
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    return weights if convert is None else dict(convert(dict(weights), network))


def _without_classifier(network: nn.Module) -> nn.Module:
    """The same network, ending where torchvision's classifier block begins.

    The whole block is removed: VGG16_Weights.IMAGENET1K_FEATURES, published for its convolutions, fills none
    of it.
    """
    name, _ = find_classifier(network)
    setattr(network, name.partition(".")[0], nn.Identity())
    return network


ARCHITECTURES: dict[str, Architecture] = {
    "torchvision": Architecture(_build_torchvision),
    "timm": Architecture(_build_timm, _convert_for_timm),
}
