"""Read tables and streams of record batches of any Arrow library as sequences.

They are decoded to the same blocks as the rows of a Parquet file, so that vectors are equal to the last bit.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.decode.arrow import as_lists, locate, plain_batch, plain_values
from seqembed.data.decode.events import decode_events
from seqembed.data.decode.nested import decode_nested
from seqembed.data.errors import InputError
from seqembed.data.schema.check import as_stored, check_schema
from seqembed.data.sequences import SequenceBlock, at_most
from seqembed.runner.tables.arrow import TABLES, ArrowData, ArrowStream, alike, open_table

_DECODE_VALUES = 1 << 20  # per slice, as for files


@dataclass(frozen=True, slots=True)
class TableSource:
    """The rows of a table or stream; they can be read once.

    Attributes:
        name: Name of the table in messages.
        schema: Its columns.
        batches: Its rows, in order.
        contract: Contract of the model.
        keep: Columns to copy.
        noun: Kind of source, for messages.
        partitions: Always empty, since there is no path.
    """

    name: str
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    contract: ModelContract
    keep: tuple[str, ...] = ()
    noun: str = "table"
    partitions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def first_row(self) -> int:
        """Index of the first row, 0."""
        return 0

    def columns(self) -> pa.Schema:
        """Return the columns of its rows."""
        return self.schema

    def rows_again(self, spans: Sequence[tuple[int, int]]) -> list[pa.RecordBatch]:
        """Return a row without columns for each span, since there is no quarantine that needs them."""
        return [pa.RecordBatch.from_pydict({})] * len(spans)

    def fingerprint(self) -> None:
        """Return None, since data in memory has no version."""

    def blocks(self, limit: int | None = None) -> Iterator[SequenceBlock]:
        """Yield its sequences in order, some thousands at a time, at most `limit`.

        Raises:
            InputError: The events of an id are not contiguous, or the rows cannot be read.
        """
        return at_most(self._blocks(), limit)

    def _blocks(self) -> Iterator[SequenceBlock]:
        schema, policy = as_stored(self.contract.schema, self.schema), self.contract.length_policy
        slices = self._slices()
        if schema.layout == "events":
            try:
                yield from decode_events(slices, schema, policy, self.keep, self.name)
            except InputError as error:
                raise InputError(str(error).replace("Sort the file by", f"Sort {self.name} by")) from error
            return
        first_row = 0
        for batch in slices:
            kept = {name: plain_values(batch.column(name)) for name in self.keep}
            yield decode_nested(batch, schema, policy, kept, first_row)
            first_row += batch.num_rows

    def _slices(self) -> Iterator[pa.RecordBatch]:
        """Yield the columns to read, about `_DECODE_VALUES` numbers at a time."""
        wanted = needed_columns(self.schema, self.contract, self.keep)
        width = max(1, self.contract.schema.num_features + self.contract.schema.num_fields)
        for batch in self.batches:
            needed = batch.select(wanted)
            ends = np.cumsum(np.maximum(_steps(needed, self.contract, self.schema), 1) * width)
            first = 0
            while first < batch.num_rows:
                before = int(ends[first - 1]) if first else 0
                fits = int(np.searchsorted(ends, before + _DECODE_VALUES, side="right"))
                end = max(first + 1, fits)
                yield plain_batch(needed.slice(first, end - first))
                first = end


def _steps(batch: pa.RecordBatch, contract: ModelContract, columns: pa.Schema) -> NDArray[np.int64]:
    """Return the number of steps of each row, int64 (rows)."""
    if as_stored(contract.schema, columns).layout == "events":
        return np.ones(batch.num_rows, dtype=np.int64)
    time = [] if contract.schema.time is None else [locate(batch.schema, contract.schema.time)[0]]
    lists = as_lists(batch.column([*contract.schema.feature_columns, *time][0]))
    steps: NDArray[np.int64] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return steps.astype(np.int64)


def needed_columns(columns: pa.Schema, contract: ModelContract, keep: Sequence[str]) -> list[str]:
    """Return the columns to read, without duplicates."""
    schema = contract.schema
    time = [] if schema.time is None else [locate(columns, schema.time)[0]]
    return list(dict.fromkeys([schema.id, *keep, *time, *schema.feature_columns]))


def table_source(data: object, contract: ModelContract, keep: tuple[str, ...]) -> TableSource:
    """Open a table.

    Raises:
        InputError: It cannot be read as record batches, or a column is missing or of a wrong type.
    """
    columns, batches = open_table(data, "the table")
    return _checked(TableSource("the table", columns, batches, contract, keep))


def batches_source(
    batches: ArrowStream | Iterable[ArrowData], contract: ModelContract, keep: tuple[str, ...]
) -> TableSource | None:
    """Open a stream, or an iterable of record batches or tables; return None if the iterable is empty.

    Raises:
        InputError: One cannot be read as record batches or has other columns than the first, or a column is missing or
            of a wrong type.
    """
    if isinstance(batches, ArrowStream):
        return table_source(batches, contract, keep)
    name = "the batches"
    if isinstance(batches, str | bytes | Mapping) or not isinstance(batches, Iterable):
        raise InputError(
            f"{name}: found {type(batches).__name__}; expected an iterable of record batches or tables, or {TABLES}."
        )
    opened = (open_table(batch, f"batch {index}") for index, batch in enumerate(batches))
    first = next(opened, None)
    if first is None:
        return None
    columns = first[0]
    rows = alike(columns, needed_columns(columns, contract, keep), itertools.chain([first], opened))
    return _checked(TableSource(name, columns, rows, contract, keep, "first batch"))


def _checked(source: TableSource) -> TableSource:
    """Check the columns against the contract; without rows only their names are checked."""
    batches = iter(source.batches)
    first = next(batches, None)
    num_rows = 0 if first is None else None
    keep, schema = source.keep, source.contract.schema
    check_schema(source, source.schema, schema, keep, trained=True, num_rows=num_rows)
    rows = iter(()) if first is None else itertools.chain([first], batches)
    return TableSource(source.name, source.schema, rows, source.contract, keep, source.noun)
