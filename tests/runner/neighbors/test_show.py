"""What `seqembed neighbors` prints: tables and sparklines, in terminals of any width and encoding."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import seqembed as front
from seqembed.runner.cli import main
from seqembed.runner.neighbors.show import sparkline, sparklines
from seqembed.runner.neighbors.steps import MAX_POINTS, resampled


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Write vectors and sequences of four ids: a ramp, one of half the height, a long one, and one that is missing."""
    vectors = pa.array([[0.0], [1.0], [3.0], [4.0]], pa.list_(pa.float32(), 1))
    ids = ["[red]ramp", "half\n", "long", "gone"]
    pq.write_table(
        pa.table({"id": ids, "embedding": vectors, "kind": ["a", None, "[bold]", "d"]}), tmp_path / "v.parquet"
    )
    steps = [[0.0, 4.0, 8.0], [0.0, None, 4.0], np.arange(1000.0) / 125, []]
    pq.write_table(pa.table({"id": ids, "x": pa.array(steps, pa.list_(pa.float64()))}), tmp_path / "d.parquet")
    return tmp_path


def test_a_table_and_lines_of_one_scale(rows: Path) -> None:
    result = CliRunner().invoke(
        main, ["neighbors", str(rows / "v.parquet"), "--id", "[red]ramp", "-k", "1", "--data", str(rows / "d.parquet")]
    )
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.output.splitlines()]
    assert lines[0].endswith("v.parquet: 4 vectors in 1 file; Euclidean distance, like 1-NN in `seqembed evaluate`")
    assert [line.split() for line in lines[2:] if "─" not in line][:3] == [
        ["rank", "id", "distance", "kind"],
        ["-", "[red]ramp", "0", "a"],
        ["1", "half\\n", "1"],
    ]
    assert lines[-3:] == ["x  0 to 8", "   -  [red]ramp  ▁▅█", "   1  half\\n     ▁ ▅"]


def test_lines_fit_the_terminal_and_its_encoding(rows: Path) -> None:
    report = front.neighbors(rows / "v.parquet", id="long", k=3, data=rows / "d.parquet")
    for width, encoding in ((40, "utf-8"), (200, "ascii"), (200, "latin-1")):
        lines = list(sparklines(report, report.results[0], width, encoding))
        assert max(map(len, lines)) == width - 1
        joined = "".join(lines)
        assert joined.isascii() == (encoding != "utf-8") and ("█" in joined) == (encoding == "utf-8")
        assert lines[2].endswith("gone       (no steps)")
        assert len(lines[1].split()[-1]) > 20 * len(lines[-1].split()[-1])  # lengths stay comparable


def test_sparklines_show_missing_values_and_constants() -> None:
    assert sparkline(np.array([0.0, np.nan, 1.0]), (0.0, 1.0), "abc") == "a c"
    assert sparkline(np.array([2.0, 2.0]), (2.0, 2.0), "abc") == "bb"
    assert sparkline(np.array([np.nan]), (np.inf, -np.inf), "abc") == " "


def test_long_sequences_become_means(rows: Path) -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(resampled(values, 2), [[2.0, 4.0], [5.0, np.nan]])
    report = front.neighbors(rows / "v.parquet", id="long", data=rows / "d.parquet")
    steps = report.results[0].row.steps
    assert steps is not None and steps.num_steps == 1000 and len(steps.values["x"]) == MAX_POINTS


def test_only_some_of_many_features_are_shown(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "embedding": [[0.0]]}), tmp_path / "v.parquet")
    pq.write_table(pa.table({"id": [1], **{f"f{i}": [[1.0, 2.0]] for i in range(20)}}), tmp_path / "d.parquet")
    words = ["neighbors", str(tmp_path / "v.parquet"), "--id", "1", "--data", str(tmp_path / "d.parquet")]
    assert "and 12 more features; name others with --features" in CliRunner().invoke(main, words).output
    named = CliRunner().invoke(main, [*words, "--features", "f17"]).output
    assert "f17  1 to 2" in named and "f0" not in named


def test_words_are_whole_at_eighty_columns_and_what_has_no_room_is_named(tmp_path: Path) -> None:
    columns = {f"column number {n}": [f"value of the column {n}"] * 2 for n in range(6)}
    pq.write_table(pa.table({"id": ["a", "b"], "embedding": [[0.0], [1.0]], **columns}), tmp_path / "v.parquet")
    said = CliRunner().invoke(main, ["neighbors", str(tmp_path / "v.parquet"), "--id", "a"], env={"COLUMNS": "80"})
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert max(len(line.rstrip()) for line in lines[2:-1]) <= 80
    shown = [n for n in range(6) if f"value of the column {n}" in said.output]
    assert shown == [0, 1]
    assert "…" not in said.output
    assert lines[-1] == "no room for 'column number 2', 'column number 3', 'column number 4', 'column number 5'; " + (
        "--json has all columns"
    )
