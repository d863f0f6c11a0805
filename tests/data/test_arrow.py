"""Conversion to types that Arrow can take, filter and concatenate keeps the values, at any depth and offset."""

import pyarrow as pa
import pytest

from seqembed.data.decode.arrow import plain_type, plain_values

VIEW, WORDS = pa.string_view(), pa.dictionary(pa.int32(), pa.string())
ARRAYS = {
    "view": pa.array(["a", None, "long enough to be no inline view"], VIEW),
    "bytes": pa.array([b"\xff", None, b""], pa.binary_view()),
    "lists": pa.array([["a", None], None, []], pa.list_(VIEW)),
    "large lists": pa.array([["a", None], None, []], pa.large_list(VIEW)),
    "fixed lists": pa.array([["a"], None, ["b"]], pa.list_(VIEW, 1)),
    "maps": pa.array([[("a", "b")], None, []], pa.map_(VIEW, VIEW)),
    "structs": pa.array(
        [{"a": "x", "b": [None, None]}, None, {"a": None, "b": None}], pa.struct({"a": VIEW, "b": pa.list_(pa.null())})
    ),
    "list of structs": pa.array(
        [[{"a": "x", "b": [None, None]}, None], None, [{"a": None, "b": []}]],
        pa.list_(pa.struct({"a": VIEW, "b": pa.list_(pa.null())})),
    ),
    "list views": pa.array(
        [{"a": "x", "b": [1, 2]}, None, {"a": "y", "b": None}], pa.struct({"a": VIEW, "b": pa.list_view(pa.int64())})
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_plain_values_have_equal_content(name: str) -> None:
    for start in range(3):
        values = ARRAYS[name][start:]
        plain = plain_values(values)
        plain.validate(full=True)
        assert plain.type == plain_type(values.type)
        assert plain.to_pylist() == values.to_pylist()
        assert plain.take(pa.array([len(plain) - 1, 0])).to_pylist() == [values.to_pylist()[-1], values.to_pylist()[0]]


def test_dictionaries_are_kept_if_allowed() -> None:
    words = pa.array(["u", "v"]).dictionary_encode()
    values = pa.StructArray.from_arrays([words, pa.array(["x", "y"], VIEW)], ["words", "view"])
    kept = plain_values(values, dictionaries=True)
    assert kept.type == pa.struct({"words": WORDS, "view": pa.large_string()})
    decoded = plain_values(kept)
    assert decoded.type == pa.struct({"words": pa.string(), "view": pa.large_string()})
    assert kept.to_pylist() == decoded.to_pylist() == values.to_pylist()
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), words)
    assert plain_values(lists).type == pa.list_(pa.string())
    assert plain_values(lists[1:]).to_pylist() == [["v"]]
