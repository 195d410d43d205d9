"""Photographs and texts inside a zip, and pictures inside a Parquet table, read in place."""

from __future__ import annotations

import json
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import polars
import pytest
import torch
from PIL import Image

from zoo.data.contents import read_contents
from zoo.data.dataset import Dataset
from zoo.data.kinds import TEXTS
from zoo.data.leaks import keep_copies_together
from zoo.data.listing import list_images, refuse_missing
from zoo.data.pixels.decoding import read_image
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, UnreadableFile, UsageError


def picture(colour: tuple[int, int, int], **save) -> bytes:
    data = BytesIO()
    Image.new("RGB", (12, 10), colour).save(data, save.pop("format", "PNG"), **save)
    return data.getvalue()


PICTURES = {f"{c}/{n}.png": picture((200 * (c == "a"), 10 * n, 200)) for c in "ab" for n in range(4)}


def pack(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpack(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


# --- zip


@pytest.mark.parametrize("above", ["", "photos/", "a folder/photos/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_is_the_dataset_of_its_folder(tmp_path: Path, above: str, compression: int) -> None:
    files = {f"{above}{part}/{name}": data for part in ("train", "val") for name, data in PICTURES.items()}
    files |= {f"__MACOSX/{above}train/a/._1.png": b"x", f"{above}.DS_Store": b"x"}
    packed = pack(tmp_path / "photos.zip", files, compression)
    folder = unpack(packed, tmp_path / "out") / above
    dataset, plain = scan_dataset(packed), scan_dataset(folder)
    assert dataset.classes == plain.classes == ("a", "b")
    assert dataset.split == plain.split
    assert dataset.fingerprint == plain.fingerprint
    for item, same in zip(dataset.items, plain.items, strict=True):
        assert torch.equal(read_image(item.path), read_image(same.path))
    contents = [c.digest for c in read_contents([item.path for item in dataset.items])]
    assert contents == [c.digest for c in read_contents([item.path for item in plain.items])]
    assert None not in contents


def test_a_drawn_split_of_a_zip_is_that_of_the_folder_and_copies_are_found(tmp_path: Path) -> None:
    files = PICTURES | {"b/copy.png": PICTURES["a/0.png"]}
    packed = pack(tmp_path / "photos.zip", files)
    dataset = keep_copies_together(scan_dataset(packed, seed=3, val_fraction=0.5))
    plain = keep_copies_together(scan_dataset(unpack(packed, tmp_path / "out"), seed=3, val_fraction=0.5))
    assert dataset.split == plain.split
    assert "1 image lies in several classes" in said(dataset)
    found = scan_evaluation(packed, ("a", "b"))
    assert len(found.items) == 9


def test_texts_in_a_zip_are_read(tmp_path: Path) -> None:
    lines = {c: "".join(f"a {c} film, number {n}\n" for n in range(4)) for c in ("good", "bad")}
    packed = pack(tmp_path / "reviews.zip", {f"reviews/{c}.txt": text.encode() for c, text in lines.items()})
    dataset = scan_dataset(packed, TEXTS, val_fraction=0.5)
    assert dataset.classes == ("bad", "good")
    assert {item.text for item in dataset.items} == {line for t in lines.values() for line in t.splitlines()}


def test_names_of_members_are_read_as_they_were_meant(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for n in range(2):
            archive.writestr(f"Käfer/{n}.png", picture((n, 0, 0)))
            info = zipfile.ZipInfo(f"Käfer/{n}.png")
            info.filename = f"b\\{n}.png"
            archive.writestr(info, picture((n, 9, 0)))
    dataset = scan_dataset(tmp_path / "t.zip", val_fraction=0.5)
    assert dataset.classes == ("b", "Käfer")
    assert all(read_image(item.path).shape == (3, 10, 12) for item in dataset.items)


@pytest.mark.fault("S3")
def test_members_that_lead_out_and_links_are_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, data in PICTURES.items():
            archive.writestr(name, data)
        archive.writestr("../evil/1.png", b"x")
        archive.writestr("a/../../evil/2.png", b"x")
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    dataset = scan_dataset(tmp_path / "t.zip", val_fraction=0.5)
    assert len(dataset.items) == 8
    assert "1 entry (link.png) passed over" in said(dataset)


@pytest.mark.thorough
@pytest.mark.fault("S3")
def test_a_member_that_unpacks_to_far_too_much_is_refused(tmp_path: Path) -> None:
    files = PICTURES | {"a/bomb.png": b"\x89PNG" + bytes(201_000_000)}
    packed = pack(tmp_path / "t.zip", files)
    with pytest.raises(UnreadableFile, match=r"bomb\.png unpacks to more than 200 MB"):
        read_image(packed / "a" / "bomb.png")


def test_damaged_encrypted_and_absent_members_say_what_they_are(tmp_path: Path) -> None:
    packed = pack(tmp_path / "t.zip", {"a/1.png": PICTURES["a/1.png"] * 50}, zipfile.ZIP_STORED)
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 255
    packed.write_bytes(data)
    with pytest.raises(UnreadableFile, match="is damaged in the archive"):
        read_image(packed / "a" / "1.png")
    with pytest.raises(UnreadableFile, match="does not exist"):
        read_image(packed / "a" / "2.png")
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(DatasetError, match=r"cannot read .*t\.zip"):
        scan_dataset(packed)


def test_a_zip_without_class_folders_says_so(tmp_path: Path) -> None:
    packed = pack(tmp_path / "t.zip", {"1.png": b"", "2.png": b""})
    with pytest.raises(DatasetError, match="holds 2 images but no class folders"):
        scan_dataset(packed)
    with pytest.raises(UsageError, match="is an archive"):
        scan_dataset(packed, label_column="x")


def test_a_zip_is_listed_as_its_images(tmp_path: Path) -> None:
    packed = pack(tmp_path / "t.zip", {"b/10.png": b"", "b/2.png": b"", "a.png": b"", "x.txt": b""})
    assert [path.name for path in list_images([packed])] == ["a.png", "2.png", "10.png"]
    refuse_missing([packed, packed / "b" / "2.png"])
    with pytest.raises(DatasetError, match="no file or folder"):
        refuse_missing([tmp_path / "u.zip" / "b.png"])


# --- Parquet


def table(
    path: Path, images: list[object], labels: list[object], names: list[str] | None = None, **other
) -> Path:
    schema: dict[str, object] = {"image": polars.Struct({"bytes": polars.Binary, "path": polars.String})}
    if images and not isinstance(images[0], dict):
        schema = {"image": polars.Binary}
    frame = polars.DataFrame(
        {"image": images, "label": labels} | other, schema_overrides=schema, strict=False
    )
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    frame.write_parquet(path, metadata=about)
    return path


ROWS = [{"bytes": data, "path": name} for name, data in PICTURES.items()]


def test_pictures_of_a_hugging_face_table_are_items_with_the_names_of_its_classes(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", ROWS, [0] * 4 + [1] * 4, ["ants", "bees"])
    dataset = scan_dataset(path, val_fraction=0.5)
    assert dataset.classes == ("ants", "bees")
    assert dataset.counts("train") == (2, 2)
    for item in dataset.items:
        row = int(item.path.name) - 1
        expected = Image.open(BytesIO(ROWS[row]["bytes"])).convert("RGB").getpixel((0, 0))
        assert tuple(read_image(item.path)[:, 0, 0].tolist()) == expected
        assert item.label == row // 4
    assert None not in [c.digest for c in read_contents([item.path for item in dataset.items])]


def test_plain_bytes_missing_labels_and_empty_pictures_are_understood(tmp_path: Path) -> None:
    images = [*PICTURES.values(), None]
    path = table(tmp_path / "t.parquet", images, ["a"] * 4 + ["b"] * 3 + [None, "b"])
    dataset = scan_dataset(path, val_fraction=0.5)
    assert len(dataset.items) == 8
    assert "1 row of" in said(dataset)
    with pytest.raises(UnreadableFile, match="is an empty cell of the table"):
        read_image(path / "image" / "9")
    with pytest.raises(UnreadableFile, match="does not exist"):
        read_image(path / "image" / "10")
    assert (
        len({read_image(item.path).numpy().tobytes() for item in dataset.items if item.path.name != "9"}) == 7
    )


def test_tables_of_parts_in_pieces_are_joined(tmp_path: Path) -> None:
    for number in range(2):
        table(
            tmp_path / f"train-0000{number}-of-00002-0123456789abcdef.parquet",
            ROWS[number::2],
            [0, 0, 1, 1],
            ["x", "y"],
        )
    table(tmp_path / "test-00000-of-00001.parquet", ROWS[:3], [-1, -1, -1], ["x", "y"])
    dataset = scan_dataset(tmp_path, val_fraction=0.5)
    assert dataset.classes == ("x", "y")
    assert len(dataset.train) + len(dataset.val) == 8
    assert dataset.test == ()
    (tmp_path / "up" / "data").mkdir(parents=True)
    for file in tmp_path.glob("train*.parquet"):
        shutil.copy(file, tmp_path / "up" / "data")
    assert len(scan_dataset(tmp_path / "up", val_fraction=0.5).items) == 8


def test_many_rows_are_read_in_any_order(tmp_path: Path) -> None:
    images = [picture((n % 256, n // 256, 0)) for n in range(300)]
    path = table(tmp_path / "t.parquet", images, [n % 2 for n in range(300)])
    for row in (300, 1, 64, 65, 128, 299, 2):
        assert read_image(path / "image" / str(row))[:2, 0, 0].tolist() == [(row - 1) % 256, (row - 1) // 256]
