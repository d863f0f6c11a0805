"""A model with other outputs than the embedding: each output in the contract becomes a column, and is checked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed
from seqembed_testing import Tiny, contract_of, done, seqembed, sequences, write_sequences

DECLARED = [{"name": "negative", "dtype": "float32", "width": 6}, {"name": "norm", "dtype": "float32", "width": None}]
LENGTH = 21  # no golden sequence has it


def with_outputs(bundle: Path, path: Path, nodes: tuple[Any, ...] = (), **changes: Any) -> Path:
    """Write a copy of a bundle that also returns the negative and the norm of the embedding.

    Args:
        bundle: The bundle.
        path: Path of the copy.
        nodes: More nodes of the graph, which may be between ``length`` and the output ``norm``.
        changes: Changes of the contract.
    """
    model = onnx.load(bundle)
    graph, contract = model.graph, contract_of(model)
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "last_axis"))
    squares = helper.make_node("Mul", ["embedding", "embedding"], ["squares"])
    total = helper.make_node("ReduceSum", ["squares", "last_axis"], ["total"], keepdims=0)
    root = helper.make_node("Sqrt", ["total"], ["length" if nodes else "norm"])
    graph.node.extend([helper.make_node("Neg", ["embedding"], ["negative"]), squares, total, root, *nodes])
    graph.output.append(helper.make_tensor_value_info("negative", TensorProto.FLOAT, ["batch", 6]))
    graph.output.append(helper.make_tensor_value_info("norm", TensorProto.FLOAT, ["batch"]))
    for golden in contract["golden"]:
        embedding = np.array(golden["embedding"], np.float32)
        golden["outputs"] = {"negative": (-embedding).tolist(), "norm": float(np.linalg.norm(embedding))}
    contract["outputs"] += DECLARED
    path.write_bytes(sealed(model, json.dumps(contract | changes)))
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_outputs_become_columns(tiny: Tiny, tmp_path: Path, dtype: str) -> None:
    bundle = with_outputs(tiny.bundle, tmp_path / "more.onnx")
    data = write_sequences(tmp_path / "in.parquet", sequences(5_000, seed=1))
    for name, model in (("out", bundle), ("plain", tiny.bundle)):
        words = ("--keep", "label", "--dtype", dtype, "--on-bad-row", "null")
        done("run", data, "--model", model, "--out", tmp_path / name, *words)
    table, plain = (pq.read_table(tmp_path / name / "in.parquet") for name in ("out", "plain"))
    assert table.column_names == ["id", "label", "embedding", "negative", "norm", "error"]
    assert table.select(plain.column_names).equals(plain)
    number = pa.float16() if dtype == "float16" else pa.float32()
    assert table.schema.field("negative").type == table.schema.field("embedding").type
    assert table.schema.field("negative").type.value_type == number
    assert table.schema.field("norm").type == pa.float32()
    is_null = table["embedding"].is_null()
    assert 0 < sum(is_null.to_pylist()) < len(table)
    assert table["negative"].is_null().equals(is_null)
    assert table["norm"].is_null().equals(is_null)
    found = table.filter(table["embedding"].is_valid()).to_pydict()
    vectors = np.array(found["embedding"], np.float32)
    np.testing.assert_array_equal(np.array(found["negative"], np.float32), -vectors)
    np.testing.assert_allclose(
        found["norm"], np.linalg.norm(vectors, axis=1), rtol=1e-5 if dtype == "float32" else 1e-3
    )
    columns = pq.ParquetFile(tmp_path / "out" / "in.parquet").metadata.row_group(0)
    codecs = {columns.column(i).path_in_schema: columns.column(i).compression for i in range(columns.num_columns)}
    assert codecs["negative.list.element"] == codecs["embedding.list.element"] == "UNCOMPRESSED"


def test_an_output_that_is_not_finite_makes_the_row_bad(tiny: Tiny, tmp_path: Path) -> None:
    constants = {"bad_length": np.array([LENGTH], np.int32), "bad_value": np.array([np.inf], np.float32)}
    values = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(a)) for n, a in constants.items()]
    equal = helper.make_node("Equal", ["lengths", "bad_length"], ["is_bad"])
    chosen = helper.make_node("Where", ["is_bad", "bad_value", "length"], ["norm"])
    bundle = with_outputs(tiny.bundle, tmp_path / "bad.onnx", (*values, equal, chosen))
    columns = sequences(30, seed=3, shortest=1)
    columns["x"][4], columns["y"][4] = [1.0] * LENGTH, [1.0] * LENGTH
    data = write_sequences(tmp_path / "in.parquet", columns)
    words = ("run", data, "--model", bundle, "--out", tmp_path / "out", "--on-bad-row")
    assert "row 4 (id 's4'): the model returned a vector that is not finite" in seqembed(*words, "fail").output
    done(*words, "null")
    table = pq.read_table(tmp_path / "out" / "in.parquet")
    for name in ("embedding", "negative", "norm"):
        assert table[name].is_null().to_pylist() == [row == 4 for row in range(30)]


def test_the_contract_declares_what_the_graph_returns_and_golden_sequences_hold(tiny: Tiny, tmp_path: Path) -> None:
    path = with_outputs(tiny.bundle, tmp_path / "more.onnx")
    encoder = Encoder.open(path)
    assert [output.name for output in encoder.contract.outputs] == ["embedding", "negative", "norm"]
    assert encoder.replay_golden() < 1e-5
    again = ModelContract.from_json(encoder.contract.to_json(), "again")
    assert again.outputs == encoder.contract.outputs
    assert json.loads(again.to_json()) == json.loads(encoder.contract.to_json())
    said = done("inspect", path).output
    assert "negative float32 (batch, 6)" in said
    assert "norm float32 (batch)" in said
    arrays = encoder.run(np.zeros((2, 5, 2), np.float32), np.array([5, 3], np.int32))
    assert {name: array.shape for name, array in arrays.items()} == {
        "embedding": (2, 6),
        "negative": (2, 6),
        "norm": (2,),
    }


def golden_of(bundle: Path, **outputs: Any) -> list[dict[str, Any]]:
    golden = contract_of(onnx.load(bundle))["golden"]
    embeddings = [np.array(one["embedding"]) for one in golden]
    known = [{"negative": (-one).tolist(), "norm": float(np.linalg.norm(one))} for one in embeddings]
    return [one | {"outputs": seen | outputs} for one, seen in zip(golden, known, strict=True)]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([], "unexpected inputs or outputs ['negative', 'norm']"),
        ([DECLARED[0], DECLARED[1] | {"width": 3}], "'norm' is"),
        ([DECLARED[0], DECLARED[1] | {"dtype": "float64"}], "dtype of output 'norm'"),
        ([DECLARED[0], DECLARED[1], DECLARED[1]], "unique names"),
        ([DECLARED[0], DECLARED[1] | {"width": 0}], "width of output 'norm'"),
        ([*DECLARED, {"name": "more", "dtype": "float32", "width": 2}], "outputs: found"),
    ],
)
def test_a_contract_that_contradicts_its_graph_is_refused(
    tiny: Tiny, tmp_path: Path, declared: list[dict[str, Any]], message: str
) -> None:
    embedding = {"name": "embedding", "dtype": "float32", "width": 6}
    golden = golden_of(tiny.bundle)
    if not declared:
        golden = contract_of(onnx.load(tiny.bundle))["golden"]
    if any(output["width"] == 3 for output in declared):
        golden = golden_of(tiny.bundle, norm=[1.0, 1.0, 1.0])
    changes = {"outputs": [embedding, *declared], "golden": golden}
    path = with_outputs(tiny.bundle, tmp_path / "invalid.onnx", **changes)
    with pytest.raises(BundleError) as refused:
        Encoder.open(path)
    assert message in str(refused.value)


def test_a_golden_output_that_differs_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = with_outputs(tiny.bundle, tmp_path / "invalid.onnx", golden=golden_of(tiny.bundle, norm=9.0))
    with pytest.raises(BundleError, match="the golden sequences get other vectors on this host"):
        Encoder.open(path).replay_golden()


def test_a_column_with_the_name_of_an_output_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    bundle = with_outputs(tiny.bundle, tmp_path / "more.onnx")
    data = write_sequences(tmp_path / "in.parquet", sequences(9, seed=1) | {"norm": list(range(9))})
    refused = seqembed("run", data, "--model", bundle, "--out", tmp_path / "out", "--keep", "norm")
    assert (refused.exit_code, "the output adds a column 'norm'" in refused.output) == (3, True)


def test_contracts_without_a_list_of_outputs_declare_the_embedding(tiny: Tiny, tmp_path: Path) -> None:
    model = onnx.load(tiny.bundle)
    contract = contract_of(model)
    assert contract.pop("outputs") == [{"name": "embedding", "dtype": "float32", "width": 6}]
    (tmp_path / "old.onnx").write_bytes(sealed(model, json.dumps(contract)))
    encoder = Encoder.open(tmp_path / "old.onnx")
    assert encoder.contract.outputs == Encoder.open(tiny.bundle).contract.outputs
