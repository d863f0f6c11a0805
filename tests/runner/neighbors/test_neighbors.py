"""`seqembed neighbors`: the nearest rows by brute force, in any number of files, of ids of any type."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from column_types import columns
from hypothesis import given
from hypothesis import strategies as st

import seqembed as front
from seqembed.data.decode.ids import id_text
from seqembed.runner.neighbors.ids import IdMatcher
from seqembed_testing import (
    Tiny,
    done,
    events_bundle,
    seqembed,
    sequences,
    with_contract,
    write_events,
    write_sequences,
)

IDS = {name: column for name, column in columns(6).items() if name != "bool"}


def write_vectors(path: Path, ids: Any, vectors: Any, kind: pa.DataType | None = None, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.list_(pa.float32(), len(next(one for one in vectors if one is not None))) if kind is None else kind
    pq.write_table(pa.table({"id": ids, "embedding": pa.array(vectors, kind), **more}), path, row_group_size=7)
    return path


def nearest(vectors: np.ndarray, row: int, k: int, metric: str) -> tuple[list[int], np.ndarray]:
    """Return the rows that all distances, sorted, begin with, and their distances."""
    wide = vectors.astype(np.float64)
    if metric == "euclidean":
        apart = np.linalg.norm(wide - wide[row], axis=1)
    else:
        norms = np.linalg.norm(wide, axis=1)
        apart = 1 - wide @ wide[row] / (norms * norms[row])
    order = [one for one in np.argsort(apart, kind="stable").tolist() if one != row][:k]
    return order, apart[order]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", [None, pa.list_(pa.float64()), pa.list_(pa.float16(), 5), pa.large_list(pa.float32())])
def test_the_nearest_rows_are_those_of_brute_force(tmp_path: Path, metric: Any, kind: pa.DataType | None) -> None:
    vectors = np.random.default_rng(3).normal(size=(90, 5)).astype(np.float16)
    ids = [f"c{row}" for row in range(90)]
    for part in range(3):
        rows = slice(30 * part, 30 * part + 30)
        write_vectors(tmp_path / "v" / f"day={part}" / "p.parquet", ids[rows], list(vectors[rows].astype(float)), kind)
    report = front.neighbors(tmp_path / "v", id=["c40", "c2"], k=7, metric=metric)
    assert (report.num_vectors, report.num_skipped, report.num_files) == (90, 0, 3)
    for result, row in zip(report.results, (40, 2), strict=True):
        order, apart = nearest(vectors, row, 7, metric)
        assert [one.id for one in result.nearest] == [ids[one] for one in order]
        assert [one.rank for one in result.nearest] == [1, 2, 3, 4, 5, 6, 7]
        np.testing.assert_allclose([one.distance for one in result.nearest], apart, atol=1e-12)
        assert result.row.kept == {"day": str(row // 30)} and result.row.file == f"day={row // 30}/p.parquet"
        assert (result.row.id, result.row.row, result.row.rank) == (f"c{row}", row % 30, 0)


@given(data=st.data())
def test_few_numbers_and_many_ties_are_sorted_by_file_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("vectors")
    grid = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    vectors = data.draw(st.lists(st.none() | grid, min_size=2, max_size=24).filter(lambda rows: rows[0] is not None))
    ends = sorted({0, len(vectors), *data.draw(st.lists(st.integers(0, len(vectors)), max_size=3))})
    for part, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
        kind = pa.list_(pa.float32(), 2)
        write_vectors(root / f"{part}.parquet", list(range(start, end)), vectors[start:end], kind)
    k = data.draw(st.integers(1, 9))
    report = front.neighbors(root, id=0, k=k)
    there = [row for row, vector in enumerate(vectors) if vector is not None]
    order, _ = nearest(np.array([vectors[row] for row in there]), 0, k, "euclidean")
    assert [one.id for one in report.results[0].nearest] == [there[row] for row in order]
    assert (report.num_vectors, report.num_skipped) == (len(there), len(vectors) - len(there))


@pytest.mark.parametrize("name", IDS)
def test_ids_of_every_type_are_found_by_their_text(tmp_path: Path, name: str) -> None:
    vectors = [[float(row)] for row in range(6)]
    texts = [id_text(value) for value in IDS[name]]
    write_vectors(tmp_path / "v.parquet", IDS[name], vectors)
    report = front.neighbors(tmp_path / "v.parquet", id=texts, k=1)
    assert [result.row.row for result in report.results] == list(range(6))
    assert IdMatcher(["no such id"]).rows(IDS[name]) == []


def test_text_names_values_as_people_write_them() -> None:
    for column, text in (
        (pa.array([1, 20], pa.int16()), "20"),
        (pa.array(["1.50", "2.50"]).cast(pa.decimal128(9, 3)), "2.5"),
        (pa.array(["2026-01-01", "2026-01-02"]).cast(pa.timestamp("us")), "2026-01-02"),
        (pa.array(["2026-01-01", "2026-01-02"]).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")), "2026-01-02"),
        (pa.array([b"ab", b"cd"]), "cd"),
    ):
        assert IdMatcher([text, "999999999999999999999999"]).rows(column) == [(1, text)]


def test_an_unknown_id_ends_with_examples(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "v.parquet", [11, 12], [[0.0], [1.0]])
    for asked in ("13", "a"):
        result = seqembed("neighbors", path, "--id", asked)
        assert result.exit_code == 3
        assert f"no row has the id '{asked}' in 'id'. It has, for example, '11', '12'." in result.output


def test_null_and_infinite_vectors_are_skipped_and_counted(tmp_path: Path) -> None:
    vectors = [None, [1.0, 0.0], [np.inf, 0.0], [None, 1.0], [3.0, 0.0], [2.0, 0.0]]
    path = write_vectors(tmp_path / "v.parquet", ["a", "b", "c", "d", "e", "a"], vectors)
    report = front.neighbors(path, id=["b", "a"])
    assert (report.num_vectors, report.num_skipped) == (3, 3)
    assert [one.id for one in report.results[0].nearest] == ["a", "e"]
    # The first row of an id that has a vector is taken.
    assert (report.results[1].row.row, report.results[1].num_rows) == (5, 2)
    said = done("neighbors", path, "--id", "a").output
    assert "3 rows without a vector skipped" in said and "2 rows have the id a; this is row 5" in said
    refused = seqembed("neighbors", path, "--id", "c")
    assert refused.exit_code == 3 and "v.parquet: row 2, id 'c': there is no vector" in refused.output


def test_files_that_do_not_belong_together_are_refused_by_name(tiny: Tiny, tmp_path: Path) -> None:
    write_vectors(tmp_path / "v" / "a.parquet", ["a"], [[0.0]])
    write_vectors(tmp_path / "v" / "b.parquet", ["b"], [[0.0, 1.0]])
    write_vectors(tmp_path / "w" / "a.parquet", ["a", "b", "c"], [[0.0], [1.0], [1.0, 2.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a"], "embedding": ["x"]}), tmp_path / "text.parquet")
    pq.write_table(pa.table({"key": ["a"], "embedding": [[1.0]]}), tmp_path / "key.parquet")
    for name in ("first", "second"):
        bundle = tiny.bundle if name == "first" else with_contract(tiny.bundle, tmp_path / "m.onnx", batch_size=7)
        data = write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(9, seed=1))
        done("run", data, "--model", bundle, "--out", tmp_path / name)
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / name / f"{name}.parquet").rename(tmp_path / "models" / f"{name}.parquet")
    for given_path, said in (
        ("v", "a.parquet was made with vectors of 1 numbers, b.parquet with vectors of 2 numbers"),
        ("w", "a.parquet: row 2: a vector of 2 numbers; the others have 1"),
        ("models", "first.parquet was made by the model"),
        ("in", "first.parquet: no column 'embedding', expected as the vectors of a run"),
        ("text.parquet", "column 'embedding' is string; expected a list of numbers"),
        ("key.parquet", "no column 'id', expected as the ids. The file has: key, embedding. Name the column"),
        ("none", "no such file or directory"),
    ):
        result = seqembed("neighbors", tmp_path / given_path, "--id", "a")
        assert result.exit_code == 3 and said in " ".join(result.output.split()), result.output
    assert front.neighbors(tmp_path / "key.parquet", id="a", id_column="key").num_vectors == 1
    for words in (["-k", 0], ["--time", "t"], ["--metric", "manhattan"]):
        assert seqembed("neighbors", tmp_path / "v", "--id", "a", *words).exit_code == 2


def test_a_run_with_bad_rows_in_daily_directories(tiny: Tiny, tmp_path: Path) -> None:
    for day in (1, 2):
        rows = sequences(20, seed=day, shortest=1)
        rows["x"][3] = [float("inf")] * len(rows["x"][3])
        write_sequences(tmp_path / "lake" / f"day={day}" / "p.parquet", rows)
    out = tmp_path / "vectors"
    done("run", tmp_path / "lake", "--model", tiny.bundle, "--out", out, "--on-bad-row", "null", "--keep", "label")
    report = front.neighbors(out, id="s5", k=3, data=tmp_path / "lake")
    assert (report.num_vectors, report.num_skipped, report.results[0].num_rows) == (38, 2, 2)
    everything = (report.results[0].row, *report.results[0].nearest)
    for one in everything:
        assert list(one.kept) == ["label", "day"]
        # Of two days the sequence is the one that this vector was made from.
        stored = pq.read_table(tmp_path / "lake" / one.file, partitioning=None).slice(one.row, 1).to_pylist()[0]
        assert one.steps is not None and one.steps.num_steps == len(stored["x"])
        assert set(one.steps.values) == {"x", "y"}
        np.testing.assert_allclose(
            np.array(one.steps.values["y"], float), np.array(stored["y"], float).astype(np.float32)
        )
    assert seqembed("neighbors", out, "--id", "s3").exit_code == 3
    shown = json.loads(done("neighbors", out, "--id", "s5", "-k", 3, "--data", tmp_path / "lake", "--json").output)
    assert shown == json.loads(json.dumps(report.to_json()))


def test_events_and_grouped_events(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx", id="customer")
    table = pq.read_table(write_events(tmp_path / "raw.parquet", 30, seed=2)).rename_columns(
        ["customer", "label", "x", "y"]
    )
    table = table.append_column("time", pa.array(range(len(table)), pa.int64()))
    (tmp_path / "events").mkdir()
    pq.write_table(table, tmp_path / "events" / "e.parquet")
    done("run", tmp_path / "events", "--model", bundle, "--out", tmp_path / "v", "--keep", "label")
    words = ["--id", "customer", "--time", "time", "--keep", "label", "--features", "x,y"]
    done("group", tmp_path / "events", *words, "--out", tmp_path / "grouped")
    found = [
        front.neighbors(tmp_path / "v", id="s4", data=tmp_path / name, time="time") for name in ("events", "grouped")
    ]
    assert found[0].results == found[1].results
    steps = found[0].results[0].row.steps
    assert steps is not None and set(steps.values) == {"x", "y"}
    expected = table.filter(pa.compute.equal(table["customer"], "s4"))["y"].to_numpy()
    np.testing.assert_allclose(np.array(steps.values["y"], float), expected.astype(np.float32))
    no_id = write_sequences(tmp_path / "other.parquet", sequences(3, seed=0))
    refused = seqembed("neighbors", tmp_path / "v", "--id", "s4", "--data", no_id)
    assert refused.exit_code == 3 and "no column 'customer', the id column of the vectors" in refused.output


@pytest.mark.parametrize("features", ["kind", "x,kind"])
def test_text_is_not_drawn_and_a_column_of_it_is_refused(tiny: Tiny, tmp_path: Path, features: str) -> None:
    columns = sequences(20, seed=1, shortest=1)
    columns["kind"] = [["p"] * len(steps) for steps in columns["x"]]
    data = write_sequences(tmp_path / "in.parquet", columns)
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "v")
    words = ("neighbors", tmp_path / "v", "--id", "s4", "--data", data)
    refused = seqembed(*words, "--features", features)
    assert (refused.exit_code, "'kind' holds text, which is not drawn" in refused.output) == (2, True)
    assert "kind" not in done(*words).output


def test_the_sequence_is_that_of_the_file_the_vector_was_made_from(tiny: Tiny, tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(
            tmp_path / "in" / f"{name}.parquet", sequences(40, seed=ord(name), shortest=1), row_group_size=10
        )
    out, words = tmp_path / "v", ["--rows-per-part", 10]
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, *words)
    parts = sorted(out.rglob("*.parquet"))
    assert len(parts) == 8
    for part in parts:
        ids = pq.read_table(part)["id"].to_pylist()
        report = front.neighbors(part, id=ids[0], k=1, data=tmp_path / "in")
        source = "a" if "a" in part.relative_to(out).as_posix().split(".")[0] else "b"
        stored = {row["id"]: row for row in pq.read_table(tmp_path / "in" / f"{source}.parquet").to_pylist()}
        steps = report.results[0].row.steps
        assert steps is not None
        assert np.array(steps.values["y"], np.float32).tolist() == pytest.approx(
            np.array(stored[ids[0]]["y"], np.float32).tolist(), nan_ok=True
        )
