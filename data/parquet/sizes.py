"""The bytes of text, bytes and lists per row; they depend only on the values, not on how a column is divided."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.ids import list_spans, stored_values


def row_bytes(columns: list[pa.Array]) -> NDArray[np.int64] | None:
    """Return the bytes of text, bytes and lists per row of plain columns, int64 (rows); None without such columns.

    Numbers and times do not count, since the number of rows bounds them.

    Args:
        columns: Arrays of equal length, of types that `seqembed.data.decode.arrow.plain_type` returns.
    """
    sizes = [_bytes(column) for column in columns if not _is_narrow(column.type)]
    return sum(sizes[1:], start=sizes[0]) if sizes else None


def _is_narrow(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _is_narrow(kind.storage_type)
    is_fixed = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    return bool(is_fixed or (pa.types.is_fixed_size_binary(kind) and kind.byte_width <= _NARROW_BYTES))


_NARROW_BYTES = 64


def _bytes(values: pa.Array) -> NDArray[np.int64]:
    """Return the bytes of each value of a plain array, int64 (n), 0 for null."""
    values = stored_values(values)
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), dtype=np.int64)
    if pa.types.is_struct(kind):
        sizes = np.zeros(len(values), dtype=np.int64)
        for index in range(kind.num_fields):
            sizes += _bytes(values.field(index))
    elif pa.types.is_nested(kind):
        starts, lengths, elements = list_spans(values)
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(_bytes(elements))])
        # The span of a null list is arbitrary, so it is set to 0 before the lookup.
        known = pc.is_valid(values).to_numpy(zero_copy_only=False)
        starts, lengths = np.where(known, starts, 0), np.where(known, lengths, 0)
        return np.asarray(sums[starts + lengths] - sums[starts], dtype=np.int64)
    elif _is_text(kind):
        lengths = pc.fill_null(pc.binary_length(values), 0)
        return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)
    else:
        sizes = np.full(len(values), (kind.bit_width + 7) // 8, dtype=np.int64)
    if values.null_count:
        sizes[pc.is_null(values).to_numpy(zero_copy_only=False)] = 0
    return sizes


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )
