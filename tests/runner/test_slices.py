"""Daily runs of one partition each add their own parts and change no others."""

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed_testing import Tiny, done, embeddings, events_bundle, seqembed, sequences, with_contract, write_events
from seqembed_testing import write_sequences as write

FIRST = date(2026, 11, 23)


def write_day(lake: Path, day: int, seed: int | None = None) -> Path:
    columns = sequences(20, seed=day if seed is None else seed)
    columns["id"] = [f"{day}-{name}" for name in columns["id"]]
    directory = lake / f"day={FIRST + timedelta(days=day)}"
    write(directory / "part-0.parquet", columns)
    return directory


def parts(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.parquet")) if path.is_file()}


def test_a_week_of_daily_runs_with_a_late_rerun_of_an_old_day(tiny: Tiny, tmp_path: Path) -> None:
    lake, out = tmp_path / "lake", tmp_path / "vectors"
    options = ("--model", tiny.bundle, "--out", out, "--keep", "day")
    before: dict[str, bytes] = {}
    for day in range(7):
        said = done("run", write_day(lake, day), *options).output
        assert "1 part made;" in said
        assert "gone" not in said
        now = parts(out)
        assert len(now) == day + 1
        assert {name: now[name] for name in before} == before
        before = now
    assert list(before) == [f"day={FIRST + timedelta(days=day)}/part-0.parquet" for day in range(7)]
    rows = pq.read_table(out / f"day={FIRST}" / "part-0.parquet", partitioning=None)
    assert set(rows["day"].to_pylist()) == {str(FIRST)}
    # Nothing to do for an old day: no byte changes, including the marker.
    marker = (out / "_SUCCESS").read_bytes()
    assert "0 parts made, 1 up to date" in done("run", lake / f"day={FIRST}", *options).output
    assert (parts(out), (out / "_SUCCESS").read_bytes()) == (before, marker)
    # Late data for the third day: only its part is made again.
    done("run", write_day(lake, 2, seed=99), *options, "--prune")
    after = parts(out)
    assert [name for name in after if after[name] != before.get(name)] == [
        f"day={FIRST + timedelta(days=2)}/part-0.parquet"
    ]
    # A run of the complete lake has the same parts, which all exist already.
    said = done("run", lake, *options).output
    assert "0 parts made, 7 up to date" in said
    assert "140 rows in" in said
    assert parts(out) == after
    fresh = tmp_path / "fresh"
    done("run", lake, "--model", tiny.bundle, "--out", fresh, "--keep", "day")
    assert parts(fresh) == after


def test_a_part_of_another_input_is_never_replaced_without_overwrite(tiny: Tiny, tmp_path: Path) -> None:
    one = write(tmp_path / "monday" / "part-0.parquet", sequences(20, seed=1)).parent
    two = write(tmp_path / "tuesday" / "part-0.parquet", sequences(20, seed=2)).parent
    out = tmp_path / "out"
    options = ("--model", tiny.bundle, "--out", out)
    done("run", one, *options)
    old = parts(out)
    for dry in ((), ("--dry-run",), ("--prune",)):
        refused = seqembed("run", two, *options, *dry)
        assert refused.exit_code == 6, refused.output
        assert str(one / "part-0.parquet") in refused.output
        assert str(two / "part-0.parquet") in refused.output
        assert "--overwrite" in refused.output
        assert parts(out) == old
    done("run", two, *options, "--overwrite")
    assert parts(out) != old
    # The same content at another path is the same input, as in a lake that was moved or copied.
    two.rename(tmp_path / "moved")
    assert "1 up to date" in done("run", tmp_path / "moved", *options).output
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "part-0.parquet").write_bytes((tmp_path / "moved" / "part-0.parquet").read_bytes())
    new = parts(out)
    done("run", tmp_path / "copy", *options)
    assert pq.read_table(out / "part-0.parquet").equals(pq.read_table(pa.BufferReader(new["part-0.parquet"])))


def test_orphans_are_only_looked_for_below_the_given_inputs(tiny: Tiny, tmp_path: Path) -> None:
    lake, out = tmp_path / "lake", tmp_path / "out"
    options = ("--model", tiny.bundle, "--out", out)
    days = [write_day(lake, day) for day in range(3)]
    done("run", lake, *options)
    write(days[0] / "part-1.parquet", sequences(5, seed=8))
    done("run", days[0], *options)
    (days[0] / "part-1.parquet").unlink()
    (days[1] / "part-0.parquet").unlink()
    said = done("run", days[0], *options, "--prune").output
    assert f"{days[0].name}/part-1.parquet: its input no longer exists; the part was removed" in said
    assert f"{days[1].name}/" not in said
    assert list(parts(out)) == [f"{day.name}/part-0.parquet" for day in days]
    said = done("run", lake, *options).output
    assert f"{days[1].name}/part-0.parquet: its input no longer exists; the part was kept" in said
    done("run", lake / "day=*" / "*.parquet", *options, "--prune")
    assert list(parts(out)) == [f"{day.name}/part-0.parquet" for day in (days[0], days[2])]


def test_another_model_is_refused_in_a_slice_too(tiny: Tiny, tmp_path: Path) -> None:
    lake, out = tmp_path / "lake", tmp_path / "out"
    one, two = write_day(lake, 1), write_day(lake, 2)
    done("run", one, "--model", tiny.bundle, "--out", out)
    other = with_contract(tiny.bundle, tmp_path / "m.onnx", architecture={})
    for option in ([], ["--overwrite"], ["--prune"]):
        refused = seqembed("run", two, "--model", other, "--out", out, *option)
        assert refused.exit_code == 6
        assert "another model (sha256" in refused.output
        assert "choose another --out, or run each input into it again; or embed all inputs in one run" in refused.output
    done("run", lake, "--model", other, "--out", out, "--overwrite")
    assert len(parts(out)) == 2


def test_other_options_are_named_with_both_values(tiny: Tiny, tmp_path: Path) -> None:
    data = write(tmp_path / "in.parquet", sequences(20, seed=1))
    words = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*words, "--keep", "label", "--dtype", "float16")
    refused = seqembed(*words)
    assert refused.exit_code == 6
    assert "--keep was label, is now none; --dtype was float16, is now float32" in refused.output


def test_hive_keys_above_the_input_are_not_columns_and_those_below_must_not_contradict(
    tiny: Tiny, tmp_path: Path
) -> None:
    columns = sequences(6, seed=1) | {"device": ["seven"] * 6}
    data = write(tmp_path / "device=PATH" / "today" / "p.parquet", columns)
    options = ("--model", tiny.bundle, "--keep", "device", "--out")
    done("run", data.parent, *options, tmp_path / "above")
    assert set(pq.read_table(tmp_path / "above" / "p.parquet")["device"].to_pylist()) == {"seven"}
    refused = seqembed("run", tmp_path / "device=PATH", *options, tmp_path / "none")
    assert refused.exit_code == 3, refused.output
    assert "holds 'seven', but its directory is device=PATH" in refused.output
    same = write(tmp_path / "lake" / "device=07" / "p.parquet", sequences(6, seed=1) | {"device": [7] * 6})
    done("run", same.parent, *options, tmp_path / "same")
    table = pq.read_table(tmp_path / "same" / "device=07" / "p.parquet", partitioning=None)
    assert table["device"].to_pylist() == [7] * 6


def test_a_file_that_became_a_directory_and_back(tiny: Tiny, tmp_path: Path) -> None:
    data, out = tmp_path / "in", tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out)
    write(data / "a.parquet", sequences(20, seed=1))
    write(data / "b.parquet", sequences(20, seed=2))
    done(*words)
    (data / "a.parquet").unlink()
    write(data / "a.parquet" / "part-0.parquet", sequences(20, seed=3))
    said = done(*words).output
    assert "a.parquet: its input no longer exists; the part was removed" in said
    assert list(parts(out)) == ["a.parquet/part-0.parquet", "b.parquet"]
    assert "0 parts made, 2 up to date" in done(*words).output
    (data / "a.parquet" / "part-0.parquet").unlink()
    (data / "a.parquet").rmdir()
    write(data / "a.parquet", sequences(20, seed=4))
    done(*words)
    assert list(parts(out)) == ["a.parquet", "b.parquet"]
    assert (out / "a.parquet").is_file()
    done(*words)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_events_of_one_id_in_several_files_are_refused(tiny: Tiny, tmp_path: Path, dry: tuple[str, ...]) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    for day in (1, 2):
        write_events(tmp_path / "in" / f"day={day}" / "e.parquet", 20, seed=day)
    refused = seqembed("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "out", *dry)
    assert refused.exit_code == 3, refused.output
    assert "20 of 20 ids (100.0%) have events in more than one of 2 files" in refused.output
    assert not (tmp_path / "out").exists()
    # A finished part is checked too: the next file may have its ids.
    done("run", tmp_path / "in" / "day=1", "--model", bundle, "--out", tmp_path / "out")
    assert seqembed("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "out", *dry).exit_code == 3


def test_ids_shared_by_nested_rows_are_counted_and_each_row_has_its_vector(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(20, seed=1, shortest=1)
    columns["id"] = ["a", "a", *columns["id"][2:]]
    write(tmp_path / "in" / "1.parquet", columns)
    write(tmp_path / "in" / "2.parquet", sequences(5, seed=2) | {"id": ["a", "b", "c", "d", "e"]})
    said = done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out").output
    assert "1 of 23 ids (4.3%) are in more than one row; each row has its own vector" in said
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["shared_ids"]["num_shared"] == 1
    assert "25 rows in = " in said
    assert len(embeddings([tmp_path / "out" / "1.parquet"])) == 19


def test_skipped_files_are_reported_and_links_next_to_their_target_refused(tiny: Tiny, tmp_path: Path) -> None:
    data = write(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    write(tmp_path / "in" / "B.PARQUET", sequences(20, seed=2))
    write(tmp_path / "in" / "000000_0", sequences(20, seed=3))
    (tmp_path / "in" / "c.csv").write_text("id,x\n")
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    for _ in range(2):
        said = done(*words).output
        assert "60 rows in" in said
        assert "passed over 1 file that is not Parquet: c.csv" in said
    assert list(parts(tmp_path / "out")) == ["000000_0.parquet", "B.PARQUET.parquet", "a.parquet"]
    (tmp_path / "in" / "latest.parquet").symlink_to(data)
    assert (seqembed(*words).exit_code, "the same file under two names" in seqembed(*words).output) == (3, True)


def test_events_embedded_by_separate_runs_are_checked_when_they_are_one_input(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    options = ("--model", bundle, "--out")
    for day in (1, 2):
        write_events(tmp_path / "in" / f"day={day}" / "e.parquet", 20, seed=day)
        write_events(tmp_path / "apart" / f"day={day}" / "e.parquet", 20, seed=day, prefix=f"{day}-")
        # The events of each day separately: one vector per day.
        done("run", tmp_path / "in" / f"day={day}", *options, tmp_path / "out")
        done("run", tmp_path / "apart" / f"day={day}", *options, tmp_path / "good")
    for dry in ((), ("--dry-run",)):
        refused = seqembed("run", tmp_path / "in", *options, tmp_path / "out", *dry)
        assert (refused.exit_code, "20 of 20 ids" in refused.output) == (3, True), refused.output
    assert "0 parts made, 2 up to date" in done("run", tmp_path / "apart", *options, tmp_path / "good").output
    marker = (tmp_path / "good" / "_SUCCESS").stat().st_mtime_ns
    done("run", tmp_path / "apart", *options, tmp_path / "good")
    assert (tmp_path / "good" / "_SUCCESS").stat().st_mtime_ns == marker  # checked once


def test_a_damaged_file_is_skipped_while_ids_are_checked(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    for name in "ab":
        write_events(tmp_path / "in" / f"{name}.parquet", 20, seed=1, prefix=name)
    bad = tmp_path / "in" / "b.parquet"
    content = bytearray(bad.read_bytes())
    content[4:200] = bytes(196)
    bad.write_bytes(content)
    words = ("run", tmp_path / "in", "--model", bundle, "--out", tmp_path / "out")
    assert seqembed(*words).exit_code == 3
    said = done(*words, "--on-bad-file", "skip").output
    assert "SKIPPED FILE b.parquet" in said
    assert "20 rows in" in said


def test_a_part_is_kept_if_its_input_is_no_longer_parquet(tiny: Tiny, tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / "in" / f"00000{index}_0", sequences(20, seed=index))
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*words)
    (tmp_path / "in" / "000000_0").write_bytes(b"")
    said = done(*words, "--prune").output
    assert "passed over 1 file that is not Parquet: 000000_0 (empty)" in said
    assert "gone" not in said
    assert list(parts(tmp_path / "out")) == ["000000_0.parquet", "000001_0.parquet"]


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("10%3A00%3A00", pa.array([36_000_000], pa.time32("ms"))),
        ("2026-11-26 00%3A00%3A00", pa.array([1_795_651_200], pa.timestamp("s", "UTC"))),
        ("1.0", pa.array([1], pa.int64())),
        ("01", pa.array([1], pa.int8())),
        ("2026-11-26", pa.array([20_783], pa.date32())),
        ("%FF", pa.array(["%FF"])),
    ],
)
def test_a_key_and_a_column_of_one_value_agree(tiny: Tiny, tmp_path: Path, key: str, column: pa.Array) -> None:
    table = pa.table({"id": ["a"], "x": [[1.0]], "y": [[2.0]], "key": column})
    path = tmp_path / "in" / f"key={key}" / "p.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out", "--keep", "key")
    kept = pq.ParquetFile(tmp_path / "out" / f"key={key}" / "p.parquet").read()["key"]
    assert kept.to_pylist() == column.to_pylist()
