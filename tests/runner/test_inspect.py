"""`seqembed inspect` on Parquet data and on damaged directories."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.layout import RunLayout
from seqembed_testing import Tiny, done, seqembed, sequences, write_events, write_sequences

DAMAGES = [b"", b"{", b"null", b"5", b"[]", b'"text"', b"\xff\xfe", b"[" * 200_000, b'{"a": ' * 100_000, b"{}"]


@pytest.mark.parametrize("name", ["in.parquet", "."])
def test_nested_data_is_previewed(tmp_path: Path, name: str) -> None:
    write_sequences(tmp_path / "in.parquet", sequences(50, seed=0, shortest=2, longest=9))
    said = done("inspect", tmp_path / name, "--label", "label").output
    for text in (
        "1 file, 50 rows",
        "list<element: float>: x",
        "Layout: nested",
        "2 features: x, y",
        "the label: label",
    ):
        assert text in said, said
    assert "shortest 2, median" in said and "longest 9 (first 50 rows)" in said
    assert f"Next: seqembed train {tmp_path / name} --out RUN_DIR --label label" in said.replace("\n", "")


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_scattered_events_are_to_be_grouped(tmp_path: Path, kind: pa.DataType) -> None:
    ids = [str(index % 30) if index % 11 else None for index in range(600)]
    columns = {"customer": pa.array(ids).cast(pa.int64() if kind == pa.int64() else pa.string()).cast(kind)}
    columns |= {"at": pa.array(range(600)), "x": pa.array([1.5] * 600)}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=100)
    said = done("inspect", tmp_path, "--id", "customer", "--time", "at").output.replace("\n", " ")
    assert "events of an id are not contiguous. The first 545 events are of 30 ids, in 545 pieces" in said
    assert f"Next: seqembed group {tmp_path} --id customer --time at --out grouped" in said
    assert "seqembed train" not in said


def test_events_are_previewed_with_lengths_across_slices(tmp_path: Path) -> None:
    ids = np.repeat(np.arange(900), 7)
    frame = pd.DataFrame({"customer": ids, "at": np.arange(len(ids)), "x": 1.5}, index=np.arange(len(ids)) + 3)
    frame.to_parquet(tmp_path / "in.parquet", row_group_size=500)
    said = done("inspect", tmp_path, "--id", "customer", "--time", "at").output
    assert "Layout: events" in said and "1 feature: x" in said and "an index of pandas: __index_level_0__" in said
    assert "shortest 7, median 7, longest 7 (first 6,300 events, of 900 sequences)" in said
    assert "--id customer --time at" in said


def test_columns_are_shown_even_if_the_data_are_not_sequences(tmp_path: Path) -> None:
    write_events(tmp_path / "in.parquet", 20, seed=0)
    said = done("inspect", tmp_path, "--id", "customer").output
    assert "string: id" in said and "Not readable as sequences yet: in.parquet: no column 'customer'" in said


def test_hundreds_of_columns_stay_readable(tmp_path: Path) -> None:
    table = {"id": ["a"], **{f"f{k}": [[1.0]] for k in range(500)}, **{f"s{k:03}": ["x"] for k in range(120)}}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    lines = done("inspect", tmp_path).output.splitlines()
    assert "500 features: f0 … f499" in lines and "  one value per row, not per step: s000 … s119" in lines
    assert len(lines) < 20 and max(map(len, lines[1:-1])) <= 100


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 garbage PAR1", b"not parquet"], ids=str)
def test_a_damaged_parquet_file_is_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.parquet").write_bytes(content)
    result = seqembed("inspect", tmp_path / "in.parquet")
    assert result.exit_code == 3 and "in.parquet" in result.output and "protobuf" not in result.output


def test_an_unknown_directory_is_refused_with_the_supported_kinds(tmp_path: Path) -> None:
    result = seqembed("inspect", tmp_path)
    assert result.exit_code == 3
    for word in ("model", "run directory", "output directory", "Parquet"):
        assert word in result.output


@pytest.fixture
def run(tiny: Tiny, tmp_path: Path) -> RunLayout:
    """Return a copy of a run directory."""
    return RunLayout(Path(shutil.copytree(tiny.run, tmp_path / "run")))


@pytest.mark.parametrize("content", DAMAGES, ids=lambda content: str(content[:8]))
@pytest.mark.parametrize("name", ["contract.json", "history.json"])
def test_a_damaged_run_is_named_with_a_remedy(run: RunLayout, name: str, content: bytes) -> None:
    (run.root / name).write_bytes(content)
    result = seqembed("inspect", run.root)
    assert result.exit_code == 4, result.output
    assert name in result.output and "again" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("field", "value"),
    [("embedding_dim", "wide"), ("schema", {"id": 1, "features": [], "layout": "x", "time": None}), ("versions", 3)],
)
def test_an_inconsistent_contract_is_damaged(run: RunLayout, field: str, value: object) -> None:
    run.contract.write_text(json.dumps(json.loads(run.contract.read_text()) | {field: value}))
    result = seqembed("inspect", run.root)
    assert result.exit_code == 4 and "damaged" in result.output, result.output


def test_an_unfinished_run_is_recognised(run: RunLayout) -> None:
    run.contract.unlink()
    assert "has not finished" in done("inspect", run.root).output


@pytest.mark.parametrize("content", DAMAGES, ids=lambda content: str(content[:8]))
@pytest.mark.parametrize("name", ["_RUN", "_SUCCESS"])
def test_a_damaged_output_directory_is_described_as_far_as_it_goes(
    tiny: Tiny, tmp_path: Path, name: str, content: bytes
) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(9, seed=1))
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(content)
    said = done("inspect", tmp_path / "out").output
    assert "finished parts: 1" in said and "9 rows in" in said
    assert ("(_RUN) is damaged" if name == "_RUN" else "damaged _SUCCESS") in said


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("_RUN", {"inputs": 5}),
        ("_RUN", {"inputs": [None]}),
        ("_RUN", {"model_sha256": 5}),
        ("_RUN", {"options": {"keep": [3]}}),
        ("_RUN", {"options": {"keep": [], "threads": "many"}}),
        ("_SUCCESS", {"rows_made": "many"}),
        ("_SUCCESS", {"seconds": None}),
    ],
)
def test_records_with_values_of_other_types_are_damaged(tiny: Tiny, tmp_path: Path, name: str, changes: dict) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(9, seed=1))
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert "damaged" in done("inspect", tmp_path / "out").output


def test_events_of_files_with_other_columns_are_to_be_grouped(tmp_path: Path) -> None:
    days = tmp_path / "days"
    days.mkdir()
    columns = {"id": ["a", "b", "a"], "at": [1, 2, 3], "x": [0.5, 1.0, 1.5], "y": [1, 2, 3], "kind": ["p", "q", "p"]}
    for index in range(4):
        names = [name for name in columns if (index, name) != (2, "y")]
        pq.write_table(pa.table({name: columns[name] for name in names}), days / f"{index}.parquet")
    said = done("inspect", days, "--time", "at", "--label", "kind").output.replace("\n", " ")
    line = f"seqembed group {days} --id id --time at --keep kind --out grouped"
    assert "2.parquet: no column 'y', which 0.parquet has. Add the column, or name with --features those" in said
    assert f"If an id has events in several files, group them: {line}" in said
    assert "name the column that orders them with --time" in done("inspect", days).output.replace("\n", " ")
    refused = seqembed("train", days, "--time", "at", "--label", "kind", "--out", tmp_path / "run")
    assert (refused.exit_code, line in refused.output) == (3, True)
    done(*line.split()[1:-1], tmp_path / "grouped")


def test_a_label_that_data_lacks_is_reported(tiny: Tiny) -> None:
    shown = done("inspect", tiny.data, "--label", "nosuch").output
    assert "no column 'nosuch', expected as the label" in shown and "Next:" not in shown
    assert "with --label" in shown
    assert done("inspect", tiny.data, "--label", "label").output.endswith("--out RUN_DIR --label label\n")
