"""What a model does to an image before it sees it, for loops of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.ranges import ValueRange
from zoo.runs.classifier import image_model
from zoo.runs.record import read_record
from zoo.store.names import default_store
from zoo.targets import RunFolder, accept, describe_target, find_target

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


@dataclass(frozen=True)
class Preprocessing:
    """A function from an image to the tensor that a model takes. input: size, resize, mean, std, filter.
    values: black and white of images of 16 bit or floats; None: by each image."""

    input: ImageInput
    values: ValueRange | None = None

    def __call__(self, image: object) -> Tensor:
        """The image as float32 (3, size, size), normalised; the very numbers that `predict` computes.

        image: a path, the bytes of a file, a Pillow image, a uint8 array (height, width, 3) or a uint8 tensor
        (3, height, width). Raises UnreadableFile for a file that is not an image, UsageError for anything
        else.
        """
        from zoo.data.pixels.memory import as_image, open_picture
        from zoo.data.pixels.preprocessing import preprocess

        return preprocess(open_picture(as_image(image, 1), values=self.values).pixels, self.input)


def preprocessing(
    name: str | Path, *, registry: Registry | None = None, store: Store | None = None
) -> Preprocessing:
    """What a model for images does to an image before it sees it. Nothing is downloaded but facts.

    Args:
        name: A model for images, or the folder of a run.
        registry: The registry to find the model in; None for the default one.
        store: The store to look in; None for the default one.

    Returns:
        A function from a path, bytes, a Pillow image, an array or a tensor to float32 (3, size, size); it can
        be pickled, so that the workers of a DataLoader can have it.

    Raises:
        UsageError: The name is not one of a model for images: word vectors take texts.
    """
    store = store or default_store()
    target = accept(find_target(name, registry=registry, store=store), "zoo.preprocessing")
    if isinstance(target, RunFolder):
        record = read_record(target.path)
        return Preprocessing(image_model(record.entry).input, record.value_range)
    return Preprocessing(image_model(describe_target(target, store)).input)  # type: ignore[arg-type]
