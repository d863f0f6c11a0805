"""The encoder's laws: an embedding is its sequence's alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.backend import keras
from trainer.config import POOLINGS, ModelConfig
from trainer.model import build_encoder


def build(profile, **changes):
    keras.utils.set_random_seed(1)
    return build_encoder(ModelConfig(**{"units": 4, "embedding_dim": 3, **changes}), profile)


def embed(encoder, values, lengths):
    return np.asarray(encoder({"values": values, "lengths": np.asarray(lengths, np.int32)}))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    ("cell", "layers", "activation", "bidirectional"), [("lstm", 2, "tanh", True), ("gru", 1, "relu", False)]
)
def test_neighbours_padding_and_garbage_change_nothing(
    profile, batch, pooling, cell, layers, activation, bidirectional
):
    encoder = build(
        profile, cell=cell, layers=layers, activation=activation, pooling=pooling, bidirectional=bidirectional
    )
    together = embed(encoder, batch.values, batch.lengths)
    assert together.shape == (5, 3) and together.dtype == np.float32 and np.isfinite(together).all()
    assert len(np.unique(together.round(6), axis=0)) == 5, "different sequences, different embeddings"
    for row, length in enumerate(batch.lengths):
        alone = embed(encoder, batch.values[row : row + 1, : max(length, 1)], [length])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)
    for garbage in (1e30, np.nan, np.inf, -np.inf):
        wide = np.full((5, 9, 3), garbage, np.float32)
        for row, length in enumerate(batch.lengths):
            wide[row, :length] = batch.values[row, :length]
        np.testing.assert_allclose(embed(encoder, wide, batch.lengths), together, atol=1e-6)


def test_a_missing_value_counts_as_the_mean(profile, batch):
    encoder = build(profile)
    filled = np.where(np.isnan(batch.values), np.asarray(profile.mean, np.float32), batch.values)
    assert np.isnan(batch.values).any()
    np.testing.assert_allclose(
        embed(encoder, batch.values, batch.lengths), embed(encoder, filled, batch.lengths), atol=1e-6
    )


def test_a_genuine_zero_counts(profile):
    encoder = build(profile)
    zeros = np.zeros((2, 4, 3), np.float32)
    short, long = embed(encoder, zeros, [2, 4])
    assert np.abs(short - long).max() > 1e-4


def test_every_layer_is_stock_keras(profile, tmp_path):
    encoder = build(profile, layers=2)
    encoder.save(tmp_path / "encoder.keras")
    for operation in encoder.operations:
        assert type(operation).__module__.startswith("keras."), operation
    assert encoder.get_layer("embedding").units == 3
    assert sorted(encoder.input) == ["lengths", "values"]


@settings(max_examples=12)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_order_of_sequences_does_not_matter(lengths, seed):
    encoder = _shared_encoder()
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(lengths), 7, 3)).astype(np.float32)
    order = random.permutation(len(lengths))
    straight = embed(encoder, values, lengths)
    shuffled = embed(encoder, values[order], np.asarray(lengths)[order])
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-6)


_ENCODERS: list = []


def _shared_encoder():
    if not _ENCODERS:
        from data.profile import SequenceProfile

        _ENCODERS.append(build(SequenceProfile(1, 0, 1, (0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (1,) * 9), layers=2))
    return _ENCODERS[0]
