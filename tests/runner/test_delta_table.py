"""Delta tables as input of every command: what changed is embedded, the rest is left, and versions are pinned."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_testing import field, found_rows, nested, write_log
from deltalake import DeltaTable, write_deltalake
from grouping_testing import grouped

import seqembed as package
from seqembed.runner.job import run as run_module
from seqembed.runner.output.parts import FOOTER_KEY, PartFooter
from seqembed_testing import Tiny, done, embeddings, seqembed

DAYS = [date(2026, 11, 20 + index % 3) for index in range(30)]


def parts(out: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in sorted(out.rglob("*.parquet")) if path.is_file()]
    return {str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def vectors(out: Path) -> dict[str, Any]:
    return {key: None if v is None else v.tobytes() for key, v in embeddings(sorted(out.rglob("*.parquet"))).items()}


def plain(root: Path, path: Path, version: int | None = None) -> Path:
    """Write the rows of a table, as deltalake reads them, to one plain file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(DeltaTable(root, version).scan()), path)
    return path


def test_only_what_changed_is_embedded_and_the_vectors_are_those_of_the_rows(tiny: Tiny, tmp_path: Path) -> None:
    root, out = tmp_path / "t", tmp_path / "out"
    words = ("run", root, "--model", tiny.bundle, "--out", out, "--keep", "day,label")
    write_deltalake(root, nested(30, 1, "a", day=DAYS), partition_by=["day"])
    assert "3 parts made" in done(*words).output
    first = parts(out)
    write_deltalake(root, nested(10, 2, "b", day=DAYS[:1] * 10), mode="append")
    assert "1 part made, 3 up to date" in done(*words).output
    second = parts(out)
    assert {name: second[name] for name in first} == first
    assert "0 parts made, 4 up to date" in done(*words).output
    assert parts(out) == second
    DeltaTable(root).delete("id = 'as1'")
    DeltaTable(root).optimize.compact()
    said = done(*words).output
    assert said.count("its input no longer exists; the part was kept") == 3
    done(*words, "--prune")
    names = {str(Path(path).relative_to(root)) for path in DeltaTable(root).file_uris()}
    assert set(parts(out)) == names
    footers = [PartFooter.from_json(pq.read_metadata(out / name).metadata[FOOTER_KEY]) for name in names]
    assert {footer.table.kind for footer in footers} == {"Delta"}
    assert {footer.table.version for footer in footers} == {0, 3}
    assert f"Made from version 3 of the Delta table {root}: " in done("inspect", out).output
    success = json.loads((out / "_SUCCESS").read_text())
    assert success["tables"] == [{"kind": "Delta", "root": str(root), "version": 3}]
    assert (success["rows_in"], success["orphans"]) == (39, [])
    done("run", plain(root, tmp_path / "plain" / "p.parquet"), *words[2:4], "--out", tmp_path / "plain_out")
    assert vectors(out) == vectors(tmp_path / "plain_out")
    kept = pa.concat_tables(
        [pq.read_table(out / name, partitioning=None) for name in names], promote_options="permissive"
    )
    assert kept.schema.field("day").type == pa.date32()
    rows = {row["id"]: (row["day"], row["label"]) for row in pa.table(DeltaTable(root).scan()).to_pylist()}
    assert {row["id"]: (row["day"], row["label"]) for row in kept.to_pylist()} == rows


def test_a_version_is_pinned_and_a_slice_is_a_partition(tiny: Tiny, tmp_path: Path) -> None:
    root = tmp_path / "t"
    write_deltalake(root, nested(12, 1, "a", day=DAYS[:12]), partition_by=["day"])
    write_deltalake(root, nested(12, 2, "b", day=DAYS[:12]), mode="append")
    options = ("--model", tiny.bundle, "--out")
    done("run", root, *options, tmp_path / "old", "--version", 0)
    assert len(vectors(tmp_path / "old")) == 12
    assert "3 complete, 0 outdated, 0 missing" in done("inspect", tmp_path / "old").output
    report = package.run(root, model=tiny.bundle, out=tmp_path / "new", only="day=2026-11-20", progress="none")
    assert report.num_made == 2
    done("run", root / "day=2026-11-21", *options, tmp_path / "new")
    assert {Path(name).parent.name for name in parts(tmp_path / "new")} == {"day=2026-11-20", "day=2026-11-21"}
    refused = seqembed("run", tiny.data, *options, tmp_path / "none", "--version", 1)
    assert (refused.exit_code, "no input is a table that has versions" in refused.output) == (2, True)
    assert seqembed("run", root, *options, tmp_path / "none", "--version", 9).exit_code == 3


def test_deleted_rows_and_renamed_columns_have_no_vector_and_the_old_name(tiny: Tiny, tmp_path: Path) -> None:
    rows = nested(20, 1).select(["id", "x", "y"]).rename_columns(["c-1", "c-2", "c-3"])
    numbers = [{"type": "array", "elementType": kind, "containsNull": True} for kind in ("float", "double")]
    fields = [field("id", "string", "c-1", 1), field("x", numbers[0], "c-2", 2), field("y", numbers[1], "c-3", 3)]
    write_log(tmp_path / "t", fields, [("p.parquet", rows, {}, [0, 3, 19])])
    options = ("--model", tiny.bundle, "--out")
    assert "17 rows in" in done("run", tmp_path / "t", *options, tmp_path / "out").output
    done("run", plain(tmp_path / "t", tmp_path / "in.parquet"), *options, tmp_path / "plain")
    assert vectors(tmp_path / "out") == vectors(tmp_path / "plain")
    said = done("inspect", tmp_path / "t").output
    assert f"version 0 of the Delta table {tmp_path}/t, 1 file, 17 rows" in said


def test_a_rename_of_a_column_that_is_not_read_leaves_the_parts_alone(tiny: Tiny, tmp_path: Path) -> None:
    root, out = tmp_path / "t", tmp_path / "out"
    rows = nested(20, 1, day=[0] * 20).rename_columns(["c-id", "c-label", "c-x", "c-y", "day"])
    lists = [{"type": "array", "elementType": kind, "containsNull": True} for kind in ("float", "double")]
    kinds = {"id": "string", "label": "long", "x": lists[0], "y": lists[1]}
    fields = {name: field(name, kind, f"c-{name}", index) for index, (name, kind) in enumerate(kinds.items(), 1)}
    write_log(root, [*fields.values(), field("day", "long", "day", 5)], [("p.parquet", rows, {}, [3])])
    log = root / "_delta_log" / f"{0:020}.json"
    first, words = log.read_text(), ("run", root, "--model", tiny.bundle, "--out", out)

    def rename(**names: str) -> None:
        lines = [json.loads(line) for line in first.splitlines()]
        schema = json.loads(lines[1]["metaData"]["schemaString"])
        for each in schema["fields"]:
            each["name"] = names.get(each["name"], each["name"])
        lines[1]["metaData"]["schemaString"] = json.dumps(schema)
        log.write_text("\n".join(map(json.dumps, lines)))

    assert "1 part made" in done(*words).output
    before = parts(out)
    rename(label="kind", day="date")
    assert {"kind", "date"} <= set(found_rows(root)[0])
    assert "0 parts made, 1 up to date" in done(*words).output
    assert "1 complete, 0 outdated" in done("inspect", out).output
    assert parts(out) == before
    rename(x="y", y="x")  # read under another name
    assert "1 complete, 0 outdated" not in done("inspect", out).output
    assert "1 part made" in done(*words).output
    assert vectors(out) == vectors(plain_run(tiny, root, tmp_path))
    rename()
    done(*words, "--keep", "label", "--overwrite")
    rename(label="other", day="label")
    assert "1 part made" in done(*words, "--keep", "label").output
    assert pq.read_table(out / "p.parquet")["label"].to_pylist() == [0] * 19


def plain_run(tiny: Tiny, root: Path, directory: Path) -> Path:
    """Embed the rows of a table as one plain file."""
    out = directory / "plain"
    done("run", plain(root, directory / "in.parquet"), "--model", tiny.bundle, "--out", out)
    return out


def test_a_file_vacuumed_between_the_plan_and_its_reading(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "t"
    for name in "ab":
        write_deltalake(root, nested(12, 1, name), mode="append")
    words = ("run", root, "--model", tiny.bundle, "--out", tmp_path / "out")
    check = run_module.check_inputs

    def other_writer(*arguments: Any) -> int:
        checked = check(*arguments)
        DeltaTable(root).optimize.compact()
        DeltaTable(root).vacuum(0, enforce_retention_duration=False, dry_run=False)
        return checked

    monkeypatch.setattr(run_module, "check_inputs", other_writer)
    refused = seqembed(*words)
    assert refused.exit_code == 3, refused.output
    assert f"version 1 of the Delta table {root} lists it: if a VACUUM or another writer removed it" in refused.output
    assert not parts(tmp_path / "out")
    monkeypatch.undo()
    assert "24 rows in" in done(*words).output
    assert seqembed(*words, "--version", 0).exit_code == 3


@pytest.mark.usefixtures("few_features", "quick_training")
def test_every_other_command_reads_a_table(tiny: Tiny, tmp_path: Path) -> None:
    root = tmp_path / "t"
    write_deltalake(root, nested(40, 1, split=["train", "test"] * 20), partition_by=["split"])
    write_deltalake(root, nested(40, 2, "b", split=["train", "test"] * 20), mode="append")
    said = done("inspect", root, "--version", 0, "--label", "label").output
    assert f"version 0 of the Delta table {root}, 2 files, 40 rows" in said
    assert f"seqembed train {root} --out RUN_DIR --label label --version 0" in said
    done("train", root, "--version", 0, "--features", "x,y", "--steps", 1, "--out", tmp_path / "run")
    assert "version = 0" in (tmp_path / "run" / "config.toml").read_text()
    done(
        *("evaluate", "--model", tiny.bundle, "--train", root / "split=train", "--test", root / "split=test"),
        *("--label", "label", "--untrained-seeds", 1, "--json", tmp_path / "scores.json"),
    )
    assert json.loads((tmp_path / "scores.json").read_text())["rows"]


def test_events_of_a_table_are_grouped_and_a_compaction_loses_none(tmp_path: Path) -> None:
    root, out = tmp_path / "t", tmp_path / "out"
    start = datetime(2026, 11, 20)
    for day in range(3):
        times = [start + timedelta(days=day, minutes=index) for index in range(8)]
        events = {
            "id": [index % 4 for index in range(8)],
            "time": times,
            "x": [float(index + day) for index in range(8)],
        }
        write_deltalake(root, pa.table(events | {"day": [day] * 8}), partition_by=["day"], mode="append")
    words = ("group", root, "--out", out, "--buckets", 2)
    done(*words)
    before = grouped(out)
    assert {key: len(row["time"]) for key, row in before.items()} == dict.fromkeys(range(4), 6)
    assert before[0]["day"] == [0, 0, 1, 1, 2, 2]
    assert "0 buckets made, 2 up to date" in done(*words).output
    DeltaTable(root).delete("id = 3 and day = 1")
    write_deltalake(root, pa.table({"id": [0], "time": [start], "x": [9.0], "day": [0]}), mode="append")
    DeltaTable(root).optimize.compact()
    done(*words)
    assert {key: len(row["time"]) for key, row in grouped(out).items()} == {0: 7, 1: 6, 2: 6, 3: 4}
    refused = seqembed("group", root, "--out", tmp_path / "none", "--version", 99)
    assert refused.exit_code == 3
    done("group", root, "--out", tmp_path / "old", "--buckets", 2, "--version", 2)
    assert grouped(tmp_path / "old") == before
    assert "3 files unchanged, 0 changed, 0 new, 0 gone" in done("inspect", tmp_path / "old").output
