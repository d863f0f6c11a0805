"""Invariants of the encoder: an embedding depends only on its sequence."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_testing import resolved

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.input.scale import changes_of
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.encoder import build_encoder, differences, known_values, normalize_sequences, standardised
from seqembed.trainer.model.frames import fold


def build(profile, **changes):
    keras.utils.set_random_seed(1)
    return build_encoder(resolved(**{"units": 4, **changes}), profile)


def embed(encoder, values, lengths):
    return np.asarray(encoder({"values": values, "lengths": np.asarray(lengths, np.int32)}))


# The pooling `concat` consists of the other three.
@pytest.mark.parametrize(
    ("cell", "layers", "activation", "bidirectional", "pooling"),
    [("lstm", 2, "tanh", True, "concat"), *(("gru", 1, "relu", False, pooling) for pooling in ("last", "mean", "max"))],
)
def test_embeddings_do_not_depend_on_other_sequences_or_padding(
    profile, batch, cell, layers, activation, bidirectional, pooling
):
    num_branches = layers  # one, or one of values and one of differences
    options = {"layers": layers, "activation": activation, "pooling": pooling, "bidirectional": bidirectional}
    encoder = build(profile, cell=cell, channels="both" if num_branches == 2 else "values", **options)
    together = embed(encoder, batch.values, batch.lengths)
    width = num_branches * 4 * (1 + bidirectional) * (3 if pooling == "concat" else 1) + 6  # mean and spread
    assert together.shape == (5, width) and together.dtype == np.float32 and np.isfinite(together).all()
    assert len(np.unique(together.round(6), axis=0)) == 5, "different sequences, different embeddings"
    for row, length in enumerate(batch.lengths):
        alone = embed(encoder, batch.values[row : row + 1, : max(length, 1)], [length])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)
    wide = np.resize(np.array([1e30, np.nan, np.inf, -np.inf], np.float32), (5, 9, 3))
    for row, length in enumerate(batch.lengths):
        wide[row, :length] = batch.values[row, :length]
    np.testing.assert_allclose(embed(encoder, wide, batch.lengths), together, atol=1e-6)


def test_a_missing_value_counts_as_the_mean(profile, batch):
    encoder = build(profile, normalization="dataset", channels="values")
    filled = np.where(np.isnan(batch.values), np.asarray(profile.mean, np.float32), batch.values)
    assert np.isnan(batch.values).any()
    np.testing.assert_allclose(
        embed(encoder, batch.values, batch.lengths), embed(encoder, filled, batch.lengths), atol=1e-6
    )


def test_missing_values_do_not_change_per_sequence_statistics(profile):
    encoder = build(profile, channels="values")
    values = np.array([[[3.0, 2, 0], [np.nan, 2, 1], [6, np.nan, 5]]], np.float32)
    mean, std = np.asarray(profile.mean), np.where(np.asarray(profile.std) > 0, profile.std, 1)
    scaled = ((values[0] - mean) / std).clip(-10, 10)
    level = embed(encoder, values, [3])[0, -6:]
    expected = np.concatenate([np.nanmean(scaled, axis=0).clip(-5, 5), np.nanstd(scaled, axis=0).clip(0, 5)])
    np.testing.assert_allclose(level, expected, rtol=1e-5)
    mild = np.sin(np.arange(12, dtype=np.float32)).reshape(1, 4, 3) * std + mean
    quiet, loud = (embed(encoder, (mean + factor * (mild - mean)).astype(np.float32), [4])[0] for factor in (1, 9))
    np.testing.assert_allclose(loud[:-6], quiet[:-6], atol=0.05)
    assert (np.abs(loud[-3:]) > 2 * np.abs(quiet[-3:])).all()


def test_differences_ignore_offsets_and_skip_missing_values(profile):
    encoder = build(profile, channels="differences", normalization="dataset")
    values = np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(embed(encoder, values + 1, [6]), embed(encoder, values, [6]), atol=1e-5)
    values[0, 2, 1] = np.nan
    found = np.asarray(differences(values, ~np.isnan(values) * np.float32(1), np.full(3, 2, np.float32)))[0]
    expected = np.nan_to_num(np.diff(values[0], axis=0, prepend=np.nan)) / 2
    np.testing.assert_allclose(np.nan_to_num(found), expected, atol=1e-6)


def test_both_axis_orders_give_equal_results(profile):
    random = np.random.default_rng(0)
    values = random.normal(size=(4, 9, 3)).astype(np.float32)
    values[random.random(values.shape) < 0.2] = np.nan
    mask, std = np.arange(9) < np.array([[9], [5], [1], [7]]), np.float32([1, 2, 3])
    found = []
    for time_axis in (1, 0):
        laid_out = values if time_axis == 1 else values.transpose(1, 2, 0)
        known = known_values(laid_out, mask, time_axis)
        steps = standardised(laid_out, known, profile, "standardise", time_axis)
        known = np.asarray(known, np.float32)
        scaled, (mean, spread) = normalize_sequences(steps, known, time_axis)
        each = [np.asarray(array) for array in (known, steps, scaled, differences(steps, known, std, time_axis))]
        found.append([array if time_axis == 1 else array.transpose(2, 0, 1) for array in each] + [mean, spread])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)


def test_changes_are_measured_within_sequences():
    random = np.random.default_rng(0)
    noise, walk = random.normal(size=(4_000, 1)), np.cumsum(random.normal(size=(4_000, 1)), axis=0)
    smooth = np.sin(np.arange(4_000) / 20)[:, None]
    offsets = np.arange(0, 4_001, 40)
    found = []
    for values in (noise, walk, smooth, np.zeros((4_000, 1))):
        values = values.astype(np.float32)
        spread = float(values.std())
        profile = SequenceProfile(100, 0, 4_000, (float(values.mean()),), (spread,), (0.0,), (40,) * 9)
        block = SequenceBlock(values, offsets, pa.nulls(100))
        changes = changes_of(block, profile)
        found.append(changes.persistence)
        inside = np.diff(values.reshape(100, 40), axis=1)
        root = np.sqrt((inside**2).mean()) / spread if spread else 1.0
        np.testing.assert_allclose(changes.std, [root], rtol=1e-3)
    np.testing.assert_allclose(found, [-0.5, 0, 1, 0], atol=0.06)


def test_a_zero_is_a_value(profile):
    encoder = build(profile, normalization="dataset", channels="values")
    zeros = np.zeros((2, 4, 3), np.float32)
    short, long = embed(encoder, zeros, [2, 4])
    assert np.abs(short - long).max() > 1e-4


def test_every_layer_is_stock_keras(profile, tmp_path):
    branches = {"channels": "both", "normalization": "dataset", "layers": 2}
    encoder = build(profile, objective="reconstruct", embedding_dim=3, **branches)
    encoder.save(tmp_path / "encoder.keras")
    for operation in encoder.operations:
        assert type(operation).__module__.startswith("keras."), operation
    assert encoder.get_layer("embedding").units == 3
    assert sorted(encoder.input) == ["lengths", "values"]


@settings(max_examples=12)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_order_of_sequences_does_not_matter(lengths, seed):
    encoder = _traced_encoder()
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(lengths), 7, 3)).astype(np.float32)
    order = random.permutation(len(lengths))
    straight = embed(encoder, values, lengths)
    shuffled = embed(encoder, values[order], np.asarray(lengths)[order])
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-6)


@cache
def _traced_encoder():
    """Return an encoder for all examples; a call of a traced one costs a hundredth."""
    profile = SequenceProfile(1, 0, 1, (0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (1,) * 9)
    encoder = build(profile, channels="values", bidirectional=False)
    shapes = {"values": tf.TensorSpec((None, None, 3), tf.float32), "lengths": tf.TensorSpec((None,), tf.int32)}
    return tf.function(encoder, input_signature=[shapes], autograph=False)


@pytest.mark.parametrize(("size", "overlap"), [(1, 1), (1, 3), (2, 1), (2, 4), (3, 5), (4, 20)])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 12])
def test_a_frame_with_overlap_holds_the_following_steps(size, overlap, num_steps):
    steps = np.random.default_rng(1).normal(size=(2, num_steps, 3)).astype(np.float32)
    found = np.asarray(fold(steps, size, overlap))
    with_batch_last = np.asarray(fold(steps.transpose(1, 2, 0), size, overlap, time_axis=0))
    np.testing.assert_array_equal(with_batch_last.transpose(2, 0, 1), found)
    filled = np.pad(steps, [(0, 0), (0, size + overlap), (0, 0)])
    starts = range(0, num_steps, size)
    wanted = [filled[:, start : start + size + overlap].reshape(2, -1) for start in starts]
    np.testing.assert_array_equal(found, np.stack(wanted, axis=1))
