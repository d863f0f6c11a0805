"""Frames of several steps: equality with Keras, independence of batch and padding, and structure of the graph."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batching_testing import assert_alone_equals_batched, batches, examples, random_values
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError
from seqembed.data.layout import RunLayout
from seqembed.data.outputs import ModelOutput
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.exporter.keras.model import load_encoder
from seqembed.exporter.onnx.convert import convert
from seqembed.exporter.onnx.structure import check_structure
from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import done, seqembed

TOLERANCE = 1e-5
# Every frame with every cell; overlaps of none, less than a frame, one frame and more, and each pooling and direction.
CASES = [
    (2, 1, "lstm", 1, "concat", False),
    (2, 0, "gru", 2, "last", False),
    (3, 0, "lstm", 2, "max", False),
    (3, 3, "gru", 1, "mean", True),
    (7, 9, "lstm", 2, "last", True),
    (7, 14, "gru", 1, "concat", False),
    (1, 3, "lstm", 1, "concat", True),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def framed(request: pytest.FixtureRequest, encoder_of: Callable[..., Any], exported: Callable[..., Any]) -> Any:
    """Return the frame, the cell, the number of layers, and the export of such an encoder."""
    frame, overlap, cell, layers, pooling, bidirectional = request.param
    options: dict[str, Any] = {
        "overlap": overlap,
        "cell": cell,
        "layers": layers,
        "pooling": pooling,
        "bidirectional": bidirectional,
    }
    if options["pooling"] == "concat":  # with every branch there is
        options |= {"channels": "both", "normalization": "sequence", "trajectory": 5}
        layers *= 2
    return frame, cell, layers, exported(encoder_of(frame=frame, embedding_dim=None, **options), frame=frame)


def test_equal_to_keras_with_one_native_node_per_layer(
    framed: Any, rows: SequenceBlock, profile: SequenceProfile
) -> None:
    frame, cell, layers, made = framed
    assert made.model.frame == frame
    assert made.structure.op_counts[cell.upper()] == made.structure.num_recurrent == layers
    assert not {"Loop", "Scan", "If"} & set(made.structure.op_counts)
    parity = measure_parity(made.reference, made.encoder, rows, profile, tolerance=TOLERANCE, seed=1)
    assert parity.max_difference <= TOLERANCE and parity.num_real == rows.num_sequences


@examples(10)
@given(drawn=st.fixed_dictionaries(batches(20, 12, 20)))
def test_alone_equals_batched_shuffled_and_padded(framed: Any, drawn: dict[str, Any]) -> None:
    block = random_values(drawn.pop("lengths"), drawn["seed"])
    assert_alone_equals_batched(framed[3].encoder, block, **drawn, rtol=5e-6)  # float32 sums in another order


def test_the_embedding_depends_on_each_step_of_a_frame_and_its_position(framed: Any) -> None:
    """The test above would also pass for an encoder that reads one step of a frame, or their sum."""
    values = np.random.default_rng(1).normal(size=(1, 10, 3)).astype(np.float32)
    changes = []
    for step in range(10):
        changed = values.copy()
        changed[0, step] += 5
        changes.append(framed[3].encoder.embed(changed, np.array([10], np.int32))[0])
    found = np.stack([framed[3].encoder.embed(values, np.array([10], np.int32))[0], *changes])
    distances = np.abs(found[:, None] - found[None]).max(axis=2)
    assert distances[~np.eye(11, dtype=bool)].min() > 1e-5


def test_a_sequence_without_steps_is_finite(framed: Any) -> None:
    found = framed[3].encoder.embed(np.full((2, 3, 3), np.nan, np.float32), np.array([0, 0], np.int32))
    assert np.isfinite(found).all()


@pytest.fixture(scope="module")
def good_graph(encoder_of: Callable[..., Any], exported: Callable[..., Any]) -> Any:
    """Return a valid graph of two layers that read frames of 3 steps."""
    return exported(encoder_of(layers=2, frame=3), frame=3).graph


@pytest.fixture
def graph(good_graph: Any) -> Any:
    """Return a copy of a valid graph, to corrupt."""
    copy = onnx.ModelProto()
    copy.CopyFrom(good_graph)
    return copy


def check(model: Any, frame: int) -> Any:
    return check_structure(
        model,
        num_features=3,
        outputs=[ModelOutput("embedding", width=5)],
        num_recurrent=2,
        opset=17,
        source="model",
        frame=frame,
    )


def test_a_good_graph_passes_only_with_its_own_frame(graph: Any) -> None:
    assert check(graph, 3).num_recurrent == 2
    with pytest.raises(BundleError, match="expected the graph input 'lengths' in frames of 2 steps"):
        check(graph, 2)
    with pytest.raises(BundleError, match="expected the graph input 'lengths': padding"):
        check(graph, 1)


def test_lengths_not_divided_by_the_frame_are_refused(graph: Any) -> None:
    [node for node in graph.graph.node if node.op_type == "LSTM"][1].input[4] = "lengths"
    with pytest.raises(BundleError, match="comes from 'lengths', expected .* in frames of 3 steps"):
        check(graph, 3)


@pytest.mark.parametrize(("operator", "value"), [("Add", 3), ("Div", 4)])
def test_lengths_divided_differently_are_refused(graph: Any, operator: str, value: int) -> None:
    makers = {output: node for node in graph.graph.node for output in node.output}
    name = next(node for node in graph.graph.node if node.op_type == "LSTM").input[4]
    while makers[name].op_type != operator:
        name = makers[name].input[0]
    (constant,) = [tensor for tensor in graph.graph.initializer if tensor.name == makers[name].input[1]]
    other = onnx.numpy_helper.to_array(constant) * 0 + value
    constant.CopyFrom(onnx.numpy_helper.from_array(other, constant.name))
    with pytest.raises(BundleError, match=rf"\('{operator}', {value}\)"):
        check(graph, 3)


def test_the_frame_comes_from_the_contract_not_from_layer_names(
    encoder_of: Callable[..., Any], write_run: Callable[..., RunLayout], tmp_path: Path
) -> None:
    renamed = keras.models.clone_model(
        encoder_of(frame=3), clone_function=lambda layer: type(layer).from_config(_renamed(layer.get_config()))
    )
    run = write_run(tmp_path / "run", renamed, frame=3)
    value = json.loads(run.contract.read_text(encoding="utf-8"))
    assert value["frame"] == 3
    said = done("export", run.root, "--out", tmp_path / "encoder.onnx").output
    assert "from Keras" in said
    assert Encoder.open(tmp_path / "encoder.onnx").contract.frame == 3
    # In a contract without the field the architecture has the frame.
    del value["frame"]
    value["architecture"]["frame"] = 3
    assert ModelContract.from_value(value, "old").frame == 3
    run.contract.write_text(json.dumps(value | {"frame": 0}), encoding="utf-8")
    refused = seqembed("export", run.root, "--out", tmp_path / "none.onnx")
    assert (refused.exit_code, "frame: found 0, expected an integer" in refused.output) == (4, True)
    with pytest.raises(BundleError, match="reads 11 steps of a sequence of 32, .* pass its run directory"):
        convert(load_encoder(run.encoder), 17)


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"name": f"layer_{config['name'].replace('frames', 'things')}"}
