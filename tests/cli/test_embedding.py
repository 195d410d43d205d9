"""zoo embed: what goes with an engine, with an address and with features, before anything is computed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.commands import Call

from zoo.data.finding.name_tree import NameTree
from zoo.data.finding.walking import Tally
from zoo.data.listing import list_images
from zoo.data.scanning import find_labels
from zoo.errors import DatasetError, StorageError
from zoo.runs.daft.photographs import list_names, list_photographs

WITH = ("--engine", "daft")


@pytest.mark.parametrize(
    ("more", "names", "left"),
    [
        (("--on-bad", "skip"), "--on-bad does", ""),
        (("--processes", "2", "--workers", "3"), "--processes does", " --workers 3"),
        (("--lines", "--text", "a b", "--backend", "torch"), "--text, --lines and --backend do", ""),
        (("--pooling", "sif", "--precision", "bf16"), "--pooling does", " --precision bf16"),
    ],
)
def test_options_that_an_engine_would_pass_over_are_refused_by_name(
    more: tuple[str, ...], names: str, left: str, ask: Call, tiny: Path, tmp_path: Path
) -> None:
    said = ask("embed", "tiny_net", tiny / "images", "--out", tmp_path / "f", *WITH, *more)
    assert said.code == 2
    assert said.err.startswith(f"error: {names} not go with --engine daft\nLeave ")
    assert f"zoo embed tiny_net {tiny / 'images'} --out {tmp_path / 'f'}" in said.err
    assert "--engine daft" in said.err.splitlines()[1]
    assert left in said.err.splitlines()[1]
    assert more[0] not in said.err.splitlines()[1]


def test_options_of_an_engine_are_refused_without_one(ask: Call, tiny: Path, tmp_path: Path) -> None:
    said = ask("embed", "tiny_net", tiny / "images", "-o", tmp_path / "f.npz", "--workers", 2, "--gpus", 1)
    assert said.code == 2
    assert said.err.startswith(
        "error: --workers and --gpus do not go without --engine daft\nLeave them out: "
    )


@pytest.mark.parametrize(("data", "out"), [("s3://b/photos/", "f.npz"), ("photos", "s3://b/f")])
def test_an_address_leads_to_the_engine_that_reads_it(data: str, out: str, ask: Call) -> None:
    said = ask("embed", "tiny_net", data, "--out", out)
    assert said.code == 2
    address = next(name for name in (data, out) if "://" in name)
    assert said.err.startswith(f"error: {address} is an address")
    assert f"zoo embed tiny_net {data} --out {out.replace('.npz', '/')} --engine daft" in said.err


def test_an_address_of_the_web_is_to_be_downloaded(ask: Call, tmp_path: Path) -> None:
    for more, answer in ((), "Download it"), (WITH, "has no list of its files"):
        said = ask("embed", "tiny_net", "https://a.example/b.jpg", "--out", tmp_path / "f.npz", *more)
        assert said.code == 2
        assert "https://a.example/b.jpg is an address" in said.err
        assert answer in said.err


@pytest.mark.parametrize("verb", ["finetune", "pick", "lr-find"])
def test_an_address_of_data_is_not_taken_for_a_path_that_is_missing(
    verb: str, ask: Call, tmp_path: Path
) -> None:
    words = () if verb == "pick" else ("tiny_net",)
    more = ("--out", tmp_path / "run") if verb == "finetune" else ()
    said = ask(verb, *words, "s3://b/photos/", *more)
    assert said.code == 5, said.err
    assert "s3://b/photos is an address, and data are read from files of this machine\n" in said.err
    assert said.err.endswith("zoo embed MODEL s3://b/photos --out features/ --engine daft\n")


def test_what_workers_cannot_read_or_write_is_refused_in_a_second(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    images, out = tiny / "images", tmp_path / "f"
    (tmp_path / "there").mkdir()
    (tmp_path / "list.csv").write_text("path,label\n")
    assert ask("embed", "tiny_net", images, "-o", tmp_path / "have" / "f.parquet").code == 0
    for words, answer in (
        (("tiny_words", images, "-o", out), "--engine daft computes features of photographs, and tiny_words"),
        (("tiny_net", images, images, "-o", out), "takes one folder, or one address of storage, not 2"),
        (("tiny_net", "-o", out), "takes one folder, or one address of storage, not 0"),
        (("tiny_net", images, "-o", tmp_path / "there"), "there exists already, and is never overwritten"),
        (("tiny_net", images, "-o", images / "f"), "features among photographs would be taken for a class"),
        (("tiny_net", "s3://b/p/", "-o", "s3://b/p/f"), "features among photographs would be taken for"),
        (("tiny_net", "s3://b/*/p", "-o", out), "has a * in it, which Daft would take for a pattern"),
        (("tiny_net", tmp_path / "list.csv", "-o", out), "is a file, and workers read a folder or storage"),
        (("tiny_net", tmp_path / "have", "-o", out), "has features already, and workers compute them"),
        (("tiny_net", images, "-o", tmp_path / "f.parquet"), "f.parquet is what a file is called"),
        (("tiny_net", images, "-o", tmp_path / "f.npz"), "f.npz is what a file is called"),
        (("tiny_net", images, "-o", "s3://b/f.parquet"), "s3://b/f.parquet is what a file is called"),
        (("tiny_net", images, "-o", "-"), "- is what a file is called, and workers write a folder of files"),
    ):
        said = ask("embed", *words, *WITH)
        assert (said.code, said.out) == (2, ""), said.err
        assert answer in said.err
        assert not out.exists()
    said = ask("embed", "tiny_net", tmp_path / "ther", "-o", out, *WITH)
    assert (said.code, "Did you mean" in said.err) == (5, True)


def test_a_place_where_nothing_can_be_written_is_named_before_anything_is_computed(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "daft", None)  # not even Daft is imported
    (tmp_path / "file").write_text("no folder")
    for out in tmp_path / "file" / "f", Path("/proc/f"), tmp_path / ("f" * 250):
        said = ask("embed", "tiny_net", tiny / "images", "--out", out, *WITH)
        if out.parent == Path("/proc") and sys.platform != "linux":
            continue
        assert said.code == StorageError.exit_code, said.err
        assert f"error: the features cannot be written in {out.parent}: " in said.err
        assert said.err.endswith("Name another folder.\n")


def test_a_package_that_is_not_installed_is_named_with_its_extra(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "daft", None)
    said = ask("embed", "tiny_net", tiny / "images", "--out", tmp_path / "f", *WITH)
    assert said.code == 2
    assert "needs the package daft, which is not installed" in said.err
    assert "pip install 'transfer-zoo[daft]'" in said.err


@pytest.mark.parametrize("layout", ["parts", "classes", "flat", "deep"])
def test_names_in_storage_have_the_labels_of_a_folder_with_them(layout: str, tmp_path: Path) -> None:
    names = {
        "parts": ["train/bee/10.jpg", "train/bee/2.JPG", "train/ant/1.png", "val/ant/1.png", "val/note.txt"],
        "classes": ["bee/1.jpg", "bee/.hidden.jpg", "ant/Thumbs.db", "ant/deeper/2.jpg", ".git/3.jpg"],
        "flat": ["1.jpg", "2.jpg"],
        "deep": ["training_set/b/x/1.jpg", "training_set/a/1.jpg", "test_set/a/2.jpg"],
    }[layout]
    for name in names:
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    here, there = list_photographs(tmp_path / "data"), list_names("s3://b/data/", sorted(names))
    assert there.labels == here.labels
    assert there.parts == here.parts
    assert there.paths == there.addresses
    root = str(tmp_path / "data")
    assert [path.replace("s3://b/data", root, 1) for path in there.paths] == [*here.paths]
    assert [*here.paths] == [str(path) for path in list_images([tmp_path / "data"])]
    assert (here.labels is None) == (find_labels(tmp_path / "data", Tally().kind) is None)


def test_storage_without_a_photograph_says_what_it_holds() -> None:
    with pytest.raises(DatasetError, match=r"no image below s3://b/x: it holds 2 \.heic files") as caught:
        list_names("s3://b/x", ["a/1.heic", "a/2.heic"])
    assert caught.value.hint is not None
    tree = NameTree(Tally(), ".", ["a/", "a/.x/1.jpg", "b/1.jpg"])
    assert (tree.list(".").folders, tree.list("./a").folders, tree.tally.hidden) == (("a", "b"), (), 1)
