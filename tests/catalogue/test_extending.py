"""An entry is added at the end of a registry file, and nothing that is there is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from zoo.catalogue.extending import extension
from zoo.catalogue.index import load_index
from zoo.catalogue.registry import entry_from, entry_to_mapping, load_registry, read_registry_file
from zoo.catalogue.yaml_text import entry_text
from zoo.errors import InvalidRegistry, UsageError

NEW = replace(load_registry()["resnet18"], name="new", registry=None)
OLD = entry_text(replace(NEW, name="old"))
BARE = entry_text(replace(NEW, name="old", description=None))
FILES = {
    "nothing": "",
    "comments": "# ours\n\n",
    "heading": "models:\n",
    "heading-and-comment": "---\nmodels: # ours\n  # none yet\n",
    "an-entry": f"models:\n{OLD}",
    "a-comment-at-the-end": f"# ours\nmodels:\n{OLD}  # the end\n\n# really\n",
    "four-spaces": "models:\n" + "".join(f"  {line}\n" for line in OLD.splitlines()),
    "no-margin-but-one": "models:\n" + "".join(f"{line[1:]}\n" for line in OLD.splitlines()),
    "no-newline-at-the-end": f"models:\n{OLD}".rstrip("\n"),
    "windows": f"models:\n{OLD}".replace("\n", "\r\n"),
    "a-long-text-at-the-end": f"models:\n{BARE}    description: |\n      a\n\n      b\n\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_the_longer_file_says_what_it_said_and_the_new_entry(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.yaml"
    added = extension(path, text, NEW)
    path.write_bytes((text + added).encode())
    found = read_registry_file(path)
    assert list(found) == [*(["old"] if "old:" in text else []), "new"]
    assert replace(found["new"], registry=None) == NEW
    if "\r\n" in text:
        assert added.count("\r\n") == added.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "models: {old: {family: x}}\n",
        'models: {"old": {}}\n',
    ],
)
def test_a_file_that_is_broken_stays_as_it_is(text: str) -> None:
    with pytest.raises(InvalidRegistry, match=r"registry.yaml:1: models.old"):
        extension(Path("registry.yaml"), text, NEW)


@pytest.mark.parametrize("end", ["...\n", ""])
def test_a_file_without_a_place_at_its_end_is_told_what_to_write_by_hand(end: str) -> None:
    facts = {k: v for k, v in entry_to_mapping(NEW).items() if k != "name"}
    text = f"models:\n{OLD}{end}" if end else json.dumps({"models": {"old": facts}})
    with pytest.raises(UsageError, match="cannot be extended at its end") as caught:
        extension(Path("registry.yaml"), text, NEW)
    assert entry_text(NEW) in str(caught.value.hint)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(UsageError, match="has an entry 'new' already"):
        extension(Path("registry.yaml"), f"models:\n{entry_text(NEW)}", NEW)


def test_every_entry_survives_being_written(tmp_path: Path) -> None:
    entries = [*load_registry().values(), *load_index().entries[::40]]
    entries = list({entry.name: replace(entry, registry=None) for entry in entries}.values())
    path = tmp_path / "registry.yaml"
    path.write_text("models:\n" + "".join(map(entry_text, entries)), "utf-8")
    assert [replace(entry, registry=None) for entry in read_registry_file(path).values()] == entries


@pytest.mark.parametrize(
    "text", ["no", "0123", "a: b", "a:", "- a", "#x", "ü ✓ 😀", "'😀'", 'say "x"', " a", "a\nb", "~", ""]
)
def test_text_that_yaml_could_take_for_something_else_is_quoted(tmp_path: Path, text: str) -> None:
    entry = replace(NEW, description=text)
    path = tmp_path / "registry.yaml"
    path.write_text("models:\n" + entry_text(entry), "utf-8")
    assert read_registry_file(path)["new"].description == text
    assert entry_from("new", entry_to_mapping(entry)) == entry
