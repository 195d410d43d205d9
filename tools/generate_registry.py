"""Write registry.yaml: every curated model, from what torchvision, timm and gensim-data publish.

    python tools/generate_registry.py --data ../shared/data           # write it, and its compiled copy
    python tools/generate_registry.py --data ../shared/data --check   # say whether they are what this writes

--data: the folder with gensim-data.json, timm-results-imagenet.csv and timm-benchmark-cpu-i7_12700h.csv.
Which models there are is decided here, in VISION; the facts about them are not. Entries that are written by
hand (the network that ships in the wheel) stand in tools/handwritten.yaml and are copied as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facts import published_entry, read_published

from zoo.catalogue.entry import ModelEntry, TextInput, Weights, WordModel
from zoo.catalogue.registry import COMPILED, compile_registry, read_registry_file
from zoo.catalogue.rules import find_faults
from zoo.catalogue.yaml_text import entry_text

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "registry.yaml"
HANDWRITTEN = ROOT / "tools" / "handwritten.yaml"

# Heading -> name -> where the weights are: torchvision/ARCHITECTURE.WEIGHTS or timm/TAG.
#
# A plain name is torchvision's first weights: those of the paper's own recipe, the ones that most published
# results were made with. `_v2` are torchvision's weights of its new recipe: better on ImageNet, and trained
# with label smoothing, mixup and long schedules, which makes frozen features less linearly separable.
# `_a1` are timm's ResNet Strikes Back weights; of A1, A2 and A3 the best on ImageNet.
VISION: dict[str, dict[str, str]] = {
    "ResNet, wide ResNet and ResNeXt, by torchvision": {
        "resnet18": "torchvision/resnet18.IMAGENET1K_V1",
        "resnet34": "torchvision/resnet34.IMAGENET1K_V1",
        "resnet50": "torchvision/resnet50.IMAGENET1K_V1",
        "resnet50_v2": "torchvision/resnet50.IMAGENET1K_V2",
        "resnet101": "torchvision/resnet101.IMAGENET1K_V1",
        "resnet101_v2": "torchvision/resnet101.IMAGENET1K_V2",
        "resnet152": "torchvision/resnet152.IMAGENET1K_V1",
        "resnet152_v2": "torchvision/resnet152.IMAGENET1K_V2",
        "wide_resnet50_2": "torchvision/wide_resnet50_2.IMAGENET1K_V1",
        "wide_resnet50_2_v2": "torchvision/wide_resnet50_2.IMAGENET1K_V2",
        "wide_resnet101_2": "torchvision/wide_resnet101_2.IMAGENET1K_V1",
        "wide_resnet101_2_v2": "torchvision/wide_resnet101_2.IMAGENET1K_V2",
        "resnext50_32x4d": "torchvision/resnext50_32x4d.IMAGENET1K_V1",
        "resnext50_32x4d_v2": "torchvision/resnext50_32x4d.IMAGENET1K_V2",
        "resnext101_32x8d": "torchvision/resnext101_32x8d.IMAGENET1K_V1",
        "resnext101_32x8d_v2": "torchvision/resnext101_32x8d.IMAGENET1K_V2",
        "resnext101_64x4d": "torchvision/resnext101_64x4d.IMAGENET1K_V1",
    },
    "ResNet and its kin, by timm": {
        "resnet10t": "timm/resnet10t.c3_in1k",
        "resnet14t": "timm/resnet14t.c3_in1k",
        "resnet18_a1": "timm/resnet18.a1_in1k",
        "resnet34_a1": "timm/resnet34.a1_in1k",
        "resnet50_a1": "timm/resnet50.a1_in1k",
        "resnet101_a1": "timm/resnet101.a1_in1k",
        "resnet152_a1": "timm/resnet152.a1_in1k",
        "resnext50_32x4d_a1": "timm/resnext50_32x4d.a1_in1k",
        "resnet26": "timm/resnet26.bt_in1k",
        "resnet18d": "timm/resnet18d.ra2_in1k",
        "resnet26d": "timm/resnet26d.bt_in1k",
        "resnet34d": "timm/resnet34d.ra2_in1k",
        "resnet50d": "timm/resnet50d.ra2_in1k",
        "resnet50d_a1": "timm/resnet50d.a1_in1k",
        "resnet101d": "timm/resnet101d.ra2_in1k",
        "resnet26t": "timm/resnet26t.ra2_in1k",
        "resnet50_gluon": "timm/resnet50.gluon_in1k",
        "resnet101_gluon": "timm/resnet101.gluon_in1k",
        "resnet152_gluon": "timm/resnet152.gluon_in1k",
        "resnext101_32x4d": "timm/resnext101_32x4d.gluon_in1k",
        "resnet152d": "timm/resnet152d.ra2_in1k",
        "resnet200d": "timm/resnet200d.ra2_in1k",
        "wide_resnet50_2_racm": "timm/wide_resnet50_2.racm_in1k",
        "resnet50_swsl": "timm/resnet50.fb_swsl_ig1b_ft_in1k",
    },
    # torchvision's Inception v3 is TensorFlow's file with ImageNet's mean and a shift inside the network
    # (`transform_input`); timm's is the same training with mean 0.5, as TensorFlow had it.
    "Inception": {
        "googlenet": "torchvision/googlenet.IMAGENET1K_V1",
        "inception_v3": "torchvision/inception_v3.IMAGENET1K_V1",
        "inception_v3_timm": "timm/inception_v3.tf_in1k",
        "inception_v3_gluon": "timm/inception_v3.gluon_in1k",
        "inception_v3_adv": "timm/inception_v3.tf_adv_in1k",
        "inception_v4": "timm/inception_v4.tf_in1k",
        "inception_resnet_v2": "timm/inception_resnet_v2.tf_in1k",
        "inception_resnet_v2_adv": "timm/inception_resnet_v2.tf_ens_adv_in1k",
    },
    "MobileNet": {
        "mobilenet_v1": "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
        "mobilenet_v1_100h": "timm/mobilenetv1_100h.ra4_e3600_r224_in1k",
        "mobilenet_v1_125": "timm/mobilenetv1_125.ra4_e3600_r224_in1k",
        "mobilenet_v2": "torchvision/mobilenet_v2.IMAGENET1K_V1",
        "mobilenet_v2_v2": "torchvision/mobilenet_v2.IMAGENET1K_V2",
        "mobilenet_v2_050": "timm/mobilenetv2_050.lamb_in1k",
        "mobilenet_v2_100": "timm/mobilenetv2_100.ra_in1k",
        "mobilenet_v2_110d": "timm/mobilenetv2_110d.ra_in1k",
        "mobilenet_v2_120d": "timm/mobilenetv2_120d.ra_in1k",
        "mobilenet_v2_140": "timm/mobilenetv2_140.ra_in1k",
        "mobilenet_v3_small": "torchvision/mobilenet_v3_small.IMAGENET1K_V1",
        "mobilenet_v3_large": "torchvision/mobilenet_v3_large.IMAGENET1K_V1",
        "mobilenet_v3_large_v2": "torchvision/mobilenet_v3_large.IMAGENET1K_V2",
        "mobilenet_v3_small_050": "timm/mobilenetv3_small_050.lamb_in1k",
        "mobilenet_v3_small_075": "timm/mobilenetv3_small_075.lamb_in1k",
        "mobilenet_v3_small_100": "timm/mobilenetv3_small_100.lamb_in1k",
        "mobilenet_v3_large_100": "timm/mobilenetv3_large_100.ra_in1k",
        "mobilenet_v3_large_100_miil": "timm/mobilenetv3_large_100.miil_in21k_ft_in1k",
        "mobilenet_v3_large_150d": "timm/mobilenetv3_large_150d.ra4_e3600_r256_in1k",
        "mobilenet_v4_conv_small_050": "timm/mobilenetv4_conv_small_050.e3000_r224_in1k",
        "mobilenet_v4_conv_small": "timm/mobilenetv4_conv_small.e2400_r224_in1k",
        "mobilenet_v4_conv_medium": "timm/mobilenetv4_conv_medium.e500_r256_in1k",
        "mobilenet_v4_conv_blur_medium": "timm/mobilenetv4_conv_blur_medium.e500_r224_in1k",
        "mobilenet_v4_conv_large": "timm/mobilenetv4_conv_large.e600_r384_in1k",
        "mobilenet_v4_conv_aa_large": "timm/mobilenetv4_conv_aa_large.e600_r384_in1k",
        "mobilenet_v4_hybrid_medium": "timm/mobilenetv4_hybrid_medium.ix_e550_r256_in1k",
        "mobilenet_v4_hybrid_large": "timm/mobilenetv4_hybrid_large.ix_e600_r384_in1k",
    },
    "VGG": {
        "vgg11": "torchvision/vgg11.IMAGENET1K_V1",
        "vgg11_bn": "torchvision/vgg11_bn.IMAGENET1K_V1",
        "vgg13": "torchvision/vgg13.IMAGENET1K_V1",
        "vgg13_bn": "torchvision/vgg13_bn.IMAGENET1K_V1",
        "vgg16": "torchvision/vgg16.IMAGENET1K_V1",
        "vgg16_bn": "torchvision/vgg16_bn.IMAGENET1K_V1",
        "vgg19": "torchvision/vgg19.IMAGENET1K_V1",
        "vgg19_bn": "torchvision/vgg19_bn.IMAGENET1K_V1",
    },
}

# How to read a licence of gensim-data, which gives pages. A page that is not here is an error, not a guess.
WORD_LICENSES = {
    "http://opendatacommons.org/licenses/pddl/": "pddl-1.0",
    "https://creativecommons.org/licenses/by-sa/3.0/": "cc-by-sa-3.0",
    "https://creativecommons.org/licenses/by/4.0/deed.en": "cc-by-4.0",
    "https://github.com/commonsense/conceptnet-numberbatch/blob/master/LICENSE.txt": "cc-by-sa-4.0",
    "not found": "unknown",
}
# The two files that gensim-data's own loaders read as word2vec's binary format; all others are its text.
BINARY_WORDS = {"word2vec-google-news-300", "word2vec-ruscorpora-300"}
# Where capitals must be folded to find a word: GloVe's sets say "uncased", ConceptNet's URIs are lower case.
LOWERCASE = {"glove", "conceptnet"}
PAPER = re.compile(r"arxiv\.org/abs/|\.pdf$|/paper/")
WORD_SOURCE = "https://github.com/piskvorky/gensim-data"


def main() -> None:
    """Write the registry, or check it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the published results")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file differs")
    options = parser.parse_args()
    text = generate(options.data)
    if not options.check:
        REGISTRY.write_text(text, encoding="utf-8")
        COMPILED.write_bytes(compile_registry(REGISTRY))
        print(f"{REGISTRY}: {len(read_registry_file(REGISTRY))} models")
    elif REGISTRY.read_text(encoding="utf-8") != text:
        sys.exit(f"{REGISTRY} is not what this script writes: run it without --check")
    elif COMPILED.read_bytes() != compile_registry(REGISTRY):
        sys.exit(f"{COMPILED} is not of {REGISTRY}: run this script without --check")


def generate(data: Path) -> str:
    """The text of registry.yaml."""
    published = read_published(data)
    sections = [HEADER]
    for heading, table in VISION.items():
        entries = [published_entry(name, source, published) for name, source in table.items()]
        sections.append(section(heading, entries))
    words = [word_entry(name, facts) for name, facts in read_gensim_data(data).items()]
    words.sort(key=lambda entry: (entry.family, entry.corpus, entry.input.dimension))
    sections.append(section("Word vectors, by gensim-data", words))
    if HANDWRITTEN.exists():
        sections.append(HANDWRITTEN.read_text(encoding="utf-8"))
    return "\n".join(sections)


HEADER = """\
# yaml-language-server: $schema=registry.schema.json
# Every curated model. Generated by tools/generate_registry.py from what torchvision, timm and gensim-data
# publish: change the script, not this file. `unknown` is a licence that nobody states; about_bytes is a size
# that was rounded, or computed from the parameters. An entry of your own registry file replaces one of these.
models:
"""


def read_gensim_data(folder: Path) -> dict[str, dict[str, Any]]:
    """What gensim-data publishes of its word vectors, by name; its sets for its own tests are left out."""
    published: dict[str, dict[str, Any]] = json.loads((folder / "gensim-data.json").read_text("utf-8"))
    return {name: facts for name, facts in published.items() if not name.startswith("__")}


def word_entry(name: str, facts: Mapping[str, Any]) -> WordModel:
    """The entry of one set of word vectors of gensim-data."""
    family = name.partition("-")[0]
    entry = WordModel(
        name=name,
        family=family,
        task="word-vectors",
        architecture="words/word2vec-binary" if name in BINARY_WORDS else "words/word2vec-text",
        weights=Weights(url=f"gensim://{name}", md5=facts["checksum"], bytes=facts["file_size"]),
        input=TextInput(dimension=facts["parameters"]["dimension"], lowercase=family in LOWERCASE),
        license=WORD_LICENSES[facts["license"]],
        parameters=facts["num_records"] * facts["parameters"]["dimension"],
        words=facts["num_records"],
        corpus=facts["base_dataset"],
        paper=next((url for url in facts["read_more"] if PAPER.search(url)), None),
        source=WORD_SOURCE,
        description=word_description(facts),
    )
    assert facts["parts"] == 1, f"{name} has several parts"
    assert not find_faults(entry), find_faults(entry)
    return entry


def word_description(facts: Mapping[str, Any]) -> str | None:
    """What was done to the texts before training, where gensim-data says it."""
    said: str | None = facts.get("preprocessing")
    return None if said is None or said.startswith("Converted to w2v") else f"{said}."


def section(heading: str, entries: Iterable[ModelEntry]) -> str:
    """The entries of one heading, as YAML."""
    return f"  # {heading}\n" + "".join(entry_text(entry) for entry in entries)


if __name__ == "__main__":
    main()
