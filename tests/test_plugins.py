"""A plugin that is broken is told in one sentence, and every other model works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.loopback import BODY, SHA256, entry_for

from zoo.backbones.architectures import build_network
from zoo.catalogue.entry import ImageModel
from zoo.catalogue.registry import read_registry_file
from zoo.cli.doctor import _find_plugins
from zoo.errors import AddressRefused, BrokenPlugin, InvalidRegistry, UnknownName, UsageError
from zoo.store.sources.schemes import find_scheme
from zoo.store.store import Store

Install = Callable[..., None]

ENTRY = """\
  {name}:
    family: x
    task: image-features
    architecture: {architecture}
    weights: {{url: '{url}', sha256: {sha256}}}
    input: {{size: 8, resize: 8, mean: [0, 0, 0], std: [1, 1, 1]}}
    license: mit
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install("name", code)`: a package as an installer leaves it, whose module is `code`."""

    def call(package: str, code: str, *, scheme: str = "", architecture: str = "") -> None:
        folder = tmp_path / package
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{package}_module.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = [("zoo.sources", scheme, "SCHEME"), ("zoo.architectures", architecture, "ARCHITECTURE")]
        lines = [f"[{group}]\n{name} = {package}_module:{value}\n" for group, name, value in points if name]
        (about / "entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)  # of an earlier test

    return call


REMOTE = "from zoo.store.remote import Remote, Scheme\n"
BROKEN_SCHEMES = {
    "no-such-library": ("import no_such_library", "cannot be imported: ModuleNotFoundError"),
    "exits": ("import sys; sys.exit('bye')", "cannot be imported: SystemExit: bye"),
    "no-such-name": ("OTHER = 1", "cannot be imported: AttributeError"),
    "another-thing": ("SCHEME = lambda wanted: wanted", "is of type function, not Scheme"),
    "fails": (f"{REMOTE}SCHEME = Scheme(lambda wanted: 1 / 0)", "failed: ZeroDivisionError"),
    "gives-text": (
        f"{REMOTE}SCHEME = Scheme(lambda wanted: wanted.url)",
        "returned str instead of Remote or",
    ),
}


@pytest.mark.parametrize(("code", "says"), BROKEN_SCHEMES.values(), ids=BROKEN_SCHEMES.keys())
def test_a_broken_scheme_is_told_with_its_package_and_other_models_work(
    install: Install, home: Path, tmp_path: Path, code: str, says: str
) -> None:
    install("broken", code, scheme="odd")
    (tmp_path / "net").write_bytes(BODY)
    registry = tmp_path / "registry.yaml"
    entries = [("good", "net"), ("bad", "odd://x/net"), ("both", "odd://x/net', 'net")]
    registry.write_text(
        "models:\n"
        + "".join(
            ENTRY.format(name=name, architecture="torchvision/resnet18", url=url, sha256=SHA256).replace(
                f"'{url}'", f"['{url}']"
            )
            for name, url in entries
        )
    )
    models = read_registry_file(registry)
    store = Store(home)
    with pytest.raises(BrokenPlugin) as caught:
        store.fetch(models["bad"])
    assert says in caught.value.message
    assert caught.value.message.startswith(
        "broken_module:SCHEME, which broken adds to zoo.sources as 'odd', "
    )
    assert "\n" not in caught.value.message
    assert store.fetch(models["good"]).path.is_file()
    assert store.fetch(models["both"]).path.is_file()


def test_a_scheme_that_works_is_used_and_its_own_errors_pass(
    install: Install, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "net").write_bytes(BODY)
    code = (
        f"{REMOTE}from pathlib import Path\nfrom zoo.errors import UsageError\n"
        "def resolve(wanted):\n"
        "    if wanted.url.endswith('no'):\n        raise UsageError('not this one')\n"
        f"    return Path({str(tmp_path / 'net')!r})\n"
        "SCHEME = Scheme(resolve, local=True)\n"
    )
    install("fine", code, scheme="shelf")
    store = Store(home, offline=True)
    with pytest.raises(UsageError, match="not this one"):
        store.fetch(entry_for("shelf://a/no"))
    assert store.fetch(entry_for("shelf://a/net")).sha256 == SHA256


def test_two_packages_of_one_name_are_both_named(install: Install) -> None:
    install("first", f"{REMOTE}SCHEME = Scheme(print)", scheme="odd")
    install("second", f"{REMOTE}SCHEME = Scheme(print)", scheme="odd")
    with pytest.raises(BrokenPlugin, match=r"two packages add 'odd' to zoo\.sources: first and second"):
        find_scheme("odd://x")


def test_a_scheme_of_our_own_cannot_be_taken(install: Install) -> None:
    install("thief", "import no_such_library", scheme="https")
    assert find_scheme("https://example.org/x").local is False


def test_a_scheme_that_nobody_has_lists_those_of_plugins(install: Install, tmp_path: Path) -> None:
    install("fine", f"{REMOTE}SCHEME = Scheme(print)", scheme="shelf")
    with pytest.raises(AddressRefused) as caught:
        find_scheme("shef://x")
    assert "shelf" in str(caught.value.hint)
    path = tmp_path / "registry.yaml"
    path.write_text(
        "models:\n" + ENTRY.format(name="a", architecture="timm/x", url="shef://x", sha256=SHA256)
    )
    with pytest.raises(InvalidRegistry) as refused:
        read_registry_file(path)
    assert "shelf" in str(refused.value.hint)


BUILD = "from torch import nn\nfrom zoo.backbones.architectures import Architecture\n"
BROKEN_NETWORKS = {
    "no-such-library": ("import no_such_library", "cannot be imported"),
    "another-thing": ("ARCHITECTURE = 1", "is of type int, not Architecture"),
    "fails": (f"{BUILD}ARCHITECTURE = Architecture(lambda plan: {{}}['x'])", "failed: KeyError: 'x'"),
    "gives-text": (
        f"{BUILD}ARCHITECTURE = Architecture(lambda plan: 'net')",
        "returned str instead of Module",
    ),
}


def odd_network(name: str) -> ImageModel:
    return replace(entry_for("https://example.org/x"), architecture=name)


@pytest.mark.parametrize(("code", "says"), BROKEN_NETWORKS.values(), ids=BROKEN_NETWORKS.keys())
def test_a_broken_architecture_is_told_with_its_package(install: Install, code: str, says: str) -> None:
    install("broken", code, architecture="odd")
    with pytest.raises(BrokenPlugin) as caught:
        build_network(odd_network("odd/net"))
    assert says in caught.value.message
    assert "broken" in str(caught.value.hint)
    assert build_network(odd_network("torchvision/squeezenet1_1")) is not None


def test_an_architecture_that_nobody_has_lists_those_of_plugins(install: Install) -> None:
    install("fine", BUILD, architecture="oddly")
    with pytest.raises(UnknownName) as caught:
        build_network(odd_network("oddy/net"))
    assert "oddly/…" in str(caught.value.hint)


def test_doctor_names_what_does_not_work(install: Install) -> None:
    install("broken", "import no_such_library", scheme="odd", architecture="strange")
    found, problems = _find_plugins()
    assert {"odd://…", "strange/…"} <= set(found)
    assert len(problems) == 2
    assert all("broken" in problem and "no_such_library" in problem for problem in problems)


def test_doctor_names_plugins_of_a_wrong_kind_and_those_that_take_our_names(install: Install) -> None:
    install("wrong", "SCHEME = ARCHITECTURE = 'a string'", scheme="odd", architecture="strange")
    install("greedy", "SCHEME = ARCHITECTURE = None", scheme="https", architecture="timm")
    found, problems = _find_plugins()
    assert not {"https://…", "timm/…"} & set(found)
    assert sum("is of type str, not" in problem for problem in problems) == 2
    taken = [problem for problem in problems if problem.endswith("a name of zoo's own: it is never used")]
    assert [problem.split("'")[1] for problem in taken] == ["https", "timm"]
    assert all("greedy" in problem for problem in taken)
