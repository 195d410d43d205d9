"""Files that chance wrote, whole and broken, and how many of them a test draws."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

USUAL, QUICK = "usual", "quick"
MANY = 100
for name, examples in ((USUAL, MANY), (QUICK, MANY // 10)):
    settings.register_profile(
        name,
        derandomize=True,  # red for one is red for everybody
        max_examples=examples,
        deadline=None,  # a busy machine is no fault
        suppress_health_check=[HealthCheck.too_slow],
    )


def examples(count: int) -> settings:
    """Draw `count` examples, whatever the machine is busy with. A decorator.

    A fixture is made once for all of them: what a test writes must not matter to its next example.
    """
    share = settings().max_examples / MANY
    return settings(
        max_examples=max(5, int(count * share)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=4)), max_size=5)


def change(content: bytes, changes: list[tuple[int, bytes]], keep: float) -> bytes:
    """The content with some places overwritten, cut after a share of it."""
    data = bytearray(content)
    for where, new in changes:
        data[where % len(data) : where % len(data) + len(new)] = new
    return bytes(data[: int(len(data) * keep)])


def broken(content: bytes) -> st.SearchStrategy[bytes]:
    """The content, changed in some places and cut."""
    return st.builds(change, st.just(content), CHANGES, st.floats(0, 1))


def pack(content: bytes) -> bytes:
    """gzip without the time of day in it, so that an example is the same tomorrow."""
    return gzip.compress(content, mtime=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
OFFSETS = st.lists(st.integers(-1, 2**64), max_size=3)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "F8_E4M3", "F99", ""]),
        "shape": st.lists(st.integers(-1, 2**62), max_size=4),
        "data_offsets": OFFSETS,
    },
)
LOCK = b"""{"schema": 1, "models": {"net": {"url": "https://a.org/net", "sha256": "%s", "bytes": 7,
 "license": "mit", "revision": null}}}""" % (b"ab" * 32)
RECORD = b"""{"name": "net", "weights": {"url": "https://a.org/net", "bytes": 7}, "url": "https://a.org/net",
 "sha256": "%s", "bytes": 7}""" % (b"ab" * 32)
JSON_FILES = (
    broken(LOCK)
    | broken(RECORD)
    | st.binary(max_size=80)
    | JSON.map(lambda value: json.dumps(value).encode())
)


def safetensors_of(header: dict[str, object], body: bytes, shift: int) -> bytes:
    """A safetensors file whose header is said to be so much longer than it is."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", max(len(text) + shift, 0)) + text + body


SAFETENSORS = st.builds(
    safetensors_of,
    st.dictionaries(st.text(max_size=8), TENSOR | JSON, max_size=4),
    st.binary(max_size=64),
    st.integers(-9, 9),
)


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    """A tar file of these names and bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


GOOD_TAR = tar_of([("runs/a/run.json", b"{}"), ("blobs/" + "0" * 64, b"x" * 600)])
TARS = broken(GOOD_TAR)

REGISTRY = b"""models:
  net:
    family: resnet
    task: image-features
    architecture: torchvision/resnet18
    weights: {url: net.pth, sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645}
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    license: mit
"""
YAML = st.text("[]{}:-,&*!|>%@'\"# \n\tabc019.~\\", max_size=60).map(str.encode)
REGISTRIES = broken(REGISTRY) | YAML | st.binary(max_size=60)

TEXT = b"4 3\nthe 0.1 0.2 0.3\nof -1 2e-3 4\nthe 1 2 3\nqueen 5 6 7\n"
BINARY = b"2 3\n" + b"".join(word + struct.pack("<3f", 1.0, 2.0, 3.0) for word in (b"the ", b"of "))
PLAIN = st.builds(change, st.sampled_from([TEXT, TEXT[4:], BINARY]), CHANGES, st.floats(0, 1))
PACKED = st.builds(change, PLAIN.map(pack), CHANGES, st.floats(0, 1))
VECTORS = PLAIN | PACKED | PLAIN.map(pack) | st.binary(max_size=80)
