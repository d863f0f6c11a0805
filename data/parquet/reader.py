"""Stream the sequences of one Parquet file in bounded memory.

A slice of about `_DECODE_VALUES` numbers of one row group is decoded at a time, however large the row group: columns
are read through a buffer, page by page. Since a page cannot be decoded partially and a dictionary is kept while its row
group is read, memory is bounded by the slice, plus one page, one dictionary and one read buffer of 1 MiB per column,
plus the blocks of `checked.py`. The number of rows of a slice follows from their mean size in small row
groups and from their individual lengths in large ones (`rows.py`); `widths.py` makes slices of
wide text or bytes smaller. A row is never split: a sequence longer than a slice is decoded completely, within the
limits of `seqembed.data.parquet.pages`, which are checked before anything is decoded.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.decode.arrow import is_string, locate, plain_batch, plain_values
from seqembed.data.decode.events import decode_events
from seqembed.data.decode.nested import decode_nested
from seqembed.data.errors import BadFileError
from seqembed.data.files.grouping import grouping_remedy
from seqembed.data.files.inputs import InputFile, OpenedFile
from seqembed.data.files.partitions import with_partitions
from seqembed.data.parquet.checked import CheckedFile
from seqembed.data.parquet.footer import RowGroup, read_row_groups
from seqembed.data.parquet.pages import check_row_group
from seqembed.data.parquet.row_groups import complete_sequences, num_continued
from seqembed.data.parquet.rows import slices
from seqembed.data.parquet.widths import SLICE_BYTES, narrower
from seqembed.data.schema.check import as_stored, check_schema, step_type
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock, at_most

_DECODE_VALUES = 1 << 20
_MAX_DECODE_ROWS = 1 << 16
_FIRST_ROWS = 256  # where nothing says how wide they are


def read_blocks(
    file: InputFile,
    schema: SequenceSchema,
    policy: LengthPolicy | None = None,
    keep: Sequence[str] = (),
    limit: int | None = None,
    opened: pq.ParquetFile | None = None,
    row_groups: range | None = None,
    first_row: int | None = None,
) -> Iterator[SequenceBlock]:
    """Yield the sequences of `file` in order, some thousands at a time.

    Args:
        file: The file.
        schema: Which columns make a sequence.
        policy: How long sequences are truncated; None keeps all steps.
        keep: Columns to keep, or hive keys of the path (as text).
        limit: Maximum number of sequences; None yields all.
        opened: The file as returned by `InputFile.open`, so that it is not opened again.
        row_groups: Consecutive row groups; None reads all. In the events layout, their sequences are those whose first
            event lies in them.
        first_row: As returned by `first_sequence_row`, if it is known.

    Raises:
        InputError: A column is missing or of the wrong type, the file is damaged, or the events of an id are not
            contiguous.
    """
    parquet = file.open() if opened is None else opened
    check_schema(file, parquet.schema_arrow, schema, keep, num_rows=parquet.metadata.num_rows)
    schema = as_stored(schema, parquet.schema_arrow)
    policy = policy or LengthPolicy()
    in_file = tuple(column for column in keep if column in parquet.schema_arrow.names)
    first_row = first_sequence_row(file, parquet, schema, row_groups) if first_row is None else first_row
    if schema.layout == "events":
        batches = _events(file, parquet, schema, in_file, row_groups, first_row)
        remedy = grouping_remedy(file, schema, keep)
        blocks = decode_events(batches, schema, policy, in_file, file.name, first_row, remedy)
    else:
        batches = record_batches(file, parquet, schema, in_file, row_groups)
        blocks = _nested_blocks(batches, schema, policy, in_file, first_row)
    for block in at_most(blocks, limit):
        yield with_partitions(block, file, keep)


def _nested_blocks(
    batches: Iterator[pa.RecordBatch],
    schema: SequenceSchema,
    policy: LengthPolicy,
    keep: tuple[str, ...],
    first_row: int,
) -> Iterator[SequenceBlock]:
    for batch in batches:
        kept = {name: plain_values(batch.column(name)) for name in keep}
        yield decode_nested(batch, schema, policy, kept, first_row)
        first_row += batch.num_rows


def _events(
    file: InputFile,
    parquet: pq.ParquetFile,
    schema: SequenceSchema,
    keep: tuple[str, ...],
    row_groups: range | None,
    first_row: int,
) -> Iterator[pa.RecordBatch]:
    if row_groups is None:
        return record_batches(file, parquet, schema, keep)
    start, end = rows_before(parquet, row_groups), rows_before(parquet, range(row_groups.stop, row_groups.stop))
    batches = record_batches(file, parquet, schema, keep, range(row_groups.start, parquet.num_row_groups))
    return complete_sequences(batches, schema.id, end - start, first_row - start)


def first_sequence_row(
    file: InputFile, parquet: pq.ParquetFile, schema: SequenceSchema, row_groups: range | None
) -> int:
    """Return the row at which the first sequence of some row groups begins; without any, a row behind them.

    In the events layout, rows that continue a sequence of an earlier row group are passed over; of all columns, only
    the ids are read.

    Args:
        file: The file.
        parquet: The same file, opened.
        schema: Which columns make a sequence.
        row_groups: The row groups; None for all.

    Raises:
        BadFileError: The file is damaged.
    """
    row = rows_before(parquet, row_groups)
    schema = as_stored(schema, parquet.schema_arrow)
    if row_groups is None or row == 0 or schema.layout == "nested":
        return row
    before = max(index for index in range(row_groups.start) if parquet.metadata.row_group(index).num_rows)
    *_, last = ids_of_events(file, parquet, schema, range(before, before + 1))
    rest = ids_of_events(file, parquet, schema, range(row_groups.start, parquet.num_row_groups))
    return row + num_continued(rest, last[-1:])


def ids_of_events(
    file: InputFile, parquet: pq.ParquetFile, schema: SequenceSchema, row_groups: range | None = None
) -> Iterator[pa.Array]:
    """Yield the ids of the events of a file, without reading other columns and without crossing row groups.

    Raises:
        BadFileError: The file is damaged.
    """
    wanted = replace(schema, features=(), categorical=(), time=None, time_zone=None)
    for batch in record_batches(file, parquet, wanted, row_groups=row_groups):
        if batch.num_rows:
            yield batch.column(schema.id)


def rows_before(parquet: pq.ParquetFile, row_groups: range | None) -> int:
    """Return the number of rows before some row groups of a file; 0 for all row groups."""
    indices = range(0 if row_groups is None else row_groups.start)
    return sum(parquet.metadata.row_group(index).num_rows for index in indices)


def record_batches(
    file: InputFile,
    parquet: pq.ParquetFile,
    schema: SequenceSchema,
    keep: tuple[str, ...] = (),
    row_groups: range | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `schema` and `keep`, some thousands of rows at a time, without crossing row groups.

    Categorical strings are read as dictionaries, views of text and bytes as large text and bytes.

    Raises:
        BadFileError: The file is damaged, or its pages exceed the limits.
    """
    columns, dictionaries = _leaves(parquet, schema, keep), _dictionaries(parquet, schema, keep)
    bounds = {"num_values": _DECODE_VALUES, "max_rows": _MAX_DECODE_ROWS}
    return decoded(file, parquet, columns, dictionaries, row_groups=row_groups, **bounds)


def decoded(
    file: InputFile,
    parquet: pq.ParquetFile,
    columns: list[str],
    dictionaries: Sequence[str] = (),
    *,
    num_values: int,
    max_rows: int,
    row_groups: range | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield columns of an open file, some rows at a time, without crossing row groups, with all pages checked.

    Args:
        file: For messages.
        parquet: The open file.
        columns: Columns or leaf columns, by path.
        dictionaries: Leaf columns of strings to read as the dictionaries that Parquet stores.
        num_values: Approximate number of values to decode at a time, over all columns.
        max_rows: Maximum rows of a batch.
        row_groups: Row groups to read; None reads all.

    Raises:
        BadFileError: The file is damaged, or its pages exceed the limits.
    """
    source = parquet.source if isinstance(parquet, OpenedFile) else file.open_bytes()
    indices = {parquet.schema.column(index).path: index for index in range(len(parquet.schema))}
    wanted = [index for path, index in indices.items() if any(path == c or path.startswith(f"{c}.") for c in columns)]
    checked = CheckedFile(source)
    groups = read_row_groups(file, source, parquet, frozenset(wanted))
    parquet = file.open(dictionaries, parquet, pa.PythonFile(checked, "r"))
    for index in range(len(groups)) if row_groups is None else row_groups:
        group = groups[index]
        walks = check_row_group(file, parquet, index, group, wanted)
        sizes = slices(checked, group, walks, _repeated(parquet, wanted), num_values)
        checked.expect(walks.values())
        num_rows = 0
        sizes = [
            piece for size in sizes or [_mean_rows(group, wanted, num_values)] for piece in _pieces(size, max_rows)
        ]
        sizes = narrower(checked, parquet, group, wanted, dictionaries, sizes)
        probe = any(chunk.has_prefixes for chunk in group.chunks.values())
        for batch in _batches(file, parquet, columns, index, sizes, probe=probe):
            num_rows += batch.num_rows
            yield plain_batch(batch)
        if num_rows != group.num_rows:
            raise BadFileError(
                f"{file.name}: row group {index} holds {num_rows:,} rows; the footer says {group.num_rows:,}. "
                "Write the file again."
            )


def _batches(
    file: InputFile, parquet: pq.ParquetFile, columns: list[str], index: int, sizes: list[int], *, probe: bool
) -> Iterator[pa.RecordBatch]:
    """Yield a row group in slices of `sizes` rows; the last size is repeated.

    Args:
        file: The file.
        parquet: The same file, as Parquet.
        columns: Columns or leaf columns, by path.
        index: Index of the row group.
        sizes: Numbers of rows.
        probe: Whether the bytes of a slice are known only after decoding it; then the slices start small.
    """
    max_rows = _FIRST_ROWS if probe else _MAX_DECODE_ROWS
    planned = itertools.chain(sizes, itertools.repeat(sizes[-1]))
    left = next(planned)
    for batch in file.batches(parquet, columns, min(left, max_rows), [index]):
        left -= batch.num_rows
        if left <= 0:
            left = next(planned)
        if probe:
            fits = SLICE_BYTES * batch.num_rows // max(1, batch.nbytes)
            max_rows = min(max(1, fits), 2 * max(max_rows, 1), _MAX_DECODE_ROWS)
        parquet.reader.set_batch_size(min(left, max_rows))  # pyarrow reads it before each batch
        yield batch


def _pieces(size: int, limit: int) -> list[int]:
    full, rest = divmod(size, limit)
    return [limit] * full + ([rest] if rest else [])


def _repeated(parquet: pq.ParquetFile, columns: list[int]) -> dict[int, int]:
    """Return the maximum repetition level of the columns that hold lists, by index in the schema."""
    levels = {index: parquet.schema.column(index).max_repetition_level for index in columns}
    return {index: level for index, level in levels.items() if level > 0}


def _leaves(parquet: pq.ParquetFile, schema: SequenceSchema, keep: tuple[str, ...]) -> list[str]:
    """Return the leaf columns to read; of a struct column only the fields that are features."""
    wanted = [schema.id, *keep]
    components: list[tuple[str, str | int | None]] = [(feature.column, feature.component) for feature in schema.numbers]
    components += [(field.column, field.component) for field in schema.categorical]
    if schema.time is not None:
        components.append(locate(parquet.schema_arrow, schema.time))
    for column, component in components:
        if isinstance(component, str) and column not in wanted:
            wanted += _leaves_of(parquet, column, component)
        else:
            wanted.append(column)
    return list(dict.fromkeys(wanted))


def _leaves_of(parquet: pq.ParquetFile, column: str, component: str | None) -> list[str]:
    """Return the paths of the leaf columns of a column, or of a field of its structs."""
    paths = [parquet.schema.column(index).path for index in range(len(parquet.schema))]
    inside = [path for path in paths if path == column or path.startswith(f"{column}.")]
    end = "" if component is None else f".{component}"
    return [path for path in inside if path.endswith(end)] or inside  # lists of nulls have no fields


def _dictionaries(parquet: pq.ParquetFile, schema: SequenceSchema, keep: tuple[str, ...]) -> list[str]:
    """Return the leaf columns of strings that are only categories, and neither the id nor kept columns."""
    read_plain = {schema.id, *keep}
    return [
        path
        for field in schema.categorical
        if field.column not in read_plain and is_string(step_type(parquet.schema_arrow, field, schema.layout))
        for path in _leaves_of(parquet, field.column, field.component)
    ]


def _mean_rows(group: RowGroup, columns: list[int], num_values: int) -> int:
    """Return the number of rows of a group that have about `num_values` values on average."""
    values = sum(max(group.chunks[index].num_values, group.num_rows) for index in columns)
    return max(1, num_values * group.num_rows // max(values, 1))
