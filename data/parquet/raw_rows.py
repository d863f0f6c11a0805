"""Read single rows of a file again, unchanged, for rows that turn out to be bad only when they are embedded."""

from collections.abc import Sequence

import pyarrow as pa

from seqembed.data.decode.arrow import only_batch
from seqembed.data.decode.events import as_one_row
from seqembed.data.decode.nested import plain_row
from seqembed.data.files.inputs import InputFile, OpenedFile
from seqembed.data.parquet.reader import record_batches, rows_before
from seqembed.data.schema.check import as_stored
from seqembed.data.schema.schema import SequenceSchema


def read_raw(
    file: InputFile,
    schema: SequenceSchema,
    keep: Sequence[str],
    spans: Sequence[tuple[int, int]],
    opened: OpenedFile | None = None,
    row_groups: range | None = None,
) -> list[pa.RecordBatch]:
    """Return the raw columns of some sequences, each as one row, as in `seqembed.data.sequences.BadRow.raw`.

    Args:
        file: The file.
        schema: Which columns make a sequence.
        keep: Kept columns; hive keys without a column in the file are left out.
        spans: First row and end of each sequence in the file, ascending; in the nested layout one row each.
        opened: The file if it is already open.
        row_groups: Row groups in which the spans begin; None reads all.

    Raises:
        BadFileError: The file can no longer be read.
    """
    parquet = file.open() if opened is None else opened
    schema = as_stored(schema, parquet.schema_arrow)
    in_file = tuple(name for name in keep if name in parquet.schema_arrow.names)
    pieces: list[list[pa.RecordBatch]] = [[] for _ in spans]
    first = rows_before(parquet, row_groups)
    if row_groups is not None and schema.layout == "events":
        row_groups = range(row_groups.start, parquet.num_row_groups)  # the last sequence may end behind them
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
