"""Batches that are made on a GPU: equal to those of the CPU, and as careful with files that are not sound."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels import on_gpu
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.decoding import Picture, decode_picture
from zoo.data.pixels.memory import MemoryImage, open_picture
from zoo.data.pixels.metadata import read_jpeg_header
from zoo.data.pixels.on_gpu import Encoded, OnGpu, decoder_of
from zoo.data.pixels.preprocessing import Draws, Preprocessing
from zoo.errors import UnknownName, UnreadableFile

CPU = torch.device("cpu")
INPUT = ImageInput(size=64, resize=72, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WAYS = [("none", 0.0), ("light", 0.25), ("strong", 0.0), ("strong", 0.5)]


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture without noise: colours that change slowly."""
    rows, columns = np.mgrid[0:height, 0:width]
    bands = [127 + 100 * np.sin(rows / (9 + seed + band) + columns / (15 + band)) for band in range(3)]
    return Image.fromarray(np.stack(bands, -1).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    """The bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def on_cpu(jpegs: list[Tensor]) -> list[Tensor]:
    """What nvJPEG does, on the CPU; it applies no rotation either, and raises for the whole list."""
    found = []
    for data in jpegs:
        try:
            with Image.open(io.BytesIO(data.numpy().tobytes())) as image:
                found.append(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))
        except OSError as error:
            raise RuntimeError(str(error)) from error
    return found


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out about kinds of JPEG is forgotten, and images are resized as on a GPU."""
    monkeypatch.setattr(on_gpu, "_TRUSTED", {})
    monkeypatch.delenv("ZOO_DECODER", raising=False)


def made(
    images: list[bytes], way: Preprocessing, *, draws: Draws | None = None, decode: on_gpu.Decoder = on_cpu
) -> tuple[Tensor, list[tuple[str, ...] | UnreadableFile]]:
    """A batch of files, made on the CPU by the code for GPUs."""
    sources = [MemoryImage(Path(f"item:{at}"), data) for at, data in enumerate(images)]
    maker = OnGpu(CPU, sources, way, draws=draws, decode=decode)
    return maker.assemble([(at, maker.read(at)) for at in range(len(images))])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize(("strength", "erase"), WAYS)
def test_a_batch_has_the_views_that_the_cpu_draws(
    interpolation: str, crop: str, strength: str, erase: float
) -> None:
    input = ImageInput(  # noqa: A001
        size=64, resize=72, mean=INPUT.mean, std=INPUT.std, interpolation=interpolation, crop=crop
    )
    way, draws = Preprocessing(input, strength, erase), Draws(3, 1)
    files = [jpeg(smooth(90 + 40 * at, 150, at), quality=95) for at in range(5)]
    found, outcomes = made(files, way, draws=draws)
    expected = torch.stack(
        [way(decode_picture(file).pixels, draws.generator(at)) for at, file in enumerate(files)]
    )
    assert outcomes == [()] * 5
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    grey = 255 * 0.229 * (found - expected).abs()
    assert grey.max() < 6
    assert grey.mean() < 0.1


def test_one_channel_and_no_draws() -> None:
    input = ImageInput(size=32, resize=32, mean=(0.5,), std=(0.5,), channels=1)  # noqa: A001
    file = jpeg(smooth(40, 50))
    found, _ = made([file], Preprocessing(input))
    expected = Preprocessing(input)(decode_picture(file).pixels)
    assert (found[0] - expected).abs().max() < 0.05


def test_randaugment_draws_the_same_operations() -> None:
    way, draws = Preprocessing(INPUT, "randaugment"), Draws(3, 1)
    files = [jpeg(smooth(90, 150, at), quality=95) for at in range(8)]
    found, _ = made(files, way, draws=draws)
    for at, file in enumerate(files):
        expected = way(decode_picture(file).pixels, draws.generator(at))
        assert (found[at] - expected).abs().mean() < 0.05  # an equalisation may turn a rounding into more


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = jpeg(smooth(40, 70), exif=exif, quality=95)
    found, outcomes = made([file], Preprocessing(INPUT))
    assert (found[0] - Preprocessing(INPUT)(decode_picture(file).pixels)).abs().max() < 0.05
    assert outcomes == [("rotated",) if orientation != 1 else ()]


def test_what_a_gpu_takes_for_something_else_is_left_to_the_cpu() -> None:
    plain = jpeg(smooth(64, 96))
    assert read_jpeg_header(plain).is_plain
    others = [
        jpeg(smooth(40, 40), keep_rgb=True),  # red, green and blue, as its Adobe part says
        jpeg(smooth(64, 96).convert("CMYK")),
        plain[: len(plain) * 2 // 3],  # cut off
        plain[:-2],  # without its end mark
        plain.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x08"),  # extended
        b"\xff\xd8\xff\xe0" + bytes(40),
    ]
    for other in others:
        header = read_jpeg_header(other)
        assert header is None or not header.is_plain
    png = io.BytesIO()
    smooth(20, 20).save(png, "PNG")
    assert read_jpeg_header(png.getvalue()) is None
    assert read_jpeg_header(b"") is None


def test_kinds_of_jpeg_are_told_apart() -> None:
    kinds = [
        jpeg(smooth(64, 96), subsampling=0),
        jpeg(smooth(64, 96), subsampling=2),
        jpeg(smooth(64, 96), subsampling=2, progressive=True),
        jpeg(smooth(64, 96).convert("L")),
    ]
    headers = [read_jpeg_header(each) for each in kinds]
    assert all(header.is_plain and (header.height, header.width) == (64, 96) for header in headers)
    assert len({header.kind for header in headers}) == 4


def test_a_kind_with_other_colours_is_decoded_by_the_cpu() -> None:
    calls = []

    def wrong(jpegs: list[Tensor]) -> list[Tensor]:
        calls.append(len(jpegs))
        return [255 - image for image in on_cpu(jpegs)]

    files = [jpeg(smooth(64, 96, at)) for at in range(3)]
    found, _ = made(files, Preprocessing(INPUT), decode=wrong)
    expected = torch.stack([Preprocessing(INPUT)(decode_picture(file).pixels) for file in files])
    assert (found - expected).abs().max() < 0.05
    assert calls == [1]  # it was tried with one file


def test_a_decoder_that_fails_leaves_its_files_to_the_cpu() -> None:
    def fails_for_many(jpegs: list[Tensor]) -> list[Tensor]:
        if len(jpegs) > 1:
            raise RuntimeError("nvJPEG: 6")
        return on_cpu(jpegs)

    files = [jpeg(smooth(64, 96, at)) for at in range(3)]
    found, outcomes = made(files, Preprocessing(INPUT), decode=fails_for_many)
    assert len(found) == 3
    assert outcomes == [()] * 3


def test_a_damaged_file_is_named_and_the_others_stay() -> None:
    sound, other = jpeg(smooth(64, 96)), jpeg(smooth(80, 80))
    sources = [MemoryImage(Path("x"), each) for each in (sound, sound[: len(sound) // 2], b"no image", other)]
    maker = OnGpu(CPU, sources, Preprocessing(INPUT), decode=on_cpu)
    for at in (1, 2):  # the CPU says what is wrong
        with pytest.raises(UnreadableFile):
            maker.read(at)
    damaged = Encoded(torch.zeros(9, dtype=torch.uint8), maker.read(0).header)  # found out as it is decoded
    found, outcomes = maker.assemble([(0, maker.read(0)), (2, damaged), (3, maker.read(3))])
    assert [isinstance(each, UnreadableFile) for each in outcomes] == [False, True, False]
    for image, data in zip(found, (sound, other), strict=True):
        assert (image - Preprocessing(INPUT)(decode_picture(data).pixels)).abs().max() < 0.05


def test_many_large_images_are_decoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "AT_ONCE", 15_000)
    calls = []

    def counted(jpegs: list[Tensor]) -> list[Tensor]:
        calls.append(len(jpegs))
        return on_cpu(jpegs)

    files = [jpeg(smooth(64, 96, at)) for at in range(5)]  # 6,144 pixels each
    found, _ = made(files, Preprocessing(INPUT), decode=counted)
    assert calls == [1, 2, 2, 1]
    assert len(found) == 5
    expected = torch.stack([Preprocessing(INPUT)(decode_picture(file).pixels) for file in files])
    assert (found - expected).abs().max() < 0.05


@pytest.mark.parametrize("most", [0, 1, 2])
def test_where_memory_lacks_a_batch_is_made_in_parts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = on_gpu.prepare

    def small(images: list[Tensor], *others: object) -> Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError
        return whole(images, *others)

    way, draws = Preprocessing(INPUT, "light", 0.25), Draws(3, 1)
    files = [jpeg(smooth(64, 96, at), quality=95) for at in range(5)] + [b"no image"]
    sources = [MemoryImage(Path(f"item:{at}"), data) for at, data in enumerate(files)]
    expected, _ = made(files[:5], way, draws=draws)
    monkeypatch.setattr(on_gpu, "prepare", small)
    maker = OnGpu(CPU, sources, way, draws=draws, decode=on_cpu)
    read = [(at, maker.read(at)) for at in range(5)]
    damaged = Encoded(torch.zeros(9, dtype=torch.uint8), read[0][1].header)
    found, outcomes = maker.assemble([*read[:3], (5, damaged), *read[3:]])
    assert [isinstance(each, tuple) for each in outcomes] == [True, True, True, False, True, True]
    assert (found - expected).abs().max() < 0.1


def test_damaged_headers_are_left_to_the_cpu() -> None:
    sound, draw = jpeg(smooth(64, 96)), np.random.default_rng(0)
    start = sound.index(b"\xff\xc0")
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] = draw.integers(256)
        read_jpeg_header(bytes(damaged))
        read_jpeg_header(sound[:at])
    for colours in (0, 2, 4, 255):
        damaged = bytearray(sound)
        damaged[start + 9] = colours
        header = read_jpeg_header(bytes(damaged))
        assert header is None or not header.is_plain


def bytes_read() -> int:
    """How many this process has read from files so far."""
    counted = Path("/proc/self/io")
    if not counted.is_file():
        pytest.skip("the system does not count what is read")
    return int(counted.read_text().split()[1])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_is_read_once_whoever_decodes_it(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    path = tmp_path / f"noise{suffix}"
    Image.fromarray(noise).save(path, quality=100, subsampling=0)
    size = path.stat().st_size
    assert size > 500_000
    maker = OnGpu(CPU, [path], Preprocessing(INPUT), decode=on_cpu)
    assert isinstance(maker.read(0), Encoded) == (suffix == ".jpg")  # what is imported on the way is read now
    before = bytes_read()
    maker.read(0)
    assert size <= bytes_read() - before < 1.5 * size


def test_a_file_that_cannot_be_read_is_named_as_on_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for name in ("gone.jpg", "empty.jpg"):
        maker = OnGpu(CPU, [tmp_path / name], Preprocessing(INPUT), decode=on_cpu)
        with pytest.raises(UnreadableFile, match=name) as found:
            maker.read(0)
        with pytest.raises(UnreadableFile) as expected:
            open_picture(tmp_path / name)
        assert (found.value.message, found.value.reason) == (expected.value.message, expected.value.reason)


def test_the_decoder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoder_of(CPU) is None
    monkeypatch.setenv("ZOO_DECODER", "cpu")
    assert decoder_of(torch.device("cuda")) is None
    monkeypatch.setenv("ZOO_DECODER", "nvjpeg2000")
    with pytest.raises(UnknownName, match="ZOO_DECODER"):
        decoder_of(CPU)


def test_pixels_in_memory_and_other_formats_join_the_batch() -> None:
    png = io.BytesIO()
    smooth(50, 80).save(png, "PNG")
    pixels = torch.from_numpy(np.array(smooth(70, 70))).permute(2, 0, 1)
    sources = [
        MemoryImage(Path("a"), png.getvalue()),
        MemoryImage(Path("b"), jpeg(smooth(60, 60))),
        MemoryImage(Path("c"), Picture(pixels)),
    ]
    maker = OnGpu(CPU, sources, Preprocessing(INPUT), decode=on_cpu)
    read = [(at, maker.read(at)) for at in range(3)]
    assert [isinstance(each, Encoded) for _, each in read] == [False, True, False]
    found, _ = maker.assemble(read)
    for at, source in enumerate(sources):
        expected = Preprocessing(INPUT)(open_picture(source).pixels)
        assert (found[at] - expected).abs().max() < 0.05


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """JPEGs of all kinds, a PNG, a rotated one, a cut one, and one that is no image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = [
        jpeg(smooth(300, 400, 1), subsampling=0, quality=90),
        jpeg(smooth(300, 400, 2), subsampling=2, quality=90),
        jpeg(smooth(301, 403, 3), subsampling=1, quality=90),
        jpeg(smooth(300, 400, 4), subsampling=2, progressive=True),
        jpeg(smooth(300, 400, 5).convert("L")),
        jpeg(smooth(300, 400, 6).convert("CMYK")),
        jpeg(smooth(300, 400, 7), exif=exif),
        jpeg(smooth(300, 400, 8))[:4000],
        b"no image at all",
        jpeg(smooth(7, 9, 9)),
    ]
    paths = [tmp_path / f"{at}.jpg" for at in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def batches_of(paths: list[Path], way: Preprocessing, device: torch.device, size: int = 4) -> tuple:
    draws = None if way.strength == "none" else Draws(0, 1)
    kinds = {} if draws is None else {"draws": draws}
    with load_batches(paths, way, size, device=device, **kinds) as batches:
        found = [(batch.indices, batch.images) for batch in batches]
        return torch.cat([at for at, _ in found]), torch.cat([each for _, each in found]), batches.failures


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("strength", ["none", "strong"])
def test_a_gpu_makes_the_batches_of_the_cpu(files: list[Path], strength: str) -> None:
    gpu, way = torch.device("cuda"), Preprocessing(INPUT, strength)
    assert decoder_of(gpu) is not None
    indices, images, failures = batches_of(files, way, gpu)
    expected_indices, expected, expected_failures = batches_of(files, way, CPU)
    assert images.device.type == "cuda"
    assert indices.tolist() == expected_indices.tolist()
    assert failures == expected_failures
    assert len(failures) == 2
    grey = 255 * 0.229 * (images.cpu() - expected).abs()
    assert grey.mean((1, 2, 3)).max() < 1.5
    again = batches_of(files, way, gpu, size=3)[1]
    assert torch.allclose(images, again, atol=1e-4)  # whatever else is in the batch, or how many


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_reading_ahead_ends_with_the_batches(files: list[Path]) -> None:
    with load_batches(files * 20, Preprocessing(INPUT), 8, device=torch.device("cuda")) as batches:
        first = next(batches)
        assert first.images.device.type == "cuda"
        assert len(first.indices) == 8
    with load_batches([files[0], files[8]], Preprocessing(INPUT), 1, device=torch.device("cuda")) as batches:
        assert [batch.indices.tolist() for batch in batches] == [[0]]
        assert [*batches.failures] == [1]
    with pytest.raises(UnreadableFile):
        [*load_batches(files, Preprocessing(INPUT), 4, device=torch.device("cuda"), on_bad="stop")]
