"""Delta tables: the rows that seqembed reads are those that deltalake reads itself."""

import gc
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_testing import field, found_rows, nested, true_rows, write_log
from deltalake import DeltaTable, write_deltalake

from seqembed.data.errors import BadFileError, InputError, UsageError
from seqembed.data.files.fingerprints import fingerprint, look_at
from seqembed.data.files.listing import find_inputs

DAYS = [date(2026, 11, 20 + index % 3) for index in range(30)]


@pytest.mark.parametrize("partitions", [[], ["day"], ["day", "label"]])
def test_every_version_of_a_table_that_is_changed_in_every_way(tmp_path: Path, partitions: list[str]) -> None:
    root = tmp_path / "t"
    write_deltalake(root, nested(30, 1, "a", day=DAYS), partition_by=partitions)
    write_deltalake(root, nested(30, 2, "b", day=[None, *DAYS[1:]]), mode="append")
    DeltaTable(root).delete("label = 1")
    DeltaTable(root).update({"day": "date '2026-12-01'"}, predicate="id like 'a%' and label = 2")
    write_deltalake(root, nested(9, 3, "c", day=DAYS[:9], added=range(9)), mode="append", schema_mode="merge")
    DeltaTable(root).optimize.compact()
    DeltaTable(root).delete("added > 4")
    DeltaTable(root).create_checkpoint()
    last = DeltaTable(root).version()
    assert last == 6
    for version in range(last + 1):
        assert found_rows(root, version) == true_rows(root, version)
    assert found_rows(root) == true_rows(root)
    assert len(found_rows(root)) == 45
    if not partitions:  # plain Parquet, which is read as it is
        assert all(file.open().source is not None and file.view.token == b"" for file in find_inputs([str(root)]).files)


def mapped(root: Path) -> Path:
    """Write a table whose columns were renamed, dropped and added, with deleted rows and a nested field renamed."""
    point = {
        "type": "array",
        "elementType": {"type": "struct", "fields": [field("u", "double", "f-1", 6), field("v", "long", "v", 7)]},
        "containsNull": True,
    }
    fields = [
        field("id", "string", "c-1", 1),
        field("x", {"type": "array", "elementType": "float", "containsNull": True}, "c-2", 2),
        field("day", "date", "c-3", 3),
        field("new", "long", "c-4", 4),
        field("points", point, "c-5", 5),
    ]
    points = [[{"f-1": 0.5, "v": index}] * (index % 3) if index % 5 else None for index in range(20)]
    kind = pa.list_(pa.struct([("f-1", pa.float64()), ("v", pa.int64())]))
    rows = nested(20, 1).select(["id", "x", "y"]).rename_columns(["c-1", "c-2", "dropped"])
    first = rows.append_column("c-5", pa.array(points, kind))
    second = nested(20, 2, "b").select(["id", "x"]).rename_columns(["c-1", "c-2"])
    files = [
        ("day=x/p 1%25.parquet".replace(" ", "%20"), first, {"c-3": "2026-11-20"}, [0, 6, 7, 19]),
        ("p2.parquet", second, {"c-3": None}, []),
        ("p3.parquet", nested(8, 3, "c").select(["id"]).rename_columns(["c-1"]), {"c-3": "2026-11-22"}, list(range(8))),
    ]
    write_log(root, fields, files, partitions=["day"])
    (root / "day=x" / "p%201%25.parquet").rename(root / "day=x" / "p 1%.parquet")
    return root


def test_column_mapping_and_deletion_vectors(tmp_path: Path) -> None:
    root = mapped(tmp_path / "t")
    found = found_rows(root)
    assert found == true_rows(root)
    assert len(found) == 36
    assert {row["day"] for row in found} == {date(2026, 11, 20), None}
    files = find_inputs([str(root)]).files
    assert [file.name for file in files] == ["day=x/p 1%.parquet", "p2.parquet", "p3.parquet"]
    for file in files:
        opened = file.open()
        assert pickle.loads(pickle.dumps(file)).open().read() == opened.read()  # as workers get it
        assert file.footer() == (opened.schema_arrow, opened.metadata.num_rows)
        assert file.shape(look_at(file).metadata()) == (opened.schema_arrow.remove_metadata(), opened.metadata.num_rows)


NUMBERS = {"type": "array", "elementType": "double", "containsNull": True}
POINTS = {"type": "struct", "fields": [field("u", "double", "v", 7), field("w", "long", "f-9", 8)]}


@pytest.mark.parametrize("order", [["id", "x", "a"], ["id", "a", "x"]])
def test_a_dropped_column_is_not_read_under_the_name_that_another_one_got(tmp_path: Path, order: list[str]) -> None:
    lists = {"a": [[-1.0]] * 6, "x": [[float(row)] for row in range(6)]}
    rows = pa.table({"id": [f"s{row}" for row in range(6)], **lists}).select(order)
    fields = [field("id", "string", "id", 1), field("a", NUMBERS, "x", 5)]  # a was dropped, then x renamed to a
    root = write_log(tmp_path / "t", fields, [("p.parquet", rows, {}, [])])
    assert [row["a"] for row in found_rows(root)] == [[float(row)] for row in range(6)]
    assert found_rows(root) == true_rows(root)


def test_a_column_or_field_that_was_dropped_and_added_again_has_no_values_in_old_files(tmp_path: Path) -> None:
    old = pa.table({"id": ["a"], "kind": ["dropped"], "point": [{"u": -1.0, "v": 2.0, "w": 3}]})
    fields = [field("id", "string", "id", 1), field("kind", "string", "c-7", 9), field("point", POINTS, "point", 6)]
    new = pa.table({"id": ["b"], "c-7": ["new"], "point": [{"v": 4.0, "f-9": 5}]})
    root = write_log(tmp_path / "t", fields, [("p.parquet", old, {}, []), ("q.parquet", new, {}, [])])
    assert found_rows(root) == true_rows(root)
    assert found_rows(root) == [
        {"id": "a", "kind": None, "point": {"u": 2.0, "w": None}},
        {"id": "b", "kind": "new", "point": {"u": 4.0, "w": 5}},
    ]


def test_a_table_with_deleted_rows_behind_a_link(tmp_path: Path) -> None:
    mapped(tmp_path / "disk" / "t")
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    assert found_rows(tmp_path / "mount" / "t") == true_rows(tmp_path / "disk" / "t")


def test_a_fingerprint_depends_on_what_a_file_holds_in_its_table(tmp_path: Path) -> None:
    rows = nested(9, 1)
    fields = [
        field(name, rows.schema.field(name).type.equals(pa.string()) and "string" or kind, name, index)
        for index, (name, kind) in enumerate([("id", "string"), ("label", "long")], 1)
    ]
    plain = [("p.parquet", rows.select(["id", "label"]), {}, [])]
    prints = []
    for name, files, renamed in (("a", plain, "label"), ("b", plain, "kind"), ("c", [(*plain[0][:3], [3])], "label")):
        root = write_log(tmp_path / name, [fields[0], field(renamed, "long", "label", 2)], files)
        (file,) = find_inputs([str(root)]).files
        prints.append(look_at(file).content)
    assert len(set(prints)) == 3
    assert prints[0] == look_at(find_inputs([str(tmp_path / "a")]).files[0]).content
    # Without mapping or deleted rows it is that of the file.
    pq.write_table(rows.select(["id", "label"]), tmp_path / "p.parquet", row_group_size=7)
    assert look_at(find_inputs([str(tmp_path / "p.parquet")]).files[0]).content == prints[0]
    assert fingerprint(file)


def test_a_directory_a_glob_and_a_file_of_a_table(tmp_path: Path) -> None:
    root = tmp_path / "t"
    write_deltalake(root, nested(30, 1, day=DAYS), partition_by=["day"])
    write_deltalake(root, nested(30, 2, "b", day=DAYS), partition_by=["day"], mode="append")
    DeltaTable(root).delete("id like 'b%' and day = date '2026-11-20'")
    names = [file.name for file in find_inputs([str(root)]).files]
    assert len(names) == 5
    for given, num in (("day=2026-11-20", 1), ("day=2026-11-2*", 5), ("day=*/*.parquet", 5), (names[1], 1)):
        found = [file.name for file in find_inputs([str(root / given)]).files]
        assert set(found) <= set(names)
        assert len(found) == num
    dead = next(p for p in root.glob("day=2026-11-20/*") if str(p.relative_to(root)) not in names)
    for given in (dead, root / "_delta_log"):
        with pytest.raises(InputError, match="no live file of the Delta table"):
            find_inputs([str(given)])
    with pytest.raises(InputError, match=f"is a Delta table .* pass {root} itself as the input"):
        find_inputs([str(tmp_path)])


@pytest.mark.parametrize(
    ("features", "mode", "said"),
    [(["rowTracking2"], "none", "rowTracking2"), (["columnMapping"], "id", "columnMapping by id")],
)
def test_what_is_not_honoured_is_refused_by_name(tmp_path: Path, features: list[str], mode: str, said: str) -> None:
    table = nested(3, 1).select(["id"])
    root = write_log(
        tmp_path / "t", [field("id", "string", "id", 1)], [("p.parquet", table, {}, [])], features, mode=mode
    )
    with pytest.raises(InputError, match=f"{root}: the Delta table .*{said}"):
        find_inputs([str(root)])


def test_a_version_a_clone_and_a_log_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "t"
    write_deltalake(root, nested(3, 1))
    with pytest.raises(InputError, match="cannot be read in version 7, since its newest is 0"):
        find_inputs([str(root)], version=7)
    pq.write_table(nested(3, 1), tmp_path / "p.parquet")
    with pytest.raises(UsageError, match="--version 0: no input is a table that has versions"):
        find_inputs([str(tmp_path / "p.parquet")], version=0)
    (tmp_path / "broken" / "_delta_log").mkdir(parents=True)
    (tmp_path / "broken" / "_delta_log" / f"{0:020}.json").write_text("{}")
    with pytest.raises(InputError, match="broken: the Delta table cannot be read"):
        find_inputs([str(tmp_path / "broken")])
    log = root / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace('"path":"part', f'"path":"file://{tmp_path}/part'))
    with pytest.raises(InputError, match="outside its directory, as shallow clones do"):
        find_inputs([str(root)])
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(InputError, match=r"pip install 'seqembed\[delta\]'"):
        find_inputs([str(root)])


def test_a_file_that_was_vacuumed_names_the_version_and_the_way_out(tmp_path: Path) -> None:
    root = tmp_path / "t"
    for name in "ab":
        write_deltalake(root, nested(9, 1, name), mode="append")
    found = find_inputs([str(root)]).files
    assert len(found) == 2
    DeltaTable(root).optimize.compact()
    DeltaTable(root).vacuum(0, enforce_retention_duration=False, dry_run=False)
    for file in found:
        for read in (file.open, lambda file=file: look_at(file)):
            with pytest.raises(BadFileError, match=f"version 1 of the Delta table {root} lists it: if a VACUUM"):
                read()
    assert found_rows(root) == true_rows(root)


def test_threads_that_copy_one_file_keep_one_copy(tmp_path: Path) -> None:
    """The descriptor of a copy that came second is closed."""
    root = tmp_path / "t"
    write_deltalake(root, nested(30, 1, "a", day=DAYS), partition_by=["day"])
    files = find_inputs([str(root)]).files[:2]
    before = set(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda file: file.open().read().num_rows, [*files] * 8))
    assert sizes == [file.open().read().num_rows for file in files] * 8
    gc.collect()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= len(files)
