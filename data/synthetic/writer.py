"""Write sample data in either layout, to one file or several, without visible incomplete files."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import refuse_output_name
from seqembed.data.schema.schema import Layout
from seqembed.data.synthetic.generator import SampleBlock, step_numbers

# Metadata key of every sample file; only files with it are replaced.
SAMPLE_KEY = b"seqembed.sample"
EVENTS_START = np.datetime64("2026-01-01T00:00:00", "ms")
BETWEEN_SEQUENCES = np.timedelta64(1_000, "ms")
BETWEEN_STEPS = np.timedelta64(60_000, "ms")


@dataclass(frozen=True, slots=True)
class WrittenSample:
    """A written sample.

    Attributes:
        path: The requested file or directory.
        num_files: Number of files.
        num_sequences: Number of sequences; in the events layout, of those with at least one step.
        num_steps: Number of steps.
        num_bytes: Size of the files.
    """

    path: Path
    num_files: int
    num_sequences: int
    num_steps: int
    num_bytes: int


def write_blocks(
    blocks: Iterator[SampleBlock],
    paths: Sequence[Path],
    rows: int,
    layout: Layout,
    marker: bytes,
) -> tuple[int, int]:
    """Write `rows` sequences to `paths` in equal shares, in order; memory is bounded by two blocks.

    Returns:
        Number of sequences and number of steps in the files.
    """
    ends = [rows * (index + 1) // len(paths) for index in range(len(paths))]
    num_sequences = num_steps = 0
    for index, pieces in groupby(_pieces(_one_ahead(blocks), ends), key=itemgetter(0)):
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for _, first_row, piece in pieces:
                table = to_table(piece, layout, first_row)
                if writer is None:
                    schema = table.schema.with_metadata({SAMPLE_KEY: marker})
                    options = parquet_options(schema, repeated=("id",) if layout == "events" else ())
                    writer = stack.enter_context(pq.ParquetWriter(paths[index], schema, **options))
                writer.write_table(table)
                num_steps += int(piece.offsets[-1])
                num_sequences += piece.num_sequences if layout == "nested" else int((piece.lengths > 0).sum())
    return num_sequences, num_steps


def to_table(block: SampleBlock, layout: Layout, first_row: int) -> pa.Table:
    """Return `block` as a table: one row per sequence (nested), or one row per step with its `time` (events).

    Args:
        block: Sequences; those without a step have no row in the events layout.
        layout: Layout of the table.
        first_row: Number of the block's first sequence in the sample, from which times are computed if the steps have
            none.
    """
    if layout == "nested":
        offsets = pa.array(block.offsets.astype(np.int32))
        lists = {name: pa.ListArray.from_arrays(offsets, column) for name, column in block.columns.items()}
        return pa.table({"id": block.ids, **block.kept, **lists})
    rows = np.repeat(np.arange(block.num_sequences), block.lengths)
    repeats = pa.array(rows)
    kept = {name: column.take(repeats) for name, column in block.kept.items()}
    columns = dict(block.columns)
    if "time" not in columns:
        clock = EVENTS_START + (first_row + rows) * BETWEEN_SEQUENCES + step_numbers(block.offsets) * BETWEEN_STEPS
        columns["time"] = pa.array(clock)
    time = columns.pop("time")
    return pa.table({"id": block.ids.take(repeats), "time": time, **kept, **columns})


def parquet_options(schema: pa.Schema, repeated: Sequence[str] = ()) -> dict[str, Any]:
    """Return good options for writing a table of `schema`.

    Dictionaries of distinct floats are larger than the values; splitting their bytes into streams saves a fifth. Text
    and the columns in `repeated` have few distinct values, so they get dictionaries. Lists are treated like their
    elements.
    """
    leaves = {
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name: (
            field.type.value_type if pa.types.is_list(field.type) else field.type
        )
        for field in schema
    }
    texts = [path for path, kind in leaves.items() if pa.types.is_string(kind)]
    return {
        "compression": "zstd",
        "use_dictionary": list(dict.fromkeys([*texts, *repeated])),
        "use_byte_stream_split": [path for path, kind in leaves.items() if pa.types.is_floating(kind)],
    }


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield temporary paths beside `paths`, and rename all of them at the end; after an error none is left.

    Raises:
        OutputError: A path cannot be written, or holds a file that `seqembed sample` did not write.
    """
    for path in paths:
        refuse_output_name(path)
    temporary = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _refuse_unmarked(path)
        yield temporary
        for source, path in zip(temporary, paths, strict=True):
            os.replace(source, path)
    except OSError as error:
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise OutputError(
            f"{where}: cannot be written ({error.strerror or error}). "
            "Pass another --out, free space, or fix the permissions."
        ) from error
    finally:
        for source in temporary:
            _remove(source)


def refuse_other_files(directory: Path, names: Sequence[str]) -> None:
    """Make sure that `directory` will hold no Parquet files except the sample's files `names`.

    Raises:
        OutputError: It holds another Parquet file, which would be read with the sample, or it is a file.
    """
    if directory.is_file():
        raise OutputError(
            f"{directory}: is a file, but an --out without .parquet at its end is a directory. Pass another --out."
        )
    others = sorted(path.name for path in directory.glob("*.parquet") if path.name not in names)
    if others:
        raise OutputError(
            f"{directory}: holds {others[0]}, which does not belong to this sample and would be read with it. "
            "Remove it, or pass another --out."
        )


def _refuse_unmarked(path: Path) -> None:
    if not path.is_file():
        return
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowInvalid:
        metadata = {}
    if SAMPLE_KEY not in metadata:
        raise OutputError(
            f"{path}: exists, and was not written by `seqembed sample`. Remove it yourself, or pass another --out."
        )


def _remove(path: Path) -> None:
    # A parent that could not be created, or is a file, has no temporary file.
    if path.parent.is_dir():
        path.unlink(missing_ok=True)


def _pieces(blocks: Iterator[SampleBlock], ends: Sequence[int]) -> Iterator[tuple[int, int, SampleBlock]]:
    """Cut blocks where a file ends: (index of the file, first row, sequences)."""
    index = first_row = 0
    for block in blocks:
        start = 0
        while start < block.num_sequences:
            stop = min(block.num_sequences, start + ends[index] - first_row)
            yield index, first_row, block.slice(start, stop)
            first_row += stop - start
            index += first_row == ends[index]
            start = stop


def _one_ahead(blocks: Iterator[SampleBlock]) -> Iterator[SampleBlock]:
    """Generate the next block on another thread while the previous one is being written."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block
