"""What computed the features of a run is measured, recorded, and the same for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from support.commands import Call
from support.kits import Kit, on_tiny
from torch import Tensor
from torch.nn.functional import cosine_similarity

import zoo
from zoo.errors import Interrupted, ResumeRefused, UsageError
from zoo.events import Event, Note, Report
from zoo.features import engine, extraction
from zoo.features.engine import LIBRARIES, PLAIN, Precision, Way
from zoo.features.extraction import FeatureTable
from zoo.features.network import FrozenNetwork
from zoo.runs.joining import _Part, join_tables
from zoo.runs.record import FeatureFacts, RunResult, read_record
from zoo.runs.using.embedding import Embeddings
from zoo.store.store import Store
from zoo.training.processes import Processes

Finetune = Callable[..., RunResult]
QUICK = {"epochs": 3, "patience": 0}


@pytest.fixture
def onnx() -> None:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=f"the extra [onnx] is not installed: {name}", exc_type=ImportError)


@pytest.fixture
def own(tmp_path: Path) -> Store:
    """A store in which nothing was computed yet."""
    return Store(tmp_path / "home")


def facts_of(result: RunResult) -> FeatureFacts:
    assert result.features is not None
    return result.features


def messages(told: list[Event]) -> list[str]:
    return [event.message for event in told if isinstance(event, Note)]


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_a_head_on_features_of_onnx_runtime_answers_by_torch_as_it_was_measured(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path, kit: Kit
) -> None:
    plain = finetune(folder=few, store=own, out=tmp_path / "plain", **QUICK)
    assert facts_of(plain) == FeatureFacts()
    told: list[Event] = []
    fast = finetune(folder=few, store=own, backend="onnx", report=told.append, **QUICK)
    facts = facts_of(fast)
    assert (facts.backend, facts.precision) == ("onnx", "fp32")
    assert facts.cosine is not None
    assert facts.cosine >= 0.99999
    assert any("features by ONNX Runtime: cosine to torch at least 0.9999" in m for m in messages(told))
    assert read_record(tmp_path / "run").result.features == facts
    assert fast.val_loss == pytest.approx(plain.val_loss, rel=1e-3)
    run = zoo.load_run(tmp_path / "run", store=own)
    assert run.evaluate(few, device="cpu").accuracy == pytest.approx(fast.val_accuracy)

    photos = sorted((few / "val" / kit.classes[0]).iterdir())
    found = run.embed(photos, device="cpu")
    assert found.way == Way("onnx"), "those of the run are taken"
    asked = run.embed(photos, device="cpu", backend="torch")
    assert asked.way == PLAIN
    both = (torch.from_numpy(one.features) for one in (found, asked))
    assert cosine_similarity(*both).min() >= 0.99999


@on_tiny
@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_a_run_does_not_go_on_with_features_of_something_else(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ENOUGH", 10)
    wishes = iter([False] * 3 + [True] * 99)
    with pytest.raises(Interrupted):
        finetune(folder=few, store=own, stop_requested=wishes.__next__, **QUICK)
    monkeypatch.setattr(engine, "ENOUGH", 1000)
    with pytest.raises(ResumeRefused, match="how the features are computed: it was onnx, fp32, now torch"):
        zoo.resume(tmp_path / "run", store=own)
    monkeypatch.setattr(engine, "ENOUGH", 10)
    assert facts_of(zoo.resume(tmp_path / "run", store=own)).backend == "onnx"


def test_bf16_features_are_recorded_with_what_was_measured(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    told: list[Event] = []
    result = finetune(folder=few, store=own, precision="bf16", report=told.append, **QUICK)
    facts = facts_of(result)
    assert (facts.backend, facts.precision) == ("torch", "bf16")
    assert facts.cosine is not None
    assert facts.cosine >= 0.993
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["result"]["features"]["precision"] == "bf16"
    )
    again = finetune(folder=few, store=own, precision="bf16", out=tmp_path / "again", **QUICK)
    assert facts_of(again) == FeatureFacts(precision="bf16")
    assert again.val_loss == result.val_loss


def test_a_run_in_bf16_is_measured_as_it_was_trained_or_says_that_it_is_not(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    result = finetune(folder=few, store=own, precision="bf16", **QUICK)

    def measure(run: str = "run", **options: Any) -> tuple[Any, list[str]]:
        told: list[Event] = []
        loaded = zoo.load_run(tmp_path / run, store=own, report=told.append)
        return loaded.evaluate(few, device="cpu", **options), messages(told)

    said = "the run was trained in bf16; it is measured in fp32, as it answers"
    (half, told), (usual, remarks), (plain, silent) = (
        measure(precision="bf16"),
        measure(),
        measure(precision="fp32"),
    )
    assert half.metrics == result.metrics
    assert half.computed_in == half.facts["computed_in"] == "bf16"
    assert "features in bf16, from the store: compared when they were computed" in told
    assert (usual.computed_in, plain.computed_in) == ("fp32", "fp32")
    assert usual.metrics == plain.metrics
    assert [said in notes for notes in (told, remarks, silent)] == [False, True, False]
    finetune(folder=few, store=own, out=tmp_path / "exact", **QUICK)
    exact, told = measure("exact")
    again, _ = measure("exact", precision="bf16")
    assert said not in told
    assert (exact.computed_in, again.computed_in) == ("fp32", "bf16")


@on_tiny
def test_bf16_that_does_not_agree_is_not_what_a_run_is_measured_in(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(folder=few, store=own, **QUICK)
    monkeypatch.setattr("zoo.features.network.COSINE", 1.1)
    told: list[Event] = []
    run = zoo.load_run(tmp_path / "run", store=own, report=told.append)
    found = run.evaluate(few, device="cpu", precision="bf16")
    assert found.computed_in == "fp32"
    assert any(message.startswith("features in fp32: in bf16 their cosine") for message in messages(told))
    assert found.metrics == run.evaluate(few, device="cpu").metrics


@on_tiny
def test_evaluate_says_its_number_format_and_refuses_what_has_none(
    ask: Call, few: Path, finetune: Finetune, own: Store, kit: Kit, tmp_path: Path
) -> None:
    finetune(folder=few, store=own, precision="bf16", **QUICK)
    said = ask("evaluate", tmp_path / "run", few, "--precision", "bf16", "--device", "cpu")
    assert said.code == 0, said.err
    assert "12 items, in bf16" in said.out
    usual = ask("evaluate", tmp_path / "run", few, "--device", "cpu")
    assert "As it was trained: --precision bf16" in usual.err
    assert "in bf16" not in usual.out
    for words, reason in (
        ((kit.net, few, "--precision", "bf16"), "precision bf16 is for runs"),
        ((tmp_path / "run", few, "--precision", "bf16", "--backend", "onnx"), "computes in fp32 here"),
        ((tmp_path / "run", few, "--precision", "fp8"), "fp8"),
    ):
        refused = ask("evaluate", *words)
        assert refused.code == 2, refused.err
        assert reason in refused.err


@on_tiny
def test_views_and_plain_features_of_a_head_are_computed_in_one_way(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, asked = extraction.in_bf16, 0

    def only_once(
        network: FrozenNetwork, example: Tensor, report: Report
    ) -> tuple[FrozenNetwork, float | None]:
        nonlocal asked
        asked += 1
        return right(network, example, report) if asked == 1 else (network, None)

    monkeypatch.setattr(extraction, "in_bf16", only_once)
    mixed = finetune(folder=few, store=own, views=2, precision="bf16", **QUICK)
    assert asked == 2
    assert facts_of(mixed) == FeatureFacts()
    plain = finetune(folder=few, store=own, views=2, out=tmp_path / "plain", **QUICK)
    assert mixed.val_loss == plain.val_loss


@on_tiny
def test_what_does_not_go_together_is_refused(
    few: Path, finetune: Finetune, trained: RunResult, shared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = zoo.load_run(trained.run, store=shared_store)
    photos = [path for path in (few / "val").rglob("*") if path.is_file()]
    with pytest.raises(UsageError, match="no precision 'fp8'"):
        run.embed(photos, device="cpu", precision="fp8")  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "find_spec", lambda _: object())
    with pytest.raises(UsageError, match="ONNX Runtime computes in fp32 here, not in bf16"):
        run.embed(photos, device="cpu", backend="onnx", precision="bf16")
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="ONNX Runtime needs onnxruntime, onnx, onnxscript"):
        finetune(folder=few, backend="onnx", **QUICK)


def test_embed_in_bf16_agrees_and_says_so(few: Path, kit: Kit, own: Store) -> None:
    photos = sorted(path for path in (few / "val").rglob("*") if path.is_file())

    def embed(precision: Precision) -> Embeddings:
        where = {"registry": kit.registry, "store": own, "device": "cpu"}
        return zoo.embed(kit.net, photos, precision=precision, **where)

    exact, half = embed("fp32"), embed("bf16")
    assert (exact.way, exact.cosine, half.way) == (PLAIN, None, Way(precision="bf16"))
    cosines = cosine_similarity(*(torch.from_numpy(one.features) for one in (exact, half)))
    assert half.cosine == pytest.approx(float(cosines.min()), abs=1e-5)
    assert float(cosines.min()) >= 0.993
    assert not np.array_equal(exact.features, half.features)


class Two(Processes):
    """The first of two processes; what the other one sends is what this one does, in another way."""

    def __init__(self, ways: Sequence[Way]) -> None:
        super().__init__(rank=0, world=2)
        self.ways = [*ways]

    def all_done(self, done: bool = True) -> bool:
        return done

    def gather(self, content: bytes) -> list[bytes]:
        sent: dict[str, Any] = msgspec.msgpack.decode(content)
        part = msgspec.msgpack.decode(sent["content"], type=_Part)
        kept = [row + len(part.kept) for row in part.kept]
        other = msgspec.structs.replace(part, way=self.ways.pop(0), kept=kept, cosine=0.995)
        return [content, msgspec.msgpack.encode(sent | {"content": msgspec.msgpack.encode(other)})]


@pytest.mark.parametrize("other", [Way(precision="bf16"), PLAIN], ids=["one-way", "two-ways"])
def test_processes_that_do_not_go_one_way_all_take_the_plain_one(other: Way) -> None:
    asked: list[bool] = []

    def compute(places: Sequence[int], _report: Report, plain: bool) -> FeatureTable:
        asked.append(plain)
        way = PLAIN if plain else Way(precision="bf16")
        return FeatureTable(torch.ones(1, len(places), 3), (0, 1), (), 0.0, 0, way=way, cosine=0.998)

    table = join_tables(compute, 4, Two([other, PLAIN]))
    assert (table.way, asked) == ((other, [False]) if other != PLAIN else (PLAIN, [False, True]))
    assert table.cosine == 0.995
    assert table.kept == (0, 1, 2, 3)
