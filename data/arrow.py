"""Small questions about Arrow types and columns that detection, checks and decoding share."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def is_number(kind: pa.DataType) -> bool:
    """Whether a value of this type is a number to a model: int, float, bool or decimal of any width."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_number_or_null(kind: pa.DataType) -> bool:
    """Like `is_number`, or the type Arrow gives to a column that holds nothing but nulls."""
    return is_number(kind) or pa.types.is_null(kind)


def is_string(kind: pa.DataType | None) -> bool:
    """Whether a value of this type is a plain string."""
    return kind is not None and bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether the type is a list, large list or fixed-size list."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def to_float32(values: pa.Array) -> NDArray[np.float32]:
    """Return numbers as float32 (n) with NaN for null; a value beyond float32's range becomes ±inf."""
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan, dtype=np.float32)
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if values.type != pa.float32():
        values = values.cast(pa.float32(), safe=False)
    array: NDArray[np.float32] = values.to_numpy(zero_copy_only=False)
    return array


def locate(arrow_schema: pa.Schema, name: str) -> tuple[str, str | None]:
    """Return the top-level column and, for ``column.field`` of a list of structs, the field that `name` means."""
    column, dot, part = name.rpartition(".")
    if name in arrow_schema.names or not dot or column not in arrow_schema.names:
        return name, None
    return column, part


def leaf(steps: pa.Array, part: str | None) -> pa.Array:
    """Return the values of steps, or of one field where steps are structs."""
    return steps if part is None else pc.struct_field(steps, part)


def plain_values(values: pa.Array) -> pa.Array:
    """Return an array, or one of lists, without dictionaries, which differ from batch to batch."""
    kind = values.type
    return values if (plain := plain_type(kind)) == kind else values.cast(plain)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with its dictionaries replaced by what they hold."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)), kind.list_size)
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([field.with_type(plain_type(field.type)) for field in fields])
    return kind


def only_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join record batches of one schema into one."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
