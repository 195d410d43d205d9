"""One decoder: what it makes of every format, mode and orientation, and what it says of broken files."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from zoo.data.pixels import decoding as images
from zoo.data.pixels.decoding import MOST_BYTES, decode_picture, read_image, read_picture
from zoo.errors import UnreadableFile


@pytest.fixture(scope="module")
def photo(data: Path) -> Image.Image:
    """A photograph of 384 x 512 pixels, higher than wide."""
    return Image.open(data / "photos" / "hot_dog.jpg").convert("RGB").transpose(Image.Transpose.ROTATE_90)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def pixels(content: bytes) -> torch.Tensor:
    return decode_picture(content).pixels


def traits(content: bytes) -> tuple[str, ...]:
    return decode_picture(content).traits


def reason(content: bytes) -> str:
    with pytest.raises(UnreadableFile) as error:
        decode_picture(content)
    return error.value.reason


# --- real files


def test_every_photograph_is_read_as_pillow_reads_it(data: Path) -> None:
    for path in sorted((data / "photos").iterdir()):
        got = read_image(path)
        assert got.dtype == torch.uint8
        assert torch.equal(got, as_tensor(Image.open(path)))


def test_jpegs_are_the_same_with_and_without_torchvisions_decoder(
    data: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((data / "hymenoptera" / "val" / "ants").iterdir())[:20]
    contents = [path.read_bytes() for path in files]
    contents += [
        encoded(photo, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        for quality in (30, 95)
        for subsampling in (0, 1, 2)
        for progressive in (False, True)
    ]
    contents += [encoded(photo.convert("L"), "JPEG"), encoded(photo, "JPEG", keep_rgb=True)]
    assert images._torchvision_decoder() is not None
    with_it = [pixels(content) for content in contents]
    monkeypatch.setattr(images, "_torchvision_decoder", lambda: None)
    for content, expected in zip(contents, with_it, strict=True):
        got = pixels(content)
        assert torch.equal(got, expected)
        assert got.stride() == expected.stride()


@pytest.mark.parametrize("present", [True, False])
def test_a_jpeg_cut_anywhere_is_an_error_with_either_decoder(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, present: bool
) -> None:
    if not present:
        monkeypatch.setattr(images, "_torchvision_decoder", lambda: None)
    content = encoded(photo.resize((60, 80)), "JPEG")
    for length in range(0, len(content) - 2, 37):
        assert reason(content[:length])


def test_the_placeholder_gif_among_the_ants_is_read(data: Path) -> None:
    picture = read_picture(data / "hymenoptera" / "train" / "ants" / "imageNotFound.gif")
    assert picture.pixels.shape[0] == 3
    assert picture.pixels.float().std() > 10


def test_the_ending_of_the_name_does_not_matter(photo: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo, "PNG"))
    assert torch.equal(read_image(tmp_path / "a.jpg"), as_tensor(photo))


# --- I2: modes


@pytest.mark.fault("I2")
@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "AVIF", "JPEG"])
def test_every_format_is_read(photo: Image.Image, form: str) -> None:
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}, "JPEG": {"quality": 95}}.get(form, {})
    got = pixels(encoded(photo, form, **options)).float()
    lossy = form in ("GIF", "AVIF", "JPEG")
    assert (got - as_tensor(photo).float()).abs().mean() < (8 if lossy else 0.001)


@pytest.mark.fault("I2")
def test_progressive_jpegs_and_colour_profiles_change_nothing(photo: Image.Image) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = pixels(encoded(photo, "JPEG", quality=90))
    assert torch.equal(pixels(encoded(photo, "JPEG", quality=90, progressive=True)), plain)
    assert torch.equal(pixels(encoded(photo, "JPEG", quality=90, icc_profile=profile)), plain)


@pytest.mark.fault("I2")
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_of_the_picture(photo: Image.Image, form: str) -> None:
    content = encoded(photo.convert("CMYK"), form)
    assert (pixels(content).float() - as_tensor(photo).float()).abs().mean() < 3
    assert traits(content) == ("cmyk",)


@pytest.mark.fault("I2")
def test_grey_palette_and_one_bit_images_become_rgb(photo: Image.Image) -> None:
    for mode, close in (("L", 0.001), ("P", 0.001), ("1", 0.001)):
        image = photo.convert(mode)
        got = pixels(encoded(image, "PNG"))
        assert got.shape == (3, 512, 384)
        assert (got.float() - as_tensor(image).float()).abs().max() <= close


@pytest.mark.fault("I2")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_are_white_and_half_transparent_ones_half(mode: str) -> None:
    image = Image.new("RGBA", (30, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (10, 0, 20, 10))
    image.paste((0, 0, 0, 255), (20, 0, 30, 10))
    if mode == "PA":
        content = encoded(image.convert("RGBA").quantize(8), "PNG")  # palette with transparency
    else:
        content = encoded(image.convert(mode), "PNG")
    got = pixels(content)[0, 5].int()
    assert got[5] == 255
    assert abs(got[15] - 127) <= 2
    assert got[25] == 0
    assert traits(content) == ("alpha",)


@pytest.mark.fault("I2")
def test_a_transparent_colour_of_a_palette_or_of_rgb_is_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert pixels(encoded(image, "PNG", transparency=1)).min() == 255
    assert pixels(encoded(image, "GIF", transparency=1)).min() == 255
    plain = Image.new("RGB", (4, 4), (1, 2, 3))
    assert pixels(encoded(plain, "PNG", transparency=(1, 2, 3))).min() == 255


@pytest.mark.fault("I2")
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(form: str) -> None:
    ramp = np.linspace(0, 65535, 256 * 64).reshape(64, 256).astype(np.uint16)
    content = encoded(Image.fromarray(ramp), form)
    got = pixels(content).float()
    assert abs(got.mean() - 127.5) < 0.1  # clipped it would be 254
    assert (got[0] - torch.from_numpy(ramp.astype(np.float32)) / 257).abs().max() <= 0.51
    assert traits(content) == ("deep",)


@pytest.mark.fault("I2")
@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floats_are_scaled_by_the_kind_of_their_range(white: float) -> None:
    ramp = np.linspace(0, 0.9 * white, 64 * 64, dtype=np.float32).reshape(64, 64)
    got = pixels(encoded(Image.fromarray(ramp), "TIFF")).float()
    assert abs(got.mean() - 0.45 * 255) < 0.6
    assert got.max() == round(0.9 * 255)


@pytest.mark.fault("I2")
def test_floats_of_no_usual_range_are_stretched_and_nan_is_black() -> None:
    ramp = np.linspace(-300, 700, 64 * 64, dtype=np.float32).reshape(64, 64)
    ramp[0, 1] = np.nan
    got = pixels(encoded(Image.fromarray(ramp), "TIFF"))
    assert (got.min(), got.max()) == (0, 255)
    flat = np.full((4, 4), -5, dtype=np.float32)
    assert pixels(encoded(Image.fromarray(flat), "TIFF")).max() == 0


@pytest.mark.fault("I2")
def test_integers_of_32_bits_are_scaled() -> None:
    ramp = np.linspace(0, 60000, 64 * 64).reshape(64, 64).astype(np.int32)
    assert abs(pixels(encoded(Image.fromarray(ramp), "TIFF")).float().mean() - 30000 / 257) < 0.5


@pytest.mark.fault("I2")
def test_of_a_multi_picture_jpeg_the_photograph_is_taken(photo: Image.Image) -> None:
    other = Image.new("RGB", photo.size, "red")
    content = encoded(photo, "MPO", save_all=True, append_images=[other], quality=95)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert (pixels(content).float() - as_tensor(photo).float()).abs().mean() < 4
    assert traits(content) == ()


@pytest.mark.fault("I2")
def test_large_images_are_converted_in_strips_without_a_seam(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = photo.convert("RGBA")
    layer.putalpha(photo.convert("L"))
    contents = [encoded(layer, "PNG"), encoded(photo, "PNG"), encoded(photo.convert("P"), "PNG")]
    whole = [pixels(content) for content in contents]
    monkeypatch.setattr("zoo.data.pixels.decoding._BAND_PIXELS", 384 * 7)
    for content, expected in zip(contents, whole, strict=True):
        assert torch.equal(pixels(content), expected)


# --- I3: orientation

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.fault("I3")
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_give_the_same_tensor(photo: Image.Image, form: str) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = photo.transpose(TURNED[orientation]) if orientation in TURNED else photo
        options = {"lossless": True} if form == "WEBP" else {}
        content = encoded(stored, form, exif=exif, **options)
        assert torch.equal(pixels(content), as_tensor(photo)), orientation


@pytest.mark.fault("I3")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_exactly_as_pillow_would(photo: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo, "JPEG", exif=exif, quality=90)
    assert torch.equal(pixels(content), as_tensor(ImageOps.exif_transpose(Image.open(io.BytesIO(content)))))
    assert traits(content) == (("rotated",) if orientation > 1 else ())


@pytest.mark.fault("I3")
def test_nonsense_in_exif_does_not_lose_the_picture(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert pixels(encoded(photo, "JPEG", exif=exif)).shape == (3, 512, 384)
    assert pixels(encoded(photo, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")).shape == (3, 512, 384)


# --- I4: several frames


@pytest.mark.fault("I4")
@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_told(form: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert pixels(content)[:, 5, 5].tolist() == [255, 0, 0]
    assert traits(content) == ("first frame",)
    assert traits(encoded(frames[0], form, **options)) == ()


@pytest.mark.fault("I4")
def test_a_damaged_second_frame_does_not_matter() -> None:
    frames = [Image.effect_noise((60, 60), 50 + i).convert("P") for i in range(2)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(encoded(frames[0], "GIF"))
    assert pixels(content[: first + 20]).shape == (3, 60, 60)


# --- I1: broken files


@pytest.mark.fault("I1")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page, not an image"),
        (b"\n  <HTML>", "is a web page, not an image"),
        (b'{"error": "gone"}', "is JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC photograph: convert it"),
        (b"%PDF-1.7", "is a PDF"),
        (b"PAR1\x15\x04", "is a Parquet table"),
        (b"\x93NUMPY\x01\x00", "is an array of numpy"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"PK\x03\x04abc", "is a zip archive"),
        (bytes(1000), "holds zeros"),
        (b"\x93something else", "is not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image of a known format"),
    ],
)
def test_a_file_that_is_no_image_says_what_it_is(content: bytes, words: str) -> None:
    assert words in reason(content)


@pytest.mark.fault("I1")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image_is_never_half_an_image(photo: Image.Image, form: str, share: float) -> None:
    content = encoded(photo, form)
    why = reason(content[: int(share * len(content))])
    assert "cut off" in why or "damaged" in why
    assert "\n" not in why


@pytest.mark.fault("I1")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_a_file_cut_within_its_header_is_an_error_too(photo: Image.Image, form: str) -> None:
    for length in (1, 5, 12, 20, 40, 100):
        assert reason(encoded(photo, form)[:length])


@pytest.mark.fault("I1")
def test_a_flipped_bit_in_a_png_is_found_wherever_it_is(photo: Image.Image) -> None:
    content = encoded(photo, "PNG")
    for position in range(40, len(content), len(content) // 40):
        damaged = bytearray(content)
        damaged[position] ^= 4
        assert "damaged" in reason(bytes(damaged))


@pytest.mark.fault("I1")
def test_a_png_with_a_wrong_checksum_alone_is_an_error(photo: Image.Image) -> None:
    content = bytearray(encoded(photo, "PNG"))
    start = content.index(b"IDAT") - 4
    length = struct.unpack_from(">I", content, start)[0]
    content[start + 8 + length] ^= 1  # the checksum itself: the pixels are right
    assert reason(bytes(content)) == "is damaged: wrong checksum in its IDAT part"


@pytest.mark.fault("I1")
def test_the_error_names_the_file_on_one_line_and_keeps_the_reason_apart(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.jpg"
    path.write_bytes(b"")
    with pytest.raises(UnreadableFile) as error:
        read_image(path)
    assert error.value.message == f"{tmp_path}/a\\nb.jpg is empty (0 bytes)"
    assert error.value.reason == "is empty (0 bytes)"


@pytest.mark.fault("I1")
@pytest.mark.timeout(20)
def test_pipes_devices_folders_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, words in [
        (tmp_path / "pipe.jpg", "is not a file"),
        (tmp_path / "zero.jpg", "is not a file"),
        (tmp_path, "is a folder"),
        (tmp_path / "gone.jpg", "does not exist"),
        (tmp_path / "loop.jpg", "cannot be read"),
    ]:
        with pytest.raises(UnreadableFile, match=words):
            read_image(path)


@pytest.mark.fault("I1")
def test_random_damage_ends_in_an_image_or_in_our_error(photo: Image.Image) -> None:
    random = np.random.default_rng(0)
    small = photo.resize((60, 80))
    for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "PPM"):
        content = encoded(small, form)
        for _ in range(60):
            damaged = bytearray(content)
            for position in random.integers(0, len(content), 4):
                damaged[position] = random.integers(0, 256)
            with suppress(UnreadableFile):  # and nothing else
                assert pixels(bytes(damaged)).shape[0] == 3


# --- I5: bombs


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares its size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))


def jpeg_header(width: int, height: int, **options: object) -> bytes:
    """A JPEG of 8 x 8 pixels that declares another size."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG", **options))
    start = content.index(b"\xff\xc2" if options else b"\xff\xc0")  # the frame header, T.81 B.2.2
    struct.pack_into(">HH", content, start + 5, height, width)
    return bytes(content)


@pytest.mark.fault("I5")
def test_an_image_of_too_many_pixels_is_refused_by_its_header() -> None:
    assert "has 10,400 x 10,400 pixels, more than 40 million" in reason(png_header(10_400, 10_400))
    assert "has 30,000 x 30,000 pixels, more than 40 million" in reason(png_header(30_000, 30_000))


def test_the_cap_of_pixels_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (7_000, 6_000), 90).save(path)
    with pytest.raises(UnreadableFile, match=r"more than 40 million: .* ZOO_MAX_PIXELS"):
        read_image(path)
    monkeypatch.setenv("ZOO_MAX_PIXELS", "50_000_000")
    assert read_image(path).shape == (3, 6_000, 7_000)
    monkeypatch.setenv("ZOO_MAX_PIXELS", "many")
    with pytest.raises(UnreadableFile, match="more than 40 million"):
        read_image(path)


@pytest.mark.fault("I5")
def test_a_line_is_no_picture_but_one_pixel_is() -> None:
    assert reason(encoded(Image.new("RGB", (1, 20_000)), "PNG")) == (
        "is a line of 1 x 20,000 pixels, not a picture"
    )
    assert pixels(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).flatten().tolist() == [255, 0, 0]
    assert pixels(encoded(Image.new("RGB", (100, 1)), "PNG")).shape == (3, 1, 100)


@pytest.mark.thorough
@pytest.mark.fault("I5")
def test_bombs_are_refused_or_decoded_smaller_and_cost_less_than_500_megabytes_each(tmp_path: Path) -> None:
    side = 10_400
    Image.new("RGB", (side, side), (200, 30, 30)).save(tmp_path / "108.jpg")
    (tmp_path / "108.png").write_bytes(png_header(side, side))
    (tmp_path / "900.png").write_bytes(png_header(30_000, 30_000))
    (tmp_path / "900.jpg").write_bytes(jpeg_header(30_000, 30_000))
    (tmp_path / "131p.jpg").write_bytes(jpeg_header(2_000, 65_500, progressive=True))
    Image.new("RGB", (6300, 6300), "red").save(tmp_path / "allowed.png")
    Image.new("RGB", (6300, 6300), "red").save(tmp_path / "progressive.jpg", progressive=True)
    code = """
import resource, sys
from pathlib import Path
from zoo.data.pixels.decoding import read_image
from zoo.errors import UnreadableFile
read_image(Path(sys.argv.pop(1)))  # the imports of the first image are not the images' cost
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    try:
        found = "x".join(map(str, read_image(path).shape))
    except UnreadableFile:
        found = "refused"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(path.name, found, peak / 1024)
"""
    paths = [tmp_path / "warm.jpg", *sorted(tmp_path.iterdir())]
    Image.new("RGB", (8, 8)).save(paths[0])
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, timeout=120
    )
    told = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert told["108.jpg"][0] == "3x5200x5200"  # decoded at half its size
    assert told["allowed.png"][0] == "3x6300x6300"
    assert all(told[name][0] == "refused" for name in ("108.png", "900.png", "900.jpg", "131p.jpg"))
    for _, megabytes in told.values():
        assert float(megabytes) < 500, told
    assert done.stderr == ""  # no warning of Pillow's


@pytest.mark.fault("I5")
def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "huge.tif", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(UnreadableFile, match="has 200 MB, more than 200"):
        read_image(tmp_path / "huge.tif")


# --- reading less than everything


def test_a_jpeg_is_decoded_smaller_only_as_far_as_allowed(data: Path) -> None:
    path = data / "photos" / "cat_720p.jpg"  # 1280 x 720
    assert read_image(path).shape == (3, 720, 1280)
    assert read_image(path, keep=361).shape == (3, 720, 1280)
    assert read_image(path, keep=360).shape == (3, 360, 640)
    assert read_image(path, keep=100).shape == (3, 180, 320)
    assert read_image(path, keep=1).shape == (3, 90, 160)
    assert (
        read_image(data / "photos" / "bird.bmp", keep=10).shape
        == read_image(data / "photos" / "bird.bmp").shape
    )


def test_keeping_four_times_the_size_hardly_changes_the_resized_image(data: Path) -> None:
    from zoo.data.pixels.preprocessing import resize, shorter_side

    path = data / "photos" / "cat_720p.jpg"
    whole, less = read_image(path), read_image(path, keep=4 * 64)
    assert less.shape[-2:] == (360, 640)
    size = shorter_side(720, 1280, 64)
    error = (resize(whole, size, "bilinear").float() - resize(less, size, "bilinear").float()).abs()
    assert error.mean() < 0.5


def test_long_texts_and_profiles_in_a_png_are_not_a_reason_to_refuse_it(tmp_path: Path) -> None:
    from PIL import PngImagePlugin

    image = Image.new("RGB", (20, 10), (10, 20, 30))
    info = PngImagePlugin.PngInfo()
    info.add_text("xmp", "".join(map(str, range(900_000))), zip=True)
    info.add_itxt("more", "x" * 3_000_000)
    image.save(tmp_path / "text.png", pnginfo=info)
    image.save(tmp_path / "icc.png", icc_profile=bytes(range(256)) * 40_000)
    packed = PngImagePlugin.PngInfo()
    packed.add_text("xmp", "x" * 3_000_000, zip=True)
    packed.add_itxt("note", "y" * 3_000_000, zip=True)
    image.save(tmp_path / "packed.png", pnginfo=packed)
    image.save(tmp_path / "zeros.png", icc_profile=bytes(2_000_000))
    image.save(tmp_path / "plain.png")
    plain = read_image(tmp_path / "plain.png")
    for name in ("text.png", "icc.png", "packed.png", "zeros.png"):
        assert torch.equal(read_image(tmp_path / name), plain)


# --- the process is left alone


_ODD = """
import io, struct, sys, warnings
import numpy as np
from PIL import Image
import torch, torchvision.io  # they add filters of their own
before = list(warnings.filters)
import zoo, zoo.data.pixels.batches
from zoo.data.pixels.decoding import decode_picture
assert list(warnings.filters) == before, "import"
def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
photo = Image.open(sys.argv[1]).convert("RGB").resize((60, 40))
exif = Image.Exif()
exif[0x0112] = 6
exif[0x010e] = "words " * 20
cut = exif.tobytes()[:-60]  # the text of a tag lies outside
turned = decode_picture(encoded(photo, "JPEG", exif=cut))
assert turned.pixels.shape == (3, 60, 40) and turned.traits == ("rotated",), turned.traits
tiff = encoded(photo, "TIFF", tiffinfo={270: "words " * 20})
at = tiff.index(struct.pack("<HH", 270, 2))
tiff = tiff[:at + 8] + struct.pack("<I", 1 << 30) + tiff[at + 12:]
assert (decode_picture(tiff).pixels.permute(1, 2, 0).numpy() == np.asarray(photo)).all()
large = encoded(Image.new("L", (10000, 9500)), "JPEG")
assert decode_picture(large, keep=200).pixels.shape[1] < 9500
for form in ("PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG"):
    assert decode_picture(encoded(photo, form)).pixels.shape == (3, 40, 60)
assert list(warnings.filters) == before, "decoding"
"""


@pytest.mark.parametrize("filters", ["error", "always"])
def test_warnings_of_pillow_are_neither_raised_nor_printed_and_the_filters_stay(
    data: Path, filters: str
) -> None:
    options = ["-W", f"{filters}::UserWarning", "-W", f"{filters}::RuntimeWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", _ODD, str(data / "photos" / "cat_720p.jpg")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
