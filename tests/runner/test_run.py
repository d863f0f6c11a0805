"""`seqembed run` with a real bundle: order, accounting, determinism, errors."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counting import CountingFilesystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from seqembed.data.batching import pad
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import (
    Tiny,
    done,
    embeddings,
    events_bundle,
    seqembed,
    sequences,
    with_contract,
    write_events,
    write_sequences,
)


def one_by_one(tiny: Tiny, path: Path) -> dict[str, np.ndarray | None]:
    """Embed each sequence alone, without padding, as the reference."""
    encoder = Encoder.open(tiny.bundle)
    (file,) = resolve_inputs([str(path)])
    found: dict[str, np.ndarray | None] = {}
    for block in read_blocks(file, detect_schema([file], features=["x", "y"])):
        for row, name in enumerate(block.ids.to_pylist()):
            batch = pad(block, np.array([row]))
            found[name] = encoder.embed(batch.values, batch.lengths)[0] if batch.lengths[0] else None
    return found


def test_every_row_is_written_in_order_with_its_own_vector(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(700, seed=3), row_group_size=90)
    result = done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--keep", "label")
    table = pq.read_table(tmp_path / "out" / "in.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 6)
    assert table.column_names == ["id", "label", "embedding"]
    assert table["id"].to_pylist() == [f"s{i}" for i in range(700)]
    assert table["label"].to_pylist() == [i % 3 for i in range(700)]
    expected = one_by_one(tiny, data)
    found = embeddings([tmp_path / "out" / "in.parquet"])
    empty = sum(vector is None for vector in expected.values())
    assert empty > 0
    for name, vector in expected.items():
        if vector is None:
            assert found[name] is None
        else:
            np.testing.assert_allclose(found[name], vector, rtol=0, atol=2e-6)
    assert f"700 rows in = {700 - empty} embedded + {empty} null + 0 quarantined" in result.output
    totals = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert totals["rows_in"] == 700 == totals["rows_embedded"] + totals["rows_null"] + totals["rows_quarantined"]
    assert not (tmp_path / "out" / "_temporary").exists()


def test_output_bytes_do_not_depend_on_threads_or_row_groups(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(500, seed=4)
    contents = set()
    for threads in (1, 2, 5):
        data = write_sequences(tmp_path / f"{threads}" / "in.parquet", columns, row_group_size=500 // threads)
        done("run", data, "--model", tiny.bundle, "--out", tmp_path / f"out{threads}", "--threads", threads)
        contents.add(pq.read_table(tmp_path / f"out{threads}" / "in.parquet")["embedding"].combine_chunks().to_string())
    assert len(contents) == 1
    for threads in (1, 3):
        done("run", data, "--model", tiny.bundle, "--out", tmp_path / f"same{threads}", "--threads", threads)
    files = [(tmp_path / f"same{threads}" / "in.parquet").read_bytes() for threads in (1, 3)]
    assert files[0] == files[1]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), size=st.integers(1, 80))
def test_a_vector_does_not_depend_on_neighbours_order_or_padding(tiny: Tiny, seed: int, size: int) -> None:
    encoder, rng = Encoder.open(tiny.bundle), np.random.default_rng(seed)
    lengths = rng.integers(1, 40, size=size).astype(np.int32)
    values = rng.normal(size=(size, 55, 2)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    together = encoder.embed(values, lengths)
    garbage = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e30], np.float32), size=values.shape)
    beyond = np.arange(55)[None, :, None] >= lengths[:, None, None]
    np.testing.assert_array_equal(encoder.embed(np.where(beyond, garbage, values), lengths), together)
    order = rng.permutation(size)
    np.testing.assert_allclose(encoder.embed(values[order], lengths[order]), together[order], rtol=0, atol=2e-6)
    for row in range(min(size, 5)):
        alone = encoder.embed(values[row : row + 1, : lengths[row]], lengths[row : row + 1])[0]
        np.testing.assert_allclose(alone, together[row], rtol=0, atol=2e-6)


def test_hive_partitions_and_several_inputs_keep_their_paths(tiny: Tiny, tmp_path: Path) -> None:
    for day in (1, 2):
        write_sequences(tmp_path / "in" / f"day={day}" / "p.parquet", sequences(20, seed=day))
    extra = write_sequences(tmp_path / "extra.data", sequences(5, seed=9))
    done("run", tmp_path / "in", extra, "--model", tiny.bundle, "--out", tmp_path / "out", "--keep", "label")
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert names == ["day=1/p.parquet", "day=2/p.parquet", "extra.data.parquet"]
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "days", "--keep", "day")
    assert set(pq.ParquetFile(tmp_path / "days" / "day=2" / "p.parquet").read()["day"].to_pylist()) == {"2"}


def test_a_second_run_changes_no_byte_and_a_changed_input_is_made_again(tiny: Tiny, tmp_path: Path) -> None:
    one = write_sequences(tmp_path / "in" / "a.parquet", sequences(30, seed=1))
    two = write_sequences(tmp_path / "in" / "b.parquet", sequences(30, seed=2))
    command = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*command)
    files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert "0 parts made, 2 up to date" in done(*command).output
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    write_sequences(two, sequences(31, seed=5))
    assert "1 part made, 1 up to date" in done(*command).output
    assert (tmp_path / "out" / "a.parquet").stat().st_mtime_ns == before[tmp_path / "out" / "a.parquet"][1]
    assert pq.read_metadata(tmp_path / "out" / "b.parquet").num_rows == 31
    one.unlink()
    assert "a.parquet: its input no longer exists" in done(*command).output


def test_parts_of_other_options_are_not_mixed(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(30, seed=1))
    command = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*command)
    before = (tmp_path / "out" / "in.parquet").read_bytes()
    refused = seqembed(*command, "--keep", "label")
    assert refused.exit_code == 6
    assert "--overwrite" in refused.output
    assert (tmp_path / "out" / "in.parquet").read_bytes() == before
    done(*command, "--keep", "label", "--overwrite")
    assert "label" in pq.read_schema(tmp_path / "out" / "in.parquet").names


@pytest.mark.parametrize(("layout", "num"), [("nested", 3), ("events", 3), ("events", 70)])
def test_an_input_is_opened_once_for_its_checks_and_once_for_its_rows(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, num: int
) -> None:
    bundle = tiny.bundle if layout == "nested" else events_bundle(tiny.bundle, tmp_path / "events.onnx")
    paths = [tmp_path / "in" / f"{index:02}.parquet" for index in range(num)]
    for path in paths:
        if layout == "nested":
            write_sequences(path, sequences(20, seed=1))
        else:
            write_events(path, 20, seed=1, prefix=path.stem)
    handler = CountingFilesystem()
    monkeypatch.setattr(
        "seqembed.data.files.listing.filesystem_and_path", lambda given: (fs.PyFileSystem(handler), given)
    )
    words = ("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "out")
    done(*words)
    inputs = [str(path) for path in paths]
    # Events of several files are checked for shared ids, with the handle opened for planning.
    assert sorted(handler.opened) == sorted(inputs * 2)
    handler.opened.clear()
    assert f"{num} up to date" in done(*words).output
    assert sorted(handler.opened) == inputs
    # One file is new: the ids of the others are checked again, their rows are not read.
    if layout == "nested":
        write_sequences(paths[0], sequences(21, seed=1))
    else:
        write_events(paths[0], 21, seed=1, prefix="00")
    handler.opened.clear()
    assert "1 part made" in done(*words).output
    assert handler.opened.count(inputs[0]) == 2
    times = 1 if layout == "nested" else 2
    assert sorted(handler.opened) == sorted([inputs[0]] * 2 + inputs[1:] * times)


def test_dry_run_says_what_it_would_do_and_writes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(30, seed=1))
    result = done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--dry-run")
    assert "make" in result.output
    assert "in.parquet" in result.output
    assert "1 of 1 part would be made" in result.output
    assert not (tmp_path / "out").exists()


def test_limit_embeds_the_first_sequences(tiny: Tiny, tmp_path: Path) -> None:
    for part in "ab":
        write_sequences(tmp_path / "in" / f"{part}.parquet", sequences(30, seed=1))
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out", "--limit", 40)
    counts = [pq.read_metadata(tmp_path / "out" / f"{part}.parquet").num_rows for part in "ab"]
    assert counts == [30, 10]
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "few", "--limit", 30)
    assert not (tmp_path / "few" / "b.parquet").exists()


def test_duckdb_polars_and_pandas_read_the_vectors(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(50, seed=1))
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    path = tmp_path / "out" / "in.parquet"
    expected = embeddings([path])
    rows = duckdb.sql(f"select id, embedding from '{path}' order by id").fetchall()
    read_back = {
        "duckdb": dict(rows),
        "polars": dict(pl.read_parquet(path).iter_rows()),
        "pandas": dict(pd.read_parquet(path).itertuples(index=False)),
    }
    for found in read_back.values():
        assert len(found) == 50
        for name, vector in expected.items():
            if vector is None:
                assert found[name] is None
            else:
                np.testing.assert_array_equal(np.array(found[name], np.float32), vector)


def test_an_input_without_rows_gives_a_part_without_rows(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", {name: [] for name in ("id", "label", "x", "y")})
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "in.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("columns", "options", "code", "message"),
    [
        ({"id": ["a"], "x": [[1.0]]}, [], 3, "no column 'y'.*that the model was trained on"),
        (
            {"id": ["a"], "x": [[1.0]], "y": [["text"]]},
            [],
            3,
            "column 'y' is list<.*string>; expected a list of numbers",
        ),
        ({"id": ["a"], "x": [[1.0]], "y": [2.0]}, [], 3, "column 'y' is double; expected a list"),
        ({"key": ["a"], "x": [[1.0]], "y": [[2.0]]}, [], 3, "no column 'id'.*that the model was trained on"),
        ({"id": ["a"], "x": [[1.0]], "y": [[2.0]]}, ["--keep", "nope"], 3, "no column 'nope'.*with --keep"),
        ({"id": ["a"], "x": [[1.0]], "y": [[2.0]]}, ["--keep", "id"], 2, "--keep id"),
        ({"id": ["a"], "x": [[1.0]], "y": [[2.0]]}, ["--threads", "0"], 2, "--threads"),
        ({"id": ["a", None], "x": [[1.0]] * 2, "y": [[2.0]] * 2}, [], 3, "row 1 .*the id is null"),
        ({"id": ["a", "b"], "x": [[1.0]] * 2, "y": [[2.0], [np.inf]]}, [], 3, r"row 1 \(id 'b'\): .*inf"),
        ({"id": ["a", "b"], "x": [[1.0]] * 2, "y": [[2.0, 3.0], [1.0]]}, [], 3, r"row 0 \(id 'a'\): ragged"),
    ],
)
def test_invalid_runs_are_refused_and_leave_nothing(
    tiny: Tiny, tmp_path: Path, columns: dict, options: list[str], code: int, message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    result = seqembed("run", tmp_path / "in.parquet", "--model", tiny.bundle, "--out", tmp_path / "out", *options)
    assert result.exit_code == code, result.output
    text = " ".join(result.output.split())
    assert pd.Series([text]).str.contains(message, regex=True).all(), text
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_bad_row_in_the_second_file_keeps_the_first_part(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(30, seed=1))
    write_sequences(tmp_path / "in" / "b.parquet", {"id": ["q"], "label": [0], "x": [[1.0]], "y": [[np.inf]]})
    result = seqembed("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    assert result.exit_code == 3
    assert list(OutputDirectory(str(tmp_path / "out")).read_ledger().parts) == ["a.parquet"]
    assert sorted(os.listdir(tmp_path / "out")) == ["_RUN", "a.parquet"]


def test_inputs_that_collide_or_overlap_with_the_output_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    for part in "ab":
        write_sequences(tmp_path / part / "p.parquet", sequences(3, seed=1))
    both = seqembed("run", tmp_path / "a", tmp_path / "b", "--model", tiny.bundle, "--out", tmp_path / "out")
    assert (both.exit_code, "would both become p.parquet" in both.output) == (2, True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    by_detour = (tmp_path / "elsewhere" / ".." / "a" / "vectors", tmp_path / "link" / "vectors")
    for out in (tmp_path / "a" / "vectors", tmp_path, *by_detour):
        within = seqembed("run", tmp_path / "a", "--model", tiny.bundle, "--out", out)
        assert (within.exit_code, "contains the other" in within.output) == (2, True)


def test_an_output_that_cannot_be_written_is_an_output_error(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(3, seed=1))
    (tmp_path / "file").write_text("in the way")
    result = seqembed("run", data, "--model", tiny.bundle, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 6, result.output
    assert "output directory" in result.output


def test_the_contract_truncates_and_the_report_counts(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(40, seed=0, shortest=1))
    policy = asdict(replace(Encoder.open(tiny.bundle).contract.length_policy, max_length=5, truncate="tail"))
    short = with_contract(tiny.bundle, tmp_path / "m.onnx", length_policy=policy)
    result = done("run", data, "--model", short, "--out", tmp_path / "out")
    table = pq.read_table(data)
    longer = sum(len(row) > 5 for row in table["x"].to_pylist())
    assert f"{longer} sequences were longer than the model takes" in result.output
    ends = {name: [row[-5:] for row in table[name].to_pylist()] for name in "xy"}
    ends = write_sequences(tmp_path / "ends.parquet", {"id": table["id"].to_pylist(), **ends})
    done("run", ends, "--model", tiny.bundle, "--out", tmp_path / "expected")
    found, expected = (embeddings([tmp_path / name]) for name in ("out/in.parquet", "expected/ends.parquet"))
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, rtol=0, atol=2e-6)
