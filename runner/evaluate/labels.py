"""Check label columns, and read labels as text, so that 3, 3.0 and "3" are one class."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.data.schema.check import refuse_column
from seqembed.data.schema.schema import SequenceSchema


def check_label(files: Sequence[InputFile], label: str, schema: SequenceSchema) -> None:
    """Check the label column of every file before anything is embedded.

    Raises:
        UsageError: The label is a column that the model reads.
        InputError: A file lacks the column, or it is not text, integers or booleans.
    """
    if label == schema.id:
        raise UsageError(f"--label {label}: that is the id column. Choose the column with the classes.")
    if label in schema.feature_columns:
        raise UsageError(f"--label {label}: that column is a feature of the model, so the vectors contain the label.")
    for file in files:
        if label not in file.partitions:
            _check_file(file, label)


def _check_file(file: InputFile, label: str) -> None:
    schema, _ = file.footer()
    indices = schema.get_all_field_indices(label)
    if not indices:
        present = ", ".join(schema.names[:20]) + (", …" if len(schema.names) > 20 else "")
        raise InputError(
            f"{file.name}: no column '{label}', expected as the label. The file has: {present}. "
            "Choose the right one with --label."
        )
    if len(indices) > 1:
        raise InputError(f"{file.name}: {len(indices)} columns are named '{label}'. Rename all but one.")
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
    """Return labels as strings, null where missing.

    Integers in a float column are accepted, since some libraries convert integers with nulls to floats.

    Args:
        column: Text, integers, booleans or floats, (rows).
        label: Name of the column, for messages.
        source: File of the column, for messages.

    Raises:
        InputError: A float is not an integer.
    """
    if not pa.types.is_floating(column.type):
        return column.cast(pa.string())
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = ~np.isnan(values)
    is_integer = np.abs(values) < 2**53
    np.equal(values, np.rint(values), out=is_integer, where=known & is_integer)
    invalid = np.flatnonzero(known & ~is_integer)
    if len(invalid):
        raise InputError(
            f"{source}: column '{label}' holds {values[invalid[0]]}; a class is text or an integer. Bin the numbers "
            "first: seqembed evaluates classification."
        )
    return pc.cast(pa.array(np.where(known, values, 0).astype(np.int64), mask=~known), pa.string())
