"""Fixed kernels in ONNX: equality with Keras, independence of batch and padding, and the untrained control."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.batching import pad
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.draws import as_block
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
    kernels = fit_kernels(rows, profile, "sequence", NUM_KERNELS, median_length=30, seed=0)
    return exported(build_encoder(model, profile, kernels=kernels))


def test_equal_to_keras(made: Any, rows: Any, profile: Any) -> None:
    assert not {"Loop", "Scan", "If"} & set(made.structure.op_counts)
    assert measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1).max_difference <= 1e-5


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
    extra=st.integers(0, 20),
    garbage=st.sampled_from([1e6, -1e30, np.nan, np.inf, -np.inf]),
)
def test_alone_equals_batched_shuffled_and_padded(
    made: Any, lengths: list[int], seed: int, extra: int, garbage: float
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(scale=3, size=(sum(lengths), 3)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    block = as_block(values, np.array(lengths))
    batches = [pad(block, np.array([index])) for index in range(len(lengths))]
    alone = np.concatenate([made.encoder.embed(batch.values, batch.lengths) for batch in batches])
    order = random.permutation(len(lengths))
    batch = pad(block, order, max(lengths) + extra)
    batch.values[np.arange(batch.values.shape[1]) >= batch.lengths[:, None]] = garbage
    together = np.empty_like(alone)
    together[order] = made.encoder.embed(batch.values, batch.lengths)
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)  # float32 sums in another order


def test_the_untrained_control_keeps_the_kernels(made: Any, rows: Any) -> None:
    """They are not trained: the control shows what the recurrent layers add to them."""
    control = Encoder.from_bytes(untrained_bundle(assemble(made.graph, made.contract), seed=3), source="control")
    batch = pad(rows, np.arange(20))
    trained, untrained = (encoder.embed(batch.values, batch.lengths) for encoder in (made.encoder, control))
    np.testing.assert_array_equal(trained[:, -NUM_KERNELS:], untrained[:, -NUM_KERNELS:])
    others = slice(0, trained.shape[1] - NUM_KERNELS - 6)  # but mean and spread of three features
    assert (np.abs(trained[:, others] - untrained[:, others]).max(axis=0) > 1e-4).all()
