"""Workers write below the directory of their run, and nowhere once the run has ended."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from seqembed.data.errors import OutputError
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartCounts, PartFooter, PartKey

FOOTER = PartFooter(PartKey("", "", ""), PartCounts(), "", "", {}, (), "nested")
SCHEMA = pa.schema([pa.field("id", pa.int64())])


@pytest.mark.parametrize("name", ["part.parquet", "day=1/hour=2/part.parquet"])
def test_a_worker_that_outlives_its_run_leaves_nothing(tmp_path: Path, name: str) -> None:
    output = OutputDirectory(str(tmp_path / "out"))
    with output.lock():
        output.begin({})
        for _ in range(2):
            with output.staging.stage(name, 1, SCHEMA) as writer:
                writer.finish(FOOTER)
        assert (tmp_path / "out" / output.staging.staged_name(name, 1)).is_file()
    assert not (tmp_path / "out" / "_temporary").exists()
    with pytest.raises(OutputError, match="is not there: the run has ended, or the host of this worker does not share"):
        with output.staging.stage(name, 1, SCHEMA):
            pass
    assert not (tmp_path / "out" / "_temporary").exists()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(OutputError, match="is not there"):
        with output.staging.stage(name, 1, SCHEMA):
            pass
    assert not (tmp_path / "out").exists()
