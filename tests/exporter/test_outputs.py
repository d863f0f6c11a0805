"""The checks of an export cover every output in the contract, whatever its shape."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from model_testing import resolved
from numpy.typing import NDArray

from seqembed.data.errors import QualityGateError
from seqembed.data.outputs import ModelOutput
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.fidelity import compare_outputs
from seqembed.exporter.checks.golden import golden_sequences
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.checks.precision import measure_quantisation
from seqembed.exporter.checks.reference import KerasReference
from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.quantise import quantise
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.model.encoder import build_encoder

pytestmark = pytest.mark.usefixtures("rounding_counts")


class WithNorm(KerasReference):
    """Keras's embedding, its negative and its norm."""

    def _run(self, block: SequenceBlock, batches: Any) -> dict[str, NDArray[np.float32]]:
        (embedding,) = super()._run(block, batches).values()
        return {"embedding": embedding, "negative": -embedding, "norm": np.linalg.norm(embedding, axis=1)}


@pytest.fixture(scope="module")
def made(exported: Callable[..., Any], randomise: Callable[..., Any], profile: SequenceProfile) -> Any:
    config = resolved(units=16, embedding_dim=12, channels="values", normalization="dataset")
    return exported(randomise(build_encoder(config, profile), scale=0.1))


@pytest.fixture(scope="module")
def reference(made: Any) -> WithNorm:
    """Return the reference of all tests, traced once."""
    return WithNorm(made.model)


def encoder_with(made: Any, graph: Any, factor: dict[str, float], precision: str = "fp32") -> Encoder:
    """Return an encoder with the outputs of `WithNorm`, multiplied by the factors given."""
    model, helper = onnx.ModelProto(), onnx.helper
    model.CopyFrom(graph)
    numbers = {"last_axis": np.array([1], np.int64)}
    numbers |= {f"{name}_factor": np.array(factor.get(name, 1.0), np.float32) for name in ("negative", "norm")}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in numbers.items())
    model.graph.node.extend(
        [
            helper.make_node("Neg", ["embedding"], ["opposite"]),
            helper.make_node("Mul", ["opposite", "negative_factor"], ["negative"]),
            helper.make_node("ReduceL2", ["embedding"], ["length"], axes=[1], keepdims=0),
            helper.make_node("Mul", ["length", "norm_factor"], ["norm"]),
        ]
    )
    width = made.model.embedding_dim
    for name, shape in (("negative", ["batch", width]), ("norm", ["batch"])):
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    outputs = (ModelOutput("negative", width=width), ModelOutput("norm"))
    contract = replace(made.contract, other_outputs=outputs, precision=precision)
    return Encoder.from_bytes(assemble(model, contract), source="more outputs")


@pytest.mark.parametrize(
    ("factor", "wrong"), [({}, None), ({"norm": 1.001}, r"norm\[0\]"), ({"negative": 1.001}, r"negative\[\d+\]")]
)
def test_parity_is_checked_for_every_output(
    made: Any,
    reference: WithNorm,
    rows: SequenceBlock,
    profile: SequenceProfile,
    factor: dict[str, float],
    wrong: str | None,
) -> None:
    def parity() -> float:
        encoder = encoder_with(made, made.graph, factor)
        return measure_parity(reference, encoder, rows, profile, tolerance=1e-5, seed=1).max_difference

    if wrong is None:
        assert parity() < 1e-5
    else:
        with pytest.raises(QualityGateError, match=f"ONNX Runtime and Keras differ by .* in {wrong}"):
            parity()


@pytest.mark.parametrize(("factor", "passes"), [({}, True), ({"norm": 1.1}, False), ({"negative": -1.0}, False)])
def test_int8_is_checked_for_every_output(
    made: Any,
    reference: WithNorm,
    rows: SequenceBlock,
    profile: SequenceProfile,
    factor: dict[str, float],
    passes: bool,
) -> None:
    fp32 = encoder_with(made, made.graph, {})
    int8 = encoder_with(made, quantise(made.graph), factor, precision="int8")
    golden = golden_sequences(reference, int8, profile, seed=1)
    assert [sorted(sequence.outputs) for sequence in golden] == [["embedding", "negative", "norm"]] * len(golden)
    if passes:
        measured = measure_quantisation(fp32, int8, rows, golden, source="model")
        assert 0.999 <= measured.mean_cosine < 1
    else:
        with pytest.raises(QualityGateError, match="vectors of the int8 encoder differ from fp32"):
            measure_quantisation(fp32, int8, rows, golden, source="model")


def test_single_numbers_are_compared_by_their_distance() -> None:
    reference = np.array([3.0, 4.0, 5.0], np.float32)
    assert compare_outputs(reference, reference).mean_cosine == 1
    assert compare_outputs(reference * 1.1, reference).mean_cosine == pytest.approx(1 - 0.1**2 / 2)
    assert compare_outputs(reference + np.float32(np.nan), reference).mean_cosine == -1
    assert compare_outputs(-reference, reference).mean_cosine == -1
    assert compare_outputs(reference[::-1], reference).mean_centred_cosine == -1
    assert compare_outputs(np.zeros(3, np.float32), np.zeros(3, np.float32)).mean_cosine == 1
