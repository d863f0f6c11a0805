"""An embedding does not depend on the other sequences of the batch, their order, or padding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqembed.data.batching import pad
from seqembed.exporter.checks.draws import as_block
from seqembed.runner.bundle.encoder import Encoder

LENGTHS = st.lists(st.integers(1, 25), min_size=1, max_size=20)


@pytest.fixture(scope="module", params=["lstm", "gru"])
def encoder(request: pytest.FixtureRequest, encoder_of: Callable[..., Any], exported: Callable[..., Any]) -> Encoder:
    """Return stacked, bidirectional encoders with every pooling."""
    return exported(encoder_of(cell=request.param, layers=2)).encoder


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=LENGTHS,
    seed=st.integers(0, 2**32 - 1),
    extra=st.integers(0, 40),
    garbage=st.sampled_from([0.0, 1e6, -1e30, np.nan, np.inf, -np.inf]),
)
def test_alone_equals_batched_shuffled_and_padded(
    encoder: Encoder, lengths: list[int], seed: int, extra: int, garbage: float
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(scale=3, size=(sum(lengths), 3)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    block = as_block(values, np.array(lengths))
    alone = np.concatenate(
        [
            encoder.embed(batch.values, batch.lengths)
            for i in range(len(lengths))
            for batch in [pad(block, np.array([i]))]
        ]
    )
    order = random.permutation(len(lengths))
    batch = pad(block, order, max(lengths) + extra)
    batch.values[np.arange(batch.values.shape[1]) >= batch.lengths[:, None]] = garbage
    together = np.empty_like(alone)
    together[order] = encoder.embed(batch.values, batch.lengths)
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(together, alone, rtol=2e-6, atol=2e-6)


def test_a_sequence_without_steps_is_finite(encoder: Encoder) -> None:
    found = encoder.embed(np.full((2, 3, 3), np.nan, np.float32), np.array([0, 0], np.int32))
    assert np.isfinite(found).all()


def test_the_embedding_depends_on_each_step(encoder: Encoder) -> None:
    """The test above would also pass for an encoder that ignores its input."""
    values = np.random.default_rng(1).normal(size=(1, 6, 3)).astype(np.float32)
    lengths = np.array([6], np.int32)
    base = encoder.embed(values, lengths)
    for step in range(6):
        changed = values.copy()
        changed[0, step] += 5
        assert np.abs(encoder.embed(changed, lengths) - base).max() > 1e-4
