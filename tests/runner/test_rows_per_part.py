"""`--rows-per-part`: the parts of a divided file have its rows once, across reruns, changed files and other options."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from child_runner import KILLED, ChildRunner, check_finished, contents, visible
from seqembed_testing import Tiny, done, embeddings, events_bundle, seqembed, sequences, write_events, write_sequences

THREE = ["a.part-00000.parquet", "a.part-00001.parquet", "a.part-00002.parquet"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of 100 rows in row groups of 20, and one of 30 rows."""
    write_sequences(tmp_path / "in" / "a.parquet", sequences(100, seed=1), row_group_size=20)
    write_sequences(tmp_path / "in" / "b.parquet", sequences(30, seed=2))
    return tmp_path / "in"


def rows(out: Path) -> list[str]:
    return [name for path in sorted(out.rglob("*.parquet")) for name in pq.read_table(path)["id"].to_pylist()]


def parts(out: Path) -> list[str]:
    return list(visible(contents(out)))


def test_parts_have_the_rows_of_the_file_in_order(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    done("run", data, "--model", tiny.bundle, "--out", whole)
    words = ("run", data, "--model", tiny.bundle, "--rows-per-part", 45)
    said = done(*words, "--out", out).output
    assert "130 rows in" in said
    assert "4 parts made" in said
    assert parts(out) == [*THREE, "b.parquet"]
    assert (out / "b.parquet").read_bytes() == (whole / "b.parquet").read_bytes()
    assert [pq.read_metadata(out / name).num_rows for name in THREE] == [40, 40, 20]
    assert rows(out) == rows(whole)
    for name, file in (("a.part-*.parquet", "a.parquet"), ("b.parquet", "b.parquet")):
        divided, complete = embeddings(sorted(out.glob(name))), embeddings([whole / file])
        for key, vector in complete.items():
            assert (vector is None) == (divided[key] is None)
            if vector is not None:
                np.testing.assert_allclose(divided[key], vector, rtol=0, atol=2e-6)
    before = contents(out)
    assert "0 parts made, 4 up to date" in done(*words, "--out", out).output
    assert contents(out) == before
    assert "A rerun would make nothing." in done("inspect", out).output


def test_events_cross_row_groups(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    write_events(tmp_path / "in.parquet", 60, seed=3)
    words = ("run", tmp_path / "in.parquet", "--model", bundle, "--keep", "label")
    done(*words, "--out", tmp_path / "whole")
    said = done(*words, "--out", tmp_path / "out", "--rows-per-part", 100).output
    assert "60 rows in = 60 embedded" in said
    divided, whole = sorted((tmp_path / "out").glob("*.parquet")), [tmp_path / "whole" / "in.parquet"]
    assert len(divided) > 3
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    for one, other in zip(embeddings(divided).values(), embeddings(whole).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    assert "up to date" in done(*words, "--out", tmp_path / "out", "--rows-per-part", 100).output


def test_an_id_scattered_over_two_parts_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    ids = np.repeat(["a", "b", "c", "a"], 10)
    table = pa.table({"id": ids, "x": np.arange(40.0), "y": np.arange(40.0)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=20)
    words = ("run", tmp_path / "in.parquet", "--model", bundle, "--out", tmp_path / "out", "--rows-per-part", 20)
    refused = seqembed(*words)
    assert refused.exit_code == 3
    assert "the events of id = 'a' are not contiguous" in refused.output
    assert not (tmp_path / "out").exists()


def test_another_division_is_refused_or_replaces_all_parts(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out)
    done(*words)
    whole = contents(out)
    refused = seqembed(*words, "--rows-per-part", 45)
    assert refused.exit_code == 6
    assert "a.parquet is a finished part of a.parquet" in refused.output
    assert "Omit it to keep" in refused.output
    assert contents(out) == whole
    planned = done(*words, "--rows-per-part", 45, "--overwrite", "--dry-run").output
    assert "its rows are in other parts" in planned
    done(*words, "--rows-per-part", 45, "--overwrite")
    assert parts(out) == [*THREE, "b.parquet"]
    refused = seqembed(*words, "--rows-per-part", 20)
    assert refused.exit_code == 6
    assert "Pass --rows-per-part 45 to keep" in refused.output
    assert seqembed(*words).exit_code == 6
    assert "1 part made, 1 up to date" in done(*words, "--overwrite").output
    assert contents(out) == whole


def test_a_changed_file_leaves_no_part_of_its_old_version(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out, "--rows-per-part", 45)
    done(*words)
    write_sequences(data / "a.parquet", sequences(50, seed=5), row_group_size=20)
    assert "its rows are in other parts" in done("inspect", out).output
    assert "2 parts made, 1 up to date" in done(*words).output
    assert parts(out) == [*THREE[:2], "b.parquet"]
    write_sequences(data / "a.parquet", sequences(30, seed=6), row_group_size=20)
    assert "1 part made, 1 up to date" in done(*words).output
    assert parts(out) == ["a.parquet", "b.parquet"]
    (data / "a.parquet").unlink()
    assert "a.parquet: its input no longer exists; the part was removed" in done(*words, "--prune").output
    assert parts(out) == ["b.parquet"]


@pytest.mark.parametrize(
    ("step", "number"),
    [("part checked", 2), ("before rename", 2), *(("after rename or removal", n) for n in (1, 3, 4))],
)
def test_killed_while_a_file_is_divided_anew_rows_are_never_doubled(
    tiny: Tiny, tmp_path: Path, data: Path, child_runner: ChildRunner, step: str, number: int
) -> None:
    out, new = tmp_path / "out", tmp_path / "new"
    words = ("run", data, "--model", tiny.bundle, "--progress", "none", "--rows-per-part", 45)
    done(*words, "--out", out)
    write_sequences(data / "a.parquet", sequences(70, seed=5), row_group_size=15)
    done(*words, "--out", new)
    assert child_runner.run(*words, "--out", out, step=step, number=number).code == KILLED
    seen = rows(out)
    of_a = [name for path in out.glob("a.*") for name in pq.read_table(path)["id"].to_pylist()]
    assert len(of_a) == len(set(of_a)), f"doubled after {step}"
    assert len(seen) >= 30
    done(*words, "--out", out)
    check_finished(out, contents(new))


def test_the_limit_counts_over_parts(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out, "--rows-per-part", 20, "--limit", 50)
    assert "50 rows in" in done(*words).output
    assert rows(out) == [f"s{index}" for index in range(50)]
    assert "0 parts made, 3 up to date" in done(*words).output


def test_two_parts_of_one_name_are_refused(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    write_sequences(data / THREE[1], sequences(10, seed=3))
    refused = seqembed("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--rows-per-part", 45)
    assert refused.exit_code == 2
    assert "would both have a part a.part-00001.parquet" in refused.output
    assert seqembed("run", data, "--model", tiny.bundle, "--out", tmp_path / "o", "--rows-per-part", 0).exit_code == 2


def test_bad_rows_are_named_and_quarantined_by_their_row_in_the_file(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(60, seed=1, shortest=1)
    columns["x"][47][0] = float("inf")
    data = write_sequences(tmp_path / "in.parquet", columns, row_group_size=20)
    words = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out", "--rows-per-part", 20)
    failed = seqembed(*words)
    assert failed.exit_code == 3
    assert "in.parquet: row 47 (id 's47')" in failed.output
    done(*words, "--on-bad-row", "quarantine", "--overwrite")
    (aside,) = (tmp_path / "out" / "_quarantine").iterdir()
    assert aside.name == "in.part-00002.parquet"
    assert pq.read_table(aside)["row"].to_pylist() == [47]


def test_slices_of_the_job_take_divided_files_whole(tiny: Tiny, tmp_path: Path, data: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    words = ("run", data, "--model", tiny.bundle, "--rows-per-part", 45)
    done(*words, "--out", whole)
    assert "3 parts made" in done(*words, "--out", out, "--only", "a.parquet").output
    assert parts(out) == THREE
    assert not (out / "_SUCCESS").exists()
    (out / THREE[1]).rename(tmp_path / "aside")
    assert "1 part made" in done(*words, "--out", out, "--only", "b.parquet").output
    assert not (out / "_SUCCESS").exists()
    (tmp_path / "aside").rename(out / THREE[1])
    done(*words, "--out", out, "--only", "b.parquet", "--overwrite")
    assert parts(out) == [*THREE, "b.parquet"]
    done(*words, "--out", out)
    check_finished(out, contents(whole))
