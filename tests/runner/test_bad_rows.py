"""Bad rows: the run fails, keeps them with a reason, or quarantines them; all are accounted for."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqembed.data.errors import BadRowError
from seqembed.runner.output.badrows import refuse_too_many
from seqembed_testing import Tiny, done, embeddings, events_bundle, seqembed, sequences, write_sequences

INF = float("inf")


@pytest.fixture
def with_bad_rows(tmp_path: Path) -> Path:
    """Forty rows, four of them bad: infinite, ragged, without an id, and infinite again."""
    columns = sequences(40, seed=7, shortest=1)
    columns["x"][3][0] = INF
    columns["x"][11] = columns["x"][11] + [1.0]
    columns["id"][20] = None
    columns["y"][39][-1] = -INF
    return write_sequences(tmp_path / "in.parquet", columns, row_group_size=13)


BAD = [3, 11, 20, 39]


def run(tiny: Tiny, data: Path, out: Path, *options: object) -> dict:
    done("run", data, "--model", tiny.bundle, "--out", out, *options)
    return json.loads((out / "_SUCCESS").read_text())


def test_null_keeps_the_row_and_gives_the_reason(tiny: Tiny, tmp_path: Path, with_bad_rows: Path) -> None:
    totals = run(tiny, with_bad_rows, tmp_path / "out", "--on-bad-row", "null", "--keep", "label")
    rows = pq.read_table(tmp_path / "out" / "in.parquet").to_pylist()
    assert len(rows) == 40
    assert [index for index, row in enumerate(rows) if row["error"] is not None] == BAD
    assert all((row["embedding"] is None) == (row["error"] is not None) for row in rows)
    assert "inf" in rows[3]["error"]
    assert "ragged" in rows[11]["error"]
    assert "id is null" in rows[20]["error"]
    assert rows[20]["label"] == 20 % 3
    assert (totals["rows_in"], totals["rows_embedded"], totals["rows_null"]) == (40, 36, 4)


def test_quarantine_stores_the_row_unchanged(tiny: Tiny, tmp_path: Path, with_bad_rows: Path) -> None:
    totals = run(tiny, with_bad_rows, tmp_path / "out", "--on-bad-row", "quarantine", "--keep", "label")
    part = pq.read_table(tmp_path / "out" / "in.parquet")
    assert part.num_rows == 36
    aside = pq.read_table(tmp_path / "out" / "_quarantine" / "in.parquet").to_pylist()
    raw = pq.read_table(with_bad_rows, columns=["id", "label", "x", "y"]).to_pylist()
    assert [row["row"] for row in aside] == BAD
    assert [row["raw"] for row in aside] == [raw[index] for index in BAD]
    assert {row["file"] for row in aside} == {"in.parquet"}
    assert [row["id"] for row in aside] == ["s3", "s11", None, "s39"]
    assert (totals["rows_in"], totals["rows_embedded"], totals["rows_quarantined"]) == (40, 36, 4)


def test_the_good_rows_get_the_vectors_they_would_have_had(tiny: Tiny, tmp_path: Path, with_bad_rows: Path) -> None:
    table = pq.read_table(with_bad_rows)
    good = table.take([index for index in range(40) if index not in BAD])
    pq.write_table(good, tmp_path / "good.parquet")
    run(tiny, tmp_path / "good.parquet", tmp_path / "clean")
    expected = embeddings([tmp_path / "clean" / "good.parquet"])
    for mode in ("null", "quarantine"):
        run(tiny, with_bad_rows, tmp_path / mode, "--on-bad-row", mode)
        found = embeddings([tmp_path / mode / "in.parquet"])
        for name, vector in expected.items():
            np.testing.assert_allclose(found[name], vector, rtol=0, atol=2e-6)


def test_a_clean_input_removes_its_old_quarantine(tiny: Tiny, tmp_path: Path, with_bad_rows: Path) -> None:
    run(tiny, with_bad_rows, tmp_path / "out", "--on-bad-row", "quarantine")
    assert (tmp_path / "out" / "_quarantine" / "in.parquet").exists()
    write_sequences(with_bad_rows, sequences(40, seed=7))
    run(tiny, with_bad_rows, tmp_path / "out", "--on-bad-row", "quarantine")
    assert not (tmp_path / "out" / "_quarantine" / "in.parquet").exists()


@pytest.mark.parametrize("mode", ["null", "quarantine"])
def test_too_many_bad_rows_fail_the_part(tiny: Tiny, tmp_path: Path, with_bad_rows: Path, mode: str) -> None:
    command = ("run", with_bad_rows, "--model", tiny.bundle, "--out", tmp_path / "out", "--on-bad-row", mode)
    refused = seqembed(*command, "--max-bad-fraction", 0.05)
    assert refused.exit_code == 3
    assert "4 of 40 rows are bad (10.00%)" in refused.output
    assert not list((tmp_path / "out").rglob("*.parquet"))
    done(*command, "--max-bad-fraction", 0.1)


def test_one_bad_row_is_counted_in_words() -> None:
    with pytest.raises(BadRowError, match=r"^a: 1 of 40 rows is bad \(2\.50%\); --max-bad-fraction allows 1\.00%"):
        refuse_too_many("a", 1, 40, 0.01)


def test_a_fraction_outside_its_range_is_a_usage_error(tiny: Tiny, tmp_path: Path, with_bad_rows: Path) -> None:
    result = seqembed("run", with_bad_rows, "--model", tiny.bundle, "--out", tmp_path / "out", "--max-bad-fraction", 2)
    assert result.exit_code == 2


def test_events_are_quarantined_as_complete_sequences(tiny: Tiny, tmp_path: Path) -> None:
    ids = pa.array(["a", "a", "b", "b", None, "c"]).dictionary_encode()
    times = pa.array([2, 1, 1, 2, 1, None], pa.timestamp("ms"))
    values = pa.array([1.0, 2.0, INF, 4.0, 5.0, 6.0])
    table = pa.table({"id": ids, "t": times, "x": values, "y": [1.0] * 6})
    pq.write_table(table, tmp_path / "in.parquet")
    model = events_bundle(tiny.bundle, tmp_path / "m.onnx", time="t")
    out = tmp_path / "out"
    done("run", tmp_path / "in.parquet", "--model", model, "--out", out, "--on-bad-row", "quarantine")
    assert pq.read_table(out / "in.parquet")["id"].to_pylist() == ["a"]
    aside = pq.read_table(out / "_quarantine" / "in.parquet").to_pylist()
    assert [(row["row"], row["id"]) for row in aside] == [(2, "b"), (4, None), (5, "c")]
    assert aside[0]["raw"]["x"] == [INF, 4.0]
    assert aside[2]["raw"]["t"] == [None]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    bad=st.sets(st.integers(0, 59)),
    mode=st.sampled_from(["null", "quarantine"]),
    group=st.integers(1, 60),
)
def test_rows_in_are_rows_accounted_for(
    tiny: Tiny,
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    bad: set[int],
    mode: str,
    group: int,
) -> None:
    directory = tmp_path_factory.mktemp("law")
    rows = [[float(i)] * length for i, length in enumerate(lengths)]
    other = [row + [0.0] if index in bad else row for index, row in enumerate(rows)]
    columns = {"id": [f"s{i}" for i in range(len(rows))], "x": rows, "y": other}
    data = write_sequences(directory / "in.parquet", columns, row_group_size=group)
    totals = run(tiny, data, directory / "out", "--on-bad-row", mode)
    num_bad = len([index for index in bad if index < len(rows)])
    num_empty = sum(length == 0 and index not in bad for index, length in enumerate(lengths))
    assert totals["rows_in"] == len(rows)
    assert totals["rows_embedded"] == len(rows) - num_bad - num_empty
    assert totals["rows_null"] == num_empty + (num_bad if mode == "null" else 0)
    assert totals["rows_quarantined"] == (num_bad if mode == "quarantine" else 0)
    assert pq.read_metadata(directory / "out" / "in.parquet").num_rows == len(rows) - totals["rows_quarantined"]


def test_a_job_that_failed_on_a_bad_row_goes_on_with_quarantine_and_back(
    tiny: Tiny, tmp_path: Path, with_bad_rows: Path
) -> None:
    data, out = tmp_path / "in", tmp_path / "out"
    write_sequences(data / "a.parquet", sequences(20, seed=1))
    words = ("run", data, "--model", tiny.bundle, "--out", out)
    done(*words)
    before = (out / "a.parquet").read_bytes()
    with_bad_rows.rename(data / "b.parquet")
    assert seqembed(*words).exit_code == 3
    assert "1 part made, 1 up to date" in done(*words, "--on-bad-row", "quarantine").output
    assert (out / "a.parquet").read_bytes() == before
    write_sequences(data / "c.parquet", sequences(20, seed=2))
    said = done(*words).output  # the rows that were put aside stay so
    assert "1 part made, 2 up to date" in said and "4 quarantined" in said
    refused = seqembed(*words, "--on-bad-row", "null")  # its parts have a column more
    assert (refused.exit_code, "--on-bad-row was fail, is now null" in refused.output) == (6, True)
