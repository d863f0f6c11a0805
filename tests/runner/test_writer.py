"""Row groups of a part depend on the rows only."""

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from seqembed.runner.output import writer
from seqembed.runner.output.writer import PartWriter


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_row_groups_do_not_depend_on_the_division_into_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(writer, "_OTHER_BYTES", 100)
    texts = ["a" * size for size in (30, 0, 70, 1, 250, 0, 0, 99, 1, 1, 40, 40, 40)]
    rows = pa.record_batch({"raw": pa.StructArray.from_arrays([pa.array(texts)], ["pay"])})
    path = tmp_path / "a.parquet"
    part = PartWriter(fs.LocalFileSystem(), str(path), rows.schema, nullcontext)
    for first in range(0, len(texts), step):
        part.write(rows.slice(first, step))
        assert part.num_rows == min(first + step, len(texts))
    part.close()
    read = pq.ParquetFile(path)
    assert [read.metadata.row_group(index).num_rows for index in range(read.num_row_groups)] == [3, 1, 1, 4, 3, 1]
    assert read.read().column("raw").to_pylist() == rows.column("raw").to_pylist()
