"""Convert windows of vectors to rows of a part, and count them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.decode.arrow import plain_type
from seqembed.data.errors import InputError, UsageError
from seqembed.data.outputs import RECONSTRUCTION_ERROR, ModelOutput
from seqembed.data.schema.vocabulary import UNKNOWN_ID
from seqembed.data.scores import ErrorProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.runner.engines.pipeline import EmbeddedWindow
from seqembed.runner.engines.scores import column_names, is_unknown, score_columns
from seqembed.runner.options import OnBadRow, RunOptions
from seqembed.runner.output.parts import PartCounts


def output_schema(
    columns: pa.Schema, name: str, contract: ModelContract, outputs: Sequence[ModelOutput], options: RunOptions
) -> pa.Schema:
    """Return the columns of a part: id, kept columns, the model's outputs, and ``error``.

    Vectors, such as ``embedding``, are lists of fixed size. With scores the reconstruction error becomes two columns.

    Ids and kept columns have the plain types of `seqembed.data.decode.arrow.plain_type`.

    Args:
        columns: Columns of the input.
        name: The input, for messages.
        contract: Contract of the model.
        outputs: Outputs of the model that are computed.
        options: Options of the run: columns to keep, type of the vectors, scores, and treatment of bad rows.

    Raises:
        InputError: The id or a kept column has the name of an added column.
    """
    names = column_names(outputs, score=options.score)
    added = names + (["error"] if options.on_bad_row == "null" else [])
    for column in (contract.schema.id, *options.keep):
        if column in added:
            raise InputError(
                f"{name}: column '{column}' is the {'id' if column == contract.schema.id else 'kept'} column; the "
                f"output adds a column '{column}'"
                + (" with --on-bad-row null" if column == "error" else "")
                + ". Rename the column"
                + (" in the training data too, and train again." if column == contract.schema.id else ".")
            )
    fields = [pa.field(contract.schema.id, plain_type(columns.field(contract.schema.id).type))]
    for column in options.keep:
        in_file = column in columns.names
        kind = plain_type(columns.field(column).type) if in_file else pa.string()  # else a hive key of the path
        fields.append(pa.field(column, kind))
    types = {output.name: _type(output, options) for output in outputs}
    fields += [pa.field(added_name, types.get(added_name, pa.float32())) for added_name in names]
    if options.on_bad_row == "null":
        fields.append(pa.field("error", pa.string()))
    return pa.schema(fields)


def _type(output: ModelOutput, options: RunOptions) -> pa.DataType:
    if output.width is None:
        return pa.float32()
    number = pa.float16() if options.dtype == "float16" else pa.float32()
    return pa.list_(pa.field("element", number), output.width)


def rows_of(
    window: EmbeddedWindow, name: str, schema: pa.Schema, on_bad_row: OnBadRow, errors: ErrorProfile | None = None
) -> pa.RecordBatch:
    """Return a window as rows of the output.

    Args:
        window: Sequences with their vectors.
        name: The input, for messages.
        schema: Columns of the part, by `output_schema`.
        on_bad_row: Whether bad rows are omitted (``quarantine``) or included with a reason (``null``).
        errors: Errors of known sequences, for a schema with scores.

    Raises:
        UsageError: A number is beyond what float16 holds.
    """
    columns = [window.block.ids, *window.block.kept.values()]
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
    for output, array in window.outputs.items():
        missing = ~window.has_embedding
        if output == RECONSTRUCTION_ERROR:
            missing |= is_unknown(array)
        if output in schema.names:
            nulls = pa.array(missing) if missing.any() else None
            plain.append(_column(array, schema.field(output).type, nulls, name))
        elif errors is not None:
            plain += score_columns(array, missing, errors)
    bad_rows = np.array([index for index, _ in window.block.bad], dtype=np.int64)
    if on_bad_row == "null":
        reasons = np.full(window.block.num_sequences, None, dtype=object)
        reasons[bad_rows] = [row.reason for _, row in window.block.bad]
        plain.append(pa.array(reasons, pa.string()))
    rows = pa.RecordBatch.from_arrays(plain, schema=schema)
    if on_bad_row == "quarantine" and len(bad_rows):
        stays = np.ones(window.block.num_sequences, dtype=bool)
        stays[bad_rows] = False
        rows = rows.filter(pa.array(stays))
    return rows


def _column(values: NDArray[np.float32], kind: pa.DataType, missing: pa.Array | None, name: str) -> pa.Array:
    """Return an output as a column, null where `missing`.

    Args:
        values: float32 (sequences, width) or (sequences).
        kind: Type of the column.
        missing: Arrow booleans (sequences); None if nothing is missing.
        name: The input, for messages.

    Raises:
        UsageError: A number is beyond what float16 holds.
    """
    number = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    array = _halves(values, name) if number == pa.float16() else values
    # Not pa.array, which imports numpy.ma to check for masked arrays: a twentieth of a small run.
    numbers = pa.Array.from_buffers(number, array.size, [None, pa.py_buffer(array)])
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=missing)
    return numbers if missing is None else pc.if_else(missing, pa.scalar(None, kind), numbers)


def counts_of(window: EmbeddedWindow, contract: ModelContract, on_bad_row: OnBadRow) -> PartCounts:
    """Return the counts of a window for the part's footer."""
    num_bad, embedded = len(window.block.bad), int(window.has_embedding.sum())
    quarantined = num_bad if on_bad_row == "quarantine" else 0
    return PartCounts(
        rows_in=window.block.num_sequences,
        rows_embedded=embedded,
        rows_null=window.block.num_sequences - embedded - quarantined,
        rows_quarantined=quarantined,
        rows_truncated=window.block.num_truncated,
        steps=len(window.block.values),
        padded_steps=window.padded_steps,
        unknown_steps=_unknown_steps(window.block, contract),
    )


def _unknown_steps(block: SequenceBlock, contract: ModelContract) -> dict[str, int]:
    found = np.count_nonzero(block.categories == UNKNOWN_ID, axis=0).tolist()
    names = [field.name for field in contract.schema.categorical]
    return dict(zip(names, found, strict=True))


def _halves(vectors: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    """Return vectors (sequences, embedding_dim) as float16.

    Raises:
        UsageError: A number is beyond what float16 holds.
    """
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    if np.isinf(halves).any():
        raise UsageError(
            f"{name}: a vector holds {np.abs(vectors).max():.4g}; float16 ends at 65,504. Run with --dtype float32."
        )
    return halves
