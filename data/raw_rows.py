"""Single rows of a file read once more, as they stand there: for those that turn out bad only when embedded."""

from collections.abc import Sequence

import pyarrow as pa

from seqembed.data.arrow import only_batch
from seqembed.data.decode import plain_row
from seqembed.data.events import as_one_row
from seqembed.data.inputs import InputFile, OpenedFile
from seqembed.data.reader import record_batches, rows_before
from seqembed.data.schema import SequenceSchema


def read_raw(
    file: InputFile,
    schema: SequenceSchema,
    keep: Sequence[str],
    spans: Sequence[tuple[int, int]],
    opened: OpenedFile | None = None,
    row_groups: range | None = None,
) -> list[pa.RecordBatch]:
    """Return the columns that were read of some sequences, each as one row, as in `seqembed.data.sequences.BadRow.raw`.

    Args:
        file: The file.
        schema: Which columns make a sequence.
        keep: Columns carried along; hive keys that the file has no column of are left out.
        spans: First row and end of each sequence in the file, rising; in the nested layout one row each.
        opened: The file where it is open already.
        row_groups: Those that hold the spans, where others need not be read.

    Raises:
        BadFileError: The file cannot be read any more.
    """
    parquet = file.open() if opened is None else opened
    in_file = tuple(name for name in keep if name in parquet.schema_arrow.names)
    pieces: list[list[pa.RecordBatch]] = [[] for _ in spans]
    first = rows_before(parquet, row_groups)
    for batch in record_batches(file, parquet, schema, in_file, row_groups):
        end = first + batch.num_rows
        for found, (start, stop) in zip(pieces, spans, strict=True):
            if start < end and stop > first:
                found.append(batch.slice(max(start, first) - first, min(stop, end) - max(start, first)))
        first = end
        if first >= spans[-1][1]:
            break
    if schema.layout == "events":
        return [as_one_row(only_batch(found)) for found in pieces]
    return [plain_row(found[0], 0) for found in pieces]
