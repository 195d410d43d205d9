"""What features in a file were made of: the network, its input, and the items that gave none. Needs no torch.

Features of one network mean nothing to the head of another, and nothing in the numbers shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.data.finding.vector_table import ABOUT
from zoo.data.pixels.ranges import ValueRange
from zoo.features.engine import LIBRARIES, Backend, Precision

if TYPE_CHECKING:
    from torch import nn

    from zoo.catalogue.entry import ImageInput, ImageModel

KEY = ABOUT
"""Of the metadata of a Parquet file, and of the array of a .npz."""
SCHEMA = 1


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled item without features. sha256: of its bytes, where they can be read."""

    path: str
    reason: str
    label: str | None = None
    split: str | None = None
    sha256: str | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What features depend on besides their items.

    kind: of items, in the singular. network: sha256 of all modules, settings and tensors before the
    classifier. input: how an item becomes the network's input; values: black and white of images of 16 bit or
    floats, None where each has its own. backend: what computed them. root: the folder of labelled items, as
    it was typed; names below it decide what is drawn for validation.
    """

    schema: int = SCHEMA
    kind: str
    model: str
    license: str
    network: str
    input: Mapping[str, Any]
    precision: Precision
    device: str
    code: str
    versions: Mapping[str, str]
    backend: Backend = "torch"
    values: Mapping[str, Any] | None = None
    root: str | None = None
    unreadable: tuple[Unreadable, ...] = ()

    def encoded(self) -> str:
        """The same as JSON."""
        return msgspec.json.encode(self).decode()


def provenance_of(
    entry: ImageModel,
    network: nn.Module,
    *,
    values: ValueRange | None,
    device: str,
    precision: Precision = "fp32",
    backend: Backend = "torch",
) -> Provenance:
    """What features of images by a network depend on. Costs a read of its weights."""
    import torch

    from zoo.data.pixels.on_gpu import decoder_versions
    from zoo.features.extraction import hash_code
    from zoo.features.network import fingerprint_network

    libraries = LIBRARIES if backend == "onnx" else ()
    return Provenance(
        kind="image",
        model=entry.name,
        license=entry.license,
        network=fingerprint_network(network),
        input=_plain(entry.input),
        precision=precision,
        device=device,
        code=hash_code(),
        versions={name: version(name) for name in ("torch", "pillow", *libraries)}
        | decoder_versions(torch.device(device)),
        backend=backend,
        values=None if values is None else values.facts,
    )


def _plain(settings: ImageInput) -> dict[str, Any]:
    """All settings as they are read again: lists, not tuples. Those by default too: msgspec leaves out only
    what *is* the default, and what came from another process is not."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(settings)))
    return plain
