"""Iceberg tables: the rows that seqembed reads are those that pyiceberg reads itself, without a catalog."""

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from delta_testing import found_rows, nested
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.typedef import Record
from pyiceberg.types import FloatType, ListType, LongType

from seqembed.data.errors import BadFileError, InputError
from seqembed.data.files.fingerprints import look_at
from seqembed.data.files.listing import find_inputs
from seqembed_testing import Tiny, done


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog("tests", uri="sqlite:///:memory:", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("n")
    return catalog


def root_of(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def current(table: Table) -> str:
    """Return the metadata file that the catalog names."""
    return table.metadata_location.removeprefix("file://")


def true_rows(table: Table, snapshot: int | None = None) -> list[dict[str, Any]]:
    return sorted(table.scan(snapshot_id=snapshot).to_arrow().to_pylist(), key=lambda row: str(row["id"]))


def test_every_snapshot_of_a_table_that_is_changed_in_every_way(catalog: SqlCatalog) -> None:
    first = nested(30, 1, "a", point=[{"u": float(index), "v": index} for index in range(30)], gone=range(30))
    table = catalog.create_table("n.t", schema=first.schema)
    table.append(first)
    prints = [look_at(file).content for file in find_inputs([current(table)]).files]
    with table.update_schema() as update:
        update.add_column("added", LongType())
    assert [look_at(file).content for file in find_inputs([current(table)]).files] == prints
    with table.update_schema() as update:
        update.rename_column("x", "values")
        update.rename_column("point.u", "first")
        update.delete_column("gone")
    assert [look_at(file).content for file in find_inputs([current(table)]).files] != prints
    with table.update_schema() as update:
        update.add_column("gone", LongType())  # another column than the one before
        update.rename_column("y", "x")
    second = nested(9, 2, "b", point=[{"first": 0.5, "v": 3}] * 9, added=range(9), gone=[7] * 9)
    table.append(second.rename_columns(["id", "label", "values", "x", "point", "added", "gone"]))
    table.delete("label = 1")
    assert found_rows(current(table)) == true_rows(table)
    assert {row["gone"] for row in found_rows(current(table))} == {None, 7}
    snapshots = [each.snapshot_id for each in table.snapshots()]
    for snapshot in snapshots:
        assert found_rows(current(table), snapshot) == true_rows(table, snapshot)
    (version,) = {file.view.table.version for file in find_inputs([current(table)]).files}
    assert version == snapshots[-1]


def test_partitions_are_columns(catalog: SqlCatalog) -> None:
    rows = nested(12, 1, day=[1, 2, None] * 4)
    table = catalog.create_table("n.t", schema=rows.schema)
    with table.update_spec() as update:
        update.add_identity("day")
    table.append(rows)
    files = find_inputs([current(table)]).files
    assert [file.name for file in files] == sorted(file.name for file in files)
    assert {file.name.split("/")[1] for file in files} == {"day=1", "day=2", "day=null"}
    assert found_rows(current(table)) == true_rows(table)
    hint(table)
    assert len(found_rows(root_of(table) / "data" / "day=1")) == 4


def hint(table: Table) -> Path:
    """Have the table say itself which metadata file is current, as Hadoop tables do."""
    path = root_of(table) / "metadata" / "version-hint.text"
    path.write_text(Path(current(table)).name.removesuffix(".metadata.json"))
    return path


def test_which_metadata_file_is_current_is_not_guessed(catalog: SqlCatalog) -> None:
    table = catalog.create_table("n.t", schema=nested(1, 1).schema)
    with pytest.raises(InputError, match="no snapshot yet"):
        find_inputs([str(root_of(table))])
    table.append(nested(9, 1))
    with pytest.raises(
        InputError, match=f"{root_of(table)}: the Iceberg table has 2 metadata files and no version-hint"
    ):
        find_inputs([str(root_of(table))])
    assert len(found_rows(current(table))) == 9
    hint(table)
    assert len(found_rows(root_of(table))) == 9
    (root_of(table) / "metadata" / "version-hint.text").write_text("9")
    with pytest.raises(InputError, match="the Iceberg table cannot be read"):
        find_inputs([str(root_of(table))])
    with pytest.raises(InputError, match="no snapshot 5. Its newest snapshots: [0-9]+"):
        find_inputs([current(table)], version=5)


def test_what_is_not_read_is_refused_by_name(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = nested(9, 1)
    elsewhere, inside, deleted = (catalog.create_table(f"n.t{index}", schema=rows.schema) for index in range(3))
    pq.write_table(rows, tmp_path / "p.parquet")
    elsewhere.add_files([f"file://{tmp_path}/p.parquet"])
    with pytest.raises(InputError, match="p.parquet, outside its directory, as those do to which files were added"):
        find_inputs([current(elsewhere)])
    pq.write_table(rows, root_of(inside) / "p.parquet")
    inside.add_files([f"{inside.location()}/p.parquet"])
    with pytest.raises(BadFileError, match="p.parquet: column 'id' has no field id, so its name in version"):
        find_inputs([current(inside)]).files[0].open()
    deleted.append(rows)
    deletes = {"content": DataFileContent.POSITION_DELETES, "file_path": f"{deleted.location()}/data/d.parquet"}
    numbers = {"record_count": 1, "file_size_in_bytes": 1, "file_format": FileFormat.PARQUET, "partition": Record()}
    with deleted.transaction() as transaction, transaction.update_snapshot().fast_append() as update:
        update.append_data_file(DataFile.from_args(**deletes, **numbers, spec_id=0))
    with pytest.raises(InputError, match="rows of the Iceberg table are deleted by delete files"):
        find_inputs([current(deleted)])
    root_of(deleted).rename(tmp_path / "moved")
    with pytest.raises(InputError, match="moved: the Iceberg table cannot be read"):
        find_inputs([str(tmp_path / "moved" / "metadata" / Path(current(deleted)).name)])
    monkeypatch.setitem(sys.modules, "pyiceberg.table", None)
    with pytest.raises(InputError, match=r"pip install 'seqembed\[iceberg\]'"):
        find_inputs([current(inside)])


def test_a_run_and_a_rerun_of_a_table(catalog: SqlCatalog, tiny: Tiny, tmp_path: Path) -> None:
    table = catalog.create_table("n.t", schema=nested(1, 1).schema)
    table.append(nested(12, 1, "a"))
    table.append(nested(12, 2, "b"))
    options = ("--model", tiny.bundle, "--out", tmp_path / "out")
    assert "2 parts made" in done("run", current(table), *options).output
    table.append(nested(5, 3, "c"))
    assert "1 part made, 2 up to date" in done("run", current(table), *options).output
    assert f"of the Iceberg table {root_of(table)}, 3 files, 29 rows" in done("inspect", current(table)).output


def test_a_column_that_was_dropped_and_added_again_is_another_one(
    catalog: SqlCatalog, tiny: Tiny, tmp_path: Path
) -> None:
    rows = nested(12, 1)
    table = catalog.create_table("n.t", schema=rows.schema)
    table.append(rows)
    options = ("--model", tiny.bundle, "--out", tmp_path / "out", "--keep", "label")
    done("run", current(table), *options)
    (file,) = find_inputs([current(table)]).files
    before = look_at(file).content
    with table.update_schema() as update:
        update.delete_column("label")
    with table.update_schema() as update:
        update.add_column("label", LongType())
    (file,) = find_inputs([current(table)]).files
    assert look_at(file).content != before
    assert "1 part made" in done("run", current(table), *options).output
    (part,) = (tmp_path / "out").rglob("*.parquet")
    assert pq.read_table(part, partitioning=None)["label"].to_pylist() == [None] * 12
    with table.update_schema() as update:
        update.delete_column("x").delete_column("y")
    with table.update_schema() as update:
        for name in "xy":
            update.add_column(name, ListType(element_id=99, element_type=FloatType()))
    assert "0 embedded + 12 null" in done("run", current(table), *options).output
