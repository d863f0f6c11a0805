"""Ids of any type that Parquet holds: equality, null and text of them.

Arrow compares numbers, text and times, but not extension types (UUID), structs, lists, maps and float16, all of which
are used as ids somewhere: MongoDB exports hold ``{"$oid": ...}``, DuckDB and Postgres write UUIDs. Here every type is
compared by its content, without loops over rows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import is_string, plain_values


def same_as_previous(ids: pa.Array) -> NDArray[np.bool_]:
    """Return for each id after the first whether it equals the previous one, bool (n - 1, or 0 without ids).

    Nulls equal each other, also inside structs, lists and maps, and NaN counts as null.
    """
    plain = plain_values(ids)
    return equal_values(plain[1:], plain[:-1]) if len(plain) else np.empty(0, dtype=bool)


def equal_values(left: pa.Array, right: pa.Array) -> NDArray[np.bool_]:
    """Compare two arrays of the same type and length elementwise, bool (n).

    Nulls equal each other, and NaN counts as null.
    """
    left, right = stored_values(left), stored_values(right)
    missing, other = is_null_id(left), is_null_id(right)
    if pa.types.is_null(left.type):
        return missing
    known = ~(missing | other)
    if pa.types.is_struct(left.type):
        for index in range(left.type.num_fields):
            known &= equal_values(left.field(index), right.field(index))
    elif pa.types.is_nested(left.type):
        known &= _equal_lists(left, right, known)
    else:
        known &= pc.fill_null(pc.equal(left, right), False).to_numpy(zero_copy_only=False)
    return known | (missing & other)


def _equal_lists(left: pa.Array, right: pa.Array, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    starts, lengths, values = list_spans(left)
    other_starts, other_lengths, others = list_spans(right)
    equal: NDArray[np.bool_] = lengths == other_lengths
    rows = np.flatnonzero(equal & known & (lengths > 0))
    if not len(rows):
        return equal
    sizes = lengths[rows]
    ends = np.cumsum(sizes)
    within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    mine = values.take(pa.array(within + np.repeat(starts[rows], sizes)))
    theirs = others.take(pa.array(within + np.repeat(other_starts[rows], sizes)))
    equal[rows] = np.logical_and.reduceat(equal_values(mine, theirs), ends - sizes)
    return equal


def list_spans(lists: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64], pa.Array]:
    """Return the start and length of each list or map of a plain array, both int64 (n), and all elements.

    The elements of a map are structs of key and value. The span of a null list is meaningless.
    """
    if pa.types.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        starts = (lists.offset + np.arange(len(lists), dtype=np.int64)) * size
        return starts, np.full(len(lists), size, dtype=np.int64), lists.values
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if pa.types.is_list_view(lists.type) or pa.types.is_large_list_view(lists.type):
        return offsets, lists.sizes.to_numpy().astype(np.int64), lists.values
    if pa.types.is_map(lists.type):
        values = pa.StructArray.from_arrays([lists.keys, lists.items], ["key", "value"])
    else:
        values = lists.values
    return offsets[:-1], np.diff(offsets), values


def is_null_id(ids: pa.Array) -> NDArray[np.bool_]:
    """Return which ids are invalid, bool (n): null, or NaN in a column of floating-point numbers."""
    values = stored_values(plain_values(ids))
    missing: NDArray[np.bool_] = pc.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


def stored_values(values: pa.Array) -> pa.Array:
    """Return the comparable values of a plain array: the storage of extension types, and float32 for float16."""
    while isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.cast(pa.float32()) if pa.types.is_float16(values.type) else values


def id_text(value: pa.Scalar) -> str | None:
    r"""Return an id as text for messages and quarantine files; None for null. Never raises.

    Text that is not UTF-8 has its bytes escaped (``M\xfcller``), UUIDs have their usual form, other bytes Python's
    (``b'\x00'``), structs as ``{name: value}``, maps as ``{key: value}`` and lists as ``[value]``.
    """
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return id_text(value.value)
    if isinstance(kind, pa.UuidType):
        return str(value.as_py())
    if isinstance(kind, pa.BaseExtensionType):
        return id_text(value.value)
    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "{" + ", ".join(f"{name}: {_inner_text(value[index])}" for index, name in enumerate(names)) + "}"
    if pa.types.is_map(kind):
        return "{" + ", ".join(f"{_inner_text(pair[0])}: {_inner_text(pair[1])}" for pair in value.values) + "}"
    if pa.types.is_nested(kind):
        return "[" + ", ".join(map(_inner_text, value.values)) + "]"
    if is_string(kind):
        return str(value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace"))
    return _temporal_text(value) if pa.types.is_temporal(kind) else str(value.as_py())


def quoted_id(text: str | None) -> str:
    """Quote the result of `id_text` for a message, with line breaks and other control characters escaped.

    Backslashes are not escaped, since `id_text` itself uses them for bytes that are not UTF-8.
    """
    if text is None:
        return "null"
    mark = '"' if "'" in text else "'"
    plain = (character if character.isprintable() else repr(character)[1:-1] for character in text)
    return f"{mark}{''.join(plain)}{mark}"


def _inner_text(value: pa.Scalar) -> str:
    """Return the text of a value inside an id."""
    return id_text(value) or ("" if value.is_valid else "null")


def _temporal_text(value: pa.Scalar) -> str:
    # Formatted by Arrow: Python's datetime ends in the year 9999 and has no nanoseconds.
    try:
        return str(value.cast(pa.string()).as_py())
    except pa.ArrowException:
        if not pa.types.is_timestamp(value.type):
            return str(value.as_py())  # an interval
        # This host does not know the time zone: write the instant in UTC.
        return f"{value.cast(pa.timestamp(value.type.unit)).cast(pa.string()).as_py()}Z"
