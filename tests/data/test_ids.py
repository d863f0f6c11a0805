"""Ids of every Arrow type: equality, nulls, text, and equal hashes of equal ids."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import id_text, is_null_id, same_as_previous


def ids_of(kind: pa.DataType, one: Any, other: Any) -> pa.Array:
    """Return one, one, null, null, other, one."""
    return pa.array([one, one, None, None, other, one], kind)


def dictionary(values: pa.Array) -> pa.Array:
    """Return the ids as a dictionary, one of whose entries is null."""
    return pa.DictionaryArray.from_arrays(pa.array([1, 1, 0, None, 2, 1]), values)


NAN = float("nan")
LATIN_1 = [b"M\xfcller", b"M\xfcller", None, None, b"Meier", b"M\xfcller"]
IDS: dict[str, tuple[pa.Array, str]] = {
    "bool": (ids_of(pa.bool_(), True, False), "True"),
    "int8": (ids_of(pa.int8(), -1, 1), "-1"),
    "uint64": (ids_of(pa.uint64(), 2**63, 1), str(2**63)),
    "float16": (pa.array(np.array([1, 1, NAN, NAN, 2, 1], np.float16)), "1.0"),
    "float": (pa.array([1.5, 1.5, None, NAN, -0.0, 1.5], pa.float32()), "1.5"),
    "string": (ids_of(pa.string(), "a", "b"), "a"),
    "large_string": (ids_of(pa.large_string(), "a", "b"), "a"),
    "string_view": (ids_of(pa.string_view(), "a", "b"), "a"),
    "string, Latin-1": (pa.array(LATIN_1).view(pa.string()), "M\\xfcller"),
    "string_view, Latin-1": (pa.array(LATIN_1, pa.binary_view()).view(pa.string_view()), "M\\xfcller"),
    "binary": (ids_of(pa.binary(), b"\xff", b"a"), r"b'\xff'"),
    "large_binary": (ids_of(pa.large_binary(), b"\xff", b"a"), r"b'\xff'"),
    "binary_view": (ids_of(pa.binary_view(), b"\xff", b"a"), r"b'\xff'"),
    "fixed_size_binary": (ids_of(pa.binary(2), b"\xff\0", b"aa"), r"b'\xff\x00'"),
    "uuid": (ids_of(pa.uuid(), b"\xff" * 16, b"a" * 16), "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "json": (ids_of(pa.json_(), '{"a": 1}', "1"), '{"a": 1}'),
    "decimal": (ids_of(pa.decimal128(7, 2), Decimal("1.5"), Decimal("2")), "1.50"),
    "decimal256": (ids_of(pa.decimal256(50, 2), Decimal("1.5"), Decimal("2")), "1.50"),
    "date32": (ids_of(pa.date32(), 0, 1), "1970-01-01"),
    "date64": (ids_of(pa.date64(), 0, 86_400_000), "1970-01-01"),
    "time": (ids_of(pa.time64("ns"), 1, 2), "00:00:00.000000001"),
    "timestamp": (ids_of(pa.timestamp("ns"), 1, 2), "1970-01-01 00:00:00.000000001"),
    "timestamp beyond years": (ids_of(pa.timestamp("us"), 2**62, 2), f"<value out of range: {2**62}>"),
    "timestamp, zone": (ids_of(pa.timestamp("s", "Europe/Berlin"), 0, 2), "1970-01-01 01:00:00+0100"),
    "timestamp, unknown zone": (ids_of(pa.timestamp("s", "Nowhere/X"), 0, 2), "1970-01-01 00:00:00Z"),
    "duration": (ids_of(pa.duration("s"), 1, 2), "1"),
    "struct": (pa.array([{"$oid": "a"}] * 2 + [None] * 2 + [{"$oid": None}, {"$oid": "a"}]), "{$oid: a}"),
    "struct of uuid": (
        ids_of(pa.struct({"u": pa.binary(16)}), {"u": b"\xff" * 16}, {"u": b"a" * 16}).cast(
            pa.struct({"u": pa.uuid()})
        ),
        "{u: ffffffff-ffff-ffff-ffff-ffffffffffff}",
    ),
    "list": (ids_of(pa.list_(pa.int64()), [1, None], [1]), "[1, null]"),
    "large_list of views": (ids_of(pa.large_list(pa.string_view()), ["a", "b"], ["ab"]), "[a, b]"),
    "fixed_size_list": (ids_of(pa.list_(pa.int64(), 2), [1, 2], [2, 1]), "[1, 2]"),
    "list_view": (ids_of(pa.list_view(pa.int64()), [1, 2], []), "[1, 2]"),
    "list of structs": (pa.array([[{"a": [b"x"]}]] * 2 + [None] * 2 + [[{"a": []}], [{"a": [b"x"]}]]), "[{a: [b'x']}]"),
    "map": (ids_of(pa.map_(pa.string(), pa.int64()), [("a", 1)], [("a", 2)]), "{a: 1}"),
    "dictionary": (dictionary(pa.array([None, "a", "b"])), "a"),
    "dictionary of views": (dictionary(pa.array([None, "a", "b"], pa.string_view())), "a"),
    "dictionary of decimals": (dictionary(pa.array([None, Decimal("1.5"), Decimal("2.5")])), "1.5"),
    "run-end encoded": (pc.run_end_encode(ids_of(pa.string(), "a", "b")), "a"),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_type(kind: str) -> None:
    ids, text = IDS[kind]
    same, null = [True, False, True, False, False], [False, False, True, True, False, False]
    hashes = hash_ids(ids)
    for start in range(len(ids)):  # wherever the array begins
        assert same_as_previous(ids[start:]).tolist() == same[start:]
        assert is_null_id(ids[start:]).tolist() == null[start:]
        np.testing.assert_array_equal(hash_ids(ids[start:]), hashes[start:])
    for none in (ids[:0], ids[6:]):
        assert len(same_as_previous(none)) == len(is_null_id(none)) == len(hash_ids(none)) == 0
    assert hashes[0] == hashes[1] == hashes[5]
    assert hashes[2] == hashes[3] == 0
    assert len({*hashes.tolist()}) == 3
    assert id_text(ids[0]) == text
    assert id_text(ids[2]) in (None, "nan")


def test_ids_of_the_null_type_are_null() -> None:
    ids = pa.nulls(3)
    assert same_as_previous(ids).all()
    assert is_null_id(ids).all()
    assert not hash_ids(ids).any()
    assert id_text(ids[0]) is None


def test_equal_ids_have_equal_hashes_in_every_encoding() -> None:
    words = pa.array(["Müller", "Meier", None, ""])
    for other in (
        words.cast(pa.large_string()),
        words.cast(pa.string_view()),
        words.dictionary_encode(),
        pc.run_end_encode(words),
        words.cast(pa.binary()),
        words.cast(pa.binary_view()),
    ):
        np.testing.assert_array_equal(hash_ids(other), hash_ids(words))
    np.testing.assert_array_equal(hash_ids(pa.array([0.0, -0.0])), hash_ids(pa.array([0.0, 0.0])))
    plain = pa.array([{"a": [b"x", None]}, {"a": None}])
    other = pa.array([{"a": [b"x", None]}, {"a": None}], pa.struct({"a": pa.large_list(pa.binary_view())}))
    np.testing.assert_array_equal(hash_ids(plain), hash_ids(other))


def test_structs_and_lists_that_differ_have_different_hashes() -> None:
    structs = pa.array([{"a": a, "b": b} for a in (None, 0, 1) for b in (None, 0, 1)])
    assert len({*hash_ids(structs).tolist()}) == 9
    lists = pa.array([[], [None], [0], [0, 0], [0, 1], [1, 0], [0, None]])
    assert len({*hash_ids(lists).tolist()}) == 7


def test_hashes_never_change() -> None:
    """Validation splits depend on them."""
    ids = [pa.array([1.5]), pa.array([Decimal("1.50")]), pa.array([0], pa.timestamp("us")), pa.array([b"ab"])]
    assert [int(hash_ids(column)[0]) for column in ids] == [
        18155071523749958522,
        12220366666321801838,
        7678543451958477294,
        7792414923492912647,
    ]
