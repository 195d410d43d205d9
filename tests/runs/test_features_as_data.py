"""Features that `zoo embed` wrote are data for `zoo finetune`, of the very network that computed them."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands import Call
from support.kits import Kit

import zoo
from zoo.catalogue.registry import load_registry
from zoo.data.listing import list_images
from zoo.errors import UsageError
from zoo.features.engine import LIBRARIES
from zoo.features.rows import StoredRows
from zoo.runs.classifier import load_classifier
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.modalities.image_items import ImageItems
from zoo.runs.record import RunResult
from zoo.runs.using import embedding
from zoo.runs.using.embedding import embed_for_training, write_embeddings
from zoo.store.store import Store
from zoo.targets import ADAPTER, find_target


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """Dark and light pictures in a folder each, one of them twice, one of a hundred no picture."""
    from PIL import Image

    for part, count in (("train", 50), ("val", 8)):
        for label, low in (("dark", 20), ("light", 150)):
            (tmp_path / "shades" / part / label).mkdir(parents=True)
            for shade in range(count):
                place = tmp_path / "shades" / part / label / f"{shade}.png"
                Image.new("L", (28, 28), low + 2 * shade + (part == "val")).save(place)
    (tmp_path / "shades" / "train" / "dark" / "7.png").write_bytes(b"no picture")
    return tmp_path / "shades"


@pytest.fixture
def features(ask: Call, shades: Path, tmp_path: Path) -> Path:
    said = ask("embed", "tiny_net", shades, "-o", tmp_path / "f.parquet")
    assert said.code == 0, said.err
    assert "115 files" in said.out
    assert "2 classes" in said.out
    return tmp_path / "f.parquet"


def rewritten(features: Path, frame: pl.DataFrame, *, keep: bool = True) -> Path:
    metadata = pl.read_parquet_metadata(features) if keep else {}
    about = {name: text for name, text in metadata.items() if name.startswith("zoo")}
    out = features.with_name("again.parquet")
    frame.write_parquet(out, metadata=about)
    return out


def test_embed_writes_classes_parts_contents_and_what_features_depend_on(features: Path) -> None:
    frame = pl.read_parquet(features)
    assert {*frame.columns} == {"path", "features", "label", "split", "sha256"}
    assert frame.group_by("split", "label").len().sort("split", "label")["len"].to_list() == [49, 50, 8, 8]
    about = pl.read_parquet_metadata(features)["zoo_features"]
    assert all(fact in about for fact in ('"model":"tiny_net"', '"network":"', "7.png"))


def train(ask: Call, data: Path, out: Path, *more: object, net: str = "tiny_net") -> str:
    said = ask("finetune", net, data, "--out", out, "--epochs", 3, "--seed", 1, *more)
    assert said.code == 0, said.err
    return said.err


@pytest.mark.parametrize("drawn", [False, True], ids=["own-split", "drawn-split"])
def test_a_head_of_features_is_bit_for_bit_that_of_the_photographs(
    ask: Call, shades: Path, tmp_path: Path, drawn: bool
) -> None:
    data = shades / "train" if drawn else shades
    train(ask, data, tmp_path / "photographs")
    assert ask("embed", "tiny_net", data, "-o", tmp_path / "f.parquet").code == 0
    shutil.move(shades, tmp_path / "elsewhere")  # no photograph can be read
    train(ask, tmp_path / "f.parquet", tmp_path / "features")
    one, other = (
        json.loads((tmp_path / run / "run.json").read_text()) for run in ("photographs", "features")
    )
    assert other["data"]["split"].pop("origin") == ("made" if drawn else "table")
    assert one["data"]["split"].pop("origin") == ("made" if drawn else "folders")
    assert one["data"] == other["data"]
    assert one["result"]["metrics"] == other["result"]["metrics"]
    assert (tmp_path / "photographs" / ADAPTER).read_bytes() == (tmp_path / "features" / ADAPTER).read_bytes()
    photo = tmp_path / "elsewhere" / "val" / "light" / "3.png"
    assert ask("predict", tmp_path / "features", photo, "--json").json[0]["label"] == "light"


def test_features_that_are_too_many_for_the_memory_are_streamed_alike(
    ask: Call, shades: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1kB")
    assert "read from a file" in train(ask, shades, tmp_path / "photographs")
    assert "read from a file" in train(ask, features, tmp_path / "features")
    assert (tmp_path / "photographs" / ADAPTER).read_bytes() == (tmp_path / "features" / ADAPTER).read_bytes()


def test_features_that_are_too_many_for_the_memory_are_written_alike(
    ask: Call, shades: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("embed", "tiny_net", shades, "-o", tmp_path / "held.npz").code == 0
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1kB")
    read: list[int] = []
    whole = StoredRows.read
    monkeypatch.setattr(StoredRows, "read", lambda own, at: read.append(len(at)) or whole(own, at))
    for name in ("stored.parquet", "stored.npz"):
        assert ask("embed", "tiny_net", shades, "-o", tmp_path / name).code == 0
    assert read == [115, 115]
    assert (tmp_path / "stored.parquet").read_bytes() == features.read_bytes()
    monkeypatch.setattr(embedding, "ROWS", 10)  # a file of several groups
    assert ask("embed", "tiny_net", shades, "-o", tmp_path / "groups.parquet").code == 0
    assert read[2:] == [10] * 11 + [5]
    assert pl.read_parquet(tmp_path / "groups.parquet").equals(pl.read_parquet(features))
    held, stored = (np.load(tmp_path / f"{name}.npz") for name in ("held", "stored"))
    assert held.files == stored.files
    assert held["features"].dtype == np.float32
    assert all((held[name] == stored[name]).all() for name in held.files)


@pytest.mark.parametrize("cell", [None, "", "  "])
def test_a_row_without_a_path_is_named(cell: str | None, ask: Call, features: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(features)
    paths = [cell if row == 4 else path for row, path in enumerate(frame["path"])]
    nameless = rewritten(features, frame.with_columns(path=pl.Series(paths, dtype=pl.String)))
    said = ask("finetune", "tiny_net", nameless, "--out", tmp_path / "run")
    assert said.code == 5
    assert "again.parquet: row 5 has no path\nName each item there.\n" in said.err


def test_a_folder_of_files_is_one_table_in_any_order_and_number_format(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    frame, about = pl.read_parquet(features), pl.read_parquet_metadata(features)["zoo_features"]
    (tmp_path / "parts").mkdir()
    other = frame[60:].reverse().with_columns(pl.col("features").arr.to_list().cast(pl.List(pl.Float64)))
    for number, part in enumerate((frame[:60], other)):
        lost = about if number == 0 else about.split('"unreadable"')[0] + '"unreadable":[]}'
        part.write_parquet(tmp_path / "parts" / f"part-{number}.parquet", metadata={"zoo_features": lost})
    train(ask, features, tmp_path / "one")
    train(ask, tmp_path / "parts", tmp_path / "two")
    assert (tmp_path / "one" / ADAPTER).read_bytes() == (tmp_path / "two" / ADAPTER).read_bytes()


def test_a_folder_of_nothing_but_cut_files_names_them(ask: Call, features: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for name in ("a.parquet", "b.parquet"):
        (tmp_path / "parts" / name).write_bytes(features.read_bytes()[:2000])
    said = ask("finetune", "tiny_net", tmp_path / "parts", "--out", tmp_path / "run")
    assert said.code == 5
    assert "only 2 .parquet files, which cannot be read: a.parquet, b.parquet\n" in said.err
    assert said.err.endswith("The file may be cut or damaged: fetch it, or write it, again.\n")


@pytest.mark.parametrize("among", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize(
    ("dtype", "cause"),
    [
        (pl.List(pl.Int64), "List(Int64), not lists of float32: they were rounded to whole numbers"),
        (pl.List(pl.UInt8), "List(UInt8), not lists of float32: they were rounded to whole numbers"),
        (pl.List(pl.String), "List(String), not lists of float32"),
        (pl.String, "String, not lists of float32"),
    ],
    ids=str,
)
def test_features_that_are_not_floats_are_refused_and_not_read_as_photographs(
    dtype: pl.DataType, cause: str, among: bool, ask: Call, features: Path, tmp_path: Path
) -> None:
    frame, about = pl.read_parquet(features), pl.read_parquet_metadata(features)["zoo_features"]
    cells = [
        str(row) if dtype == pl.String else pl.Series(row, dtype=pl.Float32).cast(dtype.inner, strict=False)
        for row in frame["features"].to_list()
    ]
    spoiled = frame.with_columns(pl.Series("features", cells, dtype), zoo_features=pl.lit(about))
    (tmp_path / "parts").mkdir()
    file = tmp_path / "parts" / "spoiled.parquet"
    spoiled.write_parquet(file)
    if among:
        shutil.copy(features, tmp_path / "parts" / "a.parquet")
    said = ask("finetune", "tiny_net", file.parent if among else file, "--out", tmp_path / "run")
    assert said.code == 5
    assert f"{file}: its column features has the type {cause}\n" in said.err
    assert said.err.endswith(
        "Write them again: zoo embed tiny_net PHOTOGRAPHS -o FILE.parquet. To train on the photographs "
        "themselves, leave out the column features.\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_features_in_a_text_file_are_refused_and_not_read_as_photographs(
    suffix: str, ask: Call, features: Path, shades: Path, tmp_path: Path
) -> None:
    about = pl.read_parquet_metadata(features)["zoo_features"]
    frame = pl.read_parquet(features).with_columns(zoo_features=pl.lit(about))
    frame = frame.with_columns(path=str(shades) + "/" + pl.col("path").str.split("shades/").list.last())
    frame = frame.with_columns(pl.col("features").arr.to_list())
    table = tmp_path / f"table{suffix}"
    if "j" in suffix:
        (frame.write_ndjson if suffix == ".jsonl" else frame.write_json)(table)
    else:
        texts = frame.with_columns(pl.Series("features", [str(row) for row in frame["features"].to_list()]))
        texts.write_csv(table, separator="," if suffix == ".csv" else "\t")
    said = ask("finetune", "tiny_net", table, "--out", tmp_path / "run")
    assert said.code == 5
    assert "the columns features and zoo_features, and features are read from Parquet files alone" in said.err
    plain = frame.drop("features", "zoo_features")
    if suffix == ".csv":
        plain.write_csv(table)
        train(ask, table, tmp_path / "run")


@pytest.mark.parametrize("name", ["a.parquet", "z.parquet"])
def test_a_cut_file_among_those_of_a_folder_is_named(
    name: str, ask: Call, features: Path, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    shutil.copy(features, tmp_path / "parts" / "m.parquet")
    (tmp_path / "parts" / name).write_bytes(features.read_bytes()[:2000])
    said = ask("finetune", "tiny_net", tmp_path / "parts", "--out", tmp_path / "run")
    assert said.code == 5
    assert f"cannot read {tmp_path / 'parts' / name}: " in said.err
    assert said.err.endswith("The file may be cut or damaged: fetch it, or write it, again.\n")


def test_what_is_not_a_feature_of_this_network_is_refused_by_name(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(features)
    lists = frame.with_columns(pl.col("features").arr.to_list())
    vectors = lists["features"].to_list()

    def refused(data: Path, *more: object, code: int = 5, net: str = "tiny_net") -> str:
        said = ask("finetune", net, data, "--out", tmp_path / "no", *more)
        assert said.code == code, said.err
        assert not (tmp_path / "no").exists()
        return said.err

    def with_first(vector: object) -> Path:
        return rewritten(features, lists.with_columns(pl.Series("features", [vector, *vectors[1:]])))

    assert "does not say which network" in refused(rewritten(features, frame, keep=False))
    assert "not all finite" in refused(with_first([np.nan, *vectors[0][1:]]))
    assert "not all finite" in refused(with_first([None, *vectors[0][1:]]))
    assert "not all finite" in refused(with_first([1e300, *vectors[0][1:]]))
    assert "are as large as 1e+37, and up to 1e+15 can be learned from (1 rows" in refused(
        with_first([-1e37, *vectors[0][1:]])
    )
    train(ask, with_first([1e15, *vectors[0][1:]]), tmp_path / "large")  # where no square leaves float32
    said = refused(with_first(vectors[0][1:]))
    assert "features, and tiny_net gives" in said
    assert "Compute them: zoo embed tiny_net PHOTOGRAPHS -o FILE.parquet\n" in said
    assert "no labels" in refused(rewritten(features, frame.drop("label")))
    assert "two rows" in refused(rewritten(features, pl.concat([frame, frame[:1]])))
    assert "only the head" in refused(features, "--unfreeze", 1, code=2)
    assert "no other views" in refused(features, "--views", 3, code=2)
    metadata = pl.read_parquet_metadata(features)["zoo_features"]
    digest = metadata.split('"network":"')[1][:64]
    other = metadata.replace(digest, "0" * 64).replace('"model":"tiny_net"', '"model":"other_net"')
    frame.write_parquet(tmp_path / "other.parquet", metadata={"zoo_features": other})
    said = refused(tmp_path / "other.parquet")
    assert "has features of other_net, and those of tiny_net are needed" in said


@pytest.mark.slow
def test_features_of_onnx_runtime_say_so_and_are_not_mixed_with_those_of_torch(
    ask: Call, features: Path, shades: Path, tmp_path: Path
) -> None:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=f"the extra [onnx] is not installed: {name}", exc_type=ImportError)
    (tmp_path / "both").mkdir()
    fast = tmp_path / "both" / "fast.parquet"
    said = ask("embed", "tiny_net", shades, "--backend", "onnx", "-o", fast)
    assert "by ONNX Runtime" in said.out
    assert '"backend":"onnx"' in pl.read_parquet_metadata(fast)["zoo_features"]
    assert "onnxruntime" in pl.read_parquet_metadata(fast)["zoo_features"]
    assert "was computed by ONNX Runtime" in train(ask, fast, tmp_path / "run")
    shutil.copy(features, tmp_path / "both" / "plain.parquet")
    said = ask("finetune", "tiny_net", tmp_path / "both", "--out", tmp_path / "no")
    assert (said.code, "their backend differs" in said.err) == (5, True)


def test_an_item_without_features_is_passed_over_with_its_reason(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(features)
    frame = frame.with_columns(
        features=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("features").arr.to_list()),
        reason=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("is too dark")).otherwise(None),
    )
    said = train(ask, rewritten(features, frame), tmp_path / "run")
    assert "is too dark" in said


def test_several_labels_and_numbers_are_learned_from_columns_that_were_joined(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(features).with_columns(
        level=pl.int_range(pl.len()).cast(pl.Float64),
        tags=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("a|b")).otherwise(pl.lit("b")),
    )
    data = rewritten(features, frame.drop("label"))
    train(ask, data, tmp_path / "numbers", "--task", "regression", "--label-column", "level")
    train(ask, data, tmp_path / "tags", "--task", "multi-label", "--label-column", "tags")


@pytest.fixture
def columns(shades: Path, tiny: Path) -> pl.DataFrame:
    """What an engine that knows nothing of features writes of them: columns, no metadata."""
    featurizer = zoo.Featurizer("tiny_net", registry=load_registry([tiny / "registry.yaml"]), device="cpu")
    photos = sorted(shades.rglob("*.png"))
    return featurizer([photo.read_bytes() for photo in photos]).frame.with_columns(
        path=pl.Series(list(map(str, photos))),
        label=pl.Series([photo.parent.name for photo in photos]),
        split=pl.Series([photo.parents[1].name for photo in photos]),
    )


def test_columns_of_a_featurizer_are_data_without_metadata(
    ask: Call, features: Path, columns: pl.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    lost = columns["features"].is_null()
    assert lost.sum() == 1
    for number, part in enumerate((columns.filter(lost), columns[:70].filter(~lost[:70]), columns[70:])):
        part.write_parquet(tmp_path / "parts" / f"{number}.parquet")  # one has no features at all
    train(ask, features, tmp_path / "embedded")
    said = train(ask, tmp_path / "parts", tmp_path / "run")
    assert "dark/7.png" in said
    assert columns.filter(lost)["error"][0] in said
    one, other = (json.loads((tmp_path / run / "run.json").read_text()) for run in ("embedded", "run"))
    assert other["data"]["counts"] == one["data"]["counts"]
    assert other["data"]["skipped"] == one["data"]["skipped"]
    assert other["result"]["metrics"]["accuracy"] == one["result"]["metrics"]["accuracy"]


def test_other_commands_say_of_features_what_they_are(
    ask: Call, columns: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_REPORT", "yes")
    away = columns.with_columns(path=pl.lit("s3://bucket/") + pl.col("path").str.split("/").list.last())
    away = away.with_columns(path=pl.col("path") + pl.int_range(pl.len()).cast(pl.String))
    (tmp_path / "parts").mkdir()
    away.write_parquet(tmp_path / "parts" / "one.parquet")
    said = train(ask, tmp_path / "parts", tmp_path / "run")
    assert f"Report, without pictures: {tmp_path / 'run' / 'report.html'}" in said
    assert f"With the photographs: zoo report {tmp_path / 'run'} PHOTOGRAPHS" in said
    assert "no report" not in said
    assert (tmp_path / "run" / "learning.png").is_file()
    for data in (tmp_path / "parts", tmp_path / "parts" / "one.parquet"):
        for words in (("evaluate", tmp_path / "run", data), ("check", data)):
            refused = ask(*words)
            assert refused.code == 5
            assert "It has features, which are data for zoo finetune and zoo embed alone" in refused.err


@pytest.mark.parametrize("beside", [False, True], ids=["file", "train-and-val"])
def test_commands_that_read_the_photographs_of_a_table_of_features_say_so(
    ask: Call, shades: Path, columns: pl.DataFrame, features: Path, tmp_path: Path, beside: bool
) -> None:
    numbers = columns.with_columns(pl.lit([0.5, 1.0], dtype=pl.List(pl.Float32)).alias("features"))
    parts = tmp_path / "parts"
    parts.mkdir()
    for part in ("train", "val"):  # of another network, of whatever width
        numbers.filter(pl.col("split") == part).write_parquet(parts / f"{part}.parquet")
    numbers.write_parquet(tmp_path / "other.parquet")
    said = train(ask, features, tmp_path / "run")
    assert "are not looked at" not in said
    data = parts if beside else tmp_path / "other.parquet"
    for words in (("check", data), ("evaluate", tmp_path / "run", data)):
        found = ask(*words)
        assert f"{data} has features too: its images are read here, and the features are not" in found.err
    assert "has features too" not in ask("evaluate", tmp_path / "run", shades).err


def test_columns_that_do_not_all_say_whose_features_they_are_are_refused(
    ask: Call, columns: pl.DataFrame, tmp_path: Path
) -> None:
    def refused(frame: pl.DataFrame) -> str:
        frame.write_parquet(tmp_path / "f.parquet")
        said = ask("finetune", "tiny_net", tmp_path / "f.parquet", "--out", tmp_path / "no")
        assert said.code == 5, said.err
        return said.err

    def with_last(provenance: str | None) -> pl.DataFrame:
        whole = columns["zoo_features"].to_list()
        return columns.with_columns(zoo_features=pl.Series([*whole[:-1], provenance], dtype=pl.String))

    written = columns["zoo_features"][-1]
    said = refused(columns.drop("zoo_features"))
    assert "f.parquet does not say which network computed its features" in said
    assert "keep the column zoo_features" in " ".join(said.split())
    assert "some rows of" in refused(with_last(None))
    assert "cannot be read" in refused(with_last("tiny_net"))
    digest = written.split('"network":"')[1][:64]
    assert "their network differs" in refused(with_last(written.replace(digest, "0" * 64)))
    bf16 = columns.with_columns(pl.col("zoo_features").str.replace("fp32", "bf16", literal=True))
    assert "the precision is another (bf16, not fp32)" in refused(bf16)
    assert "of none of its items" in refused(columns.filter(pl.col("features").is_null()))


def test_features_that_unlike_devices_computed_are_one_table_and_other_versions_are_named(
    ask: Call, columns: pl.DataFrame, tmp_path: Path
) -> None:
    torch = f'"torch":"{version("torch")}"'
    later = pl.int_range(pl.len()) % 2 == 1
    frame = columns.with_columns(
        zoo_features=pl.when(later)
        .then(
            pl.col("zoo_features")
            .str.replace('"device":"cpu"', '"device":"cuda"', literal=True)
            .str.replace(torch, '"torch":"9.1"', literal=True)
        )
        .otherwise(pl.col("zoo_features"))
    )
    assert frame["zoo_features"].n_unique() == 3
    frame.write_parquet(tmp_path / "f.parquet")
    said = train(ask, tmp_path / "f.parquet", tmp_path / "run")
    assert "was computed by 2 versions of zoo or of its libraries (torch " in said
    assert "torch 9.1" in said
    assert said.index(version("torch")) < said.index("torch 9.1")
    assert "may differ in their last digits from each other" in said
    older = frame.with_columns(pl.col("zoo_features").str.replace(torch, '"torch":"9.1"', literal=True))
    older.write_parquet(tmp_path / "g.parquet")
    said = ask("embed", "tiny_net", tmp_path / "g.parquet", "-o", tmp_path / "g.npz").err
    assert "was computed by another version of zoo or of its libraries (torch 9.1" in said
    assert "may differ in their last digits from those that are computed here" in said


def test_the_run_of_the_main_job_is_made_again_of_features(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    target = find_target(kit.net, registry=kit.registry, store=shared_store)
    classifier = load_classifier(target, store=shared_store, registry=kit.registry)
    source = ImageItems(list_images([kit.images]), classifier.input)
    found = embed_for_training(classifier, source, kit.images, store=shared_store, device="cpu")
    write_embeddings(found, tmp_path / "f.parquet")
    result = finetune_model(
        kit.net,
        tmp_path / "f.parquet",
        out=tmp_path / "run",
        registry=kit.registry,
        store=shared_store,
        device="cpu",
    )
    assert result.metrics == trained.metrics
    assert (tmp_path / "run" / ADAPTER).read_bytes() == (Path(trained.run) / ADAPTER).read_bytes()


def test_features_of_texts_are_refused_and_texts_with_features_beside_them_are_texts(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    said = ask(
        "embed", "tiny_words", "--text", "a film", "--text", "a bad film", "-o", tmp_path / "v.parquet"
    )
    assert said.code == 0, said.err
    said = ask("finetune", "tiny_words", tmp_path / "v.parquet", "--out", tmp_path / "no")
    assert said.code == 5
    assert "needs the words of the texts" in said.err
    texts = ["a good film"] * 6 + ["a bad film"] * 6
    labels = ["good"] * 6 + ["bad"] * 6
    frame = pl.DataFrame({"text": texts, "label": labels, "features": [[1.0, 2.0]] * 12})
    frame.write_parquet(tmp_path / "t.parquet")
    said = ask("finetune", "tiny_words", tmp_path / "t.parquet", "--out", tmp_path / "run", "--epochs", 1)
    assert "texts in text, labels in label" in said.err
    assert "has features" not in said.err


def test_embed_takes_features_and_writes_them_again(
    ask: Call, shades: Path, features: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(shades, tmp_path / "elsewhere")  # no photograph can be read
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1kB")
    said = ask("embed", "tiny_net", features, "-o", tmp_path / "again.parquet")
    assert said.code == 0, said.err
    assert "no photograph is read" in said.err
    assert "passed over, without features" in said.err
    assert "7.png" in said.err
    assert "115 files" in said.out
    assert "2 classes" in said.out
    assert pl.read_parquet(tmp_path / "again.parquet").equals(pl.read_parquet(features))
    facts = [pl.read_parquet_metadata(path) for path in (features, tmp_path / "again.parquet")]
    assert facts[0]["zoo_features"] == facts[1]["zoo_features"]
    assert facts[0]["model_license"] == facts[1]["model_license"]
    monkeypatch.delenv("ZOO_FEATURES_MEMORY")
    assert ask("embed", "tiny_net", features, "-o", tmp_path / "again.npz").code == 0
    with np.load(tmp_path / "again.npz") as found:
        assert np.array_equal(found["features"], np.stack(pl.read_parquet(features)["features"].to_list()))
    registry = load_registry([tiny / "registry.yaml"])
    by_python = zoo.embed("tiny_net", [features], registry=registry, report=lambda _: None)
    assert len(by_python.features) == 115
    assert [str(path) for path in by_python.paths] == pl.read_parquet(features)["path"].to_list()


def test_embed_needs_no_labels_and_names_what_it_leaves_out(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(features).drop("label", "split").with_columns(site=pl.lit("north"))
    said = ask("embed", "tiny_net", rewritten(features, frame), "-o", tmp_path / "bare.parquet")
    assert said.code == 0, said.err
    assert "left out: what" in said.err
    assert "(site)" in said.err
    assert pl.read_parquet(tmp_path / "bare.parquet").columns == ["path", "features", "sha256"]


def test_embed_refuses_what_does_not_belong_to_the_network(
    ask: Call, shades: Path, features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    frame = pl.read_parquet(features)
    twice = rewritten(features, pl.concat([frame, frame[:1]]))
    assert "has two rows of" in ask("embed", "tiny_net", twice, "-o", out).err
    about = pl.read_parquet_metadata(features)["zoo_features"].replace('"network":"', '"network":"0')
    other = rewritten(features, frame.with_columns(zoo_features=pl.lit(about)), keep=False)
    assert "the network is another" in ask("embed", "tiny_net", other, "-o", out).err
    assert (
        "features in fp32, not in bf16"
        in ask("embed", "tiny_net", features, "-o", out, "--precision", "bf16").err
    )
    assert ask("embed", "tiny_net", features, "-o", out, "--on-bad", "stop").code != 0
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--processes", "2"),
        ("--backend", "onnx"),
        ("--batch-size", "3"),
        ("--lines",),
        ("--text", "good"),
        ("--text-column", "x"),
        ("--pooling", "sif"),
        ("--member", "x"),
    ],
    ids=lambda words: words[0],
)
def test_options_that_features_would_pass_over_are_refused_by_name(
    words: tuple[str, ...], ask: Call, features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    said = ask("embed", "tiny_net", features, "--out", out, "--on-bad", "skip", *words)
    assert (said.code, out.exists()) == (2, False)
    first, second = said.err.splitlines()
    assert first == f"error: {words[0]} does not go with {features}, which has features already"
    assert second.startswith(f"Leave it out: zoo embed tiny_net {features} --out {out} --on-bad skip")


def test_python_refuses_what_features_would_pass_over(features: Path, tiny: Path) -> None:
    known = {"registry": load_registry([tiny / "registry.yaml"]), "report": lambda _: None}
    with pytest.raises(UsageError, match="batch_size and backend do not go with"):
        zoo.embed("tiny_net", [features], batch_size=3, backend="onnx", **known)
    with pytest.raises(UsageError, match="are read from one file or one folder alone"):
        zoo.embed("tiny_net", [features, features], **known)


def test_features_are_named_alone_and_written_elsewhere(
    ask: Call, shades: Path, features: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    shutil.copy(features, parts / "one.parquet")
    out = tmp_path / "out.parquet"
    for words, hint in (
        (
            (features, parts / "one.parquet"),
            "Put all Parquet files of features into one folder, and name that.",
        ),
        ((parts, features), "Put all Parquet files of features into one folder, and name that."),
        ((shades, features), "Name either the features or the photographs."),
    ):
        said = ask("embed", "tiny_net", *words, "-o", out)
        assert (said.code, out.exists()) == (2, False)
        assert "has features, and they are read from one file or one folder alone" in said.err
        assert said.err.endswith(f"{hint}\n")
    said = ask("embed", "tiny_net", parts, "-o", parts / "all.parquet")
    assert (said.code, [each.name for each in parts.iterdir()]) == (2, ["one.parquet"])
    assert "would be one of the tables of" in said.err
    assert ask("embed", "tiny_net", parts, "-o", out).code == 0


def test_features_for_a_tuned_run_are_those_of_the_run(
    ask: Call, shades: Path, features: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out.parquet"
    tuned = ask("finetune", "tiny_net", shades, "--out", run, "--unfreeze", 1, "--epochs", 1)
    assert tuned.code == 0, tuned.err
    said = ask("embed", run, features, "-o", out)
    assert said.code == 5
    assert f"has features of tiny_net, and those of {run} are needed: the network is another" in said.err
    assert said.err.endswith(f"Compute them: zoo embed {run} PHOTOGRAPHS -o FILE.parquet\n")
    assert ask("embed", run, shades, "-o", out).code == 0
    assert ask("embed", run, out, "-o", tmp_path / "again.parquet").code == 0


@pytest.mark.parametrize("link", [False, True], ids=["in folders", "behind links"])
def test_photographs_with_features_of_others_beside_them_are_photographs(
    link: bool, ask: Call, shades: Path, features: Path, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for label in ("dark", "light"):
        if link:
            (photographs / label).symlink_to(shades / "val" / label)
        else:
            shutil.copytree(shades / "val" / label, photographs / label)
    shutil.copy(features, photographs / "f.parquet")
    said = ask("embed", "tiny_net", photographs, "-o", tmp_path / "own.parquet")
    assert "16 files" in said.out
    assert "photographs/dark" in pl.read_parquet(tmp_path / "own.parquet")["path"][0]
    assert "no photograph is read" not in train(ask, photographs, tmp_path / "run")
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["counts"]
    assert [sum(part) for part in zip(*counts.values(), strict=True)] == [8, 8]


def test_arrays_are_sent_to_the_format_that_features_are_read_from(
    ask: Call, features: Path, tmp_path: Path
) -> None:
    assert ask("embed", "tiny_net", features, "-o", tmp_path / "f.npz").code == 0
    said = ask("finetune", "tiny_net", tmp_path / "f.npz", "--out", tmp_path / "run")
    assert said.code != 0
    assert "f.npz is a file of arrays" in said.err
    assert "zoo embed MODEL PHOTOGRAPHS -o FILE.parquet" in said.err


def test_embed_keeps_addresses_and_what_has_no_features(
    ask: Call, features: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.read_parquet(features).with_columns(
        path="s3://bucket/" + pl.col("path").str.split("shades/").list.last(),
        license=pl.lit("CC-BY"),
        error=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("is damaged")),
        features=pl.when(pl.int_range(pl.len()) != 3).then(pl.col("features")),
    )
    table = rewritten(features, frame)
    said = ask("embed", "tiny_net", table, "-o", tmp_path / "out.parquet")
    assert said.code == 0, said.err
    assert "(license)" in said.err
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["path"].to_list() == [path for at, path in enumerate(frame["path"]) if at != 3]
    about = pl.read_parquet_metadata(tmp_path / "out.parquet")["zoo_features"]
    assert f'"path":"{frame["path"][3]}","reason":"is damaged"' in about
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "1kB")
    registry = load_registry([tiny / "registry.yaml"])
    assert len(zoo.embed("tiny_net", [table], registry=registry, report=lambda _: None).features) == 114
