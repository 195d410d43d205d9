"""The layer of a network that is replaced for new classes: its name, and the features that it receives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import is_parametrized

from adapters.errors import AdapterError, NoClassifier
from adapters.heads import Head, SecondHead, to_vectors
from adapters.structure import (
    copy_structure,
    is_inside,
    is_parameter_free,
    join_name,
    layers_in,
    packages_of,
    replace_module,
    unwrap,
)

# Usual names of a network's last layer. Used only where its position in the tree is ambiguous.
USUAL_NAMES = frozenset(
    [
        "fc",
        "head",
        "heads",
        "classifier",
        "classif",
        "last_linear",
        "linear",
        "logits",
        "output",
        "out",
        "score",
    ]
)
LIBRARIES = frozenset(["torch", "torchvision", "timm", "adapters"])  # whose forward passes are known
AUXILIARY = frozenset(["AuxLogits", "aux1", "aux2", "aux_classifier", "aux_head"])  # torchvision's, timm's


@dataclass(frozen=True)
class Site:
    """The place of a classifier, and the features that it receives.

    names: its dotted name; two for networks with a distillation token, which average two classifiers. width:
    length of a feature vector. maps: features are (batch, width, height, width of the map), not vectors.
    """

    names: tuple[str, ...]
    width: int
    maps: bool


def find_classifier(model: nn.Module) -> tuple[str, nn.Module]:
    """The layer that is replaced for new classes.

    In this order: an attached Head; the network's own answer (timm's `get_classifier`); the last layer with
    weights, if it is linear or a 1 × 1 convolution; an nn.Identity in the classifier's place; a layer with a
    usual name, wherever it was registered.

    >>> find_classifier(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    ('2', Linear(in_features=8, out_features=3, bias=True))

    Args:
        model: Any network.

    Returns:
        Its dotted name, "" if the model is only that layer, and the module.

    Raises:
        NoClassifier: If it cannot be identified; lists the candidates.
    """
    name = find_classifiers(model)[0]
    return name, model.get_submodule(name)


def find_classifiers(model: nn.Module) -> list[str]:
    """Dotted names of the classifier and, for networks with a distillation token, of the second one."""
    inner_name, inner = unwrap(model)
    names = _attached_heads(model) or [
        join_name(inner_name, name)
        for name in _stated_classifiers(inner) or _last_classifier(inner) or _usual_classifier(inner)
    ]
    if not names:
        candidates = [name for name, module in model.named_modules() if _is_linear(module)]
        raise NoClassifier(
            f"{type(model).__name__} does not end with a linear layer or a 1 × 1 convolution", candidates[-8:]
        )
    return names


def last_layer(module: nn.Module, skipped: frozenset[str] = frozenset()) -> list[str]:
    """The name, in a list, of the last layer below `module` that has weights, if it can be a classifier.

    An nn.Identity in its place counts as well: networks without a head have one there.
    """
    for name, layer in reversed(list(_named_layers(module))):
        if any(is_inside(name, part) for part in skipped):
            continue
        if _is_linear(layer) or (type(layer) is nn.Identity and _is_usual(name)):
            return [name]
        if not is_parameter_free(layer):
            return []
    return []


def feature_width(model: nn.Module) -> int:
    """The length of the feature vectors that the classifier receives.

    Read from the layer itself. timm's `num_features` is wrong for networks with layers between pooling and
    classifier: 960 for MobileNetV3 large (1280), 512 for VGG-16 (4096).

    Args:
        model: Any network with a classifier.

    Returns:
        The number of features.

    Raises:
        NoClassifier: If the classifier cannot be identified.
        AdapterError: If the width cannot be measured.
    """
    return find_site(model).width


def find_site(model: nn.Module, at: str | None = None) -> Site:
    """The place of the classifier. at: its dotted name; None to find it.

    Raises NoClassifier; AdapterError for an nn.Identity whose input cannot be measured, and for a list of
    classifiers.
    """
    if at is not None and at not in dict(model.named_modules(remove_duplicate=False)):
        candidates = [name for name, module in model.named_modules() if _is_linear(module)]
        raise NoClassifier(f"no layer {at!r} in {type(model).__name__}", candidates[-8:])
    names = tuple(find_classifiers(model) if at is None else [at])
    layer = model.get_submodule(names[0])
    if isinstance(layer, Head):
        return Site(names, layer.in_features, layer.maps)
    if isinstance(layer, nn.Conv2d) and _is_linear(layer):
        return Site(names, layer.in_channels, maps=True)
    if isinstance(layer, nn.Linear) and layer.in_features:
        return Site(names, layer.in_features, maps=False)
    if isinstance(layer, nn.ModuleList):
        raise AdapterError(
            f"{type(model).__name__} combines {len(layer)} classifiers of different features",
            hint="One head cannot replace them: choose a network with one classifier.",
        )
    seen = _measure_input(model, names[0])
    stated = getattr(unwrap(model)[1], "head_hidden_size", None)  # timm's, for inputs other than images
    if seen is None and isinstance(stated, int):
        return Site(names, stated, maps=False)
    if seen is None:
        raise AdapterError(
            f"the width of the features is not known: {names[0]!r} is {type(layer).__name__}",
            hint=f"Put the layer there first: model.{names[0]} = nn.Linear(width, 1).",
        )
    maps = len(seen) == 4
    return Site(names, seen[1] if maps else seen[-1], maps)


class FeatureExtractor(nn.Module):
    """A network up to its classifier: images in, feature vectors (batch, width) out.

    Made by `feature_extractor`.

    Args:
        network: The network without its classifier.
        site: The place of the classifier.

    Attributes:
        width: The length of a feature vector.
        maps: Whether the network returns maps, whose mean is the vector.
    """

    def __init__(self, network: nn.Module, site: Site) -> None:
        super().__init__()
        self.network = network
        self.width = site.width
        self.maps = site.maps

    def forward(self, images: Tensor) -> Tensor:
        try:
            features: Tensor = self.network(images)  # the mean of two, or one of the tokens
        except _Reached as reached:
            features = reached.value
        return to_vectors(features, self.maps)


def feature_extractor(model: nn.Module) -> FeatureExtractor:
    """The network up to its classifier, as a frozen module in eval mode: `head(extractor(x)) == model(x)`.

    Its modules are copies, so `.to(…)`, fusing layers or compiling do not change the model; its weights share
    the model's memory. Build a new one after the model was trained. With a distillation token it returns the
    mean of the two tokens. It can be exported (torch.export, ONNX, torch.fx) as the model itself can, unless
    the network's code changes the classifier's output (softmax in `forward`).

    Args:
        model: Any network with a classifier.

    Returns:
        The extractor; its `width` is the length of a feature vector.

    Raises:
        NoClassifier: If the classifier cannot be identified.
    """
    site = find_site(model)
    network = _cut_at(copy_structure(model, lambda tensor: tensor), site.names, _ends_with(model, site.names))
    return FeatureExtractor(network, site).eval()


def features_of(model: nn.Module, images: Tensor) -> Tensor:
    """The features of images before the classifier, in eval mode, without gradients.

    The model is not changed. For many batches build a `feature_extractor` once: it takes 0.1 to 0.2 s.

    Args:
        model: Any network with a classifier.
        images: (batch, channels, height, width), preprocessed for the network, on its device.

    Returns:
        The features (batch, width).

    Raises:
        NoClassifier: If the classifier cannot be identified.
    """
    extractor = feature_extractor(model)
    with torch.inference_mode():
        features: Tensor = extractor(images)
    return features.clone()  # outside: a head cannot be trained on tensors of inference mode


class _Reached(Exception):
    """The forward pass has reached the classifier; value is its input."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


class _Cut(nn.Module):
    """Ends the forward pass in the place of a classifier whose output the network changes.

    By an exception: the network's code after its classifier (softmax, flatten) must not change features. If
    the classifier receives every token, the forward pass continues, because the network still selects among
    them (CLIP's attention pooling).
    """

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 3:
            return features
        raise _Reached(features)


def _attached_heads(model: nn.Module) -> list[str]:
    """Names of the Head that was attached last, and of the second place where it is used."""
    heads = [name for name, module in model.named_modules() if isinstance(module, Head)]
    seconds = [name for name, module in model.named_modules() if isinstance(module, SecondHead)]
    return heads[-1:] + seconds


def _stated_classifiers(model: nn.Module) -> list[str]:
    """The classifiers that a network with `get_classifier` (timm's) states; a list of them is one name."""
    ask = getattr(model, "get_classifier", None)
    answer = None
    with suppress(Exception):  # some of timm's networks fail here without a classifier
        answer = ask() if callable(ask) else None
    modules = answer if isinstance(answer, tuple | list) else [answer]
    names = []
    for module in modules:
        found = next((name for name, other in model.named_modules() if other is module and name), None)
        if isinstance(module, nn.ModuleList) and found:
            names.append(found)
        elif module is not None and found:
            names += [join_name(found, name) for name in last_layer(module)]
    if len(names) == 1 and "head_dist" in names[0]:  # both in one container: RepViT
        names.insert(0, names[0].replace("head_dist", "head"))
    return names


def _last_classifier(model: nn.Module) -> list[str]:
    """The last layer with weights, except auxiliary classifiers, if it can be a classifier."""
    return last_layer(model, skipped=AUXILIARY)


def _usual_classifier(model: nn.Module) -> list[str]:
    """The only child with a usual name, for a network whose layers are registered in another order."""
    found = [
        [join_name(name, last) for last in last_layer(child)]
        for name, child in model.named_children()
        if name in USUAL_NAMES
    ]
    found = [names for names in found if names]
    return found[0] if len(found) == 1 else []


def _named_layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module without children or with parameters of its own, in the order of registration.

    A linear layer is one layer, whatever parametrisation is below it.
    """
    children = layers_in(module)
    if not children or next(module.parameters(recurse=False), None) is not None:
        yield prefix, module
    if not _is_linear(module):
        for name, child in children:
            yield from _named_layers(child, join_name(prefix, name))


def _is_linear(module: nn.Module) -> bool:
    """A linear layer or a 1 × 1 convolution; not the output projection of torch's attention."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)


def _is_usual(name: str) -> bool:
    """Whether a name is a usual one for classifiers: `fc`, `head.fc`, `classifier.6`; or is the root, ""."""
    *above, last = name.split(".")
    return last in USUAL_NAMES or last == "" or (last.isdigit() and (not above or above[-1] in USUAL_NAMES))


def _measure_input(model: nn.Module, name: str) -> tuple[int, ...] | None:
    """The shape of the input of the module called `name`, for a batch of one; None if it cannot be measured.

    Runs the network on torch's meta device, which computes only shapes: no weights are copied or read.
    """
    empty = copy_structure(model, lambda tensor: tensor.to("meta")).eval()
    seen: list[tuple[int, ...]] = []
    empty.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    for image in example_inputs(model):
        with suppress(Exception):  # whatever a network raises for an unsuitable input
            empty(image)
        if seen:
            return seen[0]
    return None


def example_inputs(model: nn.Module) -> Iterator[Tensor]:
    """Inputs without values that the network may accept, the likeliest first."""
    for module in model.modules():  # the first layer with weights decides
        if isinstance(module, nn.Embedding):
            yield torch.zeros(1, 8, dtype=torch.long, device="meta")
        elif isinstance(module, nn.Linear):
            yield torch.empty(1, module.in_features, device="meta")
            yield torch.empty(1, 8, module.in_features, device="meta")
        elif isinstance(module, nn.Conv2d):
            config = getattr(unwrap(model)[1], "default_cfg", None)
            stated = config.get("input_size") if isinstance(config, dict) else None
            for size in ([tuple(stated)[1:]] if stated else []) + [(224, 224), (299, 299), (32, 32)]:
                yield torch.empty(1, module.in_channels, *size, device="meta")
        else:
            continue
        return


def _ends_with(model: nn.Module, names: Sequence[str]) -> bool:
    """Whether the network returns its classifier's output unchanged, so that an identity is enough there.

    Runs the network once. Where its code is known, on a small image, which takes milliseconds; else on
    torch's meta device, which computes shapes alone, and for which torch imports its compiler first (1 s).
    """
    if len(names) > 1 or names[0] == "":
        return True
    small = _small_image(model) if _is_known(model) else None
    found = None if small is None else _returns_its_last(_own_buffers(model), names, small)
    if found is None:
        empty = copy_structure(model, lambda tensor: tensor.to("meta"))
        tried = (_returns_its_last(empty, names, image) for image in example_inputs(model))
        found = next((answer for answer in tried if answer is not None), False)
    return found


def _returns_its_last(network: nn.Module, names: Sequence[str], image: Tensor) -> bool | None:
    """Whether a network, changed in place, returns what comes out of its classifier, and nothing has been
    written into that since; None if it raises."""
    network = _cut_at(network.eval(), names, True)
    seen: list[tuple[Tensor, int]] = []

    def note(_: nn.Module, __: object, output: Tensor) -> None:
        seen.append((output, output._version))

    handle = network.get_submodule(names[0]).register_forward_hook(note)
    try:
        with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode have no version
            answer = network(image)
        output, version = seen[-1]
        return answer is output and output._version == version
    except Exception:  # whatever a network raises for an unsuitable input
        return None
    finally:
        handle.remove()


def _is_known(model: nn.Module) -> bool:
    """Whether what runs in a forward pass is the code of torch, torchvision, timm and `adapters` alone: it
    writes into no weights, draws nothing in eval mode, and treats images alike, whatever their size."""
    return packages_of(model) <= LIBRARIES and all(
        "forward" not in vars(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not is_parametrized(module)
        for module in model.modules()
    )


def _small_image(model: nn.Module) -> Tensor | None:
    """An image for a network of convolutions in float32 on the CPU, whose answer costs next to nothing."""
    layers = (layer for layer in model.modules() if isinstance(layer, (nn.Embedding, nn.Linear, nn.Conv2d)))
    first = next(layers, None)
    if not isinstance(first, nn.Conv2d):
        return None
    plain = first.weight.device.type == "cpu" and first.weight.dtype == torch.float32
    return torch.zeros(1, first.in_channels, 64, 64) if plain else None


def _own_buffers(model: nn.Module) -> nn.Module:
    """A copy that shares the weights, but not the buffers."""
    twin = copy_structure(model, lambda tensor: tensor)
    for module in twin.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.clone()
    return twin


def _cut_at(model: nn.Module, names: Sequence[str], ends: bool) -> nn.Module:
    """The network, changed in place, without its classifier. ends: whether it returns that one's output.

    Two classifiers become identities: the network then averages their inputs.
    """
    if names[0] == "":
        return nn.Identity()
    for name in names:
        replace_module(model, model.get_submodule(name), nn.Identity() if ends else _Cut())
    return model
