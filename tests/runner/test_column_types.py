"""Ids and kept columns of every Parquet type, in both layouts, are written unchanged."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from column_types import columns

from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny, done, events_bundle, seqembed, with_contract

INF = float("inf")
IDS = {name: column for name, column in columns().items() if name != "bool"}
X = [[1.0, 2.0], [3.0], [INF]]


def nested(kept: dict[str, pa.Array]) -> pa.Table:
    """Return three sequences, the last of them bad."""
    return pa.table({**kept, "x": X, "y": X})


def events(kept: dict[str, pa.Array]) -> pa.Table:
    """Return the same sequences as events."""
    rows = pa.array(np.repeat([0, 1, 2], [2, 1, 1]))
    # Through lists, since Arrow's take does not support views.
    flat = {name: pa.concat_arrays([column[i : i + 1] for i in rows.to_pylist()]) for name, column in kept.items()}
    return pa.table({**flat, "x": sum(X, []), "y": sum(X, [])})


LAYOUTS = {"nested": nested, "events": events}


def stored(column: pa.ChunkedArray) -> list[object]:
    """Return values to compare, with text as bytes, since it may not be UTF-8."""
    return [_stored(value) for value in column]


def _stored(value: pa.Scalar) -> object:
    kind = value.type
    if not value.is_valid:
        return None
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        return _stored(value.value)
    if pa.types.is_map(kind) or pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        return [_stored(element) for element in value.values]
    if pa.types.is_struct(kind):
        return {kind.field(index).name: _stored(value[index]) for index in range(kind.num_fields)}
    if hasattr(value, "as_buffer"):
        return value.as_buffer().to_pybytes()
    return value.value if pa.types.is_temporal(kind) else value.as_py()


@pytest.fixture
def bundle(tiny: Tiny, tmp_path: Path, layout: str) -> Path:
    return tiny.bundle if layout == "nested" else events_bundle(tiny.bundle, tmp_path / "events.onnx")


def run_both_ways(data: Path, bundle: Path, root: Path) -> None:
    done("run", data, "--model", bundle, "--out", root / "null", "--on-bad-row", "null")
    done("run", data, "--model", bundle, "--out", root / "aside", "--on-bad-row", "quarantine")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_of_every_type(tmp_path: Path, bundle: Path, layout: str) -> None:
    (tmp_path / "in").mkdir()
    for name, column in IDS.items():
        data = tmp_path / "in" / f"{name}.parquet"
        pq.write_table(LAYOUTS[layout]({"id": column}), data)
        if layout == "events":  # one file at a time, since equal ids must not have events in two files of a run
            run_both_ways(data, bundle, tmp_path / name)
    if layout == "nested":
        run_both_ways(tmp_path / "in", bundle, tmp_path)
    for name in IDS:
        root = tmp_path if layout == "nested" else tmp_path / name
        table = pq.read_table(root / "null" / f"{name}.parquet")
        expected = stored(pq.read_table(tmp_path / "in" / f"{name}.parquet")["id"])
        expected = expected if layout == "nested" else [expected[0], *expected[2:]]
        assert stored(table["id"]) == expected, name
        assert table["embedding"].is_null().to_pylist() == [False, False, True], name
        good = pq.read_table(root / "aside" / f"{name}.parquet")
        assert stored(good["id"]) == expected[:2], name
        bad = pq.read_table(root / "aside" / "_quarantine" / f"{name}.parquet")
        assert len(bad) == 1
        assert bad["id"][0].is_valid
        raw = pa.chunked_array([chunk.field("id") for chunk in bad["raw"].chunks])
        assert stored(raw) == [expected[2] if layout == "nested" else [expected[2]]], name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bad_row_is_refused_by_its_id_whatever_the_type(tmp_path: Path, bundle: Path, layout: str) -> None:
    expected = {"latin_1": "ab", "uuid": "03030303-0303-0303-0303-030303030303", "struct": "{$oid: , n: 2}"}
    for name, text in expected.items():
        pq.write_table(LAYOUTS[layout]({"id": IDS[name]}), tmp_path / "in.parquet")
        refused = seqembed("run", tmp_path / "in.parquet", "--model", bundle, "--out", tmp_path / name)
        assert refused.exit_code == 3, refused.output
        assert f"(id '{text}')" in refused.output


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kept_columns_of_every_type(tmp_path: Path, bundle: Path, layout: str) -> None:
    kept = columns()
    pq.write_table(LAYOUTS[layout]({"id": pa.array(["a", "b", "c"]), **kept}), tmp_path / "in.parquet")
    words = ("run", tmp_path / "in.parquet", "--model", bundle, "--keep", ",".join(kept))
    done(*words, "--out", tmp_path / "null", "--on-bad-row", "null")
    done(*words, "--out", tmp_path / "aside", "--on-bad-row", "quarantine")
    given = pq.read_table(tmp_path / "in.parquet")
    rows = given if layout == "nested" else pa.concat_tables([given.slice(0, 1), given.slice(2)])
    out, aside = (pq.read_table(tmp_path / name / "in.parquet") for name in ("null", "aside"))
    for name in kept:
        assert stored(out[name]) == stored(rows[name]), name
        assert stored(aside[name]) == stored(rows[name])[:2], name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ids", [pa.nulls(3), pa.array([float("nan")] * 3, pa.float32())], ids=["null", "nan"])
def test_without_an_id_every_row_is_bad(tmp_path: Path, bundle: Path, layout: str, ids: pa.Array) -> None:
    pq.write_table(LAYOUTS[layout]({"id": ids}), tmp_path / "in.parquet")
    words = ("run", tmp_path / "in.parquet", "--model", bundle, "--out")
    refused = seqembed(*words, tmp_path / "fail")
    assert refused.exit_code == 3
    assert re.search(r"row 0 \(id |rows 0 to \d+ \(id ", refused.output), refused.output
    done(*words, tmp_path / "null", "--on-bad-row", "null")
    out = pq.read_table(tmp_path / "null" / "in.parquet")
    assert out["embedding"].null_count == len(out) == (3 if layout == "nested" else 1)
    assert all("the id is " in reason for reason in out["error"].to_pylist())
    done(*words, tmp_path / "aside", "--on-bad-row", "quarantine")
    assert pq.read_metadata(tmp_path / "aside" / "in.parquet").num_rows == 0


@pytest.mark.parametrize("kept", [False, True])
def test_views_inside_views_of_lists_are_refused_by_name(tiny: Tiny, tmp_path: Path, kept: bool) -> None:
    column = pa.array([["a"], ["b"], []], pa.list_view(pa.string_view()))
    pq.write_table(nested({"id": IDS["string"], "k": column} if kept else {"id": column}), tmp_path / "in.parquet")
    words = ["--keep", "k"] if kept else []
    refused = seqembed("run", tmp_path / "in.parquet", "--model", tiny.bundle, "--out", tmp_path / "out", *words)
    assert refused.exit_code == 3
    assert f"column '{'k' if kept else 'id'}' is list_view<" in refused.output
    assert "Cast views inside it" in refused.output


@pytest.mark.parametrize("name", ["embedding", "error"])
def test_an_id_with_the_name_of_an_output_column_is_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    schema = Encoder.open(tiny.bundle).contract.schema.to_json()
    bundle = with_contract(tiny.bundle, tmp_path / "m.onnx", schema=schema | {"id": name})
    pq.write_table(nested({name: IDS["string"]}), tmp_path / "in.parquet")
    words = ("run", tmp_path / "in.parquet", "--model", bundle, "--out", tmp_path / "out")
    refused = seqembed(*words, "--on-bad-row", "null")
    assert refused.exit_code == 3
    assert f"in.parquet: column '{name}' is the id column; the output adds a column '{name}'" in refused.output
    assert not list((tmp_path / "out").rglob("*.parquet"))
    if name == "error":
        done(*words, "--on-bad-row", "quarantine")


def test_scattered_events_are_named_whatever_their_id(tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "m.onnx")
    for name, text in {"latin_1": r"\xff\x00", "uuid": "01010101-0101-0101-0101-010101010101"}.items():
        ids = pa.concat_arrays([IDS[name][:2], IDS[name][:1]])
        pq.write_table(pa.table({"id": ids, "x": [1.0] * 3, "y": [1.0] * 3}), tmp_path / "in.parquet")
        refused = seqembed("run", tmp_path / "in.parquet", "--model", bundle, "--out", tmp_path / "out")
        assert refused.exit_code == 3, refused.output
        assert f"row 2: the events of id = '{text}' are not contiguous" in refused.output.replace("\n", " ")
