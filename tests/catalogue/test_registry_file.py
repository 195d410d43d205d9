"""A registry file is read strictly: every mistake is named with its file, line and field."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

from zoo.catalogue.entry import ImageModel, WordModel
from zoo.catalogue.registry import entry_from, entry_to_mapping, load_registry, read_registry_file
from zoo.errors import InvalidRegistry

GOOD = """\
models:
  net:
    family: mobilenet
    task: image-classification
    architecture: torchvision/mobilenet_v2
    weights:
      url: weights/net.pth
      sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: bilinear}
    classes: imagenet-1k
    license: apache-2.0
"""
SHA = "adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "registry.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes) -> str:
    """What is said about a file that is not read."""
    path = written(folder, text)
    with pytest.raises(InvalidRegistry) as caught:
        read_registry_file(path)
    assert caught.value.message.startswith(f"{path}:")
    return str(caught.value).replace(f"{path}:", "LINE ")


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_the_printed_registry_of_the_real_data_loads_as_it_stands(data: Path) -> None:
    entries = read_registry_file(data / "registry.yaml")
    net, words = entries["mobilenet_v2_demo"], entries["glove_demo"]
    assert isinstance(net, ImageModel)
    assert isinstance(words, WordModel)
    assert net.input.mean == (0.5, 0.5, 0.5)
    assert words.input.dimension == 50
    assert net.registry == data / "registry.yaml"
    assert net.weights.url == (data / "weights" / "mobilenet_v2-adb27a5a.pth").as_uri()


def test_an_entry_survives_the_way_through_plain_values(data: Path) -> None:
    for name, entry in read_registry_file(data / "registry.yaml").items():
        mapping = entry_to_mapping(entry)
        assert "registry" not in mapping
        again = entry_from(name, mapping)
        assert entry_to_mapping(again) == mapping
        assert again.weights == entry.weights


def test_a_path_relative_to_the_registry_works_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with space").mkdir()
    written(tmp_path / "with space", GOOD)
    monkeypatch.chdir(tmp_path)
    entry = read_registry_file(Path("with space/registry.yaml"))["net"]
    assert entry.weights.url == (tmp_path / "with space/weights/net.pth").as_uri()
    assert "%20" in str(entry.weights.url)


def test_a_later_file_overrides_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, license_ in (("first", "mit"), ("second", "bsd-3-clause")):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, changed("apache-2.0", license_))
    monkeypatch.setenv("ZOO_REGISTRY", os.pathsep.join([str(tmp_path / "first/registry.yaml"), ""]))
    assert load_registry()["net"].license == "mit"
    assert load_registry([tmp_path / "second/registry.yaml"])["net"].license == "bsd-3-clause"


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = changed("sha256: " + SHA, "sha256: 12345678").replace("license: apache-2.0", "license: no")
    said = refused(tmp_path, text + "  other: {task: words}\nextra: 1\n")
    assert [line.split(":")[0] for line in said.splitlines()] == ["LINE 8", "LINE 11", "LINE 12", "LINE 13"]


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "python-tag": (
        changed("license: apache-2.0", "license: !!python/object/apply:os.system [id]"),
        "LINE 11: models.net.license: the tag !!python/object/apply:os.system is not allowed",
    ),
    "any-tag": (changed("license: ", "license: !secret "), "LINE 11: models.net.license: the tag !secret"),
    "duplicate-key": (
        GOOD + "    family: vgg\n",
        "LINE 12: models.net.family: is given twice, first on line 3",
    ),
    "duplicate-model": (GOOD + "  net: {}\n", "LINE 12: models.net: is given twice, first on line 2"),
    "unknown-key": (
        changed("family:", "famly:"),
        "LINE 3: models.net.famly: no such field\nDid you mean family?",
    ),
    "unknown-key-inside": (
        changed("resize: 256", "reszie: 256"),
        "LINE 9: models.net.input.reszie: no such field\nDid you mean resize or size?",
    ),
    "unknown-section": (GOOD + "model: {}\n", "LINE 12: model: no such section"),
    "missing-sha": (changed(f"      sha256: {SHA}\n", ""), "LINE 6: models.net.weights: sha256 is missing"),
    "missing-sha-https": (
        changed(f"weights/net.pth\n      sha256: {SHA}", "https://example.org/net.pth"),
        "LINE 6: models.net.weights: sha256 or sha256_prefix or md5 is missing",
    ),
    "prefix-of-a-local-file": (
        changed(f"sha256: {SHA}", "sha256_prefix: adb27a5a"),
        "LINE 6: models.net.weights: sha256 is missing",
    ),
    "missing-field": (changed("    license: apache-2.0\n", ""), "LINE 2: models.net.license: is missing"),
    "all-digit-prefix": (
        changed(f"sha256: {SHA}", "sha256_prefix: 12345678"),
        "LINE 8: models.net.weights.sha256_prefix: expected text, got a whole number, "
        "12345678\nIf it is text, put it in quotes: '12345678'",
    ),
    "all-digit-sha": (changed(SHA, "1" * 64), "LINE 8: models.net.weights.sha256: 1111"),
    "float-like-prefix": (
        changed(f"sha256: {SHA}", "sha256_prefix: 12345e78"),
        "LINE 8: models.net.weights.sha256_prefix: 12345e78 means different things",
    ),
    "octal-like-prefix": (
        changed(f"sha256: {SHA}", "sha256_prefix: 01234567"),
        "LINE 8: models.net.weights.sha256_prefix: 01234567 means different things",
    ),
    "no": (
        changed("apache-2.0", "no"),
        "LINE 11: models.net.license: no means different things to different YAML readers\n"
        "If it is text, put it in quotes: 'no'",
    ),
    "on-as-key": (changed("  net:", "  on:"), "LINE 2: models.on: the key is not text"),
    "digits-as-key": (changed("  net:", "  123:"), "LINE 2: models.123: the key is not text"),
    "true": (changed("apache-2.0", "true"), "LINE 11: models.net.license: expected text, got true or false"),
    "text-for-number": (
        changed("resize: 256", 'resize: "256"'),
        "LINE 9: models.net.input.resize: expected a whole number, got text, '256'",
    ),
    "typo-in-value": (
        changed("bilinear", "bilinaer"),
        "LINE 9: models.net.input.interpolation: no interpolation 'bilinaer'\nDid you mean bilinear?",
    ),
    "typo-in-task": (
        changed("image-classification", "image-clasification"),
        "LINE 4: models.net.task: no task 'image-clasification'\nDid you mean image-classification?",
    ),
    "anchor": (changed("family: ", "family: &a "), "LINE 3: models.net.family: &a: anchors and aliases"),
    "alias-bomb": (
        "models:\n  a: &a [x, x]\n  b: &b [*a, *a]\n  c: [*b, *b]\n",
        "LINE 2: models.a: &a: anchors and aliases",
    ),
    "alias-of-nothing": ("models: *x\n", "LINE 1: models: *x: anchors and aliases"),
    "merge-key": (changed("    family:", "    <<: {a: b}\n    family:"), "LINE 3: models.net.<<: no such"),
    "deep-flow-list": ("models: " + "[" * 5000, "nested deeper than 12 levels"),
    "deep-flow-mapping": ("models: " + "{a: " * 5000 + "}" * 5000, "nested deeper than 12 levels"),
    "deep-block": ("models: \n" + "\n".join(" " * d + "a:" for d in range(1, 1000)), "nested deeper than"),
    "not-utf8": (GOOD.encode() + b"# \x96\n", "LINE 12: not UTF-8: byte 0x96"),
    "control-character": (changed("apache", '"\\e[31m"'), "LINE 11: "),
    "zero-byte": (GOOD + "\0", "LINE 12: not YAML: control characters are not allowed"),
    "tab": (GOOD + "\tx: 1\n", "LINE 12: not YAML"),
    "unclosed": (GOOD + "  x: [\n", "not YAML"),
    "two-documents": (GOOD + "---\nmodels: {}\n", "LINE 12: a second document starts here"),
    "list": ("- a\n", "LINE 1: is not a mapping"),
    "empty": ("", "LINE 1: is not a mapping"),
    "no-models": ("models:\n", "LINE 1: models: expected a mapping"),
    "entry-is-text": ("models:\n  net: resnet\n", "LINE 2: models.net: expected a mapping of fields"),
    "other-name-inside": (GOOD + "    name: other\n", "LINE 12: models.net.name: 'other' differs"),
}


@pytest.mark.fault("S1")
@pytest.mark.parametrize(
    ("text", "expected"),
    HOSTILE.values(),
    ids=HOSTILE.keys(),
)
def test_a_hostile_or_sloppy_file_is_refused_with_line_and_field(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    assert expected in refused(tmp_path, text)


@pytest.mark.fault("S1")
def test_a_file_of_50_megabytes_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(InvalidRegistry, match="larger than 8,388,608 bytes"):
        read_registry_file(path)


@pytest.mark.fault("S1")
def test_one_endless_word_takes_no_endless_time(tmp_path: Path) -> None:
    assert "different things" in refused(tmp_path, "models: " + "1" * 5_000_000)


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "x/../y",
        "x//y",
        "C:\\x",
        "C:/x",
        "..",
        ".hidden",
        "x" * 300,
        "con",
        "CON",
        "aux.net",
        "lpt1",
        "a/nul",
        "ends.",
        "two words",
        "a\\b",
        "a:b",
        "-x",
        "https://x/y",
        "*",
        "ünïcode",
    ],
)
def test_a_name_that_could_become_a_path_is_refused(tmp_path: Path, name: str) -> None:
    said = refused(tmp_path, changed("  net:", f"  '{name}':"))
    assert said.startswith("LINE 2: models.")
    with pytest.raises(InvalidRegistry):
        entry_from(
            name, entry_to_mapping(read_registry_file(written(tmp_path, GOOD))["net"]) | {"name": name}
        )


@pytest.mark.fault("S2")
def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    assert "LINE 2: models: control character '\\x00'" in refused(tmp_path, changed("  net:", '  "a\\0b":'))


@pytest.mark.parametrize("name", ["net", "timm/resnet50.a1_in1k", "hf://owner/repo@main", "a+b_c-d.e", "_x"])
def test_a_name_that_users_need_is_taken(tmp_path: Path, name: str) -> None:
    assert list(read_registry_file(written(tmp_path, changed("  net:", f"  {name}:")))) == [name]


@pytest.mark.fault("S2")
@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("../x.pth", "a path that leaves its folder"),
        ("a/../../x.pth", "a path that leaves its folder"),
        ("/x.pth", "a path that leaves its folder"),
        ("C:\\x.pth", "not every system"),
        ("C:/x.pth", "not every system"),
        ("con", "not every system"),
        ("a/nul.pth", "not every system"),
        ("x" * 300, "more than 255 characters"),
        ("file://host/x.pth", "not file:///PATH"),
        ("hf://owner/x.pth", "not OWNER/REPO"),
        ("hf://owner/repo/../x.pth", "a path that leaves its folder"),
        ("hf://../repo/x.pth", "not OWNER/REPO"),
        ("package://zoo/../x", "a path that leaves its folder"),
        ("package://../x", "not PACKAGE/FILE"),
        ("gensim://../x", "not the name of a gensim-data set"),
        ("https://", "not a URL"),
        ("https://[::1/x", "not a URL"),
        ("https://example.org:x/y", "not a URL"),
        ("https://example.org", "without a path"),
        ("https://exa mple.org/x", "not a URL"),
        ("http://example.org/x.pth", "plain http to another machine"),
        ("http://169.254.169.254/x", "plain http to another machine"),
        ("http://127.0.0.1.example.org/x", "plain http to another machine"),
        ("ftp://example.org/x.pth", "no source for"),
        ("javascript:x", "no source for"),
    ],
)
def test_a_url_that_no_source_should_open_is_refused(tmp_path: Path, url: str, why: str) -> None:
    said = refused(tmp_path, changed("weights/net.pth", f"'{url}'"))
    assert said.startswith("LINE 7: models.net.weights.url: ")
    assert why in said


def test_credentials_in_a_url_are_refused_and_not_printed(tmp_path: Path) -> None:
    said = refused(tmp_path, changed("weights/net.pth", "https://me:hunter2@example.org/x.pth"))
    assert "credentials" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "weights",
    [
        f"{{url: 'https://example.org/x.pth', sha256: {SHA}}}",
        "{url: 'https://example.org/x.pth', sha256_prefix: adb27a5a}",
        "{url: 'https://example.org/x.pth', md5: c289bc5d7f2f02c6dc9f2f9b67641813}",
        "{url: 'http://127.0.0.1:8000/x.pth', sha256_prefix: adb27a5a}",
        "{url: 'http://localhost/x.pth', sha256_prefix: adb27a5a}",
        "{url: 'http://[::1]:80/x.pth', sha256_prefix: adb27a5a}",
        "{url: 'hf://timm/resnet18.a1_in1k/model.safetensors'}",
        "{url: 'hf://timm/resnet18.a1_in1k@491b427b45c94c7fb0e78b5474cc919aff584bbf/sub/model.safetensors'}",
        f"{{url: ['https://example.org/x.pth', 'https://mirror.example.org/x.pth'], sha256: {SHA}}}",
        f"{{url: 'package://zoo/weights/net.safetensors', sha256: {SHA}}}",
        f"{{url: 'file:///data/net.safetensors', sha256: {SHA}}}",
    ],
)
def test_every_source_takes_the_proof_that_it_has(tmp_path: Path, weights: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith("      ")]
    text = "\n".join(lines).replace("    weights:", f"    weights: {weights}")
    assert len(read_registry_file(written(tmp_path, text))) == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (SHA, SHA[:-1], "weights.sha256: 'adb27a5a"),
        (SHA, SHA.upper(), "is not a hash"),
        (SHA, SHA + "\n      md5: abc", "weights.md5: 'abc' is not a hash"),
        (SHA, SHA + "\n      sha256_prefix: abcdef0", "weights.sha256_prefix: 'abcdef0' is not a hash"),
        (SHA, SHA + "\n      bytes: 0", "weights.bytes: 0 is less than 1"),
        ("resize: 256", "resize: 200", "input.resize: 200 is smaller than size, 224"),
        ("mean: [0.5, 0.5, 0.5]", "mean: [0.5]", "input.mean: 1 values for 3 channels"),
        ("std: [0.5, 0.5, 0.5]", "std: [0.5, 0, 0.5]", "input.std: 0.0 is not above 0"),
        ("classes: imagenet-1k", "classes: [cat, dog, cat]", "classes: a label is given twice"),
        ("classes: imagenet-1k", "classes: 0", "classes: 0 is less than 1"),
        ("    classes: imagenet-1k\n", "", "classes: is missing"),
        ("image-classification", "image-features", "classes: an image-features model has none"),
        (
            "torchvision/mobilenet_v2",
            "keras/mobilenet_v2",
            "architecture: no architecture 'keras/mobilenet_v2'",
        ),
        (
            "torchvision/mobilenet_v2",
            "words/glove-text",
            "architecture: words/glove-text does not fit the task",
        ),
        ("torchvision/mobilenet_v2", "words/glove", "architecture: no architecture 'words/glove'"),
        ("torchvision/mobilenet_v2", "timm/../x", "cannot be an architecture's name"),
        ("apache-2.0", "''", "license: '' is not a licence"),
        ("apache-2.0", "mit\n    metrics: {imagenet-1k: {top1: 101, source: x}}", "metrics.imagenet-1k.top1"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    said = refused(tmp_path, changed(old, new))
    assert "models.net." in said
    assert expected in said


FACTS: dict[str, Any] = {
    "family": "mobilenet",
    "task": "image-classification",
    "architecture": "torchvision/mobilenet_v2",
    "weights": {"url": "hf://owner/repo/model.safetensors", "sha256": SHA, "bytes": 1},
    "input": {"size": 224, "resize": 256, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "classes": "imagenet-1k",
    "metrics": {"imagenet-1k": {"top1": 70.0, "source": "x"}},
    "license": "mit",
}
FIELDS = st.sampled_from([*FACTS, "arguments", "speed", "name", "registry", "unknown"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["url", "mean", "size", "top1", "x"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@examples(300)
@given(name=st.just("net") | st.text(max_size=8), values=st.dictionaries(FIELDS, JSON, max_size=3))
def test_no_value_anywhere_makes_an_entry_fail_in_any_other_way(name: str, values: dict[str, Any]) -> None:
    facts = dict(FACTS)
    for field, value in values.items():
        old = facts.get(field)
        facts[field] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    try:
        entry = entry_from(name, facts)
    except InvalidRegistry as refusal:
        assert "models." in refusal.message  # noqa: PT017, both ends are fine
    else:
        assert entry_from(name, entry_to_mapping(entry)) == entry


def test_a_squashed_picture_needs_no_larger_resize(tmp_path: Path) -> None:
    path = written(tmp_path, changed("resize: 256,", "resize: 224, crop: squash,"))
    entry = read_registry_file(path)["net"]
    assert isinstance(entry, ImageModel)
    assert entry.input.crop == "squash"


def test_a_missing_registry_and_a_folder_are_errors_that_say_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidRegistry, match="does not exist"):
        read_registry_file(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidRegistry, match="is not a file"):
        read_registry_file(tmp_path)
