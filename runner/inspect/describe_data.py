"""Describe Parquet data and how `seqembed train` would read it, from footers and the start of one file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from shlex import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import same_as_previous
from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.grouping import grouping_line
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.files.secrets import without_secrets
from seqembed.data.parquet.peek import first_with_rows, peek
from seqembed.data.plurals import counted
from seqembed.data.schema.check import require_column
from seqembed.data.schema.detect import LAYOUT_CHOICES, detect_schema
from seqembed.data.schema.hints import codes_at_start, hint_at_codes
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.selection import grouped_names, select
from seqembed.runner.inspect.facts import Facts
from seqembed.runner.inspect.obstacles import obstacle

_NUM_SLICES = 20  # of the start of a file, each of at most a thousand rows


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How to read Parquet data as sequences.

    Attributes:
        id: Column with the id of a sequence.
        layout: ``auto``, ``nested`` or ``events``.
        time: Column that orders the steps.
        label: Column that is not a feature.
        version: Version of a table that has versions; None is the newest.

    Raises:
        UsageError: The layout does not exist.
    """

    id: str = "id"
    layout: str = "auto"
    time: str | None = None
    label: str | None = None
    version: int | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUT_CHOICES:
            raise UsageError(f"--layout must be one of {', '.join(LAYOUT_CHOICES)}; was {self.layout!r}.")


def describe_data(given: str, options: DataOptions, facts: Facts) -> Iterator[str]:
    """Yield a description of the sequences in Parquet data and whether a model can be trained on them.

    Args:
        given: File, directory, glob or URI.
        options: How to read the data.
        facts: Receives the same as JSON values.

    Raises:
        InputError: There is no Parquet file, or a file cannot be read.
    """
    try:
        files = resolve_inputs([given], options.version)
    except InputError as error:
        shown = without_secrets(given)
        raise InputError(
            f"{shown}: neither a model, nor a run directory, nor an output directory of seqembed, nor Parquet data "
            f"({error})"
        ) from error
    example = first_with_rows(files)
    parquet = example.open()
    num_rows = sum(file.footer()[1] for file in files)
    kind = "Parquet data" if example.view is None else str(example.view.table)
    facts |= {"table": None if example.view is None else str(example.view.table), "files": len(files), "rows": num_rows}
    facts["columns"] = [{"name": column.name, "type": str(column.type)} for column in parquet.schema_arrow]
    facts["problem"] = None
    yield f"{without_secrets(given)}: {kind}, {counted(len(files), 'file')}, {counted(num_rows, 'row')}"
    yield ""
    yield from _types(parquet.schema_arrow)
    yield ""
    try:
        require_column(example, parquet.schema_arrow, options.id, "id")
        if options.label is not None and options.label not in example.partitions:
            require_column(example, parquet.schema_arrow, options.label, "label")
        schema = detect_schema(
            files,
            id_column=options.id,
            layout=options.layout,
            time_column=options.time,
            exclude=() if options.label is None else (options.label,),
        )
    except (InputError, UsageError) as error:
        facts["problem"] = str(error)
        yield f"Not readable as sequences yet: {error}"
        return
    where = "one row per sequence" if schema.layout == "nested" else "one row per event"
    yield f"Layout: {schema.layout} ({where}); id column '{schema.id}'"
    selection = select(parquet.schema_arrow, schema, label=options.label)
    facts |= {"layout": schema.layout, "id": schema.id, "time": schema.time, "label": options.label}
    facts |= {"features": list(schema.feature_names), "categories": [field.name for field in schema.categorical]}
    facts["left_out"] = [{"name": name, "reason": reason} for name, reason in selection.left_out]
    yield from selection.lines(max_names=None)
    if schema.layout == "events" and (apart := _events_apart(example, schema)) is not None:
        kept = () if options.label is None else (options.label,)
        facts |= {"problem": apart, "next": grouping_line(files, schema, kept, names_features=False)}
        yield apart
        yield f"Next: {facts['next']}"
        return
    yield from _lengths(example, schema, facts)
    facts["hints"] = hint_at_codes(schema, codes_at_start(example, schema, _NUM_SLICES))
    yield from facts["hints"]
    keys = dict.fromkeys(key for file in files for key in file.partitions)
    facts["partition_keys"] = list(keys)
    if keys:
        yield f"Partition keys of the path, one value per file: {', '.join(keys)}"
    if (reason := obstacle(files, example, schema, _NUM_SLICES)) is not None:
        facts["problem"] = reason
        yield f"Not ready for training: {reason}"
        return
    facts["next"] = f"seqembed train {quote(without_secrets(given))} --out RUN_DIR{_flags(options)}"
    yield f"Next: {facts['next']}"


def _events_apart(file: InputFile, schema: SequenceSchema) -> str | None:
    """Return that events of an id are not contiguous at the start of a file; None if they are."""
    found = [np.zeros(0, np.uint64)]
    for batch in islice(peek(file, [schema.id]), _NUM_SLICES):
        ids = batch.column(0)
        found.append(hash_ids(ids)[ids.is_valid().to_numpy(zero_copy_only=False)])
    hashes = np.concatenate(found)
    pieces, num_ids = 1 + np.count_nonzero(np.diff(hashes)), len(np.unique(hashes))
    if pieces <= max(1, num_ids):
        return None
    return (
        f"Not readable as sequences yet: events of an id are not contiguous. The first {counted(len(hashes), 'event')} "
        f"are of {counted(num_ids, 'id')}, in {pieces:,} pieces; make one row per id of them"
    )


def _types(arrow_schema: pa.Schema) -> Iterator[str]:
    """Yield the columns grouped by type, in order of first occurrence."""
    yield f"{counted(len(arrow_schema.names), 'column')}:"
    for kind in dict.fromkeys(str(field.type) for field in arrow_schema):
        names = [field.name for field in arrow_schema if str(field.type) == kind]
        yield from (f"  {line}" for line in grouped_names(kind, names))


def _lengths(file: InputFile, schema: SequenceSchema, facts: Facts) -> Iterator[str]:
    """Yield the lengths of the sequences at the start of a file; nothing if it has no rows."""
    if schema.layout == "nested":
        column = (*schema.feature_columns, schema.time or schema.id)[0]
        lengths = _concatenated(
            pc.fill_null(pc.list_value_length(batch.column(0)), 0).to_numpy(zero_copy_only=False)
            for batch in islice(peek(file, [column.split(".")[0]]), _NUM_SLICES)
        )
        looked_at = f"first {counted(len(lengths), 'row')}"
    else:
        starts = []
        num_events = 0
        last: pa.Array | None = None
        for batch in islice(peek(file, [schema.id]), _NUM_SLICES):
            ids = batch.column(0)
            joined = ids if last is None else pa.concat_arrays([last, ids])
            changes = np.flatnonzero(~same_as_previous(joined)) + 1 - (0 if last is None else 1)
            starts.append(changes + num_events)
            num_events += len(ids)
            last = ids[-1:]
        bounds = np.concatenate([[0], *starts, [num_events]])
        lengths = np.diff(bounds)
        looked_at = f"first {counted(num_events, 'event')}, of {counted(len(lengths), 'sequence')}"
    if len(lengths) and lengths.any():
        low, middle, high = (int(x) for x in np.quantile(lengths, [0, 0.5, 1], method="nearest"))
        facts["lengths"] = {"shortest": low, "median": middle, "longest": high, "of": looked_at}
        yield f"Steps per sequence: shortest {low:,}, median {middle:,}, longest {high:,} ({looked_at})"


def _concatenated(arrays: Iterator[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = list(arrays)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _flags(options: DataOptions) -> str:
    given: Sequence[tuple[str, str | None]] = (
        ("--id", None if options.id == "id" else options.id),
        ("--layout", None if options.layout == "auto" else options.layout),
        ("--time", options.time),
        ("--label", options.label),
        ("--version", None if options.version is None else str(options.version)),
    )
    return "".join(f" {flag} {quote(value)}" for flag, value in given if value is not None)
