"""The parts of an embedding and their weights."""

import numpy as np
import pytest

from seqembed.data.parts import EmbeddingPart, part_weights

PARTS = (
    EmbeddingPart("values", 3, 2.0, 4.0),
    EmbeddingPart("level", 2, 1.0, 1.0),
    EmbeddingPart("course", 1, 1.0, 4.0),
)


@pytest.mark.parametrize(
    ("scales", "variances"),
    [
        ((1.0, 3.0, 1.0), (2.0, 1.0, 1.0)),
        ((9.0, 0.1, 0.5), (2.0, 0.02, 1.0)),  # a level that hardly differs stays as it is
        ((0.01, 1.0, 0.001), (16 * 0.0003, 1.0, 16e-6)),  # and nothing is multiplied by more than 4
    ],
)
def test_each_part_gets_its_variance_as_far_as_its_weight_may_go(scales, variances):
    vectors = np.random.default_rng(0).normal(size=(1_000, 6))
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0) * np.repeat(scales, (3, 2, 1)) + 50
    weights = part_weights(vectors, PARTS)
    assert weights.dtype == np.float32 and weights.shape == (6,)
    assert len(set(weights[:3])) == len(set(weights[3:5])) == 1, "a part keeps its shape"
    told = (vectors * weights).var(axis=0)
    np.testing.assert_allclose([told[:3].sum(), told[3:5].sum(), told[5]], variances, rtol=1e-5)


def test_what_never_differs_gets_a_finite_weight():
    np.testing.assert_array_equal(part_weights(np.ones((5, 6)), PARTS), [4, 4, 4, 1, 1, 4])


def test_parts_survive_json():
    assert tuple(EmbeddingPart.from_json(part.to_json()) for part in PARTS) == PARTS
