"""Features are what the head sees, computed once per content, kept, and never those of something else."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from adapters import attach_head, find_classifier, freeze
from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess
from zoo.errors import TrainingStopped, UnreadableFile
from zoo.events import Event, Note, Progress
from zoo.features.engine import PLAIN, Way
from zoo.features.extraction import FeatureTable, extract_features
from zoo.features.network import FrozenNetwork, fingerprint_network, least_cosine

SMALL = ImageInput(size=64, resize=72, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return settle(resnet18())


def settle(network: nn.Module) -> nn.Module:
    """The network in eval mode with batch norm statistics that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Ten small pictures, each of another content."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return [paint(folder / f"{n}.jpg", seed=n) for n in range(10)]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["lambda_resnet26t", "lamhalobotnet50ts_256"])
def test_networks_with_weights_of_five_dimensions_give_their_features(name: str, photos: list[Path]) -> None:
    import timm

    settings = ImageInput(size=256, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.manual_seed(0)
    model = settle(timm.create_model(name))
    assert any(parameter.ndim == 5 for parameter in model.parameters())
    table = extract_features(model, photos[:2], settings)
    assert_close(table.features, plain_features(model, photos[:2], settings))


def paint(path: Path, seed: int) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


@torch.inference_mode()
def plain_features(model: nn.Module, paths: list[Path], settings: ImageInput) -> Tensor:
    """What the classifier is given when the model itself looks at the images."""
    seen: list[Tensor] = []
    hook = find_classifier(model)[1].register_forward_pre_hook(
        lambda _, args: seen.append(args[0].flatten(1))
    )
    for path in paths:
        model(preprocess(read_image(path), settings)[None])
    hook.remove()
    return torch.cat(seen)


def assert_close(features: Tensor, expected: Tensor) -> None:
    assert features.shape == expected.shape
    assert (features - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_head_of_the_model_says_the_same_of_the_features(network: nn.Module, photos: list[Path]) -> None:
    table = extract_features(network, photos, SMALL, batch_size=4)
    assert_close(table.features, plain_features(network, photos, SMALL))
    with torch.inference_mode():
        images = torch.stack([preprocess(read_image(path), SMALL) for path in photos])
        expected = network(images)
        assert_close(find_classifier(network)[1](table.features), expected)
    assert table.kept == tuple(range(10))
    assert table.features.dtype == torch.float32
    assert table.features.std(0).mean() > 0.01, "these laws would hold for a dead network too"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11_bn", "inception_v3", "googlenet", "squeezenet1_1", "vit_b_32"]
)
def test_features_of_every_shape_of_network_are_its_own(name: str, photos: list[Path]) -> None:
    """Dropout before the head, auxiliary heads, converted input, a convolution as the head, a token."""
    from torchvision import models

    aux = {"init_weights": False, "transform_input": True} if name in ("inception_v3", "googlenet") else {}
    torch.manual_seed(0)
    model = settle(models.get_model(name, weights=None, **aux))
    size = 299 if name == "inception_v3" else 224
    settings = ImageInput(size=size, resize=size, mean=SMALL.mean, std=SMALL.std)
    seen: list[Tensor] = []
    head = find_classifier(model)[1]
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        model(preprocess(read_image(photos[0]), settings)[None])
    hook.remove()
    expected = seen[0] if seen[0].ndim == 2 else None
    features = extract_features(model, photos[:1], settings).features
    if expected is not None:
        assert_close(features, expected)
    else:
        assert features.shape == (1, head.in_channels)


def test_real_photographs_give_the_features_of_the_real_network(data: Path) -> None:
    from torchvision.models import mobilenet_v2

    model = mobilenet_v2()
    model.load_state_dict(torch.load(data / "weights" / "mobilenet_v2-adb27a5a.pth", weights_only=True))
    settings = ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)
    photos = sorted((data / "photos").iterdir())
    assert_close(
        extract_features(model, photos, settings).features, plain_features(model.eval(), photos, settings)
    )


def test_what_was_computed_once_is_never_computed_again(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    first = extract_features(network, photos, SMALL, store_home=home)
    events: list[Event] = []
    again = extract_features(network, photos, SMALL, store_home=home, report=events.append)
    assert (first.from_cache, again.from_cache) == (0, 10)
    assert torch.equal(first.features, again.features)
    assert events == [Progress("features", 10, 10, "images")]


def test_added_photographs_are_the_only_ones_computed(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    extract_features(network, photos[:7], SMALL, store_home=home)
    events: list[Event] = []
    table = extract_features(network, photos, SMALL, store_home=home, batch_size=2, report=events.append)
    assert table.from_cache == 7
    assert [e.done for e in events if isinstance(e, Progress)] == [7, 9, 10]
    assert_close(table.features, plain_features(network, photos, SMALL))


def test_a_photograph_is_known_by_its_content_not_by_its_name(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    first = extract_features(network, photos, SMALL, store_home=home)
    moved = photos[0].rename(photos[0].with_name("moved.jpg"))
    paint(photos[1], seed=99)
    table = extract_features(network, [moved, *photos[1:]], SMALL, store_home=home)
    assert table.from_cache == 9
    assert torch.equal(table.features[0], first.features[0])
    assert not torch.allclose(table.features[1], first.features[1])
    assert torch.equal(table.features[2:], first.features[2:])


def test_equal_files_are_computed_once_and_all_have_a_row(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    twin = Path(shutil.copy(photos[3], photos[3].with_name("twin.jpg")))
    events: list[Event] = []
    table = extract_features(network, [*photos, twin], SMALL, store_home=home, report=events.append)
    assert table.kept == tuple(range(11))
    assert torch.equal(table.features[3], table.features[10])
    assert [e for e in events if isinstance(e, Progress)][-1].total == 10


def retrained(model: nn.Module) -> nn.Module:
    tuned = copy.deepcopy(model)
    next(tuned.parameters()).data[0, 0, 0, 0] += 1e-3
    return tuned


def with_moved_statistics(model: nn.Module) -> nn.Module:
    tuned = copy.deepcopy(model)
    next(m for m in tuned.modules() if isinstance(m, nn.BatchNorm2d)).running_mean[0] += 1e-3
    return tuned


def with_another_setting(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    next(m for m in other.modules() if isinstance(m, nn.BatchNorm2d)).eps = 0.1
    return other


@pytest.mark.thorough
@pytest.mark.parametrize("change", [retrained, with_moved_statistics, with_another_setting])
def test_a_changed_network_never_meets_the_features_of_the_published_one(
    change: Callable[[nn.Module], nn.Module], network: nn.Module, photos: list[Path], home: Path
) -> None:
    """Even if the caller says that it is the same: what decides is the network in memory."""
    extract_features(network, photos[:2], SMALL, store_home=home, backbone_sha256="a" * 64)
    tuned = change(network)
    assert (
        extract_features(tuned, photos[:2], SMALL, store_home=home, backbone_sha256="a" * 64).from_cache == 0
    )


def test_a_new_head_keeps_the_features(network: nn.Module, photos: list[Path], home: Path) -> None:
    extract_features(network, photos[:2], SMALL, store_home=home)
    other = copy.deepcopy(network)
    other.fc = nn.Linear(512, 2)
    assert extract_features(other.train(), photos[:2], SMALL, store_home=home).from_cache == 2


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_no_part_of_what_features_depend_on(name: str) -> None:
    """A new head takes them away or changes them; the features of the backbone stay the same."""
    from torchvision import models

    torch.manual_seed(0)
    model = models.get_model(name, weights=None, init_weights=False)
    before = fingerprint_network(model)
    freeze(model)
    attach_head(model, 3)
    assert fingerprint_network(model) == before
    model.transform_input = True
    assert fingerprint_network(model) != before


def test_another_input_has_features_of_its_own(network: nn.Module, photos: list[Path], home: Path) -> None:
    extract_features(network, photos[:2], SMALL, store_home=home)
    brighter = ImageInput(size=64, resize=72, mean=(0.5,) * 3, std=SMALL.std)
    assert extract_features(network, photos[:2], brighter, store_home=home).from_cache == 0


def test_unreadable_files_are_named_and_the_rows_are_of_the_others(
    network: nn.Module, photos: list[Path], home: Path, tmp_path: Path
) -> None:
    torn = photos[4]
    torn.write_bytes(torn.read_bytes()[:200])
    twin = Path(shutil.copy(torn, tmp_path / "twin.jpg"))
    gone = tmp_path / "gone.jpg"
    images = [*photos, twin, gone]
    events: list[Event] = []
    for expected in (0, 9):
        table = extract_features(network, images, SMALL, store_home=home, report=events.append)
        assert table.from_cache == expected
        assert [file.path for file in table.bad] == [torn, twin, gone]
        assert table.kept == (0, 1, 2, 3, 5, 6, 7, 8, 9)
        readable = [images[n] for n in table.kept]
        assert_close(table.features, plain_features(network, readable, SMALL))
        last = [e for e in events if isinstance(e, Progress)][-1]
        assert last.done == last.total == 11
    with pytest.raises(UnreadableFile, match=r"4\.jpg"):
        extract_features(network, images, SMALL, on_bad="stop")


def test_nothing_readable_is_an_empty_table(network: nn.Module, tmp_path: Path) -> None:
    table = extract_features(network, [tmp_path / "gone.jpg"], SMALL)
    assert (len(table.features), table.kept, len(table.bad)) == (0, (), 1)
    assert extract_features(network, [], SMALL).kept == ()


@pytest.mark.fault("I6")
@pytest.mark.timeout(30)
def test_pipes_and_devices_are_not_opened(network: nn.Module, photos: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    odd = [tmp_path / "pipe.jpg", tmp_path / "zero.jpg"]
    table = extract_features(network, [*odd, photos[0]], SMALL, store_home=tmp_path / "home")
    assert [file.path for file in table.bad] == odd
    assert table.kept == (2,)


@pytest.mark.thorough
def test_random_views_depend_on_content_and_seed_alone(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    table = extract_features(network, photos, SMALL, views=range(3), store_home=home)
    assert table.views.shape == (3, 10, 512)
    assert torch.equal(table.views[0], table.features)
    assert_close(table.features, plain_features(network, photos, SMALL))
    assert not torch.allclose(table.views[1], table.views[2])
    again = extract_features(network, photos, SMALL, views=range(2), store_home=home)
    assert again.from_cache == 20
    assert torch.equal(again.views, table.views[:2])
    backwards = extract_features(network, photos[::-1], SMALL, views=range(3), workers=1)
    assert_close(backwards.views.flip(1), table.views)
    other_seed = extract_features(network, photos, SMALL, views=range(2), seed=1, store_home=home)
    assert other_seed.from_cache == 10
    assert not torch.allclose(other_seed.views[1], table.views[1])


@pytest.mark.fault("I11")
def test_a_file_that_changes_meanwhile_is_not_kept_under_its_old_content(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    old = photos[9].read_bytes()

    def meddle(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 1:  # all are hashed, the last is not yet decoded
            paint(photos[9], seed=99)

    extract_features(network, photos, SMALL, store_home=home, batch_size=1, workers=1, report=meddle)
    photos[9].write_bytes(old)
    table = extract_features(network, photos, SMALL, store_home=home)
    assert table.from_cache == 9
    assert_close(table.features, plain_features(network, photos, SMALL))


def test_ctrl_c_keeps_what_was_computed_and_leaves_no_thread(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(network, photos, SMALL, store_home=home, batch_size=2, report=interrupt)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("zoo-")]
    table = extract_features(network, photos, SMALL, store_home=home)
    assert table.from_cache == 4
    assert_close(table.features, plain_features(network, photos, SMALL))


def test_a_damaged_cache_is_computed_anew(network: nn.Module, photos: list[Path], home: Path) -> None:
    first = extract_features(network, photos, SMALL, store_home=home)
    [shard] = (home / "features").rglob("*.rows")
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    again = extract_features(network, photos, SMALL, store_home=home)
    assert again.from_cache == 0
    assert torch.equal(first.features, again.features)


def test_a_feature_of_which_no_square_can_be_taken_stops_with_the_name_of_the_file(
    photos: list[Path],
) -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 9, stride=9), nn.Linear(8, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(1e37 * self.conv(images).mean((2, 3)))

    with pytest.raises(TrainingStopped, match=r"\.jpg are as large as .*e\+3[67], and up to 1e\+15 can be"):
        extract_features(Loud().eval(), photos, SMALL)


def test_a_feature_that_is_not_a_number_stops_with_the_name_of_the_file(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    broken = copy.deepcopy(network)
    next(broken.parameters()).data[0] = torch.nan
    with pytest.raises(TrainingStopped, match=r"0\.jpg"):
        extract_features(broken, photos, SMALL, store_home=home)
    assert not list(home.rglob("*.rows"))


def test_the_model_is_left_as_it_was(network: nn.Module, photos: list[Path]) -> None:
    model = copy.deepcopy(network).train()
    before = {key: hashlib.sha256(t.numpy().tobytes()).digest() for key, t in model.state_dict().items()}
    strides = [p.stride() for p in model.parameters()]
    extract_features(model, photos, SMALL, precision="bf16")
    after = {key: hashlib.sha256(t.numpy().tobytes()).digest() for key, t in model.state_dict().items()}
    assert before == after
    assert strides == [p.stride() for p in model.parameters()]
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def extract_with_notes(
    model: nn.Module, photos: list[Path], precision: str
) -> tuple[FeatureTable, list[Note]]:
    events: list[Event] = []
    table = extract_features(model, photos, SMALL, precision=precision, report=events.append)  # type: ignore[arg-type]
    return table, [event for event in events if isinstance(event, Note)]


def test_bf16_states_how_near_it_comes(network: nn.Module, photos: list[Path]) -> None:
    exact = extract_features(network, photos, SMALL).features
    table, [note] = extract_with_notes(network, photos, "bf16")
    assert "cosine to fp32" in note.message
    assert table.features.dtype == torch.float32
    cosine = torch.cosine_similarity(table.features, exact)
    assert cosine.min() > 0.993
    assert table.way == Way(precision="bf16")
    assert table.cosine == pytest.approx(float(cosine.min()), abs=1e-6), "of the whole first batch"
    assert not torch.equal(table.features, exact)


class Cancelling(nn.Module):
    """Adds a large number and takes it away again: nothing is left of the input in bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 9, stride=9), nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc((self.conv(images).mean((2, 3)) + 1000) - 1000)


def test_bf16_is_not_used_where_it_would_say_something_else(photos: list[Path]) -> None:
    torch.manual_seed(0)
    model = Cancelling().eval()
    table, [note] = extract_with_notes(model, photos, "bf16")
    assert (note.level, table.way, table.cosine) == ("warning", PLAIN, None)
    assert "in fp32" in note.message
    assert_close(table.features, plain_features(model, photos, SMALL))


def test_nothing_in_fp32_is_kept_as_bf16(photos: list[Path], home: Path) -> None:
    torch.manual_seed(0)
    model = Cancelling().eval()
    table = extract_features(model, photos, SMALL, precision="bf16", store_home=home)
    assert len([*(home / "features").iterdir()]) == 1
    again = extract_features(model, photos, SMALL, store_home=home)
    assert again.from_cache == len(photos)
    assert torch.equal(again.features, table.features)


def test_bf16_from_the_store_says_that_it_was_compared_before(
    network: nn.Module, photos: list[Path], home: Path
) -> None:
    first = extract_features(network, photos, SMALL, precision="bf16", store_home=home)
    events: list[Event] = []
    again = extract_features(network, photos, SMALL, precision="bf16", store_home=home, report=events.append)
    assert (again.way, again.cosine, again.from_cache) == (first.way, None, len(photos))
    assert torch.equal(again.features, first.features)
    assert [note.message for note in events if isinstance(note, Note)] == [
        "features in bf16, from the store: compared when they were computed"
    ]
    plain = extract_features(network, photos, SMALL, store_home=home)
    assert (plain.way, plain.from_cache) == (PLAIN, 0)


def test_black_pictures_of_which_a_network_sees_nothing_do_not_forbid_bf16() -> None:
    zeros, some = torch.zeros(1, 4), torch.ones(1, 4)
    assert least_cosine(torch.cat([zeros, some]), torch.cat([zeros, some])) == 1
    assert least_cosine(zeros, some) == 0


class SecretReader(nn.Module):
    """Reads a convolution's output beside its batch norm, out of sight of any hook."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 9, stride=9), nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.fc((self.norm(maps) + maps.square()).mean((2, 3)))


def test_folding_that_changes_the_features_is_undone(photos: list[Path]) -> None:
    torch.manual_seed(0)
    model = settle(SecretReader())
    assert_close(extract_features(model, photos, SMALL).features, plain_features(model, photos, SMALL))


class Greedy(nn.Module):
    """Has no memory for more than four images at once."""

    def __init__(self, error: RuntimeError | None = None) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 9, stride=9), nn.Linear(8, 2)
        self.most = 4
        self.error = error or torch.OutOfMemoryError("out of memory")
        self.refused: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            self.refused.append(len(images))
            raise self.error
        return self.fc(self.conv(images).mean((2, 3)))


LACKS_MEMORY = {
    "of a device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "of the CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to …"),
}


@pytest.mark.fault("T2")
@pytest.mark.parametrize("error", LACKS_MEMORY.values(), ids=LACKS_MEMORY)
def test_a_batch_that_memory_does_not_hold_is_halved_until_it_does(
    photos: list[Path], error: RuntimeError
) -> None:
    torch.manual_seed(0)
    model = Greedy(error).eval()
    heard: list[Event] = []
    found = extract_features(model, photos, SMALL, batch_size=12, report=heard.append)
    assert_close(found.features, plain_features(model, photos, SMALL))
    sizes = [event.message for event in heard if isinstance(event, Note)]
    assert sizes == [
        "out of memory: 5 images at a time from now on, not 10",
        "out of memory: 2 images at a time from now on, not 5",
    ]
    model.most = 0
    with pytest.raises(TrainingStopped, match="cpu has not enough memory for one image") as stopped:
        FrozenNetwork(model, torch.device("cpu"), torch.float32)(torch.zeros(4, 3, 64, 64))
    assert stopped.value.hint == "Use a smaller model."


def test_what_did_not_fit_once_is_not_tried_again() -> None:
    torch.manual_seed(0)
    model = Greedy().eval()
    network = FrozenNetwork(model, torch.device("cpu"), torch.float32)
    images = torch.rand(13, 3, 64, 64)
    with torch.inference_mode():
        expected = torch.cat([model(images[start : start + 4]) for start in range(0, 13, 4)])
    assert_close(network(images), expected)
    assert_close(network(images), expected)
    assert model.refused == [13, 6]


def test_another_error_of_the_network_is_not_taken_for_a_lack_of_memory() -> None:
    model = Greedy(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).eval()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        FrozenNetwork(model, torch.device("cpu"), torch.float32)(torch.zeros(8, 3, 64, 64))
