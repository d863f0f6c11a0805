"""Files without values, as written by pandas, get parts like other files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed_testing import Tiny, done, events_bundle, seqembed, sequences, write_events, write_sequences


def test_lists_that_are_all_null_get_null_vectors(tiny: Tiny, tmp_path: Path) -> None:
    pd.DataFrame({"id": [1, 2], "x": [None, None], "y": [None, None]}).to_parquet(tmp_path / "none.parquet")
    done("run", tmp_path / "none.parquet", "--model", tiny.bundle, "--out", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "none.parquet").to_pylist()
    assert rows == [{"id": 1, "embedding": None}, {"id": 2, "embedding": None}]


@pytest.mark.parametrize("layout", ["nested", "events"])
@pytest.mark.parametrize("dtype", ["float64", "object", "str"])
def test_a_file_without_rows_makes_a_part_without_rows(tiny: Tiny, tmp_path: Path, layout: str, dtype: str) -> None:
    bundle = tiny.bundle if layout == "nested" else events_bundle(tiny.bundle, tmp_path / "events.onnx")
    data = tmp_path / "in" / "full.parquet"
    if layout == "nested":
        write_sequences(data, sequences(20, seed=1))
    else:
        write_events(data, 20, seed=1)
    empty = pd.DataFrame({name: pd.Series([], dtype=dtype) for name in ("id", "label", "x", "y")})
    empty.to_parquet(tmp_path / "in" / "empty.parquet")
    for mode in ("fail", "null", "quarantine"):
        out = tmp_path / mode
        done("run", tmp_path / "in", "--model", bundle, "--out", out, "--keep", "label", "--on-bad-row", mode)
        assert pq.read_metadata(out / "empty.parquet").num_rows == 0
        assert pq.read_metadata(out / "full.parquet").num_rows == 20
    empty.drop(columns="x").to_parquet(tmp_path / "in" / "empty.parquet")
    refused = seqembed("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "other")
    assert refused.exit_code == 3
    assert "empty.parquet: no column 'x'" in refused.output


def test_int96_and_int64_times_give_the_same_vectors(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "m.onnx", time="t")
    times = np.array(["2024-01-01", "9999-12-31", "2024-01-02"], "datetime64[us]")
    table = pa.table({"id": ["a"] * 3, "t": pa.array(times), "x": [1.0, 3.0, 2.0], "y": [0.5, 2.0, -1.0]})
    vectors = {}
    for name, options in {"int64": {}, "int96": {"use_deprecated_int96_timestamps": True}}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet", **options)
        words = ("--model", bundle, "--out", tmp_path / f"out-{name}", "--keep", "t")
        done("run", tmp_path / f"{name}.parquet", *words)
        vectors[name] = pq.read_table(tmp_path / f"out-{name}" / f"{name}.parquet").to_pylist()
    assert vectors["int96"] == vectors["int64"]
    assert vectors["int96"][0]["t"] == times[1].item()
