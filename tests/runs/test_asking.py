"""A run is asked about items: an answer for each, however it is given, equal to that of the plain network."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.kits import Kit, on_real
from torch import nn
from torch.nn.functional import cosine_similarity

from zoo.data.listing import list_images
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess
from zoo.errors import UnreadableFile, UsageError
from zoo.events import Event, Note
from zoo.features.engine import LIBRARIES, Engine
from zoo.features.network import FrozenNetwork
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.record import RunResult
from zoo.runs.run import Run, load_run
from zoo.store.store import Store


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `zoo demo` trains on: digits 5 to 9, 5 of each to train on, 100 to validate with."""
    folder = tmp_path_factory.mktemp("asking") / "digits"
    write_digits(folder)
    return folder


@pytest.fixture(scope="module")
def run(digits: Path) -> Run:
    """A head on the shipped network."""
    store = Store(digits.parent / "home")
    out = digits.parent / "run"
    finetune_model("digits", digits, out=out, store=store, device="cpu", epochs=10, patience=0)
    return load_run(out, store=store)


@pytest.fixture(scope="module")
def tuned(digits: Path, run: Run) -> Run:
    """A run whose deeper stages were trained too."""
    out = digits.parent / "tuned"
    finetune_model(
        "digits", digits, out=out, store=run.store, device="cpu", epochs=2, unfreeze=2, tune_epochs=2
    )
    return load_run(out, store=run.store)


@pytest.fixture
def files(digits: Path) -> list[Path]:
    """30 files, of every class."""
    return sorted((digits / "val").rglob("*.png"))[::17]


def plain_probabilities(run: Run, files: list[Path]) -> torch.Tensor:
    """What the network itself says of the files, without any shortcut: (files, classes)."""
    images = torch.stack([preprocess(read_image(file), run.classifier.input) for file in files])
    with torch.inference_mode():
        found: torch.Tensor = run.classifier.network(images).softmax(1)
    return found


def answered(run: Run, files: list[Path]) -> torch.Tensor:
    """The same from `predict`."""
    found = run.predict(files, top=len(run.classes), device="cpu")
    rows = [{guess.label: guess.probability for guess in one.top} for one in found]
    return torch.tensor([[row[name] for name in run.classes] for row in rows])


@pytest.mark.parametrize("kind", ["run", "tuned"])
def test_the_fast_network_answers_as_the_plain_one(
    kind: str, files: list[Path], request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    assert (answered(run, files) - plain_probabilities(run, files)).abs().max() < 1e-5


def test_a_few_items_are_answered_by_the_network_as_it_is_and_many_by_a_copy(
    run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[FrozenNetwork] = []
    plain_init = FrozenNetwork.__init__

    def count(self: FrozenNetwork, *args: object, **options: object) -> None:
        copies.append(self)
        plain_init(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FrozenNetwork, "__init__", count)
    assert torch.equal(answered(run, files[:3]), plain_probabilities(run, files[:3]))
    assert not copies
    assert (answered(run, files) - plain_probabilities(run, files)).abs().max() < 1e-5
    assert copies


@pytest.mark.slow
def test_onnx_runtime_answers_as_the_plain_network(
    run: Run, files: list[Path], digits: Path, tmp_path: Path
) -> None:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=f"the extra [onnx] is not installed: {name}")
    run = load_run(run.path, store=Store(tmp_path / "home"))  # others find no exports
    found = run.predict(files, top=len(run.classes), device="cpu", backend="onnx")
    rows = [{guess.label: guess.probability for guess in one.top} for one in found]
    asked = torch.tensor([[row[name] for name in run.classes] for row in rows])
    assert (asked - plain_probabilities(run, files)).abs().max() < 1e-5
    exports = run.store.home / "onnx"
    assert [path.suffix for path in exports.glob("*/*")] == [".onnx"]
    measured = [run.evaluate(digits, engine=Engine(backend, exports)) for backend in ("torch", "onnx")]
    assert measured[0].facts["accuracy"] == measured[1].facts["accuracy"]
    plain, fast = (run.embed(files, device="cpu", backend=backend) for backend in ("torch", "onnx"))
    assert (plain.way.backend, fast.way.backend) == ("torch", "onnx")
    assert cosine_similarity(*(torch.from_numpy(one.features) for one in (plain, fast))).min() > 0.99999


@on_real
def test_the_fast_network_answers_as_the_plain_one_of_photographs(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    run = load_run(trained.run, store=shared_store)
    photos = list_images([kit.photos, *kit.val(kit.classes[1])[:8]])
    assert (answered(run, photos) - plain_probabilities(run, photos)).abs().max() < 1e-5


def test_asking_leaves_the_network_as_it_was(run: Run, files: list[Path]) -> None:
    before = {name: tensor.clone() for name, tensor in run.classifier.network.state_dict().items()}
    run.predict(files, device="cpu")
    after = run.classifier.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_image_is_the_same_as_a_file_in_memory_and_as_bytes(run: Run, files: list[Path]) -> None:
    file = files[0]
    with Image.open(file) as image:
        image.load()
        pixels = read_image(file)
        things = [
            str(file),
            file.as_uri(),
            image,
            file.read_bytes(),
            pixels,
            pixels[:1],
            np.array(image.convert("RGB")),
            np.array(image.convert("L")),
        ]
    found = run.predict(things, device="cpu")
    assert [str(one.path) for one in found] == [str(file), str(file), *(f"item:{n}" for n in range(3, 9))]
    assert {one.label for one in found} == {found[0].label}
    assert [one.probability for one in found] == pytest.approx([found[0].probability] * len(things))
    features = run.embed(things, device="cpu").features
    np.testing.assert_allclose(features, np.repeat(features[:1], len(things), axis=0), rtol=1e-4, atol=1e-5)


def test_an_image_in_memory_is_turned_as_its_exif_data_say(run: Run, digits: Path) -> None:
    upright = Image.open(next((digits / "val").rglob("*.png"))).convert("RGB")
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    turned, straight = run.predict([Image.open(stream), upright], device="cpu")
    assert turned.label == straight.label
    assert turned.probability == pytest.approx(straight.probability)


def test_one_answer_for_every_item_also_for_those_that_cannot_be_read(
    run: Run, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "page.jpg").write_text("<html>not here</html>")
    things = [tmp_path / "page.jpg", *files[:3], b"nonsense", tmp_path / "page.jpg"]
    found = run.predict(things, batch_size=2, device="cpu")
    assert [one.error is None for one in found] == [False, True, True, True, False, False]
    assert [str(one.path) for one in found][3:5] == [str(files[2]), "item:5"]
    assert "web page" in str(found[0].error)
    assert (found[0].label, found[0].probability, found[0].top) == (None, None, ())
    assert all(one.error for one in run.predict([b"nonsense"], device="cpu"))
    with pytest.raises(UnreadableFile, match=r"page\.jpg"):
        run.predict(things, on_bad="stop", device="cpu")


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ("https://example.org/bee.jpg", "https://example.org/bee.jpg is an address, not a file"),
        (Path("https://example.org/bee.jpg"), "https://example.org/bee.jpg is an address, not a file"),
        (np.zeros((3, 8, 8), "uint8"), r"item 1 is a uint8 \(3, 8, 8\) array"),
        (np.zeros((8, 8, 3), "float32"), r"item 1 is a float32 \(8, 8, 3\) array"),
        (torch.zeros(3, 8, 8), r"item 1 is a float32 \(3, 8, 8\) tensor"),
        (7, "item 1 is not an image but an int"),
    ],
)
def test_what_is_not_an_image_is_refused_by_name(run: Run, thing: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run.predict([thing])


def test_one_item_alone_is_refused_where_a_list_is_expected(run: Run) -> None:
    for thing in ("photo.jpg", b"bytes", 7):
        with pytest.raises(UsageError, match="one item was given where a list is expected"):
            run.predict(thing)  # type: ignore[arg-type]


def test_a_network_with_a_tensor_of_five_dimensions_is_made_fast_too() -> None:
    class Lambda(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.positions = nn.Parameter(torch.randn(1, 2, 1, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean((2, 3)) + self.positions.mean()

    network = Lambda().eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        expected = network(images)
    found = FrozenNetwork(network, torch.device("cpu"), torch.float32)(images)
    torch.testing.assert_close(found, expected)


def test_a_prediction_that_lacks_memory_is_made_in_smaller_batches(
    run: Run, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = sorted((digits / "val").rglob("*.png"))[:40]
    expected = run.predict(photos)
    plain, heard = FrozenNetwork._compute, list[Event]()

    def compute(network: FrozenNetwork, images: torch.Tensor) -> torch.Tensor | None:
        return None if len(images) > 10 else plain(network, images)

    monkeypatch.setattr(FrozenNetwork, "_compute", compute)
    again = load_run(run.path, store=run.store, report=heard.append)
    assert [found.label for found in again.predict(photos)] == [one.label for one in expected]
    halvings = [event for event in heard if isinstance(event, Note) and "from now on" in event.message]
    assert [note.message.split(",")[0] for note in halvings][-1].endswith("images at a time from now on")
    assert len(halvings) == len({note.message for note in halvings})


@on_real
@pytest.mark.parametrize("what", ["model", "run"])
def test_one_photograph_is_answered_without_the_compiler_and_without_timm(
    what: str, kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    name, home = (kit.net, tmp_path) if what == "model" else (trained.run, shared_store.home)
    photograph = next(iter(kit.val(kit.classes[0])))
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print({'timm', 'torch._dynamo', 'sympy'} & {*sys.modules}))\n"
        "from zoo.cli.main import main\n"
        f"main(['predict', {name!r}, {str(photograph)!r}, '--csv'])"
    )
    env = os.environ | {"ZOO_HOME": str(home), "ZOO_REGISTRY": str(kit.registry_file)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
