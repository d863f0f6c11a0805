"""Slices of a file by row groups: together they have every sequence exactly once, however ids cross row groups."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.errors import InputError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.row_groups import divided
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import concatenate
from seqembed.data.source import ParquetSource

SCHEMA = SequenceSchema("id", (Feature("x", "x"),), "events")


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 20))
def test_ranges_cover_all_row_groups_and_exceed_the_bound_only_with_one(rows: list[int], bound: int) -> None:
    ranges = divided(rows, bound)
    assert [index for piece in ranges for index in piece] == list(range(len(rows)))
    sizes = [[rows[index] for index in piece] for piece in ranges]
    assert all(sum(some) <= bound or sum(size > 0 for size in some) == 1 for some in sizes)
    assert all(sum(some) + after[0] > bound for some, after in zip(sizes, sizes[1:], strict=False))
    assert divided(rows, None) == [range(len(rows))]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    group_rows=st.integers(1, 12),
    bound=st.integers(1, 30),
    null_run=st.integers(0, 12),
)
@settings(max_examples=60)
def test_each_sequence_of_events_is_in_one_slice(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], group_rows: int, bound: int, null_run: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "events.parquet"
    names = [None if number == null_run else f"s{number}" for number in range(len(lengths))]
    ids = [name for name, length in zip(names, lengths, strict=True) for _ in range(length)]
    pq.write_table(
        pa.table({"id": pa.array(ids, pa.string()), "x": np.arange(len(ids)) * 1.0}), path, row_group_size=group_rows
    )
    (file,) = resolve_inputs([str(path)])
    whole = concatenate(list(ParquetSource(file, SCHEMA).blocks()))
    groups = pq.ParquetFile(path).metadata
    ranges = divided([groups.row_group(index).num_rows for index in range(groups.num_row_groups)], bound)
    found, first_rows = [], []
    for piece in ranges:
        source = ParquetSource(file, SCHEMA, row_groups=piece)
        blocks = list(source.blocks())
        found += blocks
        first_rows += [source.first_row] if blocks else []
        for block in blocks:
            for index, bad in block.bad:
                assert block.ids[index].as_py() is None
                assert ids[bad.row : bad.row + bad.num_rows] == [None] * bad.num_rows
    joined = concatenate(found)
    assert joined.ids.to_pylist() == whole.ids.to_pylist()
    assert joined.lengths.tolist() == whole.lengths.tolist()
    assert np.array_equal(joined.values, whole.values)
    assert all(row == 0 or ids[row] != ids[row - 1] for row in first_rows)


def test_raw_events_are_complete_behind_the_slice(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"id": ["a", "a", "b", "b", "b", "c"], "x": np.arange(6.0)}), path, row_group_size=3)
    (file,) = resolve_inputs([str(path)])
    first, second = (ParquetSource(file, SCHEMA, row_groups=range(index, index + 1)) for index in range(2))
    assert (first.first_row, second.first_row) == (0, 5)
    (raw,) = first.rows_again([(2, 5)])
    assert raw.column("x").to_pylist() == [[2.0, 3.0, 4.0]]
    (raw,) = second.rows_again([(5, 6)])
    assert raw.column("id").to_pylist() == [["c"]]


def test_an_id_that_comes_back_in_another_slice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "b", "b", "c", "a"], "x": np.arange(6.0)}), path, row_group_size=2)
    files = resolve_inputs([str(path)])
    refuse_ids_in_several_files(files, SCHEMA)
    with pytest.raises(InputError, match="events.parquet: row 5: the events of id = 'a' are not contiguous"):
        refuse_ids_in_several_files(files, SCHEMA, slices={files[0].location: [range(1), range(1, 2), range(2, 3)]})
    pq.write_table(pa.table({"id": ["a", "b", "b", "b", "c", "d"], "x": np.arange(6.0)}), path, row_group_size=2)
    refuse_ids_in_several_files(files, SCHEMA, slices={files[0].location: [range(1), range(1, 2), range(2, 3)]})
