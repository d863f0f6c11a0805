"""The law of every exported model: its outputs do not depend on what else is in the batch, nor on padding."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from seqembed.data.batching import pad
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.draws import as_block
from seqembed.runner.bundle.encoder import Encoder

GARBAGE = [1e6, -1e30, np.nan, np.inf, -np.inf]


def batches(
    max_length: int, max_sequences: int, max_extra: int, garbage: list[Any] | None = None
) -> dict[str, st.SearchStrategy[Any]]:
    """Return what Hypothesis draws for `assert_alone_equals_batched`: lengths, a seed, and padding."""
    return {
        "lengths": st.lists(st.integers(1, max_length), min_size=1, max_size=max_sequences),
        "seed": st.integers(0, 2**32 - 1),
        "extra": st.integers(0, max_extra),
        "garbage": st.sampled_from(GARBAGE if garbage is None else garbage),
    }


def examples(number: int) -> settings:
    """Return the settings of Hypothesis for a test with a fixture of an encoder, which no example changes."""
    return settings(max_examples=number, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_values(lengths: list[int], seed: int, num_features: int = 3) -> SequenceBlock:
    """Return sequences of random numbers, a tenth of them missing."""
    random = np.random.default_rng(seed)
    values = random.normal(scale=3, size=(sum(lengths), num_features)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    return as_block(values, np.array(lengths))


def assert_alone_equals_batched(
    encoder: Encoder, block: SequenceBlock, *, seed: int, extra: int, garbage: float, garbage_id: int = 0, rtol: float
) -> None:
    """Compare each sequence alone with all of them, shuffled and padded beyond the longest.

    Args:
        encoder: The exported encoder.
        block: Sequences of at least one step.
        seed: Seed of the order.
        extra: Steps of padding beyond the longest sequence.
        garbage: Padding of the values.
        garbage_id: Padding of the categories.
        rtol: Allowed difference, relative and absolute.
    """
    num = block.num_sequences
    singles = [pad(block, np.array([index])) for index in range(num)]
    every = [encoder.run(one.values, one.lengths, one.categories) for one in singles]
    alone = {name: np.concatenate([outputs[name] for outputs in every]) for name in every[0]}
    order = np.random.default_rng(seed).permutation(num)
    batch = pad(block, order, int(block.lengths.max()) + extra)
    padding = np.arange(batch.values.shape[1]) >= batch.lengths[:, None]
    batch.values[padding] = garbage
    batch.categories[padding] = garbage_id
    together = encoder.run(batch.values, batch.lengths, batch.categories)
    for name, expected in alone.items():
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(together[name], expected[order], rtol=rtol, atol=rtol)
