"""The files that a user names on the command line or in Python, each alone or by its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path

from zoo.data.containers import exists
from zoo.data.finding.walking import Disk, Tally, Tree, conversion_hint, ending_of
from zoo.data.finding.zip_tree import ZipTree, is_zip
from zoo.data.kinds import IMAGES, Kind
from zoo.data.names import natural_key, one_line
from zoo.errors import DatasetError, UsageError, close_names, join_names

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)  # one letter is a drive of Windows


def listed(items: Iterable[object]) -> list[object]:
    """What somebody gave as a list of items, in its order; columns of Arrow and Daft become values of Python.

    Raises UsageError for one item alone (a text is not a list of its letters), and for what has no order or
    is more than a list: nobody could say which item an answer is of.

    >>> listed(("a.jpg", "b.jpg"))
    ['a.jpg', 'b.jpg']
    """
    if isinstance(items, str | Path | bytes | bytearray | memoryview) or not isinstance(items, Iterable):
        raise UsageError("one item was given where a list is expected", hint="Put it in a list: […].")
    if isinstance(items, set | frozenset):
        raise UsageError(
            f"a {type(items).__name__} was given where a list is expected: it has no order, and answers come "
            "in that of the items",
            hint="Make a list of it first, and keep that: items = list(items).",
        )
    if isinstance(items, Mapping):
        raise UsageError(
            f"a {type(items).__name__} was given where a list is expected",
            hint="Give its values, list(items.values()), or its keys, list(items).",
        )
    if getattr(items, "columns", None) is not None:  # of pandas, polars and Arrow alike
        raise UsageError(
            f"a whole table ({type(items).__name__}) was given where a list is expected",
            hint="Give the column of it that has the items.",
        )
    converted = getattr(items, "to_pylist", None)
    return list(converted() if converted is not None else items)


def list_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that `paths` stand for: see `list_files`."""
    return list_files(paths, IMAGES)


def list_files(paths: Sequence[Path], kind: Kind) -> list[Path]:
    """The files that `paths` stand for, in the order given; a folder or a zip archive stands for every file
    of the kind in and below it, in natural order.

    A file that is named is taken whatever its ending. Raises DatasetError for a path that does not exist,
    with close names, and for a folder without such files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir() or is_zip(path):
            tally = Tally(kind)
            below = list(_files_below(path, tally))
            if not below:
                hint = conversion_hint(tally.others)
                raise DatasetError(f"no {kind.noun} in {one_line(path)}", hint=hint)
            files.extend(below)
        elif exists(path):
            files.append(path)
        elif fitting := _expand(path):
            files.extend(list_files(fitting, kind))
        else:
            raise no_such_path(path)
    return files


def _expand(path: Path) -> list[Path]:
    """The files and folders that a pattern stands for, in natural order; none where it is not one. A shell
    does the same, but not in quotes, on Windows, or for more names than a command line takes."""
    text = os.fspath(path)
    if not any(character in text for character in "*?["):
        return []
    found = sorted(glob(text, recursive=True), key=natural_key)  # noqa: PTH207 - may be absolute
    if not found:
        raise DatasetError(f"no file fits {one_line(path)}")
    return [Path(name) for name in found]


def local_path(name: str | Path) -> Path:
    """The path that was typed, also as a file:// address. Raises UsageError for an address on the network.

    >>> local_path("file:///tmp/bee.jpg")
    PosixPath('/tmp/bee.jpg')
    """
    text = str(name)
    address = address_of(name)
    if address is not None:
        raise UsageError(f"{address} is an address, not a file", hint="Download it, and name the file.")
    found = _ADDRESS.match(text)
    if found is None or os.path.lexists(text):
        return Path(name)
    from urllib.request import url2pathname  # 20 ms, with http

    return Path(url2pathname("/" + text[found.end() :].lstrip("/")))


def address_of(name: str | Path) -> str | None:
    """What was typed, if it is an address on the network; None for a path and for a file:// address.

    >>> address_of("s3://bucket/photos"), address_of(Path("s3://bucket/photos")), address_of("photos")
    ('s3://bucket/photos', 's3://bucket/photos', None)
    """
    text = str(name)
    found = _ADDRESS.match(text)
    if found is None or found[1].lower() == "file" or os.path.lexists(text):
        return None
    return f"{found[1]}://{text[found.end() :]}"  # a Path has lost a slash


def is_of_web(address: str) -> bool:
    """Whether an address is of a file on the web, where nobody can ask for a list of files."""
    return address.lower().startswith(("http:", "https:", "ftp:"))


def refuse_missing(paths: Sequence[Path]) -> None:
    """Raise DatasetError, with close names, for a path that does not exist: before anything heavy is done."""
    for path in paths:
        if not exists(path):
            raise no_such_path(path)


def no_such_path(path: Path) -> DatasetError:
    """The error for a path that does not exist, with the close names beside it; for an address, what reads
    it."""
    if (address := address_of(path)) is not None:
        return DatasetError(
            f"{one_line(address)} is an address, and data are read from files of this machine",
            hint="Download it, and name the file or folder."
            if is_of_web(address)
            else "Download it. Or compute the features of photographs there, by workers, and train on these: "
            f"zoo embed MODEL {one_line(address)} --out features/ --engine daft",
        )
    try:
        neighbours = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return DatasetError(
            f"no file or folder {one_line(path)}", hint=f"{one_line(path.parent)} does not exist either."
        )
    close = [one_line(path.parent / name) for name in close_names(path.name, neighbours)]
    kind = "link to nowhere:" if path.is_symlink() else "no file or folder"
    return DatasetError(
        f"{kind} {one_line(path)}", hint=f"Did you mean {join_names(close)}?" if close else None
    )


def _files_below(folder: Path, tally: Tally) -> Iterator[Path]:
    """Every visible file of a kind in and below a folder, or in a zip archive, in natural order; each folder
    is entered once."""
    tree: Tree
    if folder.is_dir():
        tree = Disk(tally)
        tree.claim_parents(os.fspath(folder))
    else:
        tree = ZipTree(tally, folder)
    return map(Path, files_in_tree(tree, os.fspath(folder)))


def files_in_tree(tree: Tree, root: str) -> Iterator[str]:
    """The same below a root of any tree. Texts, not paths: a Path for each costs more than the walk."""
    tree.tally.enter(tree.list(root))
    pending = [root]
    while pending:
        listing = tree.list(below := pending.pop())
        tree.tally.others.update(map(ending_of, listing.others))
        yield from (os.path.join(below, name) for name in listing.all_files)  # noqa: PTH118
        inner = [os.path.join(below, name) for name in reversed(listing.all_folders)]  # noqa: PTH118
        pending.extend(path for path in inner if tree.tally.enter(tree.list(path)))
