"""A name becomes something that one can use: a network in eval mode, or word vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from zoo.catalogue.entry import WordModel
from zoo.errors import UsageError
from zoo.events import Report, silent
from zoo.store.local import LocalModel
from zoo.store.names import default_store
from zoo.targets import fetch_target, find_model_target, kind_of

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def load_model(
    name: str,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    report: Report = silent,
    precision: str | None = None,
    strict: bool = False,
    member: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> Any:
    """A pretrained network, verified, float32, in eval mode; or word vectors.

    A network takes images (batch, 3, size, size), preprocessed as its `.zoo_entry.input` states, and returns
    logits (batch, classes), or features (batch, width) if the model has no classes. Word vectors have the
    interface of gensim's KeyedVectors.

    Args:
        name: A model of the registry, or word vectors by their path or as `hf://OWNER/REPO/FILE`.
        registry: Where names are looked up; the default one if None.
        store: Where files are kept; the default one if None.
        report: Receives progress and notes.
        precision: Of word vectors: "float32" or "float16"; None takes what is compiled already.
        strict: Refuse word vectors whose file has faults, instead of reporting them.
        member: The file to read in a .zip of word vectors; the weights to take of a checkpoint that holds
            several ("state_dict", "ema.module"), as `weights: member` in a registry.
        encoding: Of a text file of word vectors, as Python names it ("latin-1", "cp1251"); None takes the one
            that was named last, else UTF-8, or reports a guess.
        limit: Only so many of the first words of a file of word vectors, which are its most frequent ones.

    Returns:
        An `nn.Module` with its facts at `.zoo_entry`, or a `WordVectors`.

    Raises:
        UnknownName: There is no such model.
        UsageError: An option for word vectors was given with an image model, or the path is not a file.
        LicenseRefused: The licence policy excludes the model.
        NetworkError: The file cannot be downloaded, or offline mode is on.
        IntegrityError: The file is damaged, or is not what its entry states.
        UnsafeFile: Opening the file could run code.
        WeightsMismatch: The weights are not of the entry's architecture.
    """
    store = store or default_store()
    target = find_model_target(name, "zoo.load_model", registry, store, member)
    if kind_of(target) == "images" and (precision or strict or encoding or limit):
        raise UsageError(
            f"precision, strict, encoding and limit are for word vectors: {name} is a model for images"
        )
    local = fetch_target(target, store, report=report)
    if isinstance(local.entry, WordModel):
        from zoo.words.loading import load_words

        return load_words(
            local,
            store,
            precision=precision,
            strict=strict,
            member=member,
            encoding=encoding,
            limit=limit,
            report=report,
        )
    from zoo.backbones.loading import load_backbone

    if member is not None:
        weights = replace(local.entry.weights, member=member)
        local = LocalModel(replace(local.entry, weights=weights), local.path, local.sha256)
    return load_backbone(local, store, report=report)
