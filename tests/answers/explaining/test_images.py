"""Explanations of photographs: placed rightly, checked, beside what is alike, and as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.kits import Kit

from zoo.answers.explaining.drawing import LONGEST, MARK, write_picture
from zoo.answers.explaining.explanations import ImageExplanation
from zoo.answers.explaining.occlusion import check_map, occlusion_maps
from zoo.answers.explaining.placement import place_map
from zoo.answers.run import Run, load_run
from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.preprocessing import preprocess, seen_part
from zoo.errors import DatasetError, UnknownName, UnreadableFile
from zoo.events import Event, Note

HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("shape", [(400, 300), (300, 401), (90, 120), (224, 224)])
@pytest.mark.parametrize(
    ("crop", "size", "resize"),
    [("center", 224, 256), ("center", 224, 200), ("squash", 96, 96), ("border", 96, 96)],
)
def test_a_map_lies_where_the_network_saw_it(
    shape: tuple[int, int], crop: str, size: int, resize: int
) -> None:
    """A white square goes through the preprocessing, and what comes out is laid over the photograph again."""
    settings = ImageInput(size=size, resize=resize, mean=HALF, std=HALF, crop=crop)  # type: ignore[arg-type]
    height, width = shape
    photo = torch.zeros(3, height, width, dtype=torch.uint8)
    rows, columns = slice(height // 3, height // 2), slice(width // 3, width // 2)
    photo[:, rows, columns] = 255
    seen = (preprocess(photo, settings)[0].numpy() + 1) / 2
    if crop == "border":  # the padding is grey
        seen = np.where(np.abs(seen - 0.5) < 0.01, 0, seen)
    placed = place_map(seen.astype(np.float32), seen_part(height, width, settings), shape, height, width)
    y, x = (np.average(np.arange(n), weights=placed.sum(axis)) for n, axis in ((height, 1), (width, 0)))
    assert y == pytest.approx((rows.start + rows.stop - 1) / 2, abs=1.0)
    assert x == pytest.approx((columns.start + columns.stop - 1) / 2, abs=1.0)


def test_an_image_on_its_side_is_explained_as_a_person_sees_it(digits: Run, kit: Kit, tmp_path: Path) -> None:
    with Image.open(kit.val("five")[0]) as image:
        upright = image.convert("RGB").resize((40, 60))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[274] = 6
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    one, other = digits.explain([tmp_path / "upright.png", tmp_path / "turned.png"], nearest=0)
    assert isinstance(one, ImageExplanation)
    assert isinstance(other, ImageExplanation)
    assert one.shape == other.shape == (60, 40)
    assert one.box == other.box
    assert np.array_equal(one.map, other.map)  # type: ignore[arg-type]


def bright_corner(images: torch.Tensor) -> torch.Tensor:
    """Outputs of a network that looks at the upper left quarter alone."""
    value = images[:, 0, :16, :16].mean((1, 2))
    return torch.stack([value, -value], 1)


def test_occlusion_finds_what_the_network_looks_at() -> None:
    image = torch.ones(1, 32, 32)
    (grid,) = occlusion_maps(image, bright_corner, [lambda outputs: outputs[:, 0]])
    assert grid[:4, :4].min() > 10 * grid[7:, 7:].abs().max()


@pytest.mark.parametrize(("corner", "confirmed"), [("upper left", True), ("lower right", False)])
def test_a_map_is_confirmed_only_where_it_matters(corner: str, confirmed: bool) -> None:
    heat = torch.zeros(32, 32)
    place = slice(0, 14) if corner == "upper left" else slice(18, 32)
    heat[place, place] = 1
    check = check_map(
        torch.ones(1, 32, 32),
        heat,
        bright_corner,
        lambda outputs: outputs[:, 0] - outputs[:, 1],
        lambda outputs: outputs.softmax(1)[:, 0].tolist(),
    )
    assert check.confirmed is confirmed
    assert (check.hot < check.cold) is confirmed


def test_few_random_maps_are_confirmed(insects: Run, data: Path) -> None:
    """A map that has nothing to do with the answer passes as often as chance lets it, which is said nowhere
    else: far less than those of Grad-CAM."""
    from zoo.answers.explaining import explainer
    from zoo.answers.explaining.placement import enlarge

    photos = sorted((data / "hymenoptera" / "val").glob("*/*.jpg"))[5::10][:12]
    real = [one.check for one in insects.explain(photos, nearest=0) if isinstance(one, ImageExplanation)]
    torch.manual_seed(0)

    def noise(_network: object, _image: object, targets: list[int]) -> torch.Tensor:
        return torch.randn(len(targets), 7, 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explainer, "grad_cam", noise)
        random = [
            one.check for one in insects.explain(photos, nearest=0) if isinstance(one, ImageExplanation)
        ]
    assert enlarge(torch.ones(7, 7), 224).shape == (224, 224)
    passed = [sum(bool(check and check.confirmed) for check in checks) for checks in (real, random)]
    assert passed[0] >= 6
    assert passed[1] <= passed[0] / 2


def test_a_training_image_is_nearest_to_itself(digits: Run, kit: Kit) -> None:
    photo = sorted((kit.images / "train" / "eight").iterdir())[0]
    (found,) = digits.explain([photo], data=kit.images, nearest=4)
    first = found.nearest[0]
    assert (first.path.name, first.label) == (photo.name, "eight")
    assert first.distance == pytest.approx(0, abs=1e-5)
    assert [near.distance for near in found.nearest] == sorted(near.distance for near in found.nearest)
    assert all("train" in near.path.parts for near in found.nearest)


def test_without_the_training_data_the_map_is_there_and_a_note_says_what_to_do(
    digits: Run, kit: Kit, tmp_path: Path
) -> None:
    notes: list[Event] = []
    run = load_run(digits.path, store=digits.store, report=notes.append)
    (found,) = run.explain([kit.val("five")[0]])
    assert found.nearest == ()
    assert any(isinstance(n, Note) and "--data" in (n.hint or "") for n in notes)
    (tmp_path / "a").mkdir()
    with pytest.raises(DatasetError, match="none of the items that the run was trained on"):
        run.explain([kit.val("five")[0]], data=tmp_path / "a")


def test_an_unknown_label_is_answered_with_close_ones(digits: Run, kit: Kit) -> None:
    with pytest.raises(UnknownName, match="eigth"):
        digits.explain([kit.val("five")[0]], labels=["eigth"], nearest=0)


def test_what_cannot_be_read_is_named_in_its_place(digits: Run, kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    items = [kit.val("five")[0], tmp_path / "bad.png", kit.val("eight")[0]]
    found = digits.explain(items, nearest=0)
    assert [one.error is None for one in found] == [True, False, True]
    with pytest.raises(UnreadableFile):
        digits.explain(items, nearest=0, on_bad="stop")


def test_pictures_are_bounded_and_spare_files_of_others(digits: Run, tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    (found,) = digits.explain([large], nearest=0)
    assert isinstance(found, ImageExplanation)
    out, taken = tmp_path / "out", set[Path]()
    first = write_picture(found, out, taken)
    with Image.open(first) as picture:
        assert picture.width <= 2 * LONGEST + 24
        assert picture.info["Software"] == MARK
    assert write_picture(found, out, taken).name == first.stem + "-2.png"  # the same name in one command
    assert write_picture(found, out, set()) == first  # ours, of an earlier command
    Image.new("RGB", (9, 9)).save(first)
    stranger = first.read_bytes()
    assert write_picture(found, out, set()).name == first.stem + "-2.png"
    assert first.read_bytes() == stranger
    assert not list(out.glob(".*"))


def test_where_nothing_speaks_for_a_class_the_map_is_empty_and_unchecked(
    digits: Run, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.answers.explaining import explainer

    monkeypatch.setattr(
        explainer, "grad_cam", lambda _network, _image, targets: -torch.ones(len(targets), 4, 4)
    )
    (found,) = digits.explain([kit.val("five")[0]], labels=["eight"], nearest=0)
    assert isinstance(found, ImageExplanation)
    assert found.check is None
    assert found.map is not None
    assert not found.map.any()
    write_picture(found, tmp_path, set())
