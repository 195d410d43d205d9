"""Featurizer and Predictor: the numbers of extract_features and predict, in any process, whatever is sent."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from support.kits import Kit, on_real, on_tiny

import zoo
from zoo.errors import HashMismatch, UnknownName, UsageError, WeightsMismatch, ZooError
from zoo.features.extraction import extract_features
from zoo.runs.classifier import Classifier, load_classifier
from zoo.runs.modalities.image_items import ImageItems
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.runs.using.embedding import embed_for_training
from zoo.runs.workers import NOT_FINITE, NULL, Features, _load
from zoo.store.store import Store
from zoo.targets import CALIBRATION, find_target


@pytest.fixture
def photos(kit: Kit) -> list[Path]:
    """The photographs that are kept for validation."""
    return [photo for name in kit.classes for photo in kit.val(name)]


@pytest.fixture
def featurizer(kit: Kit, shared_store: Store) -> zoo.Featurizer:
    """Of the network of the kit."""
    return zoo.Featurizer(kit.net, registry=kit.registry, store=shared_store, device="cpu")


def classifier_of(kit: Kit, store: Store) -> Classifier:
    """The network of the kit."""
    target = find_target(kit.net, registry=kit.registry, store=store)
    return load_classifier(target, store=store, registry=kit.registry)  # type: ignore[arg-type]


def test_features_are_those_of_extract_features(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path], shared_store: Store
) -> None:
    classifier = classifier_of(kit, shared_store)
    expected = extract_features(classifier.network, photos, classifier.input).features.numpy()
    by_path, by_bytes = featurizer(photos), featurizer([photo.read_bytes() for photo in photos])
    assert by_path.errors == (None,) * len(photos)
    assert by_path.features.dtype == np.float32
    assert by_path.features.shape == (len(photos), kit.width) == (len(photos), featurizer.width)
    np.testing.assert_allclose(by_path.features, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(by_bytes.features, by_path.features)


def test_probabilities_and_labels_are_those_of_predict(
    trained: RunResult, photos: list[Path], shared_store: Store
) -> None:
    run = load_run(trained.run, store=shared_store)
    found = zoo.Predictor(trained.run, store=shared_store, device="cpu")(photos)
    expected = run.predict(photos, top=len(run.classes), device="cpu")
    assert found.labels == tuple(one.label for one in expected)
    assert found.classes == run.classes
    for row, one in zip(found.probabilities, expected, strict=True):
        chances = {guess.label: guess.probability for guess in one.top}
        np.testing.assert_allclose(row, [chances[name] for name in run.classes], atol=1e-5)


@on_tiny
def test_what_cannot_be_read_has_a_reason_and_stops_nothing(
    featurizer: zoo.Featurizer, photos: list[Path], tmp_path: Path
) -> None:
    whole = photos[0].read_bytes()
    items = [b"", whole, None, b"<html>", tmp_path / "gone.png", whole[: len(whole) // 2], photos[0]]
    found = featurizer(items)
    bad = [0, 2, 3, 4, 5]
    assert [at for at, error in enumerate(found.errors) if error is not None] == bad
    assert (found.errors[2], found.errors[4]) == (NULL, "does not exist")
    assert "web page" in str(found.errors[3])
    assert np.isnan(found.features[bad]).all()
    np.testing.assert_array_equal(found.features[1], found.features[6])
    assert [row is None for row in found.columns["features"]] == [at in bad for at in range(len(items))]


@on_tiny
def test_a_list_of_nothing_but_bad_files_and_an_empty_one_are_answered(
    kit: Kit, featurizer: zoo.Featurizer
) -> None:
    assert featurizer([b"no", None]).features.shape == (2, kit.width)
    empty = featurizer([])
    assert (empty.features.shape, empty.errors) == ((0, kit.width), ())
    names = ["features", "sha256", "zoo_features", "error", "model", "model_license"]
    assert empty.columns == {name: [] for name in names}


def test_features_carry_what_they_depend_on_and_whose_they_are(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path], shared_store: Store
) -> None:
    classifier = classifier_of(kit, shared_store)
    source = ImageItems(photos[:3], classifier.input)
    expected = embed_for_training(classifier, source, None, store=shared_store, device="cpu")
    assert expected.about is not None
    pixels = np.zeros((40, 40, 3), np.uint8)
    columns = featurizer([*photos[:2], photos[2].as_uri(), photos[0].read_bytes(), b"no", pixels]).columns
    assert columns["zoo_features"] == [expected.about.encoded()] * 4 + [None, expected.about.encoded()]
    first, *_ = digests = expected.contents or ()
    assert columns["sha256"] == [*digests, first, sha256(b"no").hexdigest(), None]


@on_tiny
def test_a_frame_has_the_same_types_whatever_could_be_read(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path]
) -> None:
    some, none, empty = featurizer([photos[0], b"no"]), featurizer([b"no"]), featurizer([])
    assert some.frame.schema == none.frame.schema == empty.frame.schema
    assert some.frame.schema["features"] == pl.Array(pl.Float32, kit.width)
    assert [len(found.frame) for found in (some, none, empty)] == [2, 1, 0]
    assert some.frame["features"].is_null().to_list() == [False, True]
    np.testing.assert_array_equal(some.frame["features"][0], some.features[0])
    texts = some.frame.drop("features").to_dict(as_series=False)
    assert texts == {name: cells for name, cells in some.columns.items() if name != "features"}


@on_real
def test_the_precision_that_was_kept_is_the_one_that_is_said(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path], shared_store: Store
) -> None:
    options = {"registry": kit.registry, "store": shared_store, "device": "cpu"}
    half = zoo.Featurizer(kit.net, precision="bf16", **options)(photos[:4])
    assert '"precision":"bf16"' in half.provenance
    assert half.provenance.replace("bf16", "fp32") == featurizer(photos[:1]).provenance


@on_tiny
def test_the_licences_are_columns(kit: Kit, featurizer: zoo.Featurizer, trained: RunResult) -> None:
    entry = kit.registry[kit.net]
    columns = featurizer([b"", b""]).columns
    assert columns["model"] == [kit.net] * 2
    assert columns["model_license"] == [entry.license] * 2
    of_run = zoo.Predictor(trained.run, store=featurizer.store, device="cpu")([b""]).columns
    assert of_run["data_license"] == ["unknown"]
    assert of_run["label"] == of_run["probabilities"] == [None]


@on_tiny
def test_a_network_that_gives_no_numbers_is_said_of_each_photograph(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path]
) -> None:
    loaded = _load(featurizer._key, featurizer._open)
    fast = loaded._fast
    loaded._fast = lambda images: torch.full((len(images), kit.width), torch.inf)
    try:
        found = featurizer([photos[0], b"no"])
    finally:
        loaded._fast = fast
    assert found.errors[0] == NOT_FINITE
    assert found.errors[1] != NOT_FINITE
    assert np.isnan(found.features).all()


def test_pickled_it_is_small_and_computes_the_same_in_a_spawned_process(
    featurizer: zoo.Featurizer, trained: RunResult, photos: list[Path]
) -> None:
    featurizer(photos[:2])  # what is loaded is not pickled
    assert len(pickle.dumps(featurizer)) < 20_000
    predictor = zoo.Predictor(trained.run, store=featurizer.store, device="cpu")
    assert len(pickle.dumps(predictor)) < 20_000
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(featurizer, photos[:5]).result(120)
        said = pool.submit(predictor, [photo.read_bytes() for photo in photos[:5]]).result(120)
    np.testing.assert_allclose(there.features, featurizer(photos[:5]).features, atol=1e-4)
    assert there.provenance == featurizer(photos[:5]).provenance
    assert said.labels == predictor(photos[:5]).labels


@on_tiny
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_that_is_forked_after_the_network_computed_does_not_wait_for_ever(
    featurizer: zoo.Featurizer, photos: list[Path]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = featurizer(photos[:5]).features
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            there = pool.submit(featurizer, photos[:5]).result(60)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(there.features, here, atol=1e-4)


@on_tiny
def test_a_network_is_loaded_once_by_all_copies_and_threads_are_as_before(
    featurizer: zoo.Featurizer, photos: list[Path]
) -> None:
    featurizer(photos[:1])
    copy = pickle.loads(pickle.dumps(featurizer))
    assert _load(copy._key, copy._open) is _load(featurizer._key, featurizer._open)
    copy.threads, before = torch.get_num_threads() + 1, torch.get_num_threads()
    assert copy(photos[:1]).errors == (None,)
    assert torch.get_num_threads() == before


@on_tiny
def test_another_run_in_the_same_folder_is_refused_and_a_missing_one_is_named(
    trained: RunResult, featurizer: zoo.Featurizer, photos: list[Path], tmp_path: Path
) -> None:
    from zoo.runs.making.finetuning import finetune_model

    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    predictor = zoo.Predictor(run, store=featurizer.store, device="cpu")
    shutil.rmtree(run)
    with pytest.raises(UsageError, match="there is no run here on"):
        predictor(photos[:1])
    finetune_model(
        trained.run, photos[0].parents[1], out=run, store=featurizer.store, device="cpu", epochs=1, seed=5
    )
    with pytest.raises(WeightsMismatch, match="not the run any more"):
        predictor(photos[:1])


@on_tiny
def test_a_calibrated_run_gives_the_probabilities_of_its_temperature(
    finetune: Callable[..., RunResult], photos: list[Path], shared_store: Store
) -> None:
    run = load_run(finetune(calibrate=0.2, epochs=5).run, store=shared_store)
    calibration = run.classifier.calibration
    assert calibration is not None
    predictor = zoo.Predictor(run.path, store=shared_store, device="cpu")
    loaded = _load(predictor._key, predictor._open)
    assert loaded.classifier.calibration == calibration
    calibrated = msgspec.structs.replace(calibration, temperature=3.0)  # of so few items it is 1
    flatter = replace(run.classifier, calibration=calibrated)
    loaded.classifier = run.__dict__["classifier"] = flatter
    most = [one.probability for one in run.predict(photos, device="cpu")]
    np.testing.assert_allclose(predictor(photos).probabilities.max(1), most, atol=1e-5)
    (run.path / CALIBRATION).unlink()
    unused = zoo.Predictor(run.path, store=shared_store, device="cpu")
    unused._pin = predictor._pin
    with pytest.raises(WeightsMismatch):
        unused._open()


@on_tiny
def test_what_cannot_work_is_refused_when_it_is_made(kit: Kit, shared_store: Store) -> None:
    options = {"registry": kit.registry, "store": shared_store}
    with pytest.raises(UsageError, match=r"holds word vectors, and zoo\.Featurizer takes"):
        zoo.Featurizer(kit.words, **options)
    with pytest.raises(UsageError, match="batch_size must be at least 1, not 0"):
        zoo.Featurizer(kit.net, batch_size=0, **options)
    with pytest.raises(UnknownName, match="no precision 'fp8'"):
        zoo.Featurizer(kit.net, precision="fp8", **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="no backend 'onx'"):
        zoo.Predictor(kit.net, backend="onx", **options)


@on_tiny
def test_what_is_no_image_at_all_is_a_mistake_of_the_caller(featurizer: zoo.Featurizer) -> None:
    with pytest.raises(UsageError, match="item 2 is not an image but an int"):
        featurizer([b"", 3])
    with pytest.raises(UsageError, match="is an address, not a file"):
        featurizer(["s3://bucket/photo.jpg"])
    with pytest.raises(UsageError, match="item 1 is not an image but a float"):
        featurizer([3.5])
    with pytest.raises(UsageError, match="one item was given"):
        featurizer(b"bytes")


@on_tiny
@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (set, "a set was given where a list is expected: it has no order"),
        (frozenset, "a frozenset was given where a list is expected: it has no order"),
        (dict.fromkeys, "a dict was given where a list is expected\nGive its values"),
        (lambda items: pl.DataFrame({"path": items}), r"a whole table \(DataFrame\) was given where a list"),
    ],
    ids=["set", "frozenset", "dict", "polars"],
)
def test_what_is_no_list_is_refused_and_not_read_in_some_order(
    wrap: Callable[[list[str]], object], says: str, kit: Kit, featurizer: zoo.Featurizer, trained: RunResult
) -> None:
    items = [str(photo) for photo in kit.val(kit.classes[0])]
    store = featurizer.store
    for function in (
        featurizer,
        zoo.Predictor(trained.run, store=store, device="cpu"),
        load_run(trained.run, store=store).predict,
    ):
        with pytest.raises(UsageError, match=says):
            function(wrap(items))  # type: ignore[operator]
    assert len(featurizer(pl.Series(items))) == len(featurizer(dict.fromkeys(items).keys())) == len(items)


@on_tiny
def test_pictures_of_deep_values_are_read_as_the_run_was_trained(
    kit: Kit, featurizer: zoo.Featurizer
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64).save(file, "PNG")
    assert featurizer([file.getvalue()]).errors == (None,)


def test_every_error_can_be_sent_to_another_process() -> None:
    errors: list[ZooError] = [
        UnknownName("optimizer", "adan", ["adam"]),
        HashMismatch("a.pth", expected="1", got="2", hint="again"),
        UsageError("no", hint="yes"),
    ]
    for error in errors:
        there = pickle.loads(pickle.dumps(error))
        assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


@on_real
def test_bf16_keeps_its_promise_or_says_so(
    kit: Kit, featurizer: zoo.Featurizer, photos: list[Path], shared_store: Store
) -> None:
    half = zoo.Featurizer(kit.net, registry=kit.registry, store=shared_store, device="cpu", precision="bf16")
    found: Features = half(photos[:8])
    assert [note.message.partition(":")[0] for note in found.notes] == ["features in bf16"]
    exact = featurizer(photos[:8]).features
    cosine = (
        (found.features * exact).sum(1)
        / np.linalg.norm(found.features, axis=1)
        / np.linalg.norm(exact, axis=1)
    )
    assert cosine.min() > 0.99
