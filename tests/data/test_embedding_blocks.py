"""The blocks of an embedding and their scale factors."""

import numpy as np
import pytest

from seqembed.data.embedding_blocks import EmbeddingBlock, block_scales, fit_projection

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


def test_a_projection_makes_strong_directions_equal_and_keeps_weak_ones():
    random = np.random.default_rng(0)
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    spreads = np.array([30.0, 10.0, 3.0, 1e-2, 1e-2, 0.0])
    rows = random.normal(size=(2_000, 6)) * spreads @ rotation + 5
    projection = fit_projection(rows, 6)
    projected = projection(rows)
    ridge = rows.var(axis=0).sum() / 20
    expected = np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))[::-1]
    np.testing.assert_allclose(projected.var(axis=0)[:5], (expected * ridge / (expected + ridge))[:5], rtol=1e-3)
    assert not projection.matrix[:, 5].any(), "rows do not differ in the last direction"
    np.testing.assert_allclose(projection(rows + 7.0 * rotation[5]), projected, atol=1e-4)
    np.testing.assert_allclose(projected @ projection.inverse + projection.mean, rows, atol=1e-3)


def test_a_projection_of_equal_rows_is_zero():
    projection = fit_projection(np.ones((9, 4), np.float32), 3)
    assert not projection.matrix.any() and not projection(np.ones((2, 4))).any()
