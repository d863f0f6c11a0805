"""float16 vectors: the same rows, rounded, with an error for numbers out of range."""

import json
from pathlib import Path

import duckdb
import numpy as np
import onnx
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.runner.bundle.seal import sealed
from seqembed_testing import Tiny, contract_of, done, embeddings, seqembed, sequences, write_sequences


def test_float16_vectors_are_the_float32_ones_rounded_in_every_reader(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(200, seed=3))
    for dtype in ("float32", "float16"):
        done("run", data, "--model", tiny.bundle, "--out", tmp_path / dtype, "--dtype", dtype)
    path = tmp_path / "float16" / "in.parquet"
    assert pq.read_schema(path).field("embedding").type == pa.list_(pa.float16(), 6)
    floats, halves = (embeddings([tmp_path / dtype / "in.parquet"]) for dtype in ("float32", "float16"))
    assert list(floats) == list(halves)
    for name, vector in floats.items():
        if vector is None:
            assert halves[name] is None
        else:
            np.testing.assert_array_equal(halves[name], vector.astype(np.float16).astype(np.float32))
    first = [float(x) for x in next(vector for vector in halves.values() if vector is not None)]
    found = duckdb.sql(f"select embedding::float[] from '{path}' where embedding is not null limit 1").fetchall()
    assert list(found[0][0]) == first
    assert pl.read_parquet(path)["embedding"].drop_nulls()[0].to_list() == first
    assert list(pd.read_parquet(path)["embedding"].dropna().iloc[0]) == first


def test_another_dtype_is_another_output(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=3))
    command = ("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")
    done(*command)
    assert seqembed(*command, "--dtype", "float16").exit_code == 6
    done(*command, "--dtype", "float16", "--overwrite")
    assert "1 up to date" in done(*command, "--dtype", "float16").output


def scaled(bundle: Path, path: Path, factor: float) -> Path:
    """Write a copy of a bundle with vectors multiplied by `factor`, and a matching contract."""
    model = onnx.load(bundle)
    (maker,) = [node for node in model.graph.node if "embedding" in node.output]
    maker.output[0] = "soft"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["soft", "factor"], ["embedding"]))
    contract = contract_of(model)
    for golden in contract["golden"]:
        golden["embedding"] = [float(np.float32(x) * np.float32(factor)) for x in golden["embedding"]]
    path.write_bytes(sealed(model, json.dumps(contract)))
    return path


def test_numbers_beyond_float16_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    model = scaled(tiny.bundle, tmp_path / "loud.onnx", 1e7)
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=3))
    refused = seqembed("run", data, "--model", model, "--out", tmp_path / "out", "--dtype", "float16")
    assert refused.exit_code == 2
    for words in ("in.parquet", "float16 ends at 65,504", "--dtype float32"):
        assert words in refused.output
    assert not (tmp_path / "out" / "in.parquet").exists()
    done("run", data, "--model", model, "--out", tmp_path / "out", "--overwrite")
