"""A registry file under review: problems are told from remarks, each at its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

from zoo.catalogue.linting import Lint, lint_files
from zoo.catalogue.problems import Finding
from zoo.catalogue.registry import load_registry, read_registry_file, shipped_registry
from zoo.errors import InvalidRegistry

SHA256 = "adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645"
GOOD = f"""\
models:
  net:
    family: mobilenet
    task: image-classification
    architecture: torchvision/mobilenet_v2
    weights:
      url: https://example.org/net.pth
      sha256: {SHA256}
    input: {{size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
    classes: imagenet-1k
    license: apache-2.0
"""


def lint(folder: Path, text: str) -> Lint:
    path = folder / "registry.yaml"
    path.write_text(text)
    return lint_files([path])[0]


def test_nothing_is_said_of_a_file_that_proves_everything(tmp_path: Path) -> None:
    found = lint(tmp_path, GOOD)
    assert (found.models, found.problems, found.remarks) == (1, [], [])


def test_a_problem_is_what_keeps_the_file_from_being_read(tmp_path: Path) -> None:
    text = GOOD.replace("imagenet-1k", "0").replace("  license: apache-2.0", "  licence: apache-2.0")
    found = lint(tmp_path, text)
    with pytest.raises(InvalidRegistry) as caught:
        read_registry_file(found.path)
    assert [f"{found.path}:{p.line}: {p.field}: {p.what}" for p in found.problems] == [
        line.partition(" (")[0] for line in caught.value.message.splitlines()
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "what"),
    [
        (f"sha256: {SHA256}", "sha256_prefix: adb27a5a", 6, "weights", "proven by 8 digits of its sha256"),
        (f"sha256: {SHA256}", "md5: " + "0" * 31 + "a", 6, "weights", "proven by its md5"),
        ("https://example.org/net.pth", "hf://me/net/net.pth", 7, "weights.url", "names no commit"),
        ("https://example.org/net.pth", "hf://me/net@main/net.pth", 7, "weights.url", "names no commit"),
        ("apache-2.0", "unknown", 11, "license", "refuses this model unless it lists unknown"),
        ("apache-2.0", "apache2.0", 11, "license", "is not an SPDX name"),
        (
            "  net:",
            "  resnet18:",
            2,
            "",
            "replaces the resnet18 of the shipped registry and differs in weights",
        ),
        ("  net:", "  timm/resnet18.a1_in1k:", 2, "", "replaces the timm/resnet18.a1_in1k of the index"),
    ],
)
def test_what_is_read_but_worth_a_second_look_is_a_remark(
    tmp_path: Path, old: str, new: str, line: int, field: str, what: str
) -> None:
    found = lint(tmp_path, GOOD.replace(old, new, 1))
    assert found.problems == []
    (remark,) = found.remarks
    assert remark.line == line
    assert remark.field.endswith(field)
    assert what in remark.what
    read_registry_file(found.path)


def test_a_commit_of_the_hub_and_a_licence_of_one_s_own_are_no_remarks(tmp_path: Path) -> None:
    text = GOOD.replace("https://example.org/net.pth", f"hf://me/net@{'0c' * 20}/net.pth")
    assert lint(tmp_path, text.replace("apache-2.0", "LicenseRef-Lab or MIT")).remarks == []


def test_a_proof_that_only_the_source_states_is_told(tmp_path: Path) -> None:
    text = GOOD.replace(f"      sha256: {SHA256}\n", "").replace(
        "https://example.org/net.pth", f"hf://me/net@{'0c' * 20}/net.pth"
    )
    (remark,) = lint(tmp_path, text).remarks
    assert "the hash that its source states at the first fetch" in remark.what


def test_a_later_file_replaces_an_earlier_one_and_is_told_so(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(GOOD)
    second.write_text(GOOD.replace(SHA256, "0" * 63 + "a"))
    one, two = lint_files([first, second])
    assert one.remarks == []
    assert two.remarks[0].what == f"replaces the net of {first} and differs in weights.sha256"


def test_the_shipped_registry_has_no_problem_and_replaces_nothing() -> None:
    (found,) = lint_files([shipped_registry()])
    assert found.problems == []
    assert found.models == len(load_registry())
    assert not [remark for remark in found.remarks if "replaces" in remark.what]


def test_what_else_is_found_out_gets_its_line(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(GOOD)
    finding = Finding(("weights", "url"), "is gone")
    (found,) = lint_files([path], check=lambda entries: [(entry.name, finding) for entry in entries])
    assert [(p.line, p.field, p.what) for p in found.problems] == [(7, "models.net.weights.url", "is gone")]


def test_a_file_that_is_no_yaml_is_one_problem(tmp_path: Path) -> None:
    found = lint(tmp_path, "models: [\n")
    assert found.models == 0
    assert len(found.problems) == 1


EDITS = st.lists(
    st.tuples(
        st.integers(0, len(GOOD)),
        st.integers(0, 12),
        st.text("{}[]:-,'\"\n #&*!0123456789abc~|>", max_size=6),
    ),
    min_size=1,
    max_size=3,
)


@given(edits=EDITS)
@examples(300)
def test_a_file_has_problems_if_and_only_if_it_is_not_read(
    tmp_path: Path, edits: list[tuple[int, int, str]]
) -> None:
    text = GOOD
    for place, length, new in edits:
        text = text[:place] + new + text[place + length :]
    found = lint(tmp_path, text)
    try:
        names = list(read_registry_file(found.path))
    except InvalidRegistry:
        assert found.problems
    else:
        assert found.problems == []
        assert found.models == len(names)
