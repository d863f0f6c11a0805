"""Carry values of every type through DuckDB without a change: as integers, floats, decimals and bytes.

DuckDB has its own types: a timestamp with a zone has microseconds, text is valid UTF-8, and there are no dictionaries
or extension types. So DuckDB never sees those: times travel as the integers that Arrow stores and text as bytes, and
they get their type back afterwards. What cannot travel is refused before the first row.
"""

import pyarrow as pa

from seqembed.data.decode.arrow import is_string, plain_type, plain_values

_MAX_DECIMAL_DIGITS = 38  # of DuckDB's decimals


class NotCarriedError(Exception):
    """A type whose values DuckDB would change."""


def carrier_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values of `kind` travel.

    Raises:
        NotCarriedError: There is none.
    """
    types, kind = pa.types, _storage(plain_type(kind))
    if types.is_null(kind):
        return pa.int8()
    if types.is_float16(kind):
        return pa.float32()
    if is_string(kind) or _is_bytes(kind):
        return pa.large_binary()
    if types.is_decimal(kind):
        fits = kind.precision <= _MAX_DECIMAL_DIGITS and 0 <= kind.scale <= kind.precision
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.large_binary()
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return kind
    if types.is_temporal(kind) and not types.is_interval(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if _travels_as_it_is(kind):
        return kind
    raise NotCarriedError(str(kind))


def to_carrier(values: pa.Array) -> pa.Array:
    """Return values of any type in the type that `carrier_type` returns."""
    target = carrier_type(values.type)
    values = plain_values(values)
    while isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = values.type
    if kind == target:
        return values
    if pa.types.is_null(kind):
        return pa.nulls(len(values), target)
    if pa.types.is_temporal(kind):
        return values.view(target)
    if pa.types.is_decimal(kind) and pa.types.is_large_binary(target):
        return values.view(pa.binary(kind.bit_width // 8)).cast(pa.binary()).cast(target)
    if pa.types.is_fixed_size_binary(kind):
        return values.cast(pa.binary()).cast(target)
    return values.cast(target)


def from_carrier(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values that travelled as an array of their type `kind`; the inverse of `to_carrier`."""
    types = pa.types
    if types.is_dictionary(kind):
        found = from_carrier(values, kind.value_type).dictionary_encode()
        indices = found.indices.cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, found.dictionary, ordered=kind.ordered)
    if types.is_run_end_encoded(kind):
        return from_carrier(values, kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, from_carrier(values, kind.storage_type))
    if types.is_null(kind):
        return pa.nulls(len(values))
    if types.is_temporal(kind):
        return values.view(kind)
    if types.is_decimal(kind) and types.is_large_binary(values.type):
        return values.cast(pa.binary()).cast(pa.binary(kind.bit_width // 8)).view(kind)
    if types.is_fixed_size_binary(kind):
        return values.cast(pa.binary()).cast(kind)
    if is_string(kind):
        return values.cast(kind, safe=False)  # bytes that are not UTF-8 stay as they are
    return values if values.type == kind else values.cast(kind)


def _storage(kind: pa.DataType) -> pa.DataType:
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _travels_as_it_is(kind: pa.DataType) -> bool:
    """Return whether DuckDB returns structs and lists of this type with the same values, up to a cast."""
    types = pa.types
    if types.is_struct(kind):
        names = [kind.field(index).name.lower() for index in range(kind.num_fields)]
        distinct = len(set(names)) == len(names) > 0 and all(names)
        return distinct and all(_travels_as_it_is(kind.field(index).type) for index in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind):
        return _travels_as_it_is(kind.value_type)
    exact = types.is_boolean(kind) or types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind)
    return bool(exact or is_string(kind) or types.is_date32(kind))
