"""Write the events of a sample as they arrive: one file per day, sorted by time, whoever they are of."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqembed.data.errors import UsageError
from seqembed.data.synthetic.generator import SampleBlock, SampleGenerator, blocks
from seqembed.data.synthetic.writer import (
    SAMPLE_KEY,
    WrittenSample,
    parquet_options,
    refuse_other_files,
    replacing,
    to_table,
)

MAX_DAYS = 730  # as many files are open at a time
_DAY = np.timedelta64(1, "D")


def write_days(generator: SampleGenerator, out: Path, rows: int, seed: int, days: int, marker: bytes) -> WrittenSample:
    """Write the events of the first days of a sample; later ones are left out.

    Memory holds a block of sequences, and a day.

    Args:
        generator: Makes the sequences.
        out: A directory.
        rows: Number of sequences.
        seed: Random seed.
        days: Number of files.
        marker: Value of `SAMPLE_KEY`.

    Raises:
        UsageError: `out` is one file.
        OutputError: `out` cannot be written, or holds other files.
    """
    if out.suffix == ".parquet":
        raise UsageError(f"--days {days}: {out} is one file. Name a directory, without .parquet at its end.")
    paths = [out / f"{generator.start + index * _DAY}.parquet" for index in range(days)]
    refuse_other_files(out, [path.name for path in paths])
    ids: set[int] = set()
    with replacing(paths) as finished, tempfile.TemporaryDirectory(dir=out, prefix=".days.") as scratch:
        arrived = [Path(scratch) / path.name for path in paths]
        _write_as_made(_numbered(blocks(generator, rows, seed)), generator, arrived, ids)
        num_steps = sum(_sort(source, target, marker) for source, target in zip(arrived, finished, strict=True))
    num_bytes = sum(path.stat().st_size for path in paths)
    return WrittenSample(out, len(paths), len(ids), num_steps, num_bytes)


def _numbered(made: Iterator[SampleBlock]) -> Iterator[tuple[int, SampleBlock]]:
    first = 0
    for block in made:
        yield first, block
        first += block.num_sequences


def _write_as_made(
    made: Iterator[tuple[int, SampleBlock]], generator: SampleGenerator, paths: list[Path], ids: set[int]
) -> None:
    """Write the events of each day in the order of their sequences, and collect the numbers of these."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []
        for first, block in made:
            table = to_table(block, "events", first)
            if not writers:
                writers = [stack.enter_context(pq.ParquetWriter(path, table.schema)) for path in paths]
            day = _days(table["time"], generator)
            ids.update(
                (first + np.unique(np.repeat(np.arange(block.num_sequences), block.lengths)[day < len(paths)])).tolist()
            )
            order = np.argsort(day, kind="stable")
            ends = np.searchsorted(day[order], np.arange(len(paths)), side="right")
            sorted_ = table.take(pa.array(order[: ends[-1]]))
            for writer, start, end in zip(writers, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                if end > start:
                    writer.write_table(sorted_.slice(start, end - start))


def _days(times: pa.ChunkedArray, generator: SampleGenerator) -> NDArray[np.int64]:
    """Return the day of each event, counted from the first, int64 (events)."""
    found: NDArray[np.int64] = ((times.to_numpy() - generator.start) // _DAY).astype(np.int64)
    return found


def _sort(source: Path, target: Path, marker: bytes) -> int:
    """Write a day sorted by time; return its number of events."""
    table = pq.read_table(source, partitioning=None)
    table = table.take(pc.sort_indices(table, [("time", "ascending"), ("id", "ascending")]))
    table = table.replace_schema_metadata({SAMPLE_KEY: marker})
    pq.write_table(table, target, **parquet_options(table.schema))
    source.unlink()
    return int(table.num_rows)
