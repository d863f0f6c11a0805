"""Finished parts are skipped, parts of changed inputs are made again, and parts of different models never mixed.

The number of finished parts that are checked without a model is 300; SEQEMBED_PARTS=10000 is the long form.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from child_runner import KILLED, ChildRunner, Contents, check_complete, check_finished, contents
from seqembed_testing import Tiny, done, seqembed, sequences, with_contract, write_sequences

NUM_PARTS = int(os.environ.get("SEQEMBED_PARTS", "300"))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make opening a model fail."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)


def state(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Return path → bytes and time of every file and directory."""
    paths = [directory, *directory.rglob("*")]
    return {path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in paths}


def with_bad_rows(seed: int) -> dict[str, list]:
    columns = sequences(20, seed, shortest=1)
    columns["x"][4][0] = float("inf")
    return columns


@pytest.mark.usefixtures("no_model")
def test_the_guard_against_loading_models_works(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(5, seed=1))
    result = seqembed("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    assert (result.exit_code, "a model was opened" in result.output) == (4, True)


def test_many_finished_parts_cost_footers_only(
    tiny: Tiny, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    columns = {"id": ["a"], "label": [0], "x": [[1.0, 2.0]], "y": [[3.0, 4.0]]}
    for index in range(NUM_PARTS):
        write_sequences(tmp_path / "in" / f"day={index % 30}" / f"{index:05}.parquet", columns)
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*words)
    before = state(tmp_path / "out")
    request.getfixturevalue("no_model")
    start = time.perf_counter()
    assert f"0 parts made, {NUM_PARTS} up to date" in done(*words).output
    record_property("seconds", round(time.perf_counter() - start, 2))
    assert state(tmp_path / "out") == before
    assert f"0 of {NUM_PARTS:,} parts would be made" in done(*words, "--dry-run").output


@pytest.mark.parametrize("footer_tells", [True, False])
def test_a_file_rewritten_with_the_same_size_and_time_is_embedded_again(
    tiny: Tiny, tmp_path: Path, footer_tells: bool
) -> None:
    def write(shift: float) -> None:
        columns = {"id": ["a", "b"], "label": [0, 1], "x": [[1.0 + shift], [2.0]], "y": [[3.0], [4.0]]}
        # Without statistics the footer does not depend on the values: only the file's times differ.
        options = {"use_dictionary": False, "compression": "none", "write_statistics": footer_tells}
        write_sequences(tmp_path / "new.parquet", columns, **options)
        with open(data, "wb") as file:  # in place, not by rename
            file.write((tmp_path / "new.parquet").read_bytes())
        os.utime(data, ns=(10**18, 10**18))

    data = tmp_path / "in.parquet"
    words = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    write(0.0)
    done(*words)
    old, old_stat = (tmp_path / "out" / "in.parquet").read_bytes(), data.stat()
    write(0.5)
    new_stat = data.stat()
    assert (new_stat.st_size, new_stat.st_mtime_ns, new_stat.st_ino) == (
        old_stat.st_size,
        old_stat.st_mtime_ns,
        old_stat.st_ino,
    )
    assert "1 part made" in done(*words).output
    rows = pq.read_table(tmp_path / "out" / "in.parquet")["embedding"].to_pylist()
    before = pq.read_table(pa.BufferReader(old))["embedding"].to_pylist()
    assert rows[0] != before[0]
    assert rows[1] == before[1]
    assert "0 parts made" in done(*words).output


def test_an_orphan_is_reported_and_pruned_on_request(tiny: Tiny, tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(tmp_path / "in" / f"{name}.parquet", with_bad_rows(ord(name)))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--on-bad-row", "quarantine", "--out", out)
    done(*words)
    new = contents(out)
    (tmp_path / "in" / "b.parquet").unlink()
    for _ in range(2):
        assert "b.parquet: its input no longer exists; the part was kept" in done(*words).output
        assert contents(out) == new
        assert json.loads((out / "_SUCCESS").read_text())["orphans"] == ["b.parquet"]
    before = state(out)
    done(*words)
    assert state(out) == before
    assert "would" in done(*words, "--prune", "--dry-run").output
    assert state(out) == before
    assert "b.parquet: its input no longer exists; the part was removed" in done(*words, "--prune").output
    assert list(contents(out)) == ["_quarantine/a.parquet", "a.parquet"]
    totals = json.loads((out / "_SUCCESS").read_text())
    assert (totals["rows_in"], totals["orphans"], totals["pruned"]) == (20, [], ["b.parquet"])


@pytest.mark.parametrize("change", ["model", "options"])
@pytest.mark.parametrize("without_input", [False, True])
def test_parts_of_another_model_or_options_are_refused(
    tiny: Tiny, tmp_path: Path, change: str, without_input: bool
) -> None:
    old = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    words: list[object] = ["run", tmp_path / "in", "--out", out]
    done(*words, "--model", tiny.bundle)
    before = state(out)
    if change == "model":
        words += ["--model", with_contract(tiny.bundle, tmp_path / "m.onnx", architecture={})]
    else:
        words += ["--model", tiny.bundle, "--keep", "label"]
    write_sequences(tmp_path / "in" / "b.parquet", sequences(20, seed=2))
    if without_input:
        old.unlink()
    remedy = "--prune" if without_input else "--overwrite"
    refused = seqembed(*words)
    assert refused.exit_code == 6
    assert all(word in refused.output for word in ("a.parquet", f"other {change}"[-7:], remedy)), refused.output
    assert state(out) == before
    done(*words, remedy)
    done(*words)
    assert sorted(path.name for path in out.glob("*.parquet")) == (
        ["b.parquet"] if without_input else ["a.parquet", "b.parquet"]
    )


def test_old_parts_stay_readable_until_the_new_ones_are_complete(
    tiny: Tiny, child_runner: ChildRunner, tmp_path: Path
) -> None:
    for index in range(3):
        write_sequences(tmp_path / "in" / f"{index}.parquet", sequences(20, seed=index))
    other = with_contract(tiny.bundle, tmp_path / "m.onnx", architecture={})
    out = tmp_path / "out"
    words: tuple[object, ...] = ("run", tmp_path / "in", "--out", out)
    done(*words, "--model", tiny.bundle)
    old = contents(out)
    for number in (1, 2, 3):
        ended = child_runner.run(*words, "--model", other, "--overwrite", step="part checked", number=number)
        assert ended.code == KILLED
        assert {name: text for name, text in contents(out).items() if name in old} == old
    ended = child_runner.run(*words, "--model", other, "--overwrite", step="before rename", number=2)
    assert ended.code == KILLED
    done(*words, "--model", other, "--overwrite")
    new = contents(out)
    assert list(new) == list(old)
    assert all(new[name] != old[name] for name in new)


def test_limit_reruns_change_nothing_and_follow_the_files_before(tiny: Tiny, tmp_path: Path) -> None:
    for index, name in enumerate("abc"):
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(30, seed=index))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, "--limit", 40)
    done(*words)
    before = state(out)
    assert "0 parts made, 2 up to date" in done(*words).output
    assert state(out) == before
    # The first file now has fewer rows, so more of the second are needed.
    write_sequences(tmp_path / "in" / "a.parquet", sequences(5, seed=9))
    done(*words)
    rows = {name: pq.read_metadata(out / f"{name}.parquet").num_rows for name in "abc"}
    assert rows == {"a": 5, "b": 30, "c": 5}
    # After a new first file all other parts must be made again.
    write_sequences(tmp_path / "in" / "Z.parquet", sequences(33, seed=9))
    totals = json.loads((done(*words) and out / "_SUCCESS").read_text())
    assert [pq.read_metadata(out / f"{name}.parquet").num_rows for name in "Zab"] == [33, 5, 2]
    assert totals["rows_in"] == 40


def test_a_file_that_became_unreadable_is_in_the_success_marker(tiny: Tiny, tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, "--on-bad-file", "skip")
    done(*words)
    (tmp_path / "in" / "b.parquet").write_bytes(b"no parquet")
    assert "SKIPPED FILE b.parquet" in done(*words).output
    assert [entry["name"] for entry in json.loads((out / "_SUCCESS").read_text())["skipped_files"]] == ["b.parquet"]
    before = state(out)
    done(*words)
    assert state(out) == before


_CHANGES = {
    "renamed over": "os.replace({other!r}, {path!r})",
    "in place": "open({path!r}, 'r+b').write(open({other!r}, 'rb').read())",
    "same bytes": "text = open({path!r}, 'rb').read(); open({path!r}, 'r+b').write(text)",
    "cut short": "os.truncate({path!r}, 500)",
    "emptied": "os.truncate({path!r}, 0)",
    "removed": "os.remove({path!r})",
}


@pytest.mark.parametrize("options", [(), ("--on-bad-file", "skip")])
@pytest.mark.parametrize("change", _CHANGES)
def test_an_input_that_changes_while_it_is_read(
    tiny: Tiny, child_runner: ChildRunner, tmp_path: Path, change: str, options: tuple[str, ...]
) -> None:
    for name in "ab":
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(60, seed=1), row_group_size=15)
    other = write_sequences(tmp_path / "other.parquet", sequences(90, seed=5), row_group_size=30)
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, *options)
    path = tmp_path / "in" / "b.parquet"
    code = "import os; " + _CHANGES[change].format(path=str(path), other=str(other))
    ended = child_runner.run(*words, step="reading", number=6, code=code)
    assert ended.code == 3, ended.output
    assert "b.parquet: the file changed while it was read" in ended.output
    assert [path.name for path in out.glob("*.parquet")] == ["a.parquet"]
    assert not (out / "_SUCCESS").exists()
    first = contents(out)
    if change in ("cut short", "emptied", "removed"):
        write_sequences(path, sequences(50, seed=6))
    done(*words)
    done(*words[: -len(options) - 1] if options else words[:-1], tmp_path / "undisturbed", *options)
    check_finished(out, contents(tmp_path / "undisturbed"))
    check_complete(out, first, contents(tmp_path / "undisturbed"))


def test_equal_bytes_whatever_the_threads(tiny: Tiny, tmp_path: Path) -> None:
    for index in range(2):
        write_sequences(tmp_path / "in" / f"{index}.parquet", with_bad_rows(index))
    write_sequences(tmp_path / "in" / "large.parquet", sequences(3000, seed=3, longest=60), row_group_size=700)
    found: list[Contents] = []
    for threads in (1, 2, 3, 7):
        out = tmp_path / f"out{threads}"
        words = ("run", tmp_path / "in", "--model", tiny.bundle, "--on-bad-row", "quarantine", "--out", out)
        done(*words, "--threads", threads)
        found.append(contents(out))
    assert all(one == found[0] for one in found)
    assert len(found[0]) == 5


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--prune", "--overwrite")])
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_files_of_others_are_not_overwritten(tiny: Tiny, tmp_path: Path, options: tuple[str, ...], kind: str) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out, *options)
    users_file = write_sequences(out / "a.parquet", {"id": ["users_file"]})
    if kind == "encrypted":
        users_file.write_bytes(b"PARE" + bytes(40) + (16).to_bytes(4, "little") + b"PARE")
    before = state(out)
    for dry in ((), ("--dry-run",)):
        refused = seqembed(*words, *dry)
        assert refused.exit_code == 6
        assert "a.parquet is a file that seqembed did not write" in refused.output
        assert "another --out" in refused.output
    assert state(out) == before
    users_file.rename(out / "users_file.parquet")
    done(*words)
    done(*words)
    assert sorted(contents(out)) == ["a.parquet", "users_file.parquet"]
    (out / "a.parquet").write_bytes((out / "users_file.parquet").read_bytes())
    assert "A rerun would be refused: " in done("inspect", out).output


def test_parts_beyond_the_limit_are_reported_and_pruned_on_request(tiny: Tiny, tmp_path: Path) -> None:
    for index, name in enumerate("abc"):
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(30, seed=index))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out, "--limit", 70)
    done(*words)
    write_sequences(tmp_path / "in" / "a.parquet", sequences(65, seed=9))
    for _ in range(2):
        result = done(*words).output
        assert "70 rows in = " in result
        assert "c.parquet: it is beyond --limit; the part was kept" in result
        assert json.loads((out / "_SUCCESS").read_text())["beyond_limit"] == ["c.parquet"]
    assert "beyond --limit: c.parquet" in done("inspect", out).output
    before = state(out)
    assert "leave (beyond --limit)" in done(*words, "--dry-run").output
    done(*words)
    assert state(out) == before
    assert "c.parquet: it is beyond --limit; the part was removed" in done(*words, "--prune").output
    assert [pq.read_metadata(path).num_rows for path in sorted(out.glob("*.parquet"))] == [65, 5]
    assert json.loads((out / "_SUCCESS").read_text())["beyond_limit"] == []


def test_a_limit_keeps_no_part_of_another_model(tiny: Tiny, tmp_path: Path) -> None:
    for index, name in enumerate("abc"):
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(30, seed=index))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out)
    done(*words)
    before = state(out)
    for options, remedy in (((), "--overwrite"), (("--overwrite",), "--prune"), (("--prune",), "--overwrite")):
        refused = seqembed(*words, "--limit", 40, *options)
        assert (refused.exit_code, f"{remedy} to " in refused.output) == (6, True), refused.output
    assert state(out) == before
    result = done(*words, "--limit", 40, "--overwrite", "--prune").output
    assert "c.parquet: it is beyond --limit; the part was removed" in result
    assert [pq.read_metadata(path).num_rows for path in sorted(out.glob("*.parquet"))] == [30, 10]


def test_replacing_parts_keeps_no_orphan_of_another_model(tiny: Tiny, tmp_path: Path) -> None:
    for name in "ab":
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out)
    done(*words)
    (tmp_path / "in" / "b.parquet").unlink()
    refused = seqembed(*words, "--keep", "label", "--overwrite")
    assert (refused.exit_code, "--prune" in refused.output) == (6, True)
    done(*words, "--keep", "label", "--overwrite", "--prune")
    assert list(contents(out)) == ["a.parquet"]
    assert "0 parts made" in done(*words, "--keep", "label").output


def test_inspect_with_a_record_of_another_version(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1)).parent
    out = tmp_path / "out"
    done("run", data, "--model", tiny.bundle, "--out", out)
    record = json.loads((out / "_RUN").read_text())
    record["options"]["of_tomorrow"] = 1
    (out / "_RUN").write_text(json.dumps(record))
    assert "damaged or of another version" in done("inspect", out).output


def test_inspect_shows_the_state_of_each_part_and_what_a_rerun_would_make(tiny: Tiny, tmp_path: Path) -> None:
    for index, name in enumerate("abcd"):
        write_sequences(tmp_path / "in" / f"{name}.parquet", sequences(20, seed=index))
    out = tmp_path / "out"
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", out)
    done(*words)
    assert "A rerun would make nothing." in done("inspect", out).output
    write_sequences(tmp_path / "in" / "b.parquet", sequences(25, seed=9))
    (out / "c.parquet").unlink()
    (tmp_path / "in" / "d.parquet").unlink()
    said = done("inspect", out).output
    assert "1 complete, 1 outdated, 1 missing, 1 orphaned" in said
    for line in ("outdated: b.parquet", "missing: c.parquet", "orphaned (its input no longer exists): d.parquet"):
        assert f"  {line}\n" in said
    assert "A rerun would make 2 parts and skip 1." in said
    assert "2 parts made, 1 up to date" in done(*words).output
