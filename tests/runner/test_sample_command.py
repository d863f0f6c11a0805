"""The command `seqembed sample`: output, files and errors."""

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seqembed.data.errors import OutputError, UsageError
from seqembed.data.synthetic.catalog import GENERATORS, SAMPLE_NAMES
from seqembed.runner.cli.sample import sample


def run(*arguments):
    return CliRunner().invoke(sample, [str(argument) for argument in arguments], catch_exceptions=True)


def test_help_names_every_sample_its_default_rows_and_every_option():
    text = run("--help").output
    assert all(name in text for name in SAMPLE_NAMES)
    assert all(f"{recipe.default_rows:,}" in text for recipe in GENERATORS.values())
    assert all(option in text for option in ("--out", "--rows", "--seed", "--layout", "--files", "--days", "Examples:"))


def test_help_keeps_the_lines_of_its_examples():
    lines = [line.strip() for line in run("--help").output.splitlines()]
    assert "seqembed sample japanese-vowels --out vowels" in lines
    assert not any("\\b" in line for line in lines)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_it_prints_what_it_wrote(name, tmp_path):
    path = tmp_path / "out.parquet"
    result = run(name, "--out", path, "--rows", 12)
    assert result.exit_code == 0, result.output
    metadata = pq.read_metadata(path)
    assert metadata.num_rows == 12
    last_line = result.output.splitlines()[-1]
    assert last_line.startswith(f"Wrote {path}: 12 sequences, ")
    assert last_line.endswith(f" steps, {path.stat().st_size:,} bytes in 1 file.")


def test_the_options_are_applied(tmp_path):
    result = run("telemetry", "--out", tmp_path / "t", "--rows", 9, "--seed", 4, "--layout", "events", "--files", 3)
    assert result.exit_code == 0, result.output
    assert result.output.endswith(" bytes in 3 files.\n")
    paths = sorted((tmp_path / "t").glob("*.parquet"))
    assert len(paths) == 3
    assert pq.read_schema(paths[0]).names[:3] == ["id", "time", "device"]
    same = run("telemetry", "--out", tmp_path / "other", "--rows", 9, "--layout", "events", "--files", 3)
    assert same.exit_code == 0
    assert pq.read_table(tmp_path / "t").num_rows != 0
    assert not pq.read_table(tmp_path / "t").equals(pq.read_table(tmp_path / "other"))


@pytest.mark.parametrize("arguments", [("nonsense",), ("ramps", "--rows", 0), ("ramps", "--seed", -1), ("ramps",)])
def test_wrong_usage_ends_with_2(arguments, tmp_path):
    out = () if arguments == ("ramps",) else ("--out", tmp_path / "x.parquet")
    assert run(*arguments, *out).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_errors_carry_the_exit_code_of_their_kind(tmp_path):
    (tmp_path / "file").write_text("in the way")
    unwritable = run("ramps", "--out", tmp_path / "file" / "x.parquet").exception
    assert isinstance(unwritable, OutputError)
    assert unwritable.exit_code == 6
    refused = run("japanese-vowels", "--out", tmp_path / "v", "--seed", 1).exception
    assert isinstance(refused, UsageError)
    assert refused.exit_code == 2


def test_days_are_files_of_events_by_time_and_hold_the_same_events(tmp_path):
    result = run("transactions", "--out", tmp_path / "daily", "--rows", 50, "--days", 30, "--seed", 3)
    assert result.exit_code == 0, result.output
    whole = run("transactions", "--out", tmp_path / "all.parquet", "--rows", 50, "--layout", "events", "--seed", 3)
    assert whole.exit_code == 0
    paths = sorted((tmp_path / "daily").iterdir())
    assert [path.name for path in paths[:2]] == ["2025-01-06.parquet", "2025-01-07.parquet"]
    assert len(paths) == 30
    days = [pq.read_table(path, partitioning=None) for path in paths]
    for path, day in zip(paths, days, strict=True):
        times = day["time"].to_pylist()
        assert times == sorted(times)
        assert {f"{time:%Y-%m-%d}.parquet" for time in times} <= {path.name}
    table = pq.read_table(tmp_path / "all.parquet")
    first = table.filter(
        pa.compute.less(table["time"], pa.scalar(datetime(2025, 2, 5), table.schema.field("time").type))
    )
    rows = [tuple(row.values()) for row in pa.concat_tables(days).to_pylist()]
    assert sorted(rows) == sorted(tuple(row.values()) for row in first.to_pylist())
    assert f"{len(rows):,} steps" in result.output
    assert run("transactions", "--out", tmp_path / "daily", "--rows", 50, "--days", 30, "--seed", 3).exit_code == 0


@pytest.mark.parametrize("more", [("--files", 2), ("--layout", "nested"), ("--days", 10**6)])
def test_days_do_not_go_with_other_divisions(more, tmp_path):
    assert run("ramps", "--out", tmp_path / "daily", "--days", 3, *more).exit_code == 1
    assert list(tmp_path.iterdir()) == []
