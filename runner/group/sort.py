"""Order the events of a bucket with DuckDB, which sorts beyond memory; the only file that names it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.errors import HostError, OutputError
from seqembed.data.parquet.sizes import row_bytes
from seqembed.data.signals import interruption

_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 16 << 20  # of text and bytes
_VECTOR_ROWS = 2048  # DuckDB's unit
_BYTES_PER_THREAD = 128 << 20


class Sorter:
    """DuckDB with bounds on memory and a directory for what exceeds it; use as a context manager."""

    def __init__(self, directory: Path, memory_bytes: int, threads: int) -> None:
        """Open an empty database in memory.

        Args:
            directory: Where DuckDB puts what exceeds its memory.
            memory_bytes: Bound on its memory.
            threads: Maximum number of threads.
        """
        threads = max(1, min(threads, memory_bytes // _BYTES_PER_THREAD))
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes // 10**6}MB",
            "temp_directory": str(directory),
            "threads": threads,
            "preserve_insertion_order": False,
            "arrow_large_buffer_size": True,  # more than 2 GB of text in a batch
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._database = duckdb.connect(":memory:", config=config)

    def __enter__(self) -> Self:
        """Return the sorter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release memory and temporary files."""
        self._database.close()

    def ordered(
        self,
        events: Iterator[pa.RecordBatch],
        schema: pa.Schema,
        event_bytes: float,
        equal: Sequence[int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield events by id, time and number; batches have the same size on every machine.

        Args:
            events: The events of a bucket; column 0 is the id, column 1 the time, the last one the number.
            schema: Their columns.
            event_bytes: Approximate bytes of an event, so that wide ones come in smaller batches.
            equal: Columns in which events of an id agree that are one event: the one with the highest number is taken.
                None takes all.

        Raises:
            HostError: DuckDB needs more memory.
            OutputError: The disk is full.
        """
        query = "SELECT * FROM events"
        if equal is not None:
            same = ", ".join(f"c{index}" for index in sorted({0, *equal}))
            query += f" QUALIFY row_number() OVER (PARTITION BY {same} ORDER BY number DESC) = 1"
        query += " ORDER BY c0, c1, number"
        failures: list[BaseException] = []
        stored, floats = schema, [] if equal is None else _floats(schema)
        if floats:  # DuckDB turns -0.0 into 0.0 where it compares rows
            events = (_turned(batch, floats) for batch in events)
            schema = pa.schema(
                [pa.field(one.name, _integers(one.type)) if i in floats else one for i, one in enumerate(stored)]
            )
        reading = pa.RecordBatchReader.from_batches(schema, _remembering(events, failures))
        self._database.register("events", reading)
        try:
            found = self._database.sql(query)
            # The older name is that of DuckDB before 1.4.
            reader = getattr(found, "to_arrow_reader", None) or found.fetch_record_batch
            num_rows = min(_BATCH_ROWS, max(_VECTOR_ROWS, round(_BATCH_BYTES / event_bytes)))
            with reader(num_rows) as rows:  # closed before anything else: a connection has one open result
                for batch in _even(rows, schema):
                    yield _turned(batch, floats, stored) if floats else batch
        except (duckdb.Error, RuntimeError) as error:
            raise _explained(error, failures) from error
        self._database.unregister("events")


def _floats(schema: pa.Schema) -> list[int]:
    """Return the columns of floats, but for the id, whose zeros are equal."""
    wide = (pa.float32(), pa.float64())
    return [index for index, field in enumerate(schema) if index and field.type in wide]


def _integers(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if kind == pa.float32() else pa.int64()


def _turned(batch: pa.RecordBatch, columns: Sequence[int], stored: pa.Schema | None = None) -> pa.RecordBatch:
    """Return a batch with its floats as integers in the same order, bit by bit; with `stored`, the inverse."""
    arrays = list(batch.columns)
    for index in columns:
        kind = _integers(arrays[index].type) if stored is None else arrays[index].type
        bits = arrays[index].view(kind)
        largest = pa.scalar(2 ** (kind.bit_width - 1) - 1, kind)
        below = pc.less(bits, pa.scalar(0, kind))
        ordered = pc.if_else(below, pc.bit_wise_xor(bits, largest), bits)
        arrays[index] = ordered if stored is None else ordered.view(stored.field(index).type)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _remembering(events: Iterator[pa.RecordBatch], failures: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """Yield events; an exception, or a signal, becomes an error of DuckDB on its way, so that it is remembered."""
    try:
        yield from events
    except BaseException as error:
        failures.append(error)
        raise


def _even(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield batches cut by their rows and bytes alone: DuckDB's depend on threads, and what is written must not."""
    waiting: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for batch in batches:
        typed = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
        rest = pa.RecordBatch.from_arrays(typed, schema=schema)
        sizes = row_bytes(typed)
        ends = np.cumsum(np.zeros(len(rest), np.int64) if sizes is None else sizes)
        while len(rest):
            before = int(ends[-len(rest) - 1]) if len(rest) < len(ends) else 0
            fits = int(np.searchsorted(ends[-len(rest) :], before + _BATCH_BYTES - num_bytes, side="right"))
            fits = min(max(fits, 0 if waiting else 1), _BATCH_ROWS - num_rows)
            if fits:
                waiting.append(rest.slice(0, fits))
                num_rows += fits
                num_bytes += int(ends[-len(rest) + fits - 1]) - before
                rest = rest.slice(fits)
            if len(rest) or num_rows == _BATCH_ROWS:
                yield pa.concat_batches(waiting)
                waiting, num_rows, num_bytes = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def _explained(error: Exception, failures: Sequence[BaseException]) -> BaseException:
    """Return the exception to raise for an error of DuckDB."""
    text = str(error).splitlines()[0]
    if failures:
        return failures[0]
    if type(error) is RuntimeError or isinstance(error, duckdb.InterruptException):
        return interruption() if "interrupt" in text.lower() else error
    on_disk = "max_temp_directory_size" in str(error) or "temp directory" in str(error)
    if isinstance(error, duckdb.IOException) or (isinstance(error, duckdb.OutOfMemoryException) and on_disk):
        return OutputError(f"events could not be sorted on disk ({text}). Free space, and run again.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return HostError(f"--memory is too small to sort the events ({text}). Pass more --memory, and run again.")
    return error
