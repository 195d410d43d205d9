"""What several processes have computed, each of its own share of the items, as one process has it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load, save
from torch import Tensor

from zoo.data.pixels.batches import BadFile
from zoo.errors import ZooError
from zoo.events import Event, Report, silent
from zoo.features.engine import Way
from zoo.features.extraction import FeatureTable
from zoo.runs.answers import ItemSource
from zoo.training.processes import ALIVE, Processes


class _Sent(msgspec.Struct, frozen=True):
    """What a process sends to the others: the bytes of its work, or its error: message, hint, exit code."""

    content: bytes = b""
    error: tuple[str, str | None, int] | None = None


def in_all(
    processes: Processes, work: Callable[[Report], bytes], report: Report = silent, *, long: bool = True
) -> list[bytes]:
    """What the work of each process gives, by rank; all of them get all of it. An error of zoo in one of them
    is raised in all.

    work: called with a report that it calls now and then: it shows the others that this process is alive.
    long: whether it may take longer than one process waits for another.
    """
    if processes.world == 1:
        return [work(report)]
    own: ZooError | None = None
    try:
        sent = _Sent(work(_with_signs(processes, report) if long else report))
    except ZooError as error:
        own, sent = error, _Sent(error=(error.message, error.hint, error.exit_code))
    while long and not processes.all_done():
        pass
    found = [msgspec.msgpack.decode(c, type=_Sent) for c in processes.gather(msgspec.msgpack.encode(sent))]
    errors = [other.error for other in found if other.error is not None]
    if errors:
        processes.take_leave()
        if own is not None:
            raise own
        message, hint, code = errors[0]
        raised = ZooError(message, hint=hint)
        raised.exit_code = code
        raise raised
    return [part.content for part in found]


def _with_signs(processes: Processes, report: Report) -> Report:
    """The report, which also lets the other processes know, now and then, that this one still works."""
    last = time.monotonic()

    def listen(event: Event) -> None:
        nonlocal last
        report(event)
        if time.monotonic() - last >= ALIVE:
            processes.all_done(False)
            last = time.monotonic()

    return listen


class _Part(msgspec.Struct, frozen=True):
    """What a process sends besides the features. kept: rows of the whole. bad: row -> (path, reason)."""

    kept: list[int]
    bad: dict[int, tuple[bytes, str]]
    traits: dict[str, int]
    from_cache: int
    features: bytes
    way: Way
    cosine: float | None


Compute = Callable[[Sequence[int], Report, bool], FeatureTable]


def join_tables(
    compute: Compute,
    count: int,
    processes: Processes,
    report: Report = silent,
) -> FeatureTable:
    """The table of so many images, in every process, all of it computed in one way.

    compute: gives that of the images in some places; where its third argument is true, by torch in fp32, as
    all of them are where the processes did not go one way.
    """
    if processes.world == 1:
        return compute(range(count), report, False)
    table = _join(compute, count, processes, report, plain=False)
    if table is None:
        table = _join(compute, count, processes, report, plain=True)
    assert table is not None  # the plain way is one
    return table


def _join(
    compute: Compute, count: int, processes: Processes, report: Report, *, plain: bool
) -> FeatureTable | None:
    """The table of all processes; None in each of them where they did not compute in one way."""
    own = processes.share.of(torch.arange(count)).tolist()
    tables: list[FeatureTable] = []

    def work(report: Report) -> bytes:
        tables.append(compute(own, report, plain))
        return msgspec.msgpack.encode(_part_of(tables[0], own))

    parts = [msgspec.msgpack.decode(c, type=_Part) for c in in_all(processes, work, report)]
    [table] = tables
    if any(part.way != parts[0].way for part in parts):
        return None
    cosines = [part.cosine for part in parts if part.cosine is not None]
    bad = {row: file for part in parts for row, file in part.bad.items()}
    views: list[Tensor] = [load(part.features)["views"] for part in parts if part.features]
    rows = [row for part in parts for row in part.kept]  # in order: shares follow each other
    return FeatureTable(
        views=torch.cat(views, dim=1) if views else table.views,
        kept=tuple(rows),
        bad=tuple(BadFile(Path(os.fsdecode(path)), reason) for _, (path, reason) in sorted(bad.items())),
        seconds=table.seconds,
        from_cache=sum(part.from_cache for part in parts),
        traits=sum((Counter(part.traits) for part in parts), Counter()),
        way=table.way,
        cosine=min(cosines, default=None),
    )


def _part_of(table: FeatureTable, own: Sequence[int]) -> _Part:
    """The table of this process's images, which are in these places of the whole."""
    kept = [own[row] for row in table.kept]
    lost = sorted({*own} - {*kept})
    return _Part(
        kept=kept,
        bad={row: (os.fsencode(file.path), file.reason) for row, file in zip(lost, table.bad, strict=True)},
        traits=dict(table.traits),
        from_cache=table.from_cache,
        features=save({"views": table.views.contiguous()}) if kept else b"",
        way=table.way,
        cosine=table.cosine,
    )


class _Answers(msgspec.Struct, frozen=True):
    """What a process answers in a round: the positions of each batch, the outputs of all of them; and which
    of its items could not be read, with the reason."""

    positions: list[list[int]]
    outputs: bytes
    failures: dict[int, str]


def join_outputs(
    own: Iterator[tuple[list[int], Tensor]], source: ItemSource
) -> Iterator[tuple[list[int], Tensor]]:
    """The (positions, outputs) of all processes in the order of the items, in every process.

    own: those of this one, one for each of its batches; a batch of which nothing can be read is empty. What
    the source knows of its items, failures and traits, becomes what all processes know.
    """
    processes, failures, traits = source.processes, source.failures, source.traits
    sent: set[int] = set()
    for batches in source.rounds.rounds:

        def work(_: Report, count: int = len(batches)) -> bytes:
            found = [*islice(own, count)]
            new = {at: reason for at, reason in failures.items() if at not in sent}
            outputs = {str(place): outputs.contiguous() for place, (_, outputs) in enumerate(found)}
            positions = [positions for positions, _ in found]
            return msgspec.msgpack.encode(_Answers(positions, save(outputs), new))

        for content in in_all(processes, work, long=False):
            answers = msgspec.msgpack.decode(content, type=_Answers)
            failures.update(answers.failures)
            sent.update(answers.failures)
            outputs = load(answers.outputs)
            for place, positions in enumerate(answers.positions):
                if positions:
                    yield positions, outputs[str(place)]
    for _ in own:  # its end, after which its traits are known
        pass
    counted = in_all(processes, lambda _: msgspec.msgpack.encode(dict(traits)), long=False)
    whole = sum((Counter(msgspec.msgpack.decode(part, type=dict[str, int])) for part in counted), Counter())
    traits.update(whole - traits)
