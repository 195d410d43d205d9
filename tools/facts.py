"""Registry entries made from what torchvision and timm publish about their weights.

Nothing is typed by hand that a library states: URLs, hash prefixes, preprocessing, classes and licences come
from `Weights` and `PretrainedCfg`; parameters and the width of the features are counted on networks that are
built on torch's meta device, without memory. Published ImageNet results and CPU speeds of timm's tags come
from two of timm's own result files.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import infer_imagenet_subset
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from zoo.catalogue.entry import ImageInput, ImageModel, Score, Speed, Weights
from zoo.catalogue.rules import find_faults

RESULTS_FILE = "timm-results-imagenet.csv"
SPEED_FILE = "timm-benchmark-cpu-i7_12700h.csv"
RESULTS_SOURCE = "timm results/results-imagenet.csv"
SPEED_SOURCE = "timm results/benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv"
TORCHVISION_SOURCE = "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.{}.html"
HUB_SOURCE = "https://huggingface.co/{}"

HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,64})\.")
LICENSE_PAGES = {  # a page that torchvision names as the licence -> the licence that it is
    "https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "cc-by-nc-4.0",
}

FAMILIES: tuple[tuple[str, str], ...] = (  # first match wins; else the module that defines the network
    (r"inception_(?!next)|googlenet", "inception"),
    (r"(tf_)?mobilenet", "mobilenet"),
)

PAPERS: tuple[tuple[str, str], ...] = (  # first match of the whole `NAMESPACE/NAME`
    (r"timm/resne(x)?t\d+(_\w+)?\.[abcd]\d?h?_in1k", "https://arxiv.org/abs/2110.00476"),
    (r"timm/resnet(10t|14t)\.c3_in1k", "https://arxiv.org/abs/2110.00476"),
    (r"timm/resnet\d+[dcst]\.", "https://arxiv.org/abs/1812.01187"),
    (r"\w+/wide_resnet\d", "https://arxiv.org/abs/1605.07146"),
    (r"\w+/resnext\d", "https://arxiv.org/abs/1611.05431"),
    (r"\w+/resnet\d+(\.|$)", "https://arxiv.org/abs/1512.03385"),
    (r"torchvision/googlenet", "https://arxiv.org/abs/1409.4842"),
    (r"timm/inception.*_adv_", "https://arxiv.org/abs/1705.07204"),
    (r"\w+/inception_v3", "https://arxiv.org/abs/1512.00567"),
    (r"\w+/inception_(v4|resnet_v2)", "https://arxiv.org/abs/1602.07261"),
    (r"timm/mobilenetv1_", "https://arxiv.org/abs/1704.04861"),
    (r"\w+/mobilenet_?v2", "https://arxiv.org/abs/1801.04381"),
    (r"\w+/mobilenet_?v3", "https://arxiv.org/abs/1905.02244"),
    (r"timm/mobilenetv4_", "https://arxiv.org/abs/2404.10518"),
    (r"\w+/vgg\d", "https://arxiv.org/abs/1409.1556"),
)

RECIPES: tuple[tuple[str, str], ...] = (  # timm's tag -> how it was trained, after timm's model cards
    (r"a[123]h?_in1k", "A recipe of ResNet Strikes Back: LAMB, binary cross-entropy, mixup and CutMix."),
    (r"c[123]_in1k", "After the C recipes of ResNet Strikes Back: SGD with adaptive gradient clipping."),
    (r"bt_in1k", "Bag of Tricks recipe: SGD, cosine schedule."),
    (r"(ra[23]?|racm)_in1k", "timm's RandAugment recipe."),
    (r"ra4_.*in1k", "timm's RandAugment recipe with hyper-parameters after the MobileNet-v4 paper."),
    (r"lamb_in1k", "LAMB recipe after ResNet Strikes Back A2, without CutMix."),
    (r"(ix_)?e\d+_(ad_)?r\d+_in1k", "Hyper-parameters after the MobileNet-v4 paper, trained by timm."),
    (r"tf_in1k", "Weights of TensorFlow Slim, converted."),
    (r"tf_(ens_)?adv_in1k", "Weights of TensorFlow Slim, trained on adversarial examples too, converted."),
    (r"gluon_in1k", "Weights of Apache Gluon's Bag of Tricks, converted."),
    (r"tv2?_in1k", "torchvision's weights."),
    (r"miil_in21k_ft_in1k", "Pretrained on ImageNet-21k-P by Alibaba MIIL, fine-tuned on ImageNet-1k."),
    (r"fb_swsl_ig1b_ft_in1k", "Semi-weakly supervised on 1 billion Instagram pictures, then ImageNet-1k."),
    (r"fb_ssl_yfcc100m_ft_in1k", "Semi-supervised on YFCC100M, then ImageNet-1k."),
)

# torchvision's network -> timm's name of the same network; held against the number of parameters.
SAME_NETWORK = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x8d": "resnext101_32x8d",
    "resnext101_64x4d": "resnext101_64x4d",
    "wide_resnet50_2": "wide_resnet50_2",
    "wide_resnet101_2": "wide_resnet101_2",
    "inception_v3": "inception_v3",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "vgg11": "vgg11",
    "vgg11_bn": "vgg11_bn",
    "vgg13": "vgg13",
    "vgg13_bn": "vgg13_bn",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "vgg19": "vgg19",
    "vgg19_bn": "vgg19_bn",
}


@dataclass(frozen=True)
class Published:
    """Results of timm's tags. scores: (tag, size) -> Score; speeds: (architecture, size) -> Speed."""

    scores: dict[tuple[str, int], Score]
    speeds: dict[tuple[str, int], Speed]

    def score(self, tag: str, size: int) -> Score | None:
        """The score at `size` pixels, or else at the size nearest to it."""
        sizes = [s for name, s in self.scores if name == tag]
        return self.scores[tag, min(sizes, key=lambda s: (abs(s - size), s))] if sizes else None

    def speed(self, architecture: str, size: int) -> Speed | None:
        """The speed of an architecture at exactly `size` pixels."""
        return self.speeds.get((architecture, size))


@cache
def read_published(folder: Path) -> Published:
    """What timm published about its tags, from the two files in `folder`."""
    scores, speeds = {}, {}
    for row in read_rows(folder / RESULTS_FILE):
        size = int(row["img_size"])
        scores[row["model"], size] = Score(
            top1=float(row["top1"]), top5=float(row["top5"]), size=size, source=RESULTS_SOURCE
        )
    for row in read_rows(folder / SPEED_FILE):
        size = int(row["infer_img_size"])
        speeds[row["model"], size] = Speed(
            images_per_second=float(row["infer_samples_per_sec"]), size=size, source=SPEED_SOURCE
        )
    return Published(scores, speeds)


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def published_entry(name: str, source: str, published: Published) -> ImageModel:
    """The entry `name` of the weights at `timm/TAG` or `torchvision/ARCHITECTURE.WEIGHTS`."""
    library, _, tag = source.partition("/")
    if library == "timm":
        return timm_entry(name, tag, published)
    architecture, _, weights_name = tag.partition(".")
    return torchvision_entry(name, architecture, weights_name, published)


def torchvision_entry(name: str, architecture: str, weights_name: str, published: Published) -> ImageModel:
    """The entry of one member of one of torchvision's `Weights` enumerations."""
    weights = models.get_model_weights(architecture)[weights_name]
    meta = weights.meta
    preset = weights.transforms()
    network = build_torchvision(architecture)
    size = preset.crop_size[0]
    page = TORCHVISION_SOURCE.format(architecture)
    same = SAME_NETWORK.get(architecture)
    if same is not None and count_parameters(build_timm(same)) != count_parameters(network, but="AuxLogits."):
        raise ValueError(f"torchvision's {architecture} and timm's {same} are not the same network")
    result = meta["_metrics"]["ImageNet-1K"]
    return checked(
        ImageModel(
            name=name,
            family=family_of(architecture, models.get_model_builder(architecture).__module__),
            task="image-classification",
            architecture=f"torchvision/{architecture}",
            weights=Weights(
                url=weights.url,
                sha256_prefix=hash_in(weights.url),
                about_bytes=round(meta["_file_size"] * 2**20),  # published in MiB, rounded
            ),
            input=ImageInput(
                size=size,
                resize=preset.resize_size[0],
                mean=tuple(preset.mean),
                std=tuple(preset.std),
                interpolation=preset.interpolation.value,
            ),
            classes=label_set(len(meta["categories"])),
            license=torchvision_license(weights.url, meta),
            parameters=meta["num_params"],
            features=width_before(network, len(meta["categories"])),
            # Their weights are TensorFlow's or Caffe's, which want -1..1; only `weights=` would set this.
            arguments={"transform_input": True} if architecture in ("inception_v3", "googlenet") else {},
            metrics={
                "imagenet-1k": Score(
                    top1=result["acc@1"], top5=result["acc@5"], size=size, source=meta.get("recipe", page)
                )
            },
            speed=published.speed(same, size) if same else None,
            paper=paper_of(f"torchvision/{architecture}"),
            source=page,
            description=first_sentence(meta["_docs"]),
        )
    )


def timm_entry(name: str, tag: str, published: Published) -> ImageModel:
    """The entry of one of timm's pretrained tags, such as `resnet50.a1_in1k`."""
    cfg = timm.get_pretrained_cfg(tag)
    network = build_timm(tag)
    channels, size, width = cfg.input_size
    if size != width:
        raise ValueError(f"{tag}: an input of {size} x {width} is not square")
    architecture = tag.partition(".")[0]
    is_classifier = cfg.num_classes > 0 and not is_embedding(cfg.num_classes)
    score = published.score(tag, size) if cfg.num_classes == 1000 else None
    return checked(
        ImageModel(
            name=name,
            family=family_of(architecture, type(network).__module__),
            task="image-classification" if is_classifier else "image-features",
            architecture=f"timm/{tag}",
            weights=timm_weights(cfg, network),
            input=ImageInput(
                size=size,
                # timm.data.create_transform: floor(size / crop_pct)
                resize=math.floor(size / cfg.crop_pct),
                mean=cfg.mean,
                std=cfg.std,
                interpolation=cfg.interpolation,
                crop=cfg.crop_mode,
                channels=channels,
            ),
            classes=label_set(cfg.num_classes) if is_classifier else None,
            license=cfg.license or "unknown",
            parameters=count_parameters(network),
            features=timm_width(network, cfg, is_classifier),
            metrics={} if score is None else {"imagenet-1k": score},
            speed=published.speed(architecture, size),
            paper=paper_of(f"timm/{tag}", cfg.paper_ids),
            source=HUB_SOURCE.format(cfg.hf_hub_id) if cfg.hf_hub_id else cfg.origin_url,
            description=recipe_of(tag.partition(".")[2]),
        )
    )


def checked(entry: ImageModel) -> ImageModel:
    """The entry, if the registry's own rules hold for it. Raises ValueError."""
    faults = find_faults(entry)
    if faults:
        raise ValueError(f"{entry.name}: " + "; ".join(f"{fault.path}: {fault.what}" for fault in faults))
    return entry


class EmptyOnMeta(TorchFunctionMode):
    """What `torch.device("meta")` does, for parameters alone: RegNet computes its widths with tensors."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is torch.empty:
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


def build_torchvision(architecture: str) -> nn.Module:
    """One of torchvision's networks, without memory."""
    with EmptyOnMeta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GoogLeNet announces another initialisation
        return models.get_model(architecture, weights=None)


def build_timm(tag: str, **arguments: Any) -> nn.Module:
    """One of timm's networks, without memory."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(tag, pretrained=False, **arguments)


def count_parameters(network: nn.Module, but: str | None = None) -> int:
    """How many numbers a network learns. but: the beginning of the names of those that are not counted."""
    return sum(p.numel() for name, p in network.named_parameters() if not (but and name.startswith(but)))


def width_before(network: nn.Module, classes: int) -> int:
    """The width of what the classifier sees: the input of the last layer with `classes` outputs."""
    widths = [width_of(module) for module in network.modules() if outputs_of(module) == classes]
    return widths[-1]


def width_of(layer: nn.Module) -> int:
    """How many numbers per position a linear layer or convolution takes."""
    return int(getattr(layer, "in_features", None) or layer.in_channels)


def outputs_of(layer: nn.Module) -> int | None:
    """How many numbers per position a linear layer or convolution gives."""
    return getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)


def timm_width(network: nn.Module, cfg: Any, is_classifier: bool) -> int | None:
    """The width of what the classifier sees; of the network's output where it has none.

    None where several classifiers see vectors of different widths (CrossViT).
    """
    if not is_classifier:
        network.reset_classifier(0)
        return int(network.head_hidden_size)
    names = [cfg.classifier] if isinstance(cfg.classifier, str) else cfg.classifier
    widths = {width_of(network.get_submodule(name)) for name in names}
    return widths.pop() if len(widths) == 1 else None


def timm_weights(cfg: Any, network: nn.Module) -> Weights:
    """Where timm would load these weights from.

    The Hub comes first, as in timm: it states the sha256 of each file. Repositories of timm's own hold
    model.safetensors; of others timm takes that file or else pytorch_model.bin, and so do we.
    """
    tensors = network.state_dict().values()
    about = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if cfg.hf_hub_id is None:
        return Weights(url=cfg.url, sha256_prefix=hash_in(cfg.url), about_bytes=about)
    assert not cfg.hf_hub_filename, cfg
    files = ["model.safetensors"]
    if not cfg.hf_hub_id.startswith("timm/"):
        files.append("pytorch_model.bin")
    urls = tuple(f"hf://{cfg.hf_hub_id}/{file}" for file in files)
    # Florence-2 holds a language model besides: its file is larger than the network by an unknown amount.
    whole = not cfg.hf_hub_id.startswith("microsoft/")
    return Weights(url=urls[0] if len(urls) == 1 else urls, about_bytes=about if whole else None)


def hash_in(url: str) -> str | None:
    """The first digits of the sha256 that PyTorch's custom puts into file names.

    >>> hash_in("https://download.pytorch.org/models/resnet18-f37072fd.pth")
    'f37072fd'
    """
    found = HASH_IN_NAME.search(url.rpartition("/")[2])
    return found[1] if found else None


def label_set(classes: int) -> str | int:
    """timm's name of the label set with that many classes; the number where there is none."""
    return infer_imagenet_subset({"num_classes": classes}) or classes


def is_embedding(outputs: int) -> bool:
    """Whether the outputs of a network are an embedding, as CLIP's are: such widths are no label set's."""
    return outputs < 2000 and outputs != 1000


@cache
def licenses_of_files() -> dict[str, str]:
    """Licences that timm states for files of other projects, by URL."""
    cfgs = (timm.get_pretrained_cfg(tag) for tag in timm.list_pretrained())
    return {cfg.url: cfg.license for cfg in cfgs if cfg.url and cfg.license}


def torchvision_license(url: str, meta: dict[str, Any]) -> str:
    """The licence of a weights file: what torchvision says, else what timm says of the very same file.

    torchvision states none for most of its files, and none is invented here.
    """
    if "license" in meta:
        return LICENSE_PAGES[meta["license"]]
    return licenses_of_files().get(url, "unknown")


def first_sentence(text: str) -> str | None:
    """The first sentence of a reStructuredText, its links reduced to what they show.

    >>> first_sentence("These are `new <https://example.org>`_. And so on.")
    'These are new.'
    """
    shown = re.sub(r"`([^`<]*?)\s*<[^>]*>`_+", r"\1", text)
    return re.split(r"(?<=\.)\s", " ".join(shown.split()))[0] or None


def recipe_of(tag: str) -> str | None:
    """How the weights of one of timm's tags were trained, as its model cards say."""
    return next((text for pattern, text in RECIPES if re.fullmatch(pattern, tag)), None)


def family_of(architecture: str, module: str) -> str:
    """The family of a network: one of FAMILIES, else the name of the module that defines it."""
    for pattern, family in FAMILIES:
        if re.match(pattern, architecture):
            return family
    return module.rpartition(".")[2]


def paper_of(architecture: str, stated: str | tuple[str, ...] | None = None) -> str | None:
    """The address of the paper that the library states, else of the one in PAPERS."""
    first = stated[0] if isinstance(stated, tuple) else stated
    if first:
        return re.sub(r"^arXiv:", "https://arxiv.org/abs/", first)
    return next((url for pattern, url in PAPERS if re.match(pattern, architecture)), None)
