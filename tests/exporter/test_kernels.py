"""Fixed kernels in ONNX: equality with Keras, independence of batch and padding, and the untrained control."""

from typing import Any

import numpy as np
import pytest
from batching_testing import assert_alone_equals_batched, batches, examples, random_values
from hypothesis import given
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.parity import measure_parity
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate.untrained import untrained_bundle
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.kernels import fit_kernels

NUM_KERNELS = 100


@pytest.fixture(scope="module")
def made(exported: Any, rows: Any, profile: Any) -> Any:
    """An encoder with kernels over three features, whose last dimensions they are."""
    model = resolved(objective="contrast", units=3, channels="values", kernels=NUM_KERNELS)
    kernels = fit_kernels(rows, profile, "sequence", NUM_KERNELS, median_length=50, seed=0)
    return exported(build_encoder(model, profile, kernels=kernels))


def test_kernels_are_convolutions_over_time_that_need_no_other_layout(made: Any) -> None:
    nodes = {output: node for node in made.graph.graph.node for output in node.output}
    held = {tensor.name: tensor.dims for tensor in made.graph.graph.initializer}
    convolutions = [node for node in nodes.values() if node.op_type == "Conv"]
    apart = [list(each.ints) for node in convolutions for each in node.attribute if each.name == "dilations"]
    assert sorted(apart) == [[1], [1], [2], [2]], "wide kernels read every n-th step, in one convolution each"
    for node in convolutions:
        assert [len(held[name]) for name in node.input[1:]] == [3, 1], "kernels over one axis, and their bias"
    clipped = [nodes[node.input[0]].op_type for node in nodes.values() if node.op_type == "Clip"]
    assert clipped.count("Conv") == len(convolutions)


def test_equal_to_keras(made: Any, rows: Any, profile: Any) -> None:
    assert not {"Loop", "Scan", "If"} & set(made.structure.op_counts)
    assert measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1).max_difference <= 1e-5


@examples(10)
@given(drawn=st.fixed_dictionaries(batches(40, 12, 20)))
def test_alone_equals_batched_shuffled_and_padded(made: Any, drawn: dict[str, Any]) -> None:
    block = random_values(drawn.pop("lengths"), drawn["seed"])
    assert_alone_equals_batched(made.encoder, block, **drawn, rtol=1e-5)  # float32 sums in another order


def test_the_untrained_control_keeps_the_kernels(made: Any, rows: Any) -> None:
    """They are not trained: the control shows what the recurrent layers add to them."""
    control = Encoder.from_bytes(untrained_bundle(assemble(made.graph, made.contract), seed=3), source="control")
    batch = pad(rows, np.arange(20))
    trained, untrained = (encoder.embed(batch.values, batch.lengths) for encoder in (made.encoder, control))
    np.testing.assert_array_equal(trained[:, -NUM_KERNELS:], untrained[:, -NUM_KERNELS:])
    others = slice(0, trained.shape[1] - NUM_KERNELS - 6)  # but mean and spread of three features
    assert (np.abs(trained[:, others] - untrained[:, others]).max(axis=0) > 1e-4).all()
