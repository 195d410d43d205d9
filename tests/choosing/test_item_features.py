"""The features of every item of a data set, from whatever model is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.kits import Kit, tiny_kit

from zoo.choosing.item_features import ItemFeatures, compute_item_features
from zoo.data.dataset import Item
from zoo.data.kinds import TEXTS
from zoo.data.scanning import scan_dataset
from zoo.runs.run import embed
from zoo.store.store import Store
from zoo.targets import find_model_target


@pytest.fixture
def kit(tiny: Path) -> Kit:
    """The tiny set."""
    return tiny_kit(tiny)


def features_of(kit: Kit, name: str, items: list[Item], store: Store) -> ItemFeatures:
    target = find_model_target(name, "zoo.embed", kit.registry, store)
    return compute_item_features(target, items, store=store, device="cpu")


def test_images_have_the_features_that_embed_gives_and_come_from_the_store_the_second_time(
    kit: Kit, store: Store
) -> None:
    items = list(scan_dataset(kit.images).items)
    found = features_of(kit, kit.net, items, store)
    expected = embed(kit.net, [item.path for item in items], registry=kit.registry, store=store, device="cpu")
    np.testing.assert_array_equal(found.features, expected.features)
    assert found.items == tuple(items)
    assert (found.labels == [item.label for item in items]).all()
    assert (found.from_cache, features_of(kit, kit.net, items, store).from_cache) == (0, len(items))


def test_what_cannot_be_read_is_named_and_the_rest_keeps_its_order(
    kit: Kit, store: Store, tmp_path: Path
) -> None:
    items = list(scan_dataset(kit.images).train[:3])
    broken = tmp_path / "cut.png"
    broken.write_bytes(items[0].path.read_bytes()[:80])
    bad = Item(broken, 0)
    found = features_of(kit, kit.net, [items[0], bad, *items[1:]], store)
    assert found.items == tuple(items)
    assert list(found.unreadable) == [bad]


def test_texts_without_a_known_word_are_set_aside(kit: Kit, store: Store) -> None:
    items = list(scan_dataset(kit.texts, TEXTS).train[:5])
    unknown = Item(Path("texts.csv:9"), 0, "zzzz qqqq")
    found = features_of(kit, kit.words, [unknown, *items], store)
    assert found.items == tuple(items)
    assert found.unknown == (unknown,)
    assert found.features.shape == (5, kit.dimension)
