"""Every column is reported as used, or unused with a reason, and hundreds of columns stay readable."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.hints import FewValues, integer_features, merged_by_float32
from seqembed.data.schema.selection import Selection, select

STRUCTS = [[{"x": 1.0, "note": [1]}]]


def write(tmp_path: Path, **columns: object):  # noqa: ANN201
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    (file,) = resolve_inputs([str(tmp_path / "in.parquet")])
    return file


def reasons(file, schema, **options: object) -> dict[str, str]:  # noqa: ANN001
    arrow_schema = file.open().schema_arrow
    found = select(arrow_schema, schema, **options)
    taken = {*schema.feature_columns, *(name for name, _ in found.left_out)}
    assert {name.split(".")[0] for name in taken} == set(arrow_schema.names), "every column is accounted for"
    return dict(found.left_out)


def test_unused_nested_columns_have_a_reason(tmp_path: Path) -> None:
    days = pa.array([[None]], pa.list_(pa.date32()))
    maps = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    file = write(
        tmp_path,
        id=["a"],
        label=["u"],
        age=[3],
        x=[[1.0]],
        s=STRUCTS,
        words=[["a"]],
        days=days,
        m=maps,
        b=[b"x"],
        n=[[[["a"]]]],
    )
    schema = detect_schema([file], exclude=["label"], categories=False)
    assert schema.feature_names == ("x", "s.x")
    found = reasons(file, schema, label="label", categories=False)
    assert found == {
        "id": "the id",
        "label": "the label",
        "age": "one value per row, not per step",
        "s.note": "a list of list, neither numbers nor text",
        "words": "text; this model uses numbers",
        "days": "a list of date32[day], neither numbers nor text",
        "m": "map in each row, not per step",
        "b": "binary in each row, not per step",
        "n": "a list of list, neither numbers nor text",
    }
    named = reasons(file, detect_schema([file], features=["x"]), asked=["x"])
    assert set(named.values()) == {"the id", "not named in --features"}


def test_unused_event_columns_have_a_reason(tmp_path: Path) -> None:
    file = write(
        tmp_path, id=["a"], at=[1], x=[1.0], tags=[["u"]], day=pa.array([0], pa.date32()), __index_level_0__=[7]
    )
    schema = detect_schema([file], time_column="at", layout="events")
    assert reasons(file, schema) == {
        "id": "the id",
        "at": "the time",
        "tags": "a list in each row, which is one event",
        "day": "date32[day], neither numbers nor text",
        "__index_level_0__": "an index of pandas",
    }


def test_names_are_shortened_to_runs_and_lines_stay_short() -> None:
    numbers = (
        *(f"f{k}" for k in range(500)),
        "temp",
        *(f"s{k:02}" for k in range(8, 12)),
        *(f"word {k}x" for k in range(90)),
    )
    lines = Selection(numbers, (), (("a", "why"),)).lines()
    assert lines[0].startswith("595 features: f0 … f499, temp, s08 … s11, word 0x,")
    assert max(map(len, lines)) <= 100 and len(lines) < 12
    assert "and 53 more" in " ".join(lines)
    assert lines[-2:] == ["1 column left out:", "  why: a"]


def test_values_that_float32_merges_are_found(tmp_path: Path) -> None:
    num = 3000
    start = 1_764_000_000_000
    file = write(
        tmp_path,
        id=[0] * num,
        at_ms=[start + 7 * k for k in range(num)],
        at_us=[float(start * 1000 + k) for k in range(num)],
        cents=pa.array([f"{10**9 + k % 50}.01" for k in range(num)]).cast(pa.decimal128(20, 2)),
        constant=[start] * num,
        noise=[k / 7.0 for k in range(num)],
        count=list(range(num)),
        code=[k % 5 for k in range(num)],
    )
    schema = detect_schema([file], layout="events")
    assert merged_by_float32(file, schema).keys() == {"at_ms", "at_us", "cents"}
    indices = integer_features(file.open().schema_arrow, schema)
    assert [schema.feature_names[index] for index in indices] == ["at_ms", "constant", "count", "code"]


def test_few_values_stops_at_many() -> None:
    import numpy as np

    few = FewValues([0, 1, 2])
    for start in range(0, 100, 10):
        steps = np.arange(start, start + 10, dtype=np.float32)
        few.update(np.stack([steps % 4, steps, steps % 2], axis=1))
    assert few.codes() == {0: 4}
