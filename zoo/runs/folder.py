"""The run folder: written beside and renamed, so that it is whole or not there; never overwritten."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.data.names import shortened
from zoo.errors import HashMismatch, IntegrityError, RunExists, StorageError
from zoo.events import EpochEnd
from zoo.runs.record import RunRecord, TextRecord, name_metrics
from zoo.store.disk.blobs import flush
from zoo.targets import ADAPTER, CUTTER, HISTORY, PARTIAL, RECORD, WORDS

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.words.texts.selection import TextReader

CHECKPOINT = ".safetensors"
_FACTS = "zoo"  # the key of the facts in the header of the adapter
AGAIN = "Restore it from a copy, or train again."


def partial_of(out: Path) -> Path:
    """The folder beside a run that holds what it needs to go on, until it is finished.

    >>> partial_of(Path("runs/bees"))
    PosixPath('runs/bees.partial')
    """
    return out.with_name(out.name + PARTIAL)


def find_checkpoints(partial: Path) -> list[Path]:
    """The checkpoints of an unfinished run, the newest first."""
    return sorted(partial.glob(f"[0-9]*-*{CHECKPOINT}"), reverse=True)


def refuse_existing(out: Path) -> None:
    """Raise RunExists, naming the next free folder, if there is anything at `out`."""
    if os.path.lexists(out):
        raise RunExists(
            f"{out} exists already, and a run is never overwritten", hint=f"Try: --out {next_free(out)}"
        )


def refuse_unfinished(out: Path) -> None:
    """Raise RunExists if there are checkpoints of a run that would be `out`: they would be lost."""
    if find_checkpoints(partial_of(out)):
        raise RunExists(
            f"{out} is not finished: {partial_of(out)} holds its checkpoints",
            hint=f"Go on with it: {resume_command(out)}\nOr begin another: --out {next_free(out)}",
        )


def resume_command(out: Path) -> str:
    """What to type to go on with an unfinished run."""
    return f"zoo finetune --resume {shlex.quote(str(out))}"


def refuse_unwritable(out: Path) -> None:
    """Raise StorageError if no folder can be made at `out`: known before the training, not after it."""
    place = next(place for place in out.absolute().parents if os.path.lexists(place))
    try:
        tempfile.TemporaryDirectory(prefix=".zoo-", dir=place).cleanup()  # permission bits are not all
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written: {error.strerror} ({place})",
            hint="Choose a folder that you may write to.",
        ) from error


def next_free(out: Path) -> Path:
    """`out`, or the first of out-2, out-3, … that does not exist.

    >>> next_free(Path("/no/such/run"))
    PosixPath('/no/such/run')
    """
    number, free = 1, out
    while os.path.lexists(free) or os.path.lexists(partial_of(free)):
        number += 1
        free = out.with_name(f"{out.name}-{number}")
    return free


@contextmanager
def new_folder(
    out: Path,
    make_room: Callable[[Path], object] | None = None,
    refuse: Callable[[Path], None] = refuse_existing,
) -> Iterator[Path]:
    """A folder to fill: named once everything in it is on the disk, and gone if anything fails.

    make_room: called with the full folder before it gets its name. refuse: raises where there is one of that
    name already.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        yield draft
        for path in [*draft.iterdir(), draft]:
            flush(path)
        if make_room is not None:
            make_room(draft)
        refuse(out)  # two runs of one name at once: os.rename would replace an empty folder
        draft.rename(out)
        flush(out.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_history(history: Iterable[EpochEnd], folder: Path) -> None:
    """One line of JSON per epoch."""
    (folder / HISTORY).write_bytes(msgspec.json.Encoder().encode_lines(list(history)))


def read_history(folder: Path) -> tuple[EpochEnd, ...]:
    """Every epoch of a run, in order. Raises IntegrityError if the file is missing or damaged."""
    path = folder / HISTORY
    try:
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        epochs = [line if "metrics" in line else name_metrics(line) for line in lines]
        return tuple(msgspec.convert(epochs, list[EpochEnd]))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing", hint=AGAIN) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", hint=AGAIN) from error


def write_adapter(state: dict[str, Tensor], folder: Path, facts: Mapping[str, Any]) -> str:
    """Write what was trained, with the facts that decide what it means; returns its sha256.

    facts: plain JSON values. They stand in run.json too, where a hand may change them.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # One text: safetensors writes several in an order that differs from process to process.
    content = save(tensors, {_FACTS: msgspec.json.encode(facts, order="sorted").decode()})
    (folder / ADAPTER).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def write_words(reader: TextReader, folder: Path) -> TextRecord:
    """Write the words that a run knows, and return how it reads texts.

    The tokenizer of a static embedding model, megabytes of text, is a file of its own.
    """
    from zoo.words.texts.tokens import PIECES

    settings = dict(reader.tokenizer.settings)
    if settings["name"] == PIECES:
        definition = settings.pop("definition").encode()
        (folder / CUTTER).write_bytes(definition)
        settings["definition_sha256"] = hashlib.sha256(definition).hexdigest()
    content = "".join(f"{word}\n" for word in reader.selection.words).encode()
    (folder / WORDS).write_bytes(content)
    return TextRecord(
        words_sha256=hashlib.sha256(content).hexdigest(),
        known=reader.selection.known,
        policy=reader.policy,
        longest=reader.longest,
        tokenizer=settings,
    )


def read_words(folder: Path, text: TextRecord) -> TextReader:
    """How the run reads texts, every byte of its words verified. Raises IntegrityError."""
    from zoo.words.texts.selection import TextReader, WordSelection
    from zoo.words.texts.tokens import WordTokenizer

    settings = dict(text.tokenizer)
    if (sha256 := settings.pop("definition_sha256", None)) is not None:
        settings["definition"] = _read_verified(folder / CUTTER, sha256).decode()
    words = _read_verified(folder / WORDS, text.words_sha256).decode().split("\n")[:-1]
    return TextReader(
        WordTokenizer.from_settings(settings),
        WordSelection(tuple(words), text.known),
        text.policy,
        text.longest,
    )


def _read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file of a run. Raises IntegrityError if they are not those that were written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing", hint=AGAIN) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise HashMismatch(str(path), expected=sha256, got=digest, hint=AGAIN)
    return content


@dataclass(frozen=True)
class Adapter:
    """What was trained. state: by name. frozen: the beginning of the sha256 of each tensor that was not;
    empty in a run of an earlier version."""

    state: dict[str, Tensor]
    frozen: Mapping[str, str]


def read_adapter(folder: Path, record: RunRecord) -> Adapter:
    """What was trained, every byte verified.

    Raises IntegrityError; also where run.json has other classes, another order of them, or another
    preprocessing than the run was trained with: answers would be silently wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / ADAPTER
    content = _read_verified(path, record.adapter_sha256)
    try:
        state = dict(load(content))
    except SafetensorError as error:
        raise IntegrityError(f"{path} is damaged: {error}", hint=AGAIN) from error
    facts = _read_facts(content)
    frozen = facts.pop("frozen", {})
    for name, trained_with in facts.items():
        if (now := record.guarded.get(name)) != trained_with:
            raise IntegrityError(
                f"{folder / RECORD} has been changed. Its {name}: {_difference(now, trained_with)}",
                hint=AGAIN,
            )
    return Adapter(state, frozen)


def _read_facts(content: bytes) -> dict[str, Any]:
    """The facts in a file of tensors that `load` has read; none in one of an earlier version."""
    length = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + length])
    facts: dict[str, Any] = msgspec.json.decode(header.get("__metadata__", {}).get(_FACTS, "{}"))
    return facts


def _difference(now: Any, trained_with: Any) -> str:
    """What run.json has, and what the run was trained with, as far as these differ."""
    if isinstance(now, dict) and isinstance(trained_with, dict):
        names = sorted(
            name for name in now.keys() | trained_with.keys() if now.get(name) != trained_with.get(name)
        )
        now, trained_with = ({name: each.get(name) for name in names} for each in (now, trained_with))
    return f"now {shortened(str(now))}, and the run was trained with {shortened(str(trained_with))}"
