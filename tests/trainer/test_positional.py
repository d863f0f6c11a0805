"""The positional decoder: each step depends only on the embedding and the step's position in its sequence."""

import numpy as np
import pytest
from model_testing import resolved

from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.network import build_network


@pytest.fixture
def decode(profile):
    """Return a function from embeddings (batch, 5) and lengths to steps in raw units."""
    keras.utils.set_random_seed(1)
    decoder = build_network(
        resolved(units=4, embedding_dim=5, objective="reconstruct", decoder="positional"), profile, fixed_length=6
    ).decoder

    def write(embedding, lengths, time=None):
        mask = np.arange(time or max(lengths)) < np.array(lengths)[:, None]
        return np.asarray(decoder({"embedding": np.asarray(embedding, np.float32), "mask": mask}))

    return write


def test_a_step_depends_on_its_share_of_the_length(decode):
    one, three, nine = decode(np.ones((3, 5)), [1, 3, 9])
    np.testing.assert_allclose(three[1], one[0], atol=1e-5)  # all at half of the way
    np.testing.assert_allclose(nine[4], one[0], atol=1e-5)
    np.testing.assert_allclose(nine[[1, 4, 7]], three[:3], atol=1e-5)
    assert np.abs(nine[0] - three[0]).max() > 1e-3, "the first of three is further on than the first of nine"
    distances = np.abs(nine[:, None] - nine[None]).max(axis=2)
    assert distances[~np.eye(9, dtype=bool)].min() > 1e-4, "no two indices are alike"


def test_padding_is_zero_and_changes_no_step(decode):
    tight, wide = decode(np.ones((2, 5)), [4, 2]), decode(np.ones((2, 5)), [4, 2], time=11)
    np.testing.assert_allclose(wide[:, :4], tight, atol=1e-6)
    assert (wide[0, 4:] == 0).all() and (wide[1, 2:] == 0).all()
    assert (wide[0, :4] != 0).any() and np.isfinite(decode(np.ones((1, 5)), [0], time=3)).all()


def test_every_embedding_dimension_affects_every_step(decode):
    base = np.random.default_rng(0).normal(size=(1, 5))
    written = decode(np.concatenate([base, base + np.eye(5)]), [4] * 6)
    assert (np.abs(written[1:] - written[0]).max(axis=2) > 1e-4).all()
