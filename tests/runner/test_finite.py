"""A model that returns NaN or ±inf for a row: that row is bad, in every layout and under every option."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from failing_model import LENGTH, failing

from seqembed_testing import Tiny, done, embeddings, events_bundle, seqembed, sequences, write_sequences


@pytest.fixture
def columns() -> dict[str, list]:
    columns = sequences(30, seed=3, shortest=1)
    for row in (4, 17):
        columns["x"][row], columns["y"][row] = [float(row)] * LENGTH, [1.0] * LENGTH
    return columns


def write(path: Path, columns: dict[str, list], layout: str) -> Path:
    if layout == "nested":
        return write_sequences(path, columns, row_group_size=7)
    lengths = [len(row) for row in columns["x"]]
    flat = {name: [value for row in columns[name] for value in row] for name in "xy"}
    ids = np.repeat(columns["id"], lengths).tolist()
    pq.write_table(pa.table({"id": ids, **flat}), path, row_group_size=50)
    return path


@pytest.mark.parametrize("layout", ["nested", "events"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_vector_that_is_not_finite(
    tiny: Tiny, tmp_path: Path, columns: dict[str, list], layout: str, value: float
) -> None:
    data = write(tmp_path / "in.parquet", columns, layout)
    source = tiny.bundle if layout == "nested" else events_bundle(tiny.bundle, tmp_path / "events.onnx")
    bundle = failing(source, tmp_path / "bad.onnx", value)
    rows = np.cumsum([0, *map(len, columns["x"])]).tolist() if layout == "events" else list(range(30))
    words = ("run", data, "--model", bundle, "--out")
    refused = seqembed(*words, tmp_path / "fail")
    assert refused.exit_code == 3, refused.output
    where = f"row {rows[4]}" if layout == "nested" else f"rows {rows[4]} to {rows[5] - 1}"
    assert f"in.parquet: {where} (id 's4'): the model returned a vector that is not finite" in refused.output
    assert not (tmp_path / "fail" / "in.parquet").exists()

    done(*words, tmp_path / "null", "--on-bad-row", "null")
    table = pq.read_table(tmp_path / "null" / "in.parquet")
    assert np.flatnonzero(table["error"].is_valid()).tolist() == [4, 17]
    assert np.flatnonzero(table["embedding"].is_null()).tolist() == [4, 17]
    done("run", data, "--model", source, "--out", tmp_path / "sound")
    sound = embeddings([tmp_path / "sound" / "in.parquet"])
    for name, vector in embeddings([tmp_path / "null" / "in.parquet"]).items():
        assert vector is None if name in ("s4", "s17") else np.array_equal(vector, sound[name])

    done(*words, tmp_path / "aside", "--on-bad-row", "quarantine")
    assert len(pq.read_table(tmp_path / "aside" / "in.parquet")) == 28
    aside = pq.read_table(tmp_path / "aside" / "_quarantine" / "in.parquet").to_pylist()
    assert [(row["row"], row["id"]) for row in aside] == [(rows[4], "s4"), (rows[17], "s17")]
    assert [row["raw"]["x"] for row in aside] == [[4.0] * LENGTH, [17.0] * LENGTH]
    few = seqembed(*words, tmp_path / "few", "--on-bad-row", "null", "--max-bad-fraction", 0.05)
    assert (few.exit_code, "2 of 30 rows are bad" in few.output) == (3, True)
