"""Models with anything not allowed are refused before ONNX Runtime reads them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seqembed.data.contract import CONTRACT_KEY, ModelContract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle import onnx_check
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.onnx_check import CheckedModel, check_model
from seqembed.runner.bundle.seal import sealed
from seqembed_testing import Tiny, contract_of, resealed, seqembed

Change = Callable[[onnx.ModelProto], None]


def refused(tiny: Tiny, path: Path) -> str:
    """Run with a bundle that must be refused with exit code 4 and nothing written; return the output on one line."""
    result = seqembed("run", tiny.data, "--model", path, "--out", path.parent / "out")
    assert result.exit_code == 4, result.output
    assert not (path.parent / "out").exists()
    return " ".join(result.output.split())


def outside_tensor(name: str, location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=location)
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["spare"], value=tensor)


def graph_of(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "inner", [], [helper.make_tensor_value_info("spare", 1, [4])])


def external_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside_tensor("spare", "/etc/passwd"))


def external_entries_only(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def external_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(constant(outside_tensor("spare", "../secret")))


def external_sparse(model: onnx.ModelProto) -> None:
    indices = numpy_helper.from_array(np.arange(4))
    sparse = helper.make_sparse_tensor(outside_tensor("spare", "w"), indices, [4])
    model.graph.sparse_initializer.append(sparse)


def external_in_a_nested_graph(model: onnx.ModelProto) -> None:
    inner = graph_of(constant(outside_tensor("spare", "w")))
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))


def nested_graphs_in_a_list(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["values"], ["o"])
    node.attribute.append(helper.make_attribute("bodies", [graph_of(constant(numpy_helper.from_array(np.zeros(4))))]))
    model.graph.node.append(node)


def custom_domain(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Anything", ["values"], ["o"], domain="evil.example"))


def contrib_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("FusedMatMul", ["values"], ["o"], domain="com.microsoft"))


def own_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("here", "F", ["a"], ["b"], [node], model.opset_import))


def training_info(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "sgd"


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 12


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def two_contracts(model: onnx.ModelProto) -> None:
    model.metadata_props.append(model.metadata_props[0])


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NoSuchOperator", ["values"], ["o"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_initializer, "a tensor stored in another file"),
        (external_entries_only, "a tensor stored in another file"),
        (external_attribute, "a tensor stored in another file"),
        (external_sparse, "a tensor stored in another file"),
        (external_in_a_nested_graph, "a graph within a node"),
        (nested_graphs_in_a_list, "a graph within a node"),
        (custom_domain, "the operator evil.example.Anything"),
        (contrib_operator, "the operator com.microsoft.FusedMatMul"),
        (own_function, "functions of its own"),
        (training_info, "training information"),
        (old_opset, "operator set 12; expected 13 or newer"),
        (no_opset, "operator set missing"),
        (future_opset, "not a model ONNX Runtime can load"),
        (two_contracts, "2 contracts"),
        (unknown_operator, "not a model ONNX Runtime can load"),
    ],
)
def test_a_model_with_anything_not_allowed_is_refused(tiny: Tiny, tmp_path: Path, change: Change, message: str) -> None:
    model = onnx.load(tiny.bundle)
    change(model)
    content = model.SerializeToString() if change is two_contracts else resealed(model)
    (tmp_path / "m.onnx").write_bytes(content)
    assert message in refused(tiny, tmp_path / "m.onnx")


@pytest.mark.parametrize("rest", [b"\x0f", b"\x72\x7fab", b"\x72\x02\x0b\x0c", b"\x72\x03\x0a\x01\xff", b"\x70\x01"])
@pytest.mark.parametrize("change", [custom_domain, own_function, no_opset, two_contracts, lambda model: None])
def test_a_damaged_end_is_named_before_anything_not_allowed(tiny: Tiny, change: Change, rest: bytes) -> None:
    model = onnx.load(tiny.bundle)
    change(model)
    with pytest.raises(BundleError, match="memory: not a model: not an ONNX protobuf"):
        check_model(model.SerializeToString() + rest, "memory")


def test_the_operators_of_quantisation_pass(tiny: Tiny) -> None:
    model = onnx.load(tiny.bundle)
    model.graph.node.append(helper.make_node("DynamicQuantizeLSTM", ["values"], ["o"], domain="com.microsoft"))
    model.graph.node.append(helper.make_node("MatMulInteger", ["a", "b"], ["p"]))
    checked = check_model(model.SerializeToString(), "memory")
    assert checked.is_quantised
    assert json.loads(checked.contract)["embedding_dim"] == 6


def test_sizes_are_bounded_before_reading(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(1 << 31)  # a sparse file: no disk space, but two gigabytes if read
    assert "2,147,483,648 bytes; a model has at most 2,147,483,647" in refused(tiny, tmp_path / "huge.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "not a file" in refused(tiny, tmp_path / "pipe.onnx")
    monkeypatch.setattr(onnx_check, "MAX_CONTRACT_BYTES", 1000)
    assert "a contract of" in refused(tiny, Path(shutil.copy(tiny.bundle, tmp_path / "m.onnx")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x08",
        b"\x0b\x0c",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3a\x05ab",
        b"\x38\x01",
    ],
)
def test_bytes_that_are_not_a_message_are_not_a_model(content: bytes) -> None:
    with pytest.raises(BundleError, match="memory: not a model"):
        check_model(content, "memory")


def test_the_reader_finds_what_the_protobuf_library_finds(tiny: Tiny) -> None:
    content = tiny.bundle.read_bytes()
    (entry,) = [entry for entry in onnx.load_from_string(content).metadata_props if entry.key == CONTRACT_KEY]
    assert check_model(content, "memory") == CheckedModel(entry.value, is_quantised=False)


def contract_with(field: str, value: object) -> Callable[[dict], None]:
    """Return a change that sets a dotted field of the contract to `value`; DELETE removes it."""

    def change(contract: dict) -> None:
        *path, last = [int(word) if word.isdigit() else word for word in field.split(".")]
        for word in path:
            contract = contract[word]
        if value is DELETE:
            del contract[last]
        else:
            contract[last] = value

    return change


DELETE = object()
INVALID = [
    ("schema", []),
    ("schema", None),
    ("schema.id", 5),
    ("schema.id", "x"),
    ("schema.layout", "sideways"),
    ("schema.time", ["t"]),
    ("schema.features", []),
    ("schema.features", 7),
    ("schema.features", [[]]),
    ("schema.features.1.name", "x"),
    ("schema.features.1.name", {}),
    ("schema.features.1.column", None),
    ("schema.features.1.column", "x"),
    ("schema.features.1.component", 1.5),
    ("schema.features.1.component", 3),
    ("schema.features.1.kind", "categorical"),
    ("schema.features.1.extra", 1),
    ("schema.features.1", DELETE),
    ("length_policy", None),
    ("length_policy.max_length", 0),
    ("length_policy.max_length", -5),
    ("length_policy.max_length", True),
    ("length_policy.max_length", 1 << 40),
    ("length_policy.max_length", "10"),
    ("length_policy.truncate", "middle"),
    ("length_policy.truncate", []),
    ("embedding_dim", 0),
    ("embedding_dim", -6),
    ("embedding_dim", 6.0),
    ("embedding_dim", 10**30),
    ("embedding_dim", None),
    ("architecture", "lstm"),
    ("versions", []),
    ("versions.numpy", 2),
    ("precision", 32),
    ("batch_size", 0),
    ("batch_size", 1 << 13),
    ("batch_size", True),
    ("batch_size", "48"),
    ("batch_size", None),
    ("parity", []),
    ("parity", "x"),
    ("parity.tolerance", 1e9),
    ("parity.tolerance", 0.002),
    ("parity.tolerance", 0),
    ("parity.tolerance", "x"),
    ("parity.num_real", -1),
    ("embeddings", 3),
    ("embeddings.mean", [1.0]),
    ("embeddings.std.0", None),
    ("training", None),
    ("training.fingerprint", 5),
    ("training.num_files", "1"),
    ("training.profile", []),
    ("training.profile.mean", [0.0]),
    ("training.profile.std", "ab"),
    ("training.profile.missing_rate.1", None),
    ("training.profile.length_quantiles", [1, 2]),
    ("training.profile.num_steps", -1),
    ("training.statistics", []),
    ("training.statistics.definition.stride", 0),
    ("training.statistics.definition.features", []),
    ("training.statistics.definition.vectors.dimensions", 2**20),
    ("training.statistics.totals.bins", [1, 2]),
    ("golden", None),
    ("golden", {"a": 1}),
    ("golden", []),
    ("golden.0", None),
    ("golden.0.values", []),
    ("golden.0.values", [1.0, 2.0]),
    ("golden.0.values", [[1.0]]),
    ("golden.0.values", [[1.0, 2.0], [3.0]]),
    ("golden.0.values", [["a", "b"]]),
    ("golden.0.values", [[1e300, 0.0]]),
    ("golden.0.values", [[10**400, 0.0]]),
    ("golden.0.values", "text"),
    ("golden.0.embedding", [0.0] * 5),
    ("golden.0.embedding", [None] * 6),
    ("golden.0.embedding", {"a": 1}),
    ("format_version", "1"),
    ("blocks", 5),
    ("blocks", [{"name": "values"}]),
    ("projected", "yes"),
    ("projected", False),  # the blocks have more numbers than the embedding
    *[
        ("blocks", [{"name": "values", "width": 6, "variance": 1.0, "max_scale": 4.0, **invalid}])
        for invalid in (
            {"width": 6.0},
            {"width": -1},
            {"name": 3},
            {"variance": 0},
            {"variance": "x"},
            {"max_scale": -1.0},
        )
    ],
]


@pytest.mark.parametrize(("field", "value"), INVALID, ids=[f"{field}={str(value)[:20]}" for field, value in INVALID])
def test_an_invalid_contract_is_refused(tiny: Tiny, field: str, value: object) -> None:
    model = onnx.load(tiny.bundle)
    contract = contract_of(model)
    contract_with(field, value)(contract)
    with pytest.raises(BundleError, match="memory: ") as caught:
        Encoder.from_bytes(sealed(model, json.dumps(contract)), source="memory").replay_golden()
    assert "was changed after the export" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"a"', "{", "NaN", "[" * 100_000, "9" * 10_000, '{"a": 1}'])
def test_text_that_is_not_a_contract_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="memory: "):
        ModelContract.from_json(text, "memory")
