"""Helpers for Arrow types and columns, shared by detection, checks and decoding."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def is_number(kind: pa.DataType) -> bool:
    """Return whether a model can take values of this type as numbers: int, float, bool or decimal of any width."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_number_or_null(kind: pa.DataType) -> bool:
    """Like `is_number`, but also true for Arrow's null type, which columns with only nulls have."""
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


def as_lists(column: pa.Array) -> pa.Array:
    """Return a column of lists unchanged, and a column of Arrow's null type as null lists."""
    return pa.nulls(len(column), pa.list_(pa.null())) if pa.types.is_null(column.type) else column


def locate(arrow_schema: pa.Schema, name: str) -> tuple[str, str | None]:
    """Return the top-level column of `name` and, for ``column.field`` of a list of structs, the field."""
    column, dot, component = name.rpartition(".")
    if name in arrow_schema.names or not dot or column not in arrow_schema.names:
        return name, None
    return column, component


def leaf(steps: pa.Array, component: str | None) -> pa.Array:
    """Return the values of steps, or of one field if steps are structs; Arrow's null type is returned as is."""
    return steps if component is None or pa.types.is_null(steps.type) else pc.struct_field(steps, component)


def plain_values(values: pa.Array, *, dictionaries: bool = False) -> pa.Array:
    """Convert an array to the type that `plain_type` returns; values that are already plain are not copied.

    Args:
        values: Array of any type that Parquet holds, or run-end encoded.
        dictionaries: Whether to keep dictionaries.
    """
    kind = values.type
    plain = plain_type(kind, dictionaries=dictionaries)
    if plain == kind:
        return values
    if pa.types.is_dictionary(kind):
        return plain_values(values.dictionary).take(values.indices)
    if pa.types.is_run_end_encoded(kind):
        return plain_values(pc.run_end_decode(values), dictionaries=dictionaries)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_values(values.storage, dictionaries=dictionaries)
    # Structs and lists are rebuilt, since pyarrow 26 casts lists of nulls inside them to lists that are too short.
    if pa.types.is_struct(kind):
        fields = [plain.field(index) for index in range(plain.num_fields)]
        columns = [plain_values(values.field(index), dictionaries=dictionaries) for index in range(plain.num_fields)]
        return pa.StructArray.from_arrays(columns, fields=fields, mask=values.is_null())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        made = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        offsets = pa.array(values.offsets.to_numpy().copy())  # with a mask, offsets must not be a slice
        elements = plain_values(values.values, dictionaries=dictionaries)
        return made.from_arrays(offsets, elements, type=plain, mask=values.is_null())
    return values.cast(plain)


def plain_type(kind: pa.DataType, *, dictionaries: bool = False) -> pa.DataType:
    """Return a type for the same values that Arrow can take, filter and concatenate, at any depth.

    Dictionaries, which differ from batch to batch, and run-end encoding become their value types. Views of text and
    bytes become large text and bytes: Arrow has no `take` and no `filter` for views (apache/arrow, issue 49368). List
    views stay: they can be taken, and pyarrow 26 casts them to lists with one offset too few. An extension type stays
    if its storage is plain.

    Args:
        kind: Any type.
        dictionaries: Whether to keep dictionaries.
    """

    def plain(field: pa.Field) -> pa.Field:
        return field.with_type(plain_type(field.type, dictionaries=dictionaries))

    types = pa.types
    if types.is_dictionary(kind):
        return kind if dictionaries else plain_type(kind.value_type)
    if types.is_run_end_encoded(kind):
        return plain_type(kind.value_type, dictionaries=dictionaries)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_large_list(kind):
        return pa.large_list(plain(kind.value_field))
    if types.is_list(kind):
        return pa.list_(plain(kind.value_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_field), kind.list_size)
    if types.is_map(kind):
        return pa.map_(plain(kind.key_field), plain(kind.item_field), keys_sorted=kind.keys_sorted)
    if types.is_struct(kind):
        return pa.struct([plain(kind.field(index)) for index in range(kind.num_fields)])
    if isinstance(kind, pa.BaseExtensionType):
        storage = plain_type(kind.storage_type, dictionaries=dictionaries)
        return kind if storage == kind.storage_type else storage
    return kind


def is_storable(kind: pa.DataType) -> bool:
    """Return whether a column of this type can be an id or a kept column: Arrow can take it, and Parquet can hold it.

    Everything that Parquet holds qualifies, except views of text or bytes inside list views, which pyarrow can neither
    cast nor write in slices.
    """
    return _is_plain(plain_type(kind))


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _is_plain(kind.storage_type)
    if types.is_nested(kind):
        return not types.is_union(kind) and all(_is_plain(kind.field(index).type) for index in range(kind.num_fields))
    return not (types.is_string_view(kind) or types.is_binary_view(kind) or types.is_interval(kind))


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a record batch whose columns Arrow can take and filter; dictionaries are kept."""
    if all(plain_type(field.type, dictionaries=True) == field.type for field in batch.schema):
        return batch
    columns = [plain_values(column, dictionaries=True) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def only_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Concatenate record batches of one schema."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
