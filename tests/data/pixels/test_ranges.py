"""Which values are black and white in images of 16 bit and of floats, and other odd pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.data.pixels import batches
from zoo.data.pixels.batches import measure_range
from zoo.data.pixels.decoding import decode_picture, measure_values
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import UnreadableFile


@pytest.fixture(scope="module")
def grey(data: Path) -> np.ndarray:
    """A photograph of 8 bit, uint16 (120, 160)."""
    photo = Image.open(data / "photos" / "cat_720p.jpg").convert("L").resize((160, 120))
    return np.asarray(photo).astype("uint16")


def encoded(values: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **options)
    return buffer.getvalue()


def read(content: bytes, values: ValueRange | None = None) -> np.ndarray:
    return decode_picture(content, values=values).pixels[0].numpy().astype(int)


def tiff(
    planes: list[np.ndarray],
    *,
    photometric: int,
    planar: int,
    bits: int,
    order: str = "<",
    extra: int | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip per plane, of which Pillow writes none itself."""
    kind = np.dtype(f"{order}u{bits // 8}")
    strips = [plane.astype(kind).tobytes() for plane in planes]
    if planar == 1:
        strips = [np.stack(planes, axis=2).astype(kind).tobytes()]
    height, width = planes[0].shape
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip

    def array(code: str, values: list[int]) -> int:
        nonlocal body
        at = 8 + len(body)
        body += struct.pack(f"{order}{len(values)}{code}", *values)
        return at

    several = len(planes) > 1
    rows = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, len(planes), array("H", [bits] * len(planes)) if len(planes) > 2 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, len(strips), array("I", offsets) if len(strips) > 1 else offsets[0]),
        (277, 3, 1, len(planes)),
        (278, 4, 1, height),
        (279, 4, len(strips), array("I", list(map(len, strips))) if len(strips) > 1 else len(strips[0])),
        *([(284, 3, 1, planar)] if several else []),
        *([] if extra is None else [(338, 3, 1, extra)]),
    ]
    body += b"\0" * (len(body) % 2)
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (
            struct.pack(f"{order}HH", value, 0)
            if kind == 3 and count == 1
            else struct.pack(f"{order}I", value)
        )
        for tag, kind, count, value in rows
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(f"{order}I", 8 + len(body))
    return magic + start + body + struct.pack(f"{order}H", len(rows)) + entries + bytes(4)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("factor", [1, 16, 257])
def test_8_and_12_bits_in_a_file_of_16_are_as_bright_as_the_photograph(
    grey: np.ndarray, form: str, factor: int
) -> None:
    assert abs(read(encoded(grey * factor, form)) - grey).max() <= 1


def test_a_set_has_one_range_and_its_dark_photographs_stay_dark(grey: np.ndarray, tmp_path: Path) -> None:
    dark = grey // 64
    for name, values in (("light", grey * 16), ("dark", dark * 16)):
        (tmp_path / f"{name}.png").write_bytes(encoded(values))
    Image.fromarray(grey.astype("uint8")).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(encoded(grey)[:200])
    values = measure_range(sorted(tmp_path.iterdir()))
    assert values == ValueRange(integers=(0, 4095))
    assert ValueRange.from_facts(values.facts) == values
    assert abs(read((tmp_path / "dark.png").read_bytes(), values) - dark).max() <= 1
    assert abs(read((tmp_path / "light.png").read_bytes(), values) - grey).max() <= 1
    assert measure_range([tmp_path / "plain.png"]) is None


def test_of_files_that_are_known_to_be_plain_none_is_opened(
    grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep, plain = tmp_path / "deep.png", tmp_path / "plain.png"
    deep.write_bytes(encoded(grey * 16))
    Image.fromarray(grey.astype("uint8")).save(plain)
    opened: list[Path] = []
    monkeypatch.setattr(batches, "measure_values", lambda path: opened.append(path) or measure_values(path))
    for _ in range(2):
        assert measure_range([deep, plain], home=tmp_path / "home") == ValueRange(integers=(0, 4095))
    assert opened == [deep, deep]


@pytest.mark.parametrize("white", [1, 255])
def test_float_files_share_the_range_of_their_set(grey: np.ndarray, tmp_path: Path, white: int) -> None:
    values = (grey / 255 * white).astype("float32")
    for name, factor in (("light", 1), ("dark", 1 / 255)):
        (tmp_path / f"{name}.tif").write_bytes(encoded(values * np.float32(factor), "TIFF"))
    found = measure_range(sorted(tmp_path.iterdir()))
    assert found == ValueRange(floats=(0, white))
    assert read((tmp_path / "dark.tif").read_bytes(), found).max() <= 1
    assert abs(read((tmp_path / "light.tif").read_bytes(), found) - grey).max() <= 1


def test_tags_of_a_tiff_state_its_range(grey: np.ndarray) -> None:
    other = ValueRange(integers=(0, 255), floats=(0, 65535))
    stated = encoded(grey * 4, "TIFF", tiffinfo={280: 0, 281: 1023})
    assert abs(read(stated, other) - grey).max() <= 1
    statistics = encoded(grey * 4, "TIFF", tiffinfo={281: int(grey.max()) * 4})
    wide = ValueRange(integers=(0, 65535))
    assert read(statistics, wide).max() <= 4  # the largest value of one photograph is not its white


def with_sbit(content: bytes, bits: int) -> bytes:
    chunk = b"sBIT" + bytes([bits])
    return content[:33] + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


def test_sbit_states_the_range_of_a_png_shifted_as_by_the_standard_or_not(grey: np.ndarray) -> None:
    values = (grey.astype(int) * 4095 // 255).astype("uint16")
    other = ValueRange(integers=(0, 255))
    assert abs(read(with_sbit(encoded(values), 12), other) - grey).max() <= 1
    assert abs(read(with_sbit(encoded(values << 4), 12), other) - grey).max() <= 1
    dark = grey // 32
    assert (
        abs(read(with_sbit(encoded((dark.astype(int) * 4095 // 255 << 4).astype("uint16")), 12)) - dark).max()
        <= 1
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_is_turned_round(grey: np.ndarray, bits: int, order: str) -> None:
    factor = 257 if bits == 16 else 1
    content = tiff([(255 - grey) * factor], photometric=0, planar=1, bits=bits, order=order)
    assert abs(read(content) - grey).max() <= 1


def test_planes_one_after_another_are_right_or_refused(grey: np.ndarray) -> None:
    planes = [grey, grey[::-1], 255 - grey]
    picture = decode_picture(tiff(planes, photometric=2, planar=2, bits=8)).pixels.numpy()
    assert (picture == np.stack(planes)).all()
    with pytest.raises(UnreadableFile, match="3 planes of 16 bit"):
        decode_picture(tiff([plane * 257 for plane in planes], photometric=2, planar=2, bits=16))


def test_many_channels_are_refused_by_their_number(grey: np.ndarray) -> None:
    for channels in (2, 4, 5, 8):
        content = tiff([grey] * channels, photometric=1, planar=1, bits=8)
        with pytest.raises(UnreadableFile, match=f"has {channels} channels.*choose three"):
            decode_picture(content)


def test_colours_of_which_nothing_would_be_left_are_refused(grey: np.ndarray) -> None:
    for white, below in ((1, "256"), (4, "1,024"), (16, "4,096"), (64, "16,384")):
        dim = [(grey / 256 * white).astype(np.uint16) * 255] * 3
        with pytest.raises(UnreadableFile, match=f"values below {below} of 65,535"):
            decode_picture(tiff(dim, photometric=2, planar=1, bits=16))
    bright = decode_picture(tiff([grey * 257] * 3, photometric=2, planar=1, bits=16)).pixels.numpy()
    assert (bright == np.stack([grey] * 3)).all()


def test_a_fourth_band_is_transparency_where_the_file_states_it_and_refused_where_not(
    grey: np.ndarray,
) -> None:
    planes = [grey, grey[::-1], 255 - grey, np.full_like(grey, 255)]
    stated = decode_picture(tiff(planes, photometric=2, planar=1, bits=8, extra=2))
    assert stated.traits == ("alpha",)
    assert (stated.pixels.numpy() == np.stack(planes[:3])).all()
    for extra in (None, 0):
        with pytest.raises(UnreadableFile, match=r"has 4 channels.*choose three"):
            decode_picture(tiff(planes, photometric=2, planar=1, bits=8, extra=extra))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_the_end_mark_alone_is_read_and_counted(data: Path, progressive: bool) -> None:
    photo = Image.open(data / "photos" / "cat_720p.jpg").convert("RGB").resize((160, 120))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90, progressive=progressive)
    content = buffer.getvalue()
    for missing in (1, 2):
        picture = decode_picture(content[:-missing])
        assert picture.traits == ("no end",)
        assert (picture.pixels == decode_picture(content).pixels).all()
    for missing in (12, 40, 200, len(content) // 2):
        with pytest.raises(UnreadableFile, match="cut off"):
            decode_picture(content[:-missing])


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"grey": True}], ids=["420", "444", "grey"])
@pytest.mark.parametrize("interval", [{"restart_marker_blocks": 3}, {"restart_marker_rows": 1}])
def test_a_jpeg_with_restart_marks_is_cut_off_wherever_rows_are_missing(
    options: dict[str, Any], interval: dict[str, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (75, 101, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).convert("L" if options.get("grey") else "RGB")
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", subsampling=options.get("subsampling", 2), **interval)
    content = buffer.getvalue()
    assert (decode_picture(content[:-2]).pixels == decode_picture(content).pixels).all()
    begin = content.index(b"\xff\xda") + 20
    for length in range(begin, len(content) - 20, 7):
        with pytest.raises(UnreadableFile, match="cut off"):
            decode_picture(content[:length])
