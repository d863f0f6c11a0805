"""A run starts writing its output to disk while it runs, each byte once."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.runner.output import writer as writer_module
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartCounts, PartFooter, PartKey
from seqembed.runner.output.staging import StagedPart
from seqembed.runner.output.write_out import WriteOut

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system does not have the call")


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that collects the ranges passed to posix_fadvise."""
    ranges: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def listen(descriptor: int, start: int, length: int, advice: int) -> None:
        ranges.append((start, length))
        advise(descriptor, start, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", listen)
    return ranges


def test_each_call_advises_on_data_since_the_last(tmp_path: Path, advised: list[tuple[int, int]]) -> None:
    path = tmp_path / "growing"
    with WriteOut(str(path)) as write_out, path.open("wb", buffering=0) as file:
        for size in (10_000, 0, 5_000):
            file.write(b"x" * size)
            write_out()
    assert advised == [(0, 10_000), (10_000, 5_000)]
    assert path.read_bytes() == b"x" * 15_000


def test_a_part_is_advised_on_after_each_row_group(
    tmp_path: Path, advised: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_ROW_GROUP_BYTES", 1 << 20)
    width, rows = 4_096, 160  # three row groups of 1 MiB at most
    kind = pa.list_(pa.field("element", pa.float32()), width)
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("embedding", kind)])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(rows * width, np.float32)), type=kind)
    output = OutputDirectory(str(tmp_path / "out"))
    with output.lock():
        output.begin({})
        with output.staging.stage("part.parquet", 1, schema, ["embedding"]) as writer:
            writer.write(pa.RecordBatch.from_arrays([pa.array(range(rows)), vectors], schema=schema))
            footer = PartFooter(PartKey("", "", ""), PartCounts(), "", "", {}, (), "nested")
            writer.finish(footer)
        file = output.staging.staged_file("part.parquet", 1, writer)
        assert output.take(StagedPart("part.parquet", 1, (file,), footer))
        output.publish()
    part = tmp_path / "out" / "part.parquet"
    assert len(advised) == pq.read_metadata(part).num_row_groups == 3
    assert all(before[0] + before[1] == after[0] for before, after in pairwise(advised))
    assert 0 <= part.stat().st_size - sum(advised[-1]) < 2_000  # but for the footer
