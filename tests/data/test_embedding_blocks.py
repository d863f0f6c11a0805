"""The blocks of an embedding and their scale factors."""

import numpy as np
import pytest

from seqembed.data.embedding_blocks import EmbeddingBlock, block_scales

BLOCKS = (
    EmbeddingBlock("values", 3, 2.0, 4.0),
    EmbeddingBlock("statistics", 2, 1.0, 1.0),
    EmbeddingBlock("trajectory", 1, 1.0, 4.0),
)


@pytest.mark.parametrize(
    ("spreads", "variances"),
    [
        ((1.0, 3.0, 1.0), (2.0, 1.0, 1.0)),
        ((9.0, 0.1, 0.5), (2.0, 0.02, 1.0)),  # statistics that hardly vary are not scaled up
        ((0.01, 1.0, 0.001), (16 * 0.0003, 1.0, 16e-6)),  # and nothing is multiplied by more than 4
    ],
)
def test_each_block_gets_its_variance_within_its_max_scale(spreads, variances):
    vectors = np.random.default_rng(0).normal(size=(1_000, 6))
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0) * np.repeat(spreads, (3, 2, 1)) + 50
    scales = block_scales(vectors, BLOCKS)
    assert scales.dtype == np.float32 and scales.shape == (6,)
    assert len(set(scales[:3])) == len(set(scales[3:5])) == 1, "one factor per block"
    scaled = (vectors * scales).var(axis=0)
    np.testing.assert_allclose([scaled[:3].sum(), scaled[3:5].sum(), scaled[5]], variances, rtol=1e-5)


def test_constant_blocks_get_a_finite_scale():
    np.testing.assert_array_equal(block_scales(np.ones((5, 6)), BLOCKS), [4, 4, 4, 1, 1, 4])


def test_blocks_survive_a_json_round_trip():
    assert tuple(EmbeddingBlock.from_json(block.to_json()) for block in BLOCKS) == BLOCKS
