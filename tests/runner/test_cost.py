"""The cost of a run in counts instead of seconds: sessions, calls, padding, bytes read."""

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counting import CountingFilesystem
from pyarrow import fs

from seqembed.data.contract import ModelContract
from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny, done

NUM_FILES, NUM_SEQUENCES, NUM_STEPS = 3, 4_000, 150  # of each file; steps on the mean


def write_inputs(root: Path) -> None:
    """Write files of x and y, with lognormal lengths, and another column that is larger than both."""
    rng = np.random.default_rng(5)
    for index in range(NUM_FILES):
        lengths = np.clip(rng.lognormal(np.log(NUM_STEPS), 0.5, NUM_SEQUENCES), 15, 600).astype(int)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        numbers = {name: pa.array(rng.normal(size=lengths.sum()), pa.float32()) for name in "xy"}
        columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in numbers.items()}
        unused = pa.array([rng.bytes(1_000) for _ in range(NUM_SEQUENCES)])
        table = pa.table({"id": np.arange(NUM_SEQUENCES), "unused": unused, **columns})
        root.mkdir(exist_ok=True)
        pq.write_table(table, root / f"{index}.parquet", use_dictionary=False)


def column_bytes(path: Path, names: set[str]) -> int:
    """Return the size of the columns `names` of a file in bytes."""
    metadata = pq.ParquetFile(path).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    return sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] in names)


def bytes_read() -> int:
    """Return the number of bytes this process has read from files so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


def test_one_session_serves_all_files_in_few_and_hardly_padded_calls(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path / "in")
    contract = Encoder.open(tiny.bundle).contract
    counts: Counter[str] = Counter()
    session, run = onnxruntime.InferenceSession, Encoder.run

    def opened(*args, **kwargs):
        counts["sessions"] += 1
        return session(*args, **kwargs)

    def called(self, values, lengths, categories=None):
        counts["calls"] += 1
        counts["steps"] += values.shape[0] * values.shape[1]
        return run(self, values, lengths, categories)

    monkeypatch.setattr("onnxruntime.InferenceSession", opened)
    monkeypatch.setattr(Encoder, "run", called)
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out", "--threads", 1)
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    golden_calls = len(contract.golden) + 1
    assert counts["sessions"] == 1
    assert (counts["calls"] - golden_calls) <= 1.1 * fewest_calls(contract)
    assert success["steps"] <= success["padded_steps"] <= counts["steps"]
    assert 0 < success["padding_share"] < 0.05  # in input order it would be more than half


def fewest_calls(contract: ModelContract) -> int:
    """Return the number of calls for full batches of all files, and one partial batch per window of a file."""
    windows = 2  # a small first one, and the rest
    return NUM_FILES * (NUM_SEQUENCES // contract.batch_size + windows)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count what a process reads")
def test_only_the_columns_of_the_model_are_read_once(tiny: Tiny, tmp_path: Path) -> None:
    write_inputs(tmp_path / "in")
    files = sorted((tmp_path / "in").iterdir())
    needed = sum(column_bytes(path, {"id", "x", "y"}) for path in files)
    unused = sum(column_bytes(path, {"unused"}) for path in files)
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    before = bytes_read()
    done(*words)
    first = bytes_read() - before
    assert needed <= first < 1.25 * needed + 2 * tiny.bundle.stat().st_size < needed + unused
    before = bytes_read()
    done(*words)  # finished already: reads footers only
    assert bytes_read() - before < 0.1 * needed + 2 * tiny.bundle.stat().st_size


def test_every_byte_of_the_data_is_read_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(tmp_path / "in")
    for index in range(1, NUM_FILES):
        (tmp_path / "in" / f"{index}.parquet").unlink()
    path = tmp_path / "in" / "0.parquet"
    handler = CountingFilesystem()
    monkeypatch.setattr(
        "seqembed.data.files.listing.filesystem_and_path", lambda given: (fs.PyFileSystem(handler), given)
    )
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    size = path.stat().st_size
    reads = sorted(handler.reads)
    of_footer = [start for start, length in reads if start + length == size]
    of_data = [(start, start + length) for start, length in reads if start not in of_footer]
    assert len(of_footer) <= 4  # for planning, opening, checking pages, and checking that the file is unchanged
    assert all(end <= start for (_, end), (start, _) in pairwise(of_data))
    assert sum(end - start for start, end in of_data) >= column_bytes(path, {"id", "x", "y"})
