"""Ids in several files or rows: exact counts for few ids, a uniform sample in bounded memory for many."""

import re
from pathlib import Path
from shlex import split

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.decode.hashing import hash_ids
from seqembed.data.errors import InputError
from seqembed.data.files.census import IdCensus, refuse_ids_in_several_files
from seqembed.data.files.listing import find_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import concatenate
from seqembed_testing import done

SCHEMA = SequenceSchema("id", (Feature("x", "x"),), "events")


def write(path: Path, ids: list, **columns: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ids, "x": [float(k) for k in range(len(ids))], **columns}), path, row_group_size=5)
    return path


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6))
@settings(max_examples=50)
def test_few_ids_are_counted_exactly(indices: list[list[int]]) -> None:
    rows, files = IdCensus(capacity=40), IdCensus(capacity=40)
    for number, ids in enumerate(indices):
        rows.add_rows(hash_ids(pa.array(ids, pa.int64())))
        files.add_to_source(hash_ids(pa.array(ids, pa.int64())))
        files.end_source(number)
    everything = [i for ids in indices for i in ids]
    by_row, by_file = rows.result(), files.result()
    assert by_row.num_ids == by_file.num_ids == len(set(everything))
    assert by_row.num_shared == sum(everything.count(i) > 1 for i in set(everything))
    assert by_file.num_shared == sum(sum(i in ids for ids in indices) > 1 for i in set(everything))
    assert by_row.is_exact
    assert by_file.is_exact


@given(st.lists(st.lists(st.integers(0, 200), max_size=60), max_size=6), st.integers(3, 60))
@settings(max_examples=60)
def test_censuses_of_some_rows_add_up_to_that_of_all_rows(sources: list[list[int]], capacity: int) -> None:
    together, added = IdCensus(capacity), IdCensus(capacity)
    for ids in sources:
        census = IdCensus(capacity)
        for batch in np.array_split(np.array(ids, np.int64), 3):
            together.add_rows(hash_ids(pa.array(batch)))
            census.add_rows(hash_ids(pa.array(batch)))
        added.add(census)
    assert added.result() == together.result()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_many_ids_are_sampled_within_the_capacity(share: float) -> None:
    census, num = IdCensus(capacity=2_000), 100_000
    ids = np.arange(num)
    again = np.arange(int(num * share)) if share else np.arange(0)
    for index, some in enumerate((ids, again)):
        for batch in np.array_split(some, 50):
            census.add_to_source(hash_ids(pa.array(batch)))
            assert census._num_waiting <= 2 * 2_000
        census.end_source(index)
        assert len(census._hashes) <= 2_000
    found = census.result()
    assert not found.is_exact
    assert abs(found.num_ids - num) < 0.15 * num
    assert abs(found.num_shared - num * share) < 0.15 * num
    assert (found.num_shared == 0) == (share == 0)
    assert str(found).startswith("about ")


def test_ids_in_several_files_are_refused_with_the_command_that_groups_them(tmp_path: Path) -> None:
    for day in range(1, 6):
        write(tmp_path / "in" / f"day={day}" / "e.parquet", [c for c in "abc" for _ in range(day)], t=[day] * 3 * day)
    write(tmp_path / "in" / "day=6" / "e.parquet", ["new"], t=[6])
    files = find_inputs([str(tmp_path / "in")]).files
    schema = SequenceSchema("id", SCHEMA.features, "events", time="t")
    with pytest.raises(InputError) as refused:
        refuse_ids_in_several_files(files, schema)
    text = str(refused.value)
    for words in ("day=2/e.parquet: ", "id = 'a' ", "lie in day=1/e.parquet", "3 of 4 ids (75.0%)", "6 files"):
        assert words in text, text
    words = split(text.partition("together first: ")[2])
    assert words == [
        *("seqembed", "group", str(tmp_path / "in"), "--id", "id", "--time", "t", "--features", "x", "--out", "grouped")
    ]
    done(*words[1:-1], tmp_path / "grouped")
    grouped = find_inputs([str(tmp_path / "grouped")]).files
    refuse_ids_in_several_files(grouped, schema)
    block = concatenate(list(read_blocks(grouped[0], schema)))
    assert dict(zip(block.ids.to_pylist(), block.lengths.tolist(), strict=True)) == {
        "a": 15,
        "b": 15,
        "c": 15,
        "new": 1,
    }
    assert pq.read_table(tmp_path / "grouped").column_names == ["id", "t", "x"]


def test_the_sql_names_the_files_and_keeps_their_order(tmp_path: Path) -> None:
    write(tmp_path / "it's.parquet", ["b", "a"])
    write(tmp_path / "z.parquet", ["a"])
    files = find_inputs([str(tmp_path / "it's.parquet"), str(tmp_path / "z.parquet")]).files
    with pytest.raises(InputError, match="1 of 2 ids") as refused:
        refuse_ids_in_several_files(files, SCHEMA)
    line = re.search(r"COPY .*;", str(refused.value))
    assert line is not None
    duckdb.sql(line[0].replace("'grouped.parquet'", f"'{tmp_path / 'grouped.parquet'}'"))
    assert pq.read_table(tmp_path / "grouped.parquet").to_pydict() == {"id": ["a", "a", "b"], "x": [1.0, 0.0, 0.0]}


def test_row_groups_nulls_and_disjoint_files_are_accepted(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ["a"] * 12 + [None, None])
    write(tmp_path / "b.parquet", ["b"] * 3 + [None])
    refuse_ids_in_several_files(find_inputs([str(tmp_path)]).files, SCHEMA)


def test_ids_are_compared_by_value_whatever_their_type(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([7], pa.int8()), "x": [1.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": pa.array([7], pa.int64()), "x": [1.0]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="id = '7'"):
        refuse_ids_in_several_files(find_inputs([str(tmp_path)]).files, SCHEMA)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([7]), pa.array([7.0])),
        (pa.array([7]), pa.array(["7"])),
        (pa.array([7], pa.timestamp("ms")), pa.array([7000], pa.timestamp("us"))),
    ],
)
def test_files_with_different_kinds_of_ids_are_refused(tmp_path: Path, one: pa.Array, other: pa.Array) -> None:
    pq.write_table(pa.table({"id": one, "x": [1.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": other, "x": [1.0]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": pa.nulls(0), "x": pa.array([], pa.float64())}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="b.parquet: the id column 'id' holds .*, in a.parquet"):
        refuse_ids_in_several_files(find_inputs([str(tmp_path)]).files, SCHEMA)
