"""Which columns can be labels, and how a label is read: as text, so that 3, 3.0 and "3" are one class."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.data.schema.check import refuse_column
from seqembed.data.schema.schema import SequenceSchema


def check_label(files: Sequence[InputFile], label: str, schema: SequenceSchema) -> None:
    """Hold every file's label column against what a class can be, before anything is embedded.

    Raises:
        UsageError: The label is a column the model reads.
        InputError: A file lacks the column, or it is not text, integers or booleans.
    """
    if label == schema.id:
        raise UsageError(f"--label {label}: that column names the sequences. Name the column with their classes.")
    if label in schema.feature_columns:
        raise UsageError(f"--label {label}: the model reads that column as a feature, so its vectors know the answer.")
    for file in files:
        if label not in file.partitions:
            _check_file(file, label)


def _check_file(file: InputFile, label: str) -> None:
    schema = file.open().schema_arrow
    indices = schema.get_all_field_indices(label)
    if not indices:
        there = ", ".join(schema.names[:20]) + (", …" if len(schema.names) > 20 else "")
        raise InputError(
            f"{file.name}: no column '{label}', expected as the label. The file has: {there}. "
            "Name the right one with --label."
        )
    if len(indices) > 1:
        raise InputError(f"{file.name}: {len(indices)} columns are called '{label}'. Rename all but one.")
    kind = schema.field(indices[0]).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not _is_class(plain):
        remedy = "Put one label in each row" if pa.types.is_nested(plain) else "Cast it to text or to integers"
        refuse_column(file, label, kind, "text, integers or booleans", remedy)


def _is_class(kind: pa.DataType) -> bool:
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind)
    number = types.is_integer(kind) or types.is_floating(kind)
    return bool(text or number or types.is_boolean(kind) or types.is_null(kind))


def label_texts(column: pa.Array, label: str, source: str) -> pa.Array:
    """Return labels as strings, null where there is none.

    Integers in a float column are taken, since libraries make floats of integers with nulls among them.

    Args:
        column: Text, integers, booleans or floats, (rows).
        label: Name of the column, for messages.
        source: Where the column came from, for messages.

    Raises:
        InputError: A float is not whole.
    """
    if not pa.types.is_floating(column.type):
        return column.cast(pa.string())
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = ~np.isnan(values)
    whole = np.abs(values) < 2**53
    np.equal(values, np.rint(values), out=whole, where=known & whole)
    odd = np.flatnonzero(known & ~whole)
    if len(odd):
        raise InputError(
            f"{source}: column '{label}' holds {values[odd[0]]}; a class is text or an integer. Cut the numbers "
            "into classes first: seqembed evaluates classification."
        )
    return pc.cast(pa.array(np.where(known, values, 0).astype(np.int64), mask=~known), pa.string())
