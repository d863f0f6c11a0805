"""Grouped events are what every command reads: run, train, evaluate and inspect, with times and text."""

from pathlib import Path
from shlex import split
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from events_testing import KINDS, plain, transactions, untrained_run, write_events

import seqembed
from child_runner import contents
from seqembed_testing import done, embeddings, events_bundle
from seqembed_testing import seqembed as command

Rows = dict[str, list[Any]]


def by_day(rows: Rows) -> pa.Table:
    """Return the events of nested rows as they arrive: sorted by time, whoever they are of."""
    columns: dict[str, pa.Array] = {
        "id": pa.array([i for i, t in zip(rows["id"], rows["time"], strict=True) for _ in t])
    }
    for name, kind in KINDS.items():
        columns[name] = pa.array([value for steps in rows[name] for value in steps], plain(kind)).cast(kind)
    # No two times are the same, so that the order is determined.
    table = pa.table(columns)
    return table.take(pa.compute.sort_indices(table["time"]))


@pytest.fixture(scope="module")
def rows() -> Rows:
    return transactions(60, seed=3, new_merchants=0.1)


@pytest.fixture(scope="module")
def days(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the events to eight files, by time."""
    root, table = tmp_path_factory.mktemp("daily files"), by_day(rows)
    for index in range(8):
        num = len(table)
        part = table.slice(index * num // 8, (index + 1) * num // 8 - index * num // 8)
        pq.write_table(part, root / f"day={index}.parquet", row_group_size=50)
    return root


@pytest.fixture(scope="module")
def models(rows: Rows, days: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a model of grouped events, which training learned about from them, and the same as a model of events."""
    root = tmp_path_factory.mktemp("models")
    group(days, "--out", root / "grouped", "--buckets", 3)
    run = untrained_run(root / "run", root / "grouped", "nested")
    done("export", run.root, "--out", root / "nested.onnx")
    return {"nested": root / "nested.onnx", "events": events_bundle(root / "nested.onnx", root / "events.onnx")}


def group(*words: object) -> None:
    done("group", *words, "--progress", "none")


@pytest.mark.parametrize("layout", ["events", "nested"])
def test_vectors_of_daily_files_equal_those_of_one_file_to_the_bit(
    models: dict[str, Path], rows: Rows, days: Path, tmp_path: Path, layout: str
) -> None:
    group(days, "--out", tmp_path / "grouped", "--buckets", 4)
    pq.write_table(by_day(rows), tmp_path / "one.parquet")
    group(tmp_path / "one.parquet", "--out", tmp_path / "of one", "--buckets", 4)
    vectors = {}
    for name in ("grouped", "of one"):
        out = tmp_path / f"vectors of {name}"
        done("run", tmp_path / name, "--model", models[layout], "--out", out)
        vectors[name] = embeddings(sorted(out.glob("bucket*")))
    assert len(vectors["grouped"]) == 60
    assert {key: value.tobytes() for key, value in vectors["grouped"].items()} == {
        key: value.tobytes() for key, value in vectors["of one"].items()
    }
    if layout == "events":  # the same model reads sorted events; batches differ, and so do last bits
        write_events(tmp_path / "sorted.parquet", rows)
        done("run", tmp_path / "sorted.parquet", "--model", models[layout], "--out", tmp_path / "direct")
        direct = embeddings([tmp_path / "direct" / "sorted.parquet"])
        assert direct.keys() == vectors["grouped"].keys()
        for key, vector in direct.items():
            np.testing.assert_allclose(vectors["grouped"][key], vector, rtol=0, atol=1e-6)


def test_a_late_file_embeds_the_changed_buckets_alone(
    models: dict[str, Path], rows: Rows, days: Path, tmp_path: Path
) -> None:
    inputs = [*sorted(days.iterdir())]
    group(*inputs, "--out", tmp_path / "grouped", "--buckets", 16)
    words = ("run", tmp_path / "grouped", "--model", models["nested"], "--out", tmp_path / "vectors")
    done(*words)
    before = contents(tmp_path / "vectors")
    late = {name: values[:2] for name, values in rows.items()}
    pq.write_table(by_day(late), tmp_path / "late.parquet")
    report = seqembed.group([*inputs, tmp_path / "late.parquet"], out=tmp_path / "grouped", buckets=16, progress="none")
    assert 1 <= len(report.made) <= 2
    assert f"{len(report.made)} part" in done(*words).output.splitlines()[-1]
    after = contents(tmp_path / "vectors")
    assert {name for name in after if after[name] != before[name]} == set(report.made)


def test_run_on_ungrouped_events_names_the_line_that_groups_them(
    models: dict[str, Path], days: Path, tmp_path: Path
) -> None:
    in_one = tmp_path / "it's one" / "e.parquet"
    in_one.parent.mkdir()
    pq.write_table(pa.concat_tables([pq.read_table(p, partitioning=None) for p in sorted(days.iterdir())]), in_one)
    for inputs in ([days], sorted(days.iterdir())[:2], [in_one]):
        result = command("run", *inputs, "--model", models["events"], "--out", tmp_path / "out", "--keep", "kind")
        assert result.exit_code == 3
        line = split(result.output.partition("together first: ")[2])
        options = ["--id", "id", "--time", "time", "--features", "amount,merchant,kind"]
        assert line == ["seqembed", "group", *map(str, inputs), *options, "--out", "grouped"]


def test_train_names_the_line_with_the_label_and_python_leaves_it_as_it_is(days: Path, tmp_path: Path) -> None:
    for path in days.iterdir():
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.append_column("label", table["id"]), tmp_path / path.name)
    with pytest.raises(seqembed.InputError) as refused:
        seqembed.train(tmp_path, out=tmp_path / "run", time="time", label="label")
    line = split(str(refused.value).partition("together first: ")[2])
    assert line == [
        *("seqembed", "group", str(tmp_path), "--id", "id", "--time", "time"),
        *("--features", "amount,merchant,kind", "--keep", "label", "--out", "grouped"),
    ]


def test_the_line_that_it_names_works(models: dict[str, Path], days: Path, tmp_path: Path) -> None:
    result = command("run", days, "--model", models["events"], "--out", tmp_path / "vectors")
    *words, _ = split(result.output.partition("together first: ")[2])[1:]
    done(*words, tmp_path / "grouped")
    done("run", tmp_path / "grouped", "--model", models["events"], "--out", tmp_path / "vectors")


def test_vectors_and_grouped_events_do_not_share_a_directory(
    models: dict[str, Path], days: Path, tmp_path: Path
) -> None:
    group(days, "--out", tmp_path / "grouped")
    done("run", tmp_path / "grouped", "--model", models["nested"], "--out", tmp_path / "vectors")
    for options in ((), ("--overwrite",)):
        result = command("group", days, "--out", tmp_path / "vectors", *options)
        assert result.exit_code == 6
        assert "holds vectors that `seqembed run` wrote" in result.output
    other = days / "day=0.parquet"
    result = command("run", other, "--model", models["events"], "--out", tmp_path / "grouped")
    assert result.exit_code == 6


@pytest.mark.usefixtures("few_features", "quick_training")
def test_train_evaluate_and_inspect_read_it(models: dict[str, Path], days: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted(days.iterdir())):
        table = pq.read_table(path, partitioning=None)
        label = pa.array([f"k{int(name[1:]) % 2}" for name in table["id"].to_pylist()])
        pq.write_table(table.append_column("label", label), tmp_path / f"{index}.parquet")
    files = sorted(tmp_path.glob("*.parquet"))
    group(*files, "--keep", "label", "--out", tmp_path / "grouped", "--buckets", 2)
    small = ("--units", 2, "--embedding-dim", 2, "--steps", 1, "--kernels", 0, "--task", "reconstruct")
    done("train", tmp_path / "grouped", "--time", "time", "--label", "label", "--out", tmp_path / "run", *small)
    parts = [tmp_path / "grouped" / f"bucket-0000{index}.parquet" for index in (0, 1)]
    words = ("--model", models["nested"], "--train", parts[0], "--test", parts[1], "--label", "label")
    done("evaluate", *words, "--untrained-seeds", 1, "--progress", "none")
    shown = done("inspect", tmp_path / "grouped").output
    events = sum(pq.read_metadata(path).num_rows for path in files)
    for text in (
        f"{events} events of 60 ids",
        "Times: 2024-02-26 0",
        "Events per id: shortest 2, mean",
        "longest 14",
        "8 files unchanged, 0 changed, 0 new, 0 gone",
        f"Next: seqembed train {tmp_path / 'grouped'} --id id --time time --out RUN_DIR",
    ):
        assert text in shown, shown
    assert seqembed.inspect(tmp_path / "grouped").kind == "grouped"
    labelled = seqembed.inspect(tmp_path / "grouped", label="label").facts
    assert labelled["next"] == f"seqembed train {tmp_path / 'grouped'} --id id --time time --out RUN_DIR --label label"
    assert labelled["label"] == "label"
    for name, said, remedy in (
        ("amount", "is a list with a value per event", "Group again with --keep amount and --overwrite"),
        ("nosuch", "was not grouped", "If the events have it, group again with --keep nosuch and --overwrite"),
        ("id", "is the id", "Name another column"),
        ("time", "is the time of each event", "Name another column"),
    ):
        refused = command("inspect", tmp_path / "grouped", "--label", name)
        assert (refused.exit_code, f"column '{name}' {said}; expected one value per id" in refused.output) == (3, True)
        assert f"for --label. {remedy}. Kept are: label." in refused.output
    (tmp_path / "grouped" / "_SUCCESS").unlink()
    pq.write_table(pq.read_table(files[0]), files[0])
    shown = done("inspect", tmp_path / "grouped").output
    assert "No _SUCCESS: the last job did not finish" in shown
    assert "7 files unchanged, 1 changed" in shown


@pytest.mark.parametrize("option", ["--deduplicate", "--keep", "--features"])
@pytest.mark.parametrize("text", ["", " , "])
def test_a_list_of_columns_that_a_scheduler_left_empty_is_refused(
    days: Path, tmp_path: Path, option: str, text: str
) -> None:
    refused = command("group", days, "--out", tmp_path / "out", option, text)
    assert refused.exit_code == 2
    assert f"{text!r} names no column. Name one, or leave the option out." in refused.output
    assert not (tmp_path / "out").exists()
