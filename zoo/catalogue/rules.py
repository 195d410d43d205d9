"""The rules that a registry entry must keep beyond its types: one function each, all in RULES.

Every byte must be provable, no name may become a path, and the preprocessing must be possible.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from zoo.catalogue.entry import ImageModel, ModelEntry, Score, Speed, WordModel
from zoo.catalogue.file_names import is_portable
from zoo.catalogue.plugins import ARCHITECTURES, SOURCES, plugin_names
from zoo.catalogue.problems import Finding
from zoo.catalogue.schemes import CREDENTIALS, SCHEMES, scheme_of

Findings = Iterator[Finding]

NAME = re.compile(r"(?:hf://)?[A-Za-z0-9_][A-Za-z0-9._+@-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+@-]*)*")
LONGEST_NAME = 128
LICENSE = re.compile(r"[A-Za-z0-9(][A-Za-z0-9.+() -]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PREFIX = re.compile(r"[0-9a-f]{8,63}")
MD5 = re.compile(r"[0-9a-f]{32}")

NAMESPACES: dict[str, tuple[str, ...] | None] = {  # architecture namespace -> its names, None: the library's
    "torchvision": None,
    "timm": None,
    "words": (
        "glove-text",
        "word2vec-text",
        "word2vec-binary",
        "fasttext-binary",
        "model2vec",
        "keyedvectors",
    ),
}
ARCHITECTURE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def find_faults(entry: ModelEntry) -> list[Finding]:
    """Everything that is wrong with an entry."""
    return [finding for rule in RULES for finding in rule(entry)]


def _check_name(entry: ModelEntry) -> Findings:
    """A name is typed, printed and stored: it must not be a path, nor unusable on some file system."""
    name = entry.name
    if len(name) > LONGEST_NAME:
        yield Finding((), f"the name has {len(name)} characters", f"At most {LONGEST_NAME}.")
    elif not NAME.fullmatch(name):
        allowed = "Letters, digits and . _ + @ - only; no path."
        yield Finding((), f"{name!r} cannot be a model's name", allowed)
    elif not all(map(is_portable, name.removeprefix("hf://").split("/"))):
        yield Finding((), f"{name!r} is a name that Windows cannot store", "Take another name.")


def _check_license(entry: ModelEntry) -> Findings:
    """A licence is named, or `unknown`."""
    if not LICENSE.fullmatch(entry.license):
        yield Finding(
            ("license",), f"{entry.license!r} is not a licence", "Write its SPDX name, or: license: unknown"
        )


def _check_architecture(entry: ModelEntry) -> Findings:
    """An architecture is NAMESPACE/NAME, and word vectors have one of `words/`."""
    namespace, slash, name = entry.architecture.partition("/")
    path = ("architecture",)
    if slash and namespace not in NAMESPACES and namespace in plugin_names(ARCHITECTURES):
        return
    if not slash or namespace not in NAMESPACES:
        known = ", ".join(f"{n}/…" for n in (*NAMESPACES, *plugin_names(ARCHITECTURES)))
        yield Finding(path, f"no architecture {entry.architecture!r}", f"There are: {known}.")
        return
    names = NAMESPACES[namespace]
    if names is not None and name not in names:
        known = ", ".join(f"{namespace}/{n}" for n in names)
        yield Finding(path, f"no architecture {entry.architecture!r}", f"There are: {known}.")
    elif not ARCHITECTURE.fullmatch(name):
        yield Finding(path, f"{name!r} cannot be an architecture's name")
    elif (namespace == "words") != isinstance(entry, WordModel):
        yield Finding(path, f"{entry.architecture} does not fit the task {entry.task}")


def _check_hashes(entry: ModelEntry) -> Findings:
    """Hashes are lower-case hexadecimal digits, as many as their kind has."""
    weights = entry.weights
    for field, pattern, digits in (
        ("sha256", SHA256, "64"),
        ("sha256_prefix", PREFIX, "8 to 63"),
        ("md5", MD5, "32"),
    ):
        value: str | None = getattr(weights, field)
        if value is not None and not pattern.fullmatch(value):
            shown = value if len(value) <= 70 else f"{value[:70]}…"
            yield Finding(
                ("weights", field), f"{shown!r} is not a hash", f"It has {digits} digits of 0-9 and a-f."
            )


def _check_sizes(entry: ModelEntry) -> Findings:
    """Counts are at least 1."""
    counts: list[tuple[tuple[str, ...], int | None]] = [
        (("weights", "bytes"), entry.weights.bytes),
        (("weights", "about_bytes"), entry.weights.about_bytes),
        (("parameters",), entry.parameters),
    ]
    if isinstance(entry, WordModel):
        counts += [(("input", "dimension"), entry.input.dimension), (("words",), entry.words)]
    if isinstance(entry, ImageModel):
        counts += [(("features",), entry.features), (("input", "size"), entry.input.size)]
        counts += [(("input", "channels"), entry.input.channels)]
    for path, count in counts:
        if count is not None and count < 1:
            yield Finding(path, f"{count} is less than 1")


def _check_urls(entry: ModelEntry) -> Findings:
    """Every URL has a known scheme and a valid form, and the bytes behind it can be proven."""
    weights = entry.weights
    proofs = {field for field in ("sha256", "sha256_prefix", "md5") if getattr(weights, field) is not None}
    if not weights.urls:
        yield Finding(("weights", "url"), "the list is empty")
    for number, url in enumerate(weights.urls):
        path: tuple[str | int, ...] = ("weights", "url")
        path += () if isinstance(weights.url, str) else (number,)
        kind = scheme_of(url)
        if kind not in SCHEMES and kind in plugin_names(SOURCES):
            if not proofs:
                yield Finding(("weights",), "sha256 is missing", f"Bytes from {kind} must be proven.")
            continue
        if kind not in SCHEMES:
            known = (*SCHEMES, *plugin_names(SOURCES))
            yield Finding(path, f"no source for {url!r}", f"There are: {', '.join(known)}, a relative path.")
            continue
        scheme = SCHEMES[kind]
        wrong = scheme.fault(url)
        if wrong is not None:
            shown = "" if wrong == CREDENTIALS else f"{url!r} is "
            yield Finding(path, f"{shown}{wrong}", f"Like this: {scheme.example}")
        if scheme.proofs and not proofs & set(scheme.proofs):
            needed = " or ".join(scheme.proofs)
            yield Finding(
                ("weights",), f"{needed} is missing", f"Bytes from {kind} must be proven. See: sha256sum FILE"
            )


def _check_input(entry: ModelEntry) -> Findings:
    """The preprocessing is possible: as many means as channels, no crop larger than the image."""
    if not isinstance(entry, ImageModel):
        return
    asked = entry.input
    if asked.crop == "center" and asked.resize < asked.size:
        what = f"{asked.resize} is smaller than size, {asked.size}"
        yield Finding(("input", "resize"), what, "A centre crop needs resize >= size; else: crop: squash")
    for field in ("mean", "std"):
        values: tuple[float, ...] = getattr(asked, field)
        if len(values) != asked.channels:
            yield Finding(("input", field), f"{len(values)} values for {asked.channels} channels")
        elif not all(map(math.isfinite, values)):
            yield Finding(("input", field), "not all values are finite")
        elif field == "std" and min(values, default=1) <= 0:
            yield Finding(("input", field), f"{min(values)} is not above 0", "Values are divided by it.")


def _check_encoding(entry: ModelEntry) -> Findings:
    """The encoding of a file of words is one that Python knows."""
    if not isinstance(entry, WordModel) or (encoding := entry.input.encoding) is None:
        return
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):  # LookupError: also for bz2 and its like, which encode no text
        yield Finding(("input", "encoding"), f"no encoding {encoding!r}", "Like this: encoding: cp1251")


def _check_classes(entry: ModelEntry) -> Findings:
    """A classifier lists its classes; a feature extractor has none."""
    if not isinstance(entry, ImageModel):
        return
    classes = entry.classes
    if entry.task == "image-classification" and classes is None:
        hint = "A label set (imagenet-1k), a list of labels, or how many there are."
        yield Finding(("classes",), "is missing", hint)
    elif entry.task == "image-features" and classes is not None:
        yield Finding(("classes",), "an image-features model has none")
    elif isinstance(classes, int) and classes < 1:
        yield Finding(("classes",), f"{classes} is less than 1")
    elif isinstance(classes, str) and not classes:
        yield Finding(("classes",), "is empty")
    elif isinstance(classes, tuple) and (not classes or len(set(classes)) < len(classes)):
        yield Finding(("classes",), "a label is given twice" if classes else "is empty")


def _check_results(entry: ModelEntry) -> Findings:
    """Percentages are percentages, and speeds are above 0."""
    if not isinstance(entry, ImageModel):
        return
    for name, score in entry.metrics.items():
        yield from _check_score(("metrics", name), score)
    if entry.speed is not None:
        yield from _check_speed(("speed",), entry.speed)


def _check_score(path: tuple[str, ...], score: Score) -> Findings:
    """Percent, at some size."""
    for field in ("top1", "top5"):
        value: float | None = getattr(score, field)
        if value is not None and not 0 <= value <= 100:
            yield Finding((*path, field), f"{value} is not a percentage")


def _check_speed(path: tuple[str, ...], speed: Speed) -> Findings:
    """Images per second."""
    if not speed.images_per_second > 0:
        yield Finding((*path, "images_per_second"), f"{speed.images_per_second} is not above 0")


RULES: tuple[Callable[[ModelEntry], Findings], ...] = (
    _check_name,
    _check_license,
    _check_architecture,
    _check_hashes,
    _check_sizes,
    _check_urls,
    _check_input,
    _check_encoding,
    _check_classes,
    _check_results,
)
