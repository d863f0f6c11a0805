"""Read record batches from objects with the Arrow PyCapsule interface."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from seqembed.data.errors import InputError
from seqembed.data.files.inputs import UNREADABLE, first_line
from seqembed.data.host import raise_host_fault

TABLES = "a table with Arrow's interface (pyarrow, pandas 2.2 or later, polars, a DuckDB relation)"


@runtime_checkable
class ArrowStream(Protocol):
    """A stream of record batches with the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule of an ArrowArrayStream."""


@runtime_checkable
class ArrowArray(Protocol):
    """A record batch with the Arrow PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return capsules of an ArrowSchema and an ArrowArray."""


ArrowData = ArrowStream | ArrowArray


def alike(
    columns: pa.Schema, wanted: Sequence[str], opened: Iterable[tuple[pa.Schema, Iterator[pa.RecordBatch]]]
) -> Iterator[pa.RecordBatch]:
    """Cast batches to the types of the first, since types of chunks may differ where values are missing.

    Raises:
        InputError: A column of a batch is missing, or cannot be cast.
    """
    for index, (found, batches) in enumerate(opened):
        for batch in batches:
            arrays = {name: batch.column(name) for name in wanted if len(found.get_all_field_indices(name)) == 1}
            for name, array in arrays.items():
                if columns.get_field_index(name) >= 0 and array.type != columns.field(name).type:
                    arrays[name] = _cast(array, columns.field(name), index)
            if index and len(arrays) < len(wanted):
                lacking = next(name for name in wanted if name not in arrays)
                raise InputError(f"batch {index}: no column '{lacking}', which the first batch has. Add it.")
            yield pa.RecordBatch.from_pydict(arrays) if arrays else batch


def _cast(array: pa.Array, field: pa.Field, index: int) -> pa.Array:
    try:
        return array.cast(field.type)
    except pa.ArrowException as error:
        raise InputError(
            f"batch {index}: column '{field.name}' is {array.type}, in the first batch {field.type} "
            f"({first_line(error)}). Use the same types in all batches."
        ) from error


def open_table(data: object, name: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the columns of a table and its record batches.

    Raises:
        InputError: It is not a table, or cannot be read.
    """

    def opened() -> pa.RecordBatchReader:
        if isinstance(data, ArrowStream):
            return pa.RecordBatchReader.from_stream(data)
        batch = pa.record_batch(data)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])

    if not isinstance(data, ArrowStream | ArrowArray):
        raise InputError(f"{name}: found {type(data).__name__}; expected {TABLES}.{_remedy(data)}")
    reader = _reading(opened, name)
    return reader.schema, _batches(reader, name)


def _batches(reader: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    while (batch := _reading(lambda: next(reader, None), name)) is not None:
        if batch.num_rows:
            yield batch


def _reading(read: Callable[[], Any], name: str) -> Any:
    try:
        return read()
    except InputError:
        raise
    except (*UNREADABLE, TypeError) as error:  # Arrow converts errors of other libraries to its own exceptions
        raise_host_fault(error)
        raise InputError(
            f"{name}: cannot be read as an Arrow table ({first_line(error)}). Fix its columns, or pass only "
            "those that the model reads."
        ) from error


def _remedy(data: object) -> str:
    if isinstance(data, str):
        return " For files use seqembed.run, or read one with pyarrow.parquet.read_table."
    if isinstance(data, Mapping):
        return " Convert it with pyarrow.table(data)."
    if isinstance(data, Iterator):
        return " For a stream of batches use embed_batches."
    return ""
