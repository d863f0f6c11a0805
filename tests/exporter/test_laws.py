"""An embedding does not depend on the other sequences of the batch, their order, or padding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from batching_testing import GARBAGE, assert_alone_equals_batched, batches, examples, random_values
from hypothesis import given
from hypothesis import strategies as st

from seqembed.runner.bundle.encoder import Encoder


@pytest.fixture(scope="module", params=["lstm", "gru"])
def encoder(request: pytest.FixtureRequest, encoder_of: Callable[..., Any], exported: Callable[..., Any]) -> Encoder:
    """Return stacked, bidirectional encoders with every pooling."""
    return exported(encoder_of(cell=request.param, layers=2)).encoder


@examples(40)
@given(drawn=st.fixed_dictionaries(batches(25, 20, 40, [0.0, *GARBAGE])))
def test_alone_equals_batched_shuffled_and_padded(encoder: Encoder, drawn: dict[str, Any]) -> None:
    block = random_values(drawn.pop("lengths"), drawn["seed"])
    assert_alone_equals_batched(encoder, block, **drawn, rtol=2e-6)


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
