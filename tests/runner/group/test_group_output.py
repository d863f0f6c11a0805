"""The output of a grouping: reruns, late, changed and removed files, and what is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from grouping_testing import Event, expected, grouped, write_days

import seqembed
from child_runner import contents
from seqembed.data.errors import ChangedInputError, OutputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.data.lock import hold_lock
from seqembed_testing import done
from seqembed_testing import seqembed as command

SCHEMA = pa.schema([("id", pa.string()), ("time", pa.timestamp("us", "UTC")), ("x", pa.float64())])
QUIET: dict[str, Any] = {"buckets": 8, "progress": "none"}


def day(index: int, ids: range = range(40)) -> list[Event]:
    """Return one event of each id on a day."""
    random = np.random.default_rng(index)
    start = np.datetime64("2026-11-01", "us") + np.timedelta64(index, "D")
    return [
        {"id": f"c{k}", "time": (start + np.timedelta64(int(random.integers(86400)), "s")).item(), "x": random.random()}
        for k in ids
    ]


def utc(events: list[Event]) -> list[Event]:
    from datetime import UTC

    return [event | {"time": event["time"].replace(tzinfo=UTC)} for event in events]


def state(out: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return name → content, inode and modification time."""
    return {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def days(tmp_path: Path) -> list[list[Event]]:
    days = [day(index) for index in range(3)]
    write_days(tmp_path / "in", days, SCHEMA)
    return days


def test_a_rerun_with_nothing_to_do_reads_footers_only_and_touches_nothing(
    days: list[list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    before = state(tmp_path / "out")

    def no_rows(*_: object, **__: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(InputFile, "batches", no_rows)
    again = seqembed.group(tmp_path / "in", out=tmp_path / "out", progress="none")  # auto keeps eight buckets
    assert state(tmp_path / "out") == before
    assert (again.made, again.counts, again.events_in) == ((), first.counts, first.events_in)
    assert grouped(tmp_path / "out") == expected([utc(events) for events in days], ["x"])


def test_two_outputs_of_the_same_events_are_the_same_bytes(days: list[list[Event]], tmp_path: Path) -> None:
    for name in "ab":
        seqembed.group(tmp_path / "in", out=tmp_path / name, **QUIET)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_late_file_changes_the_buckets_of_its_ids_alone(days: list[list[Event]], tmp_path: Path) -> None:
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    before = state(tmp_path / "out")
    late = day(1, range(3))
    pq.write_table(pa.Table.from_pylist(late, SCHEMA), tmp_path / "in" / "day=001-late.parquet")
    plan = seqembed.group(tmp_path / "in", out=tmp_path / "out", dry_run=True, **QUIET)
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    assert report.made == plan.to_make
    assert 1 <= len(report.made) <= 3
    after = state(tmp_path / "out")
    changed = {name for name in after if name.startswith("bucket") and after[name] != before[name]}
    assert changed == set(report.made)
    assert grouped(tmp_path / "out") == expected([utc(e) for e in (*days[:2], late, days[2])], ["x"])
    seqembed.group(tmp_path / "in", out=tmp_path / "anew", **QUIET)
    assert contents(tmp_path / "anew") == contents(tmp_path / "out")


def test_without_the_counts_of_files_a_rerun_counts_and_makes_nothing(days: list[list[Event]], tmp_path: Path) -> None:
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    before = contents(tmp_path / "out")
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1 damaged")):
        damage(tmp_path / "out" / "_EVENTS")
        assert seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).made == ()
        assert contents(tmp_path / "out") == before


def test_a_changed_file_is_noticed_and_a_damaged_bucket_made_again(days: list[list[Event]], tmp_path: Path) -> None:
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    days[2] = day(9, range(20, 60))
    write_days(tmp_path / "in", days, SCHEMA)
    assert seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).made
    assert grouped(tmp_path / "out") == expected([utc(events) for events in days], ["x"])
    bucket = tmp_path / "out" / "bucket-00003.parquet"
    content = bucket.read_bytes()
    bucket.write_bytes(content[:-9])
    assert seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).made == ("bucket-00003.parquet",)
    assert bucket.read_bytes() == content


def test_events_of_removed_files_are_never_lost_silently(days: list[list[Event]], tmp_path: Path) -> None:
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    before = state(tmp_path / "out")
    (tmp_path / "in" / "day=000.parquet").unlink()
    with pytest.raises(
        OutputError, match=r"1 file that was grouped .*day=000.parquet; its events would be lost.*prune"
    ):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    result = command("group", tmp_path / "in" / "day=002.parquet", "--out", tmp_path / "out")
    assert result.exit_code == 6
    assert "2 files" in result.output
    assert state(tmp_path / "out") == before
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", prune=True, **QUIET)
    assert [Path(name).name for name in report.pruned] == ["day=000.parquet"]
    assert grouped(tmp_path / "out") == expected([utc(events) for events in days[1:]], ["x"])
    assert seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).made == ()


def test_other_options_need_overwrite_and_old_buckets_go(days: list[list[Event]], tmp_path: Path) -> None:
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    for options in ({"max_length": 2}, {"buckets": 4}):
        with pytest.raises(
            OutputError, match="with other options .*(max_length was none, is now 2|buckets was 8, is now 4)"
        ):
            seqembed.group(tmp_path / "in", out=tmp_path / "out", **(QUIET | options))
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", overwrite=True, **(QUIET | {"buckets": 4}))
    assert len(report.made) == 4
    assert sorted(path.name for path in (tmp_path / "out").glob("bucket*")) == list(report.buckets)
    assert grouped(tmp_path / "out") == expected([utc(events) for events in days], ["x"])


def test_files_of_others_are_never_replaced(days: list[list[Event]], tmp_path: Path) -> None:
    other = tmp_path / "out" / "bucket-00002.parquet"
    other.parent.mkdir()
    shutil.copy(tmp_path / "in" / "day=000.parquet", other)
    content = other.read_bytes()
    with pytest.raises(OutputError, match=r"bucket-00002.parquet is a file that seqembed did not write"):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", overwrite=True, **QUIET)
    assert other.read_bytes() == content
    with pytest.raises(UsageError, match="contains the other"):
        seqembed.group(tmp_path / "in", out=tmp_path / "in" / "out", **QUIET)


def test_one_job_at_a_time(days: list[list[Event]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with hold_lock(tmp_path / "out"), pytest.raises(OutputError, match="another run is writing here"):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)


def test_a_file_that_changes_while_it_is_read_ends_the_job(
    days: list[list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, path = InputFile.batches, tmp_path / "in" / "day=001.parquet"

    def touched(self: InputFile, *args: Any, **kwargs: Any) -> Any:
        yield from batches(self, *args, **kwargs)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(InputFile, "batches", touched)
    with pytest.raises(ChangedInputError, match="changed while it was read"):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    assert not list((tmp_path / "out").glob("bucket*"))
    assert not (tmp_path / "out" / "_temporary").exists()


def test_the_success_marker_accounts_for_every_event(days: list[list[Event]], tmp_path: Path) -> None:
    options = ("--until", "2026-11-03", "--max-length", 1, "--buckets", 8)
    result = done("group", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert "120 events in = 40 events of 40 ids + 40 outside the span + 40 beyond the maximum length" in result.output
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    counts = {name: success[name] for name in ("events_in", "events_out", "outside", "truncated", "ids", "longest")}
    assert counts == {"events_in": 120, "events_out": 40, "outside": 40, "truncated": 40, "ids": 40, "longest": 1}


def test_a_dry_run_prints_the_plan_and_writes_nothing(days: list[list[Event]], tmp_path: Path) -> None:
    result = done("group", tmp_path / "in", "--out", tmp_path / "out", "--buckets", 2, "--dry-run")
    assert "make    bucket-00001.parquet" in result.output
    assert "120 events in 3 files; 2 of 2 buckets to make" in result.output
    assert "temporary disk" in result.output
    assert not (tmp_path / "out").exists()
