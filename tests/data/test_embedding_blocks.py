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


def test_a_projection_damps_strong_directions_and_bounds_outliers():
    random = np.random.default_rng(0)
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    spreads = (
        np.array([3.0, 1.0, 0.3, 1e-2, 1e-2, 0.0]) * 1e-3
    )  # so small beside the block that follows that tanh is straight
    rows = np.concatenate([random.normal(size=(2_000, 6)) * spreads @ rotation, np.zeros((2_000, 1))], axis=1) + 5
    projection = fit_projection(rows, [6, 1], 7)
    projected = projection(rows)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-6)
    variances = np.linalg.eigvalsh(np.cov(projected.T))[::-1]
    strengths = np.sqrt(variances[:3] / variances[0])
    spread = projected[:, :5].std(axis=0)
    assert spread.min() > spread.max() / 20, "a rotation spreads the variance over the numbers"
    assert strengths[1] > 0.4 and strengths[2] > 0.12, "three and ten times weaker before"
    assert not projection.matrix[:, 6].any() and not projection.slope[6], "a constant block says nothing"
    far = rows[:1] + 1e6
    assert np.abs(projection(far)).max() < 20 * np.abs(projected).max()


def test_a_projection_of_equal_rows_is_zero():
    projection = fit_projection(np.ones((9, 4), np.float32), [2, 2], 3)
    assert not projection.matrix.any() and not projection(np.ones((2, 4))).any()


def test_a_block_that_hardly_varies_gives_finite_numbers():
    rows = np.random.default_rng(0).normal(size=(9, 4)) * [1, 1, 1e-42, 1e-42]
    projection = fit_projection(rows, [2, 2], 3)
    assert np.isfinite(projection.slope).all() and np.isfinite(projection(rows)).all()
    assert not projection.slope[2:].any()
