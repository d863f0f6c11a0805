"""Stream the sequences of one Parquet file in bounded memory.

What is decoded at a time is a slice of one row group of about `_DECODE_VALUES` numbers, however large the row group:
columns are read through a buffer, page by page. A Parquet page is the least that can be decoded, and a dictionary is
held while its row group is read, so the bound is: the slice, plus for each column one page, one dictionary and one
read buffer of 1 MiB. A single row is never split: one sequence longer than the slice is decoded whole, up to the
bounds of `data.pages`, which are checked before anything is decoded.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data.arrow import is_string, locate, plain_batch, plain_values
from data.check import check_schema, step_type
from data.decode import decode_nested
from data.errors import BadFileError
from data.events import decode_events
from data.footer import RowGroup, read_row_groups
from data.inputs import InputFile
from data.pages import check_row_group
from data.partitions import with_partitions
from data.schema import SequenceSchema
from data.sequences import LengthPolicy, SequenceBlock

_DECODE_VALUES = 1 << 20
_MAX_DECODE_ROWS = 1 << 16


def read_blocks(
    file: InputFile,
    schema: SequenceSchema,
    policy: LengthPolicy | None = None,
    keep: Sequence[str] = (),
    limit: int | None = None,
) -> Iterator[SequenceBlock]:
    """Yield the sequences of `file` in order, some thousands at a time.

    Args:
        file: The file.
        schema: Which columns make a sequence.
        policy: What happens to long sequences; None keeps every step.
        keep: Columns to carry along, or hive keys of the path (as text).
        limit: Most sequences to yield; None yields all.

    Raises:
        InputError: A column is missing or of a wrong type, the file is damaged, or the events of an id are scattered.
    """
    parquet = file.open()
    check_schema(file, parquet.schema_arrow, schema, keep, num_rows=parquet.metadata.num_rows)
    policy = policy or LengthPolicy()
    in_file = tuple(column for column in keep if column in parquet.schema_arrow.names)
    batches = record_batches(file, parquet, schema, in_file)
    if schema.layout == "events":
        blocks = decode_events(batches, schema, policy, in_file, file.name)
    else:
        blocks = _nested_blocks(batches, schema, policy, in_file)
    left = limit
    for block in blocks:
        if left is not None and block.num_sequences >= left:
            yield with_partitions(block.slice(0, left), file, keep)
            return
        left = None if left is None else left - block.num_sequences
        yield with_partitions(block, file, keep)


def _nested_blocks(
    batches: Iterator[pa.RecordBatch], schema: SequenceSchema, policy: LengthPolicy, keep: tuple[str, ...]
) -> Iterator[SequenceBlock]:
    first_row = 0
    for batch in batches:
        kept = {name: plain_values(batch.column(name)) for name in keep}
        yield decode_nested(batch, schema, policy, kept, first_row)
        first_row += batch.num_rows


def record_batches(
    file: InputFile, parquet: pq.ParquetFile, schema: SequenceSchema, keep: tuple[str, ...] = ()
) -> Iterator[pa.RecordBatch]:
    """Yield the columns that `schema` and `keep` name, some thousands of rows at a time, each row group by itself.

    Strings that are categories come as dictionaries, views of text and bytes as large text and bytes.

    Raises:
        BadFileError: The file is damaged, or its pages claim more than may be decoded.
    """
    columns = _leaves(parquet, schema, keep)
    dictionaries = _dictionaries(parquet, schema, keep)
    if dictionaries:
        parquet = file.open(dictionaries, parquet)
    places = {parquet.schema.column(place).path: place for place in range(len(parquet.schema))}
    wanted = [place for path, place in places.items() if any(path == c or path.startswith(f"{c}.") for c in columns)]
    with file.open_bytes() as source:
        for place, group in enumerate(read_row_groups(file, source, parquet)):
            check_row_group(file, source, parquet, place, group, wanted)
            num_rows = 0
            for batch in file.batches(parquet, columns, _rows_at_a_time(group, wanted), [place]):
                num_rows += batch.num_rows
                yield plain_batch(batch)
            if num_rows != group.num_rows:
                raise BadFileError(
                    f"{file.name}: row group {place} holds {num_rows:,} rows; the footer says {group.num_rows:,}. "
                    "Write the file again."
                )


def _leaves(parquet: pq.ParquetFile, schema: SequenceSchema, keep: tuple[str, ...]) -> list[str]:
    """Return the leaf columns to read: of a struct column only the fields that are features."""
    wanted = [schema.id, *keep]
    parts: list[tuple[str, str | int | None]] = [(feature.column, feature.part) for feature in schema.numbers]
    parts += [(field.column, field.part) for field in schema.categorical]
    if schema.time is not None:
        parts.append(locate(parquet.schema_arrow, schema.time))
    for column, part in parts:
        if isinstance(part, str) and column not in wanted:
            wanted += _leaves_of(parquet, column, part)
        else:
            wanted.append(column)
    return list(dict.fromkeys(wanted))


def _leaves_of(parquet: pq.ParquetFile, column: str, part: str | None) -> list[str]:
    """Return the paths of the leaf columns of a column, or of a field of its structs."""
    paths = [parquet.schema.column(place).path for place in range(len(parquet.schema))]
    inside = [path for path in paths if path == column or path.startswith(f"{column}.")]
    end = "" if part is None else f".{part}"
    return [path for path in inside if path.endswith(end)] or inside  # lists of nulls have no fields


def _dictionaries(parquet: pq.ParquetFile, schema: SequenceSchema, keep: tuple[str, ...]) -> list[str]:
    """Return the leaf columns of strings that are categories and nothing else: kept columns stay as they are."""
    read_plain = {schema.id, *keep}
    return [
        path
        for field in schema.categorical
        if field.column not in read_plain and is_string(step_type(parquet.schema_arrow, field, schema.layout))
        for path in _leaves_of(parquet, field.column, field.part)
    ]


def _rows_at_a_time(group: RowGroup, columns: list[int]) -> int:
    values = sum(max(group.chunks[place].num_values, group.num_rows) for place in columns)
    return max(1, min(_MAX_DECODE_ROWS, _DECODE_VALUES * group.num_rows // max(values, 1)))
