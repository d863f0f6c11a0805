"""Columns of every type that Parquet holds, for tests of ids and kept columns."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa


def _uuid_structs(rows: list[dict[str, bytes] | None]) -> pa.Array:
    return pa.array(rows, pa.struct({"u": pa.binary(16)})).cast(pa.struct({"u": pa.uuid()}))


def columns(num: int = 3) -> dict[str, pa.Array]:
    """Return a column of `num` different values for each type, by name; text and bytes of some are not UTF-8."""

    def of(kind: pa.DataType, values: list[Any]) -> pa.Array:
        return pa.array(values[:num], kind)

    text, raw = ["a", "ü", "", "dd", "e", "f"], [b"\xff\x00", b"M\xfc", b"ab", b"\x80\x81", b"zz", b"yy"]
    numbers = [1, 2, 3, 4, 5, 6]
    decimals = [Decimal(n) / 2 for n in numbers]
    lists = [[1, None], [1], [], [2, 2], [3], [None]]
    structs = [{"$oid": name, "n": n} for name, n in zip(text, [None, *numbers], strict=False)]
    return {
        "int8": of(pa.int8(), numbers),
        "uint64": of(pa.uint64(), [2**64 - n for n in numbers]),
        "float16": of(pa.float16(), [np.float16(n) for n in numbers]),
        "float32": of(pa.float32(), [n / 3 for n in numbers]),
        "float64": of(pa.float64(), [n / 3 for n in numbers]),
        "string": of(pa.string(), text),
        "large_string": of(pa.large_string(), text),
        "string_view": of(pa.string_view(), text),
        "latin_1": of(pa.binary(), raw).view(pa.string()),
        "latin_1_view": of(pa.binary_view(), raw).view(pa.string_view()),
        "binary": of(pa.binary(), raw),
        "large_binary": of(pa.large_binary(), raw),
        "binary_view": of(pa.binary_view(), raw),
        "fixed_size_binary": of(pa.binary(2), raw),
        "uuid": of(pa.uuid(), [bytes([n]) * 16 for n in numbers]),
        "json": of(pa.json_(), [f'{{"a": {n}}}' for n in numbers]),
        "json_view": pa.ExtensionArray.from_storage(pa.json_(pa.string_view()), of(pa.string_view(), text)),
        "decimal32": of(pa.decimal32(7, 1), decimals),
        "decimal128": of(pa.decimal128(20, 1), decimals),
        "decimal256": of(pa.decimal256(60, 1), decimals),
        "date32": of(pa.date32(), numbers),
        "date64": of(pa.date64(), [n * 86_400_000 for n in numbers]),
        "time32": of(pa.time32("ms"), numbers),
        "time64": of(pa.time64("ns"), numbers),
        "timestamp_s": of(pa.timestamp("s"), numbers),
        "timestamp_ns": of(pa.timestamp("ns"), numbers),
        "timestamp_beyond": of(pa.timestamp("us"), [2**62 + n for n in numbers]),
        "timestamp_zone": of(pa.timestamp("us", "Europe/Berlin"), numbers),
        "timestamp_unknown_zone": of(pa.timestamp("us", "Nowhere/X"), numbers),
        "duration": of(pa.duration("us"), numbers),
        "struct": of(None, structs),
        "struct_of_views": of(pa.struct({"$oid": pa.string_view(), "n": pa.int64()}), structs),
        "struct_of_uuid": _uuid_structs([{"u": bytes([n]) * 16} for n in numbers])[:num],
        "list": of(pa.list_(pa.int64()), lists),
        "large_list": of(pa.large_list(pa.int64()), lists),
        "list_of_views": of(pa.list_(pa.string_view()), [[name] for name in text]),
        "list_view": of(pa.list_view(pa.int64()), lists),
        "fixed_size_list": of(pa.list_(pa.int64(), 2), [[n, -n] for n in numbers]),
        "list_of_structs": of(None, [[row, None] for row in structs]),
        "map": of(pa.map_(pa.string(), pa.int64()), [[(name, None), ("k", 1)] for name in text]),
        "map_of_views": of(pa.map_(pa.string_view(), pa.binary_view()), [[("k", value)] for value in raw]),
        "dictionary": of(pa.string(), text).dictionary_encode(),
        "large_dictionary": of(pa.large_string(), text).dictionary_encode(),
        "dictionary_of_bytes": of(pa.binary(), raw).dictionary_encode(),
        "dictionary_of_numbers": of(pa.int64(), numbers).dictionary_encode(),
        "dictionary_of_decimals": of(pa.decimal128(20, 1), decimals).dictionary_encode(),
        "list_of_dictionaries": pa.ListArray.from_arrays(
            np.arange(num + 1, dtype=np.int32), of(pa.string(), text).dictionary_encode()
        ),
    }
